//! A store as lines of text: for backups, and for moving to another disk or program.
//!
//! Each line is an object of JSON. The first one tells the format and where the store stood, the last one how much there is, and
//! every line ends with a sum over itself and all lines before it. So a line that is missing, changed, moved or added is found
//! at its number, and so is an end that was cut off.

use crate::entry::{Entry, Standing, each_entry};
use crate::limits::{MAX_BLOB_BYTES, MAX_VALUE_BYTES};
use crate::{Rev, StoreError, StoreReader, Stored};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::io::{self, BufRead, Read as _, Write};
use thiserror::Error;

/// The version of the format.
const FORMAT: u32 = 1;

/// Bytes of a line: the largest content, each of whose bytes may take six.
const MAX_LINE_BYTES: usize =
    6 * if MAX_BLOB_BYTES > MAX_VALUE_BYTES { MAX_BLOB_BYTES } else { MAX_VALUE_BYTES } + 4_096;

/// Bytes of a line's sum, in hexadecimal.
const SUM: usize = 16;

/// How much an export has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Values.
    pub values: u64,
    /// Entries of the log.
    pub log: u64,
    /// Blobs.
    pub blobs: u64,
}

/// Why an export cannot be written or read.
#[derive(Debug, Error)]
pub enum ExportError {
    /// A line is not what was written.
    #[error("line {line} {what}; take another export")]
    Line {
        /// Its number, counted from 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It was written by another version of this program.
    #[error("the export has format {found}, this program reads {FORMAT}; use the program that wrote it")]
    Format {
        /// The format that it has.
        found: u32,
    },
    /// Reading or writing the export failed.
    #[error("the export cannot be read or written")]
    Io(#[from] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A line without its sum.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Line {
    Store { format: u32, revision: Rev, epoch: u64 },
    Value { key: String, revision: Rev, content: Content },
    Log { number: u64, content: Content },
    Blob { hash: String, content: Content },
    End(Counts),
}

/// Bytes, as text where they are.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Content {
    Text(String),
    Base64(String),
}

/// The sum of all lines so far.
#[derive(Default)]
struct Sum(String);

/// Writes all that a store holds. Nobody may write to it meanwhile.
///
/// # Errors
/// When the store cannot be read, or the export not written.
pub fn export(store: &dyn StoreReader, mut out: impl Write) -> Result<Counts, ExportError> {
    let (mut sum, mut counts) = (Sum::default(), Counts::default());
    let revision = store.list("\u{10ffff}")?.revision;
    let epoch = store.epoch()?;
    sum.write(&mut out, &Line::Store { format: FORMAT, revision, epoch })?;
    each_entry(store, |entry| {
        counts.count(&entry);
        sum.write(&mut out, &entry.into())
    })?;
    sum.write(&mut out, &Line::End(counts))?;
    out.flush()?;
    Ok(counts)
}

/// Reads an export to its end, and visits each thing in it. What was visited may be trusted only when this is done.
///
/// # Errors
/// When a line is not what was written, the format is another one, or what `visit` says.
pub fn read_export(
    mut input: impl BufRead,
    mut visit: impl FnMut(Entry) -> Result<(), ExportError>,
) -> Result<(Standing, Counts), ExportError> {
    let (mut sum, mut counts) = (Sum::default(), Counts::default());
    let mut standing = None;
    for number in 1.. {
        let wrong = |what| Err(ExportError::Line { line: number, what });
        let Some(line) = sum.read(&mut input, number)? else {
            return wrong("is missing: the export was cut");
        };
        match (standing, line) {
            (None, Line::Store { format: FORMAT, revision, epoch }) => {
                standing = Some(Standing { revision, epoch })
            }
            (None, Line::Store { format: found, .. }) => return Err(ExportError::Format { found }),
            (None, _) => return wrong("is not the head of an export"),
            (Some(_), Line::Store { .. }) => return wrong("begins another export"),
            (Some(_), Line::End(told)) if told != counts => return wrong("tells another count"),
            (Some(standing), Line::End(_)) => {
                return match input.fill_buf()?.is_empty() {
                    true => Ok((standing, counts)),
                    false => Err(ExportError::Line { line: number + 1, what: "is behind the end" }),
                };
            }
            (Some(_), line) => {
                let Some(entry) = line.entry() else { return wrong("has content that is no base64") };
                counts.count(&entry);
                visit(entry)?;
            }
        }
    }
    Err(ExportError::Line { line: u64::MAX, what: "is one too many" })
}

// === impl Counts ===

impl Counts {
    /// Counts one thing more.
    pub fn count(&mut self, entry: &Entry) {
        match entry {
            Entry::Value { .. } => self.values += 1,
            Entry::Log { .. } => self.log += 1,
            Entry::Blob { .. } => self.blobs += 1,
        }
    }
}

// === impl Line ===

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Value { key, stored: Stored { revision, bytes } } => {
                Self::Value { key, revision, content: bytes.into() }
            }
            Entry::Log { number, bytes } => Self::Log { number, content: bytes.into() },
            Entry::Blob { hash, bytes } => Self::Blob { hash, content: bytes.into() },
        }
    }
}

impl Line {
    /// What it holds; none when that cannot be read.
    fn entry(self) -> Option<Entry> {
        Some(match self {
            Self::Value { key, revision, content } => {
                Entry::Value { key, stored: Stored { revision, bytes: content.bytes()? } }
            }
            Self::Log { number, content } => Entry::Log { number, bytes: content.bytes()? },
            Self::Blob { hash, content } => Entry::Blob { hash, bytes: content.bytes()? },
            Self::Store { .. } | Self::End(_) => return None,
        })
    }
}

// === impl Content ===

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes)
            .map_or_else(|error| Self::Base64(STANDARD.encode(error.as_bytes())), Self::Text)
    }
}

impl Content {
    fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.into_bytes()),
            Self::Base64(text) => STANDARD.decode(text).ok(),
        }
    }
}

// === impl Sum ===

impl Sum {
    /// Takes in the next line, which is without its sum.
    fn add(&mut self, line: &[u8]) {
        let hash = Sha256::new().chain_update(self.0.as_bytes()).chain_update(line).finalize();
        self.0 = format!("{hash:.SUM$x}");
    }

    fn write(&mut self, out: &mut impl Write, line: &Line) -> Result<(), ExportError> {
        let text = serde_json::to_string(line).map_err(io::Error::from)?;
        let open = text.strip_suffix('}').unwrap_or_default();
        self.add(open.as_bytes());
        writeln!(out, "{open},\"sum\":\"{}\"}}", self.0)?;
        Ok(())
    }

    /// The next line; none when there is no more.
    fn read(&mut self, input: &mut impl BufRead, number: u64) -> Result<Option<Line>, ExportError> {
        let wrong = |what| ExportError::Line { line: number, what };
        let mut bytes = Vec::new();
        input.take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let Some(open) = bytes.len().checked_sub(SUM + b",\"sum\":\"\"}\n".len()) else {
            return Err(wrong("is cut or no line of an export"));
        };
        let (text, end) = bytes.split_at(open);
        self.add(text);
        if end != format!(",\"sum\":\"{}\"}}\n", self.0).as_bytes() {
            return Err(wrong(
                "does not have its sum: it was changed, cut, moved, or lines before it are missing",
            ));
        }
        let line = serde_json::from_slice(&[text, b"}"].concat());
        line.map(Some).map_err(|_| wrong("cannot be read"))
    }
}
