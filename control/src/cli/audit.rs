//! `graylane audit`.

use crate::audit::{Broken, Head, Record};
use crate::cli::output::{print, table};
use crate::cli::{CliError, Session, read_input};
use crate::daemon::AuditPage;
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;

/// Records that are asked for at once.
const PAGE: usize = 1_000;

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// List records, oldest first
    List {
        /// Those behind the record of this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
        /// At most so many, up to 1000
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
    },
    /// Print all records, a line of JSON each, and the log's head: what `verify -f` reads
    Export,
    /// Check that no record was changed, taken out, added or moved
    Verify {
        /// An export to check, with no daemon; `-` for standard input
        #[arg(short, long)]
        file: Option<PathBuf>,
        /// A hash that an earlier `verify` told, which some record must have still: so the log was not written anew
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

/// A log that is being followed.
struct Check {
    seen: Head,
    /// The hash that some record must have.
    wanted: Option<String>,
    is_met: bool,
}

// === impl AuditCommand ===

impl AuditCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::List { after, limit } => {
                let records = page(session, after, limit)?.records;
                let records: Vec<Record> =
                    records.iter().map(|line| readable(line)).collect::<Result<_, _>>()?;
                session.show(&records, |records| {
                    let header = ["NUMBER", "AT", "ACTOR", "ACTION", "OBJECT", "REASON"];
                    table(header, records.iter().map(row))
                })
            }
            Self::Export => {
                let head = each(session, |line| print(&line))?;
                print(&serde_json::to_string(&head).unwrap_or_default())
            }
            Self::Verify { file, head } => {
                let mut check = Check { seen: Head::default(), wanted: head, is_met: false };
                let end = match file {
                    Some(file) => check.export(&read_input(&file)?)?,
                    None => each(session, |line| check.follow(line))?,
                };
                let Head { number, hash } = check.end(&end)?;
                session.show(&json!({ "records": number, "head": hash }), |_| {
                    format!("{number} records, none changed; the last one has the hash {hash}")
                })
            }
        }
    }
}

// === impl Check ===

impl Check {
    fn follow(&mut self, line: &str) -> Result<(), CliError> {
        let record = self.seen.follow(line)?;
        self.is_met |= self.wanted.as_ref() == Some(&record.hash);
        Ok(())
    }

    /// Follows an export, and gives the head that its last line tells.
    fn export(&mut self, text: &str) -> Result<Head, CliError> {
        let mut lines = text.lines();
        let head = lines.next_back().and_then(|line| serde_json::from_str(line).ok());
        let cut =
            || CliError::refused("the export does not end with the log's head; it was cut, export it again");
        let head = head.ok_or_else(cut)?;
        lines.try_for_each(|line| self.follow(line))?;
        Ok(head)
    }

    fn end(self, end: &Head) -> Result<Head, CliError> {
        self.seen.end(end)?;
        match self.wanted {
            Some(wanted) if !self.is_met => Err(CliError::refused(format!(
                "no record has the hash {wanted}; the log was written anew since that was noted, or it is of another daemon"
            ))),
            _ => Ok(self.seen),
        }
    }
}

impl From<Broken> for CliError {
    fn from(broken: Broken) -> Self {
        Self::refused(broken.to_string())
    }
}

fn readable(line: &str) -> Result<Record, CliError> {
    let unreadable = |_| CliError::refused("a record cannot be read; see `graylane audit verify`");
    serde_json::from_str(line).map_err(unreadable)
}

/// Visits all records as they are stored, and gives the head of the log behind the last of them.
fn each(session: &Session, mut visit: impl FnMut(&str) -> Result<(), CliError>) -> Result<Head, CliError> {
    let mut last = 0;
    loop {
        let read = page(session, last, PAGE)?;
        if read.records.is_empty() {
            return Ok(read.head);
        }
        read.records.iter().try_for_each(|line| visit(line))?;
        last = read.last;
    }
}

fn page(session: &Session, after: u64, limit: usize) -> Result<AuditPage, CliError> {
    Ok(session.client.get(&format!("/audit?after={after}&limit={limit}"))?)
}

fn row(record: &Record) -> [String; 6] {
    let Record { number, at, actor, action, object, reason, .. } = record;
    [number.to_string(), at.to_string(), actor.clone(), action.clone(), object.clone(), reason.clone()]
}
