//! How far an upload got, for whoever watches a terminal.

use crate::cli::Session;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Read};
use std::time::Duration;

/// What the line says while bytes leave.
const SENDING: &str = "{spinner} sending {wide_bar} {percent}% of {total_bytes}, {elapsed}";

/// What it says once they all left, until the answer is there.
const STORING: &str = "{spinner} {total_bytes} sent; the daemon checks and stores them, {elapsed}";

/// How often the line is drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// Less is there before anybody has read the line.
const MIN_BYTES: usize = 1 << 20;

/// A line on standard error that goes away with the answer. There is none when standard error is no terminal, when
/// programs read the output, or when the upload is short.
pub(crate) struct Progress(ProgressBar);

/// Bytes that tell how far they were read.
pub(crate) struct Watched<'a> {
    bytes: &'a [u8],
    bar: &'a ProgressBar,
}

// === impl Session ===

impl Session {
    /// The progress of an upload of so many bytes.
    pub(crate) fn progress(&self, bytes: usize) -> Progress {
        let target = match self.is_text() && bytes >= MIN_BYTES {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(bytes as u64), target).with_style(style(SENDING));
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Progress(bar)
    }
}

// === impl Progress ===

impl Progress {
    /// `bytes`, which are watched from now on while they are read.
    pub(crate) fn watch<'a>(&'a self, bytes: &'a [u8]) -> Watched<'a> {
        // It may be the second try.
        self.0.set_position(0);
        self.0.set_style(style(SENDING));
        Watched { bytes, bar: &self.0 }
    }
}

/// The line goes away however the upload ended, before anything else is told.
impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.read(buffer)?;
        self.bar.inc(count as u64);
        if self.bytes.is_empty() && count > 0 {
            self.bar.set_style(style(STORING));
        }
        Ok(count)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
