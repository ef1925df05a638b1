//! Prints answers for people or for programs.

use crate::cli::problem::Problem;
use crate::cli::{CliError, Output, Session};
use comfy_table::{ContentArrangement, Table, presets};
use console::Term;
use serde::Serialize;
use std::fmt::Display;
use std::io::Write as _;

// === impl Session ===

impl Session {
    /// Prints `value` as JSON, or what `text` makes of it.
    ///
    /// # Errors
    /// When it cannot be printed, as when nobody reads any more.
    pub(crate) fn show<T: Serialize, D: Display>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> D,
    ) -> Result<(), CliError> {
        match self.output {
            Output::Json => print(&serde_json::to_string_pretty(value).unwrap_or_default()),
            Output::Text => print(&text(value)),
        }
    }

    /// Whether people read the output.
    pub(crate) fn is_text(&self) -> bool {
        self.output == Output::Text
    }

    /// Whether they read it on a terminal.
    pub(crate) fn is_on_terminal(&self) -> bool {
        self.is_text() && Term::stdout().is_term()
    }
}

// === impl Output ===

impl Output {
    /// Tells what went wrong, on standard error, so that standard output carries answers alone.
    pub(crate) fn complain(self, problem: &Problem) {
        let text = match self {
            Self::Text => format!("graylane: {problem}"),
            Self::Json => serde_json::to_string_pretty(problem).unwrap_or_default(),
        };
        // There is nobody left to tell when this fails too; the exit code says it.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// Prints a line. The only place that writes to standard output: `println!` panics when nobody reads any more.
///
/// # Errors
/// When it cannot be printed, as when nobody reads any more.
pub(crate) fn print(line: &impl Display) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(CliError::Print)
}

/// A table with no lines, as kubectl prints it.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table.add_rows(rows);
    table
}

/// A text from outside in which nothing draws lines or steers a terminal.
pub(crate) fn plain(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
    text.chars().map(shown).collect()
}

/// A value, or a dash.
pub(crate) fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A span of time, with one unit: `3s`, `12m`, `5h`, `2d`.
pub(crate) fn age(seconds: f64) -> String {
    match seconds as u64 {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
