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
    /// Print all records, a line of JSON each: what `verify -f` reads
    Export,
    /// Check that no record was changed, taken out, added or moved
    Verify {
        /// An export to check, with no daemon; `-` for standard input
        #[arg(short, long)]
        file: Option<PathBuf>,
        /// The hash that the last record must have, as an earlier `verify` told it
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

// === impl AuditCommand ===

impl AuditCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::List { after, limit } => {
                let page = page(session, after, limit)?;
                session.show(&page.records, |records| {
                    let header = ["NUMBER", "AT", "ACTOR", "ACTION", "OBJECT", "REASON"];
                    table(header, records.iter().map(row))
                })
            }
            Self::Export => each(session, |record| print(&record.line())).map(drop),
            Self::Verify { file, head } => {
                let mut seen = Head::default();
                let end = match file {
                    Some(file) => {
                        read_input(&file)?.lines().try_for_each(|line| seen.follow(line).map(drop))?;
                        seen.clone()
                    }
                    None => each(session, |record| Ok(seen.follow(&record.line()).map(drop)?))?,
                };
                seen.end(&end)?;
                if let Some(wanted) = head.filter(|wanted| *wanted != seen.hash) {
                    let found = &seen.hash;
                    return Err(CliError::refused(format!(
                        "the last record has the hash {found}, not {wanted}"
                    )));
                }
                session.show(&json!({ "records": seen.number, "head": seen.hash }), |_| {
                    format!("{} records, none changed; the last one has the hash {}", seen.number, seen.hash)
                })
            }
        }
    }
}

impl From<Broken> for CliError {
    fn from(broken: Broken) -> Self {
        Self::refused(broken.to_string())
    }
}

/// Visits the records that there are when this begins, and gives the head that they had then.
fn each(session: &Session, mut visit: impl FnMut(&Record) -> Result<(), CliError>) -> Result<Head, CliError> {
    let mut read = page(session, 0, PAGE)?;
    let head = read.head;
    loop {
        let last = read.records.last().map_or(0, |record| record.number);
        let known = read.records.iter().filter(|record| record.number <= head.number);
        known.into_iter().try_for_each(&mut visit)?;
        if read.records.len() < PAGE || last >= head.number {
            return Ok(head);
        }
        read = page(session, last, PAGE)?;
    }
}

fn page(session: &Session, after: u64, limit: usize) -> Result<AuditPage, CliError> {
    Ok(session.client.get(&format!("/audit?after={after}&limit={limit}"))?)
}

fn row(record: &Record) -> [String; 6] {
    let Record { number, at, actor, action, object, reason, .. } = record;
    [number.to_string(), at.to_string(), actor.clone(), action.clone(), object.clone(), reason.clone()]
}
