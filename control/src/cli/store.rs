//! `graylane store`: the data directory of a daemon that does not run.

use crate::cli::problem::Problem;
use crate::cli::{CliError, Session};
use crate::daemon::ProblemView;
use crate::inspection::{Damage, Inspection};
use clap::{Args, Subcommand};
use graylane_store::{
    Counts, ExportError, RedbStore, Salvage, StoreError, StoreReader, each_entry, export, read_export,
};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Write everything in a data directory as lines of text: a backup
    Export {
        #[command(flatten)]
        data: Data,
        /// The file to write, which must not be there; otherwise standard output
        #[arg(short, long)]
        file: Option<PathBuf>,
    },
    /// Make a data directory of an export: restore a backup. Everything in it is checked first
    Import {
        #[command(flatten)]
        data: Data,
        /// The export
        #[arg(short, long)]
        file: PathBuf,
    },
    /// Read everything in a data directory, and name each damage with its place
    Check {
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Args)]
pub(crate) struct Data {
    /// The data directory, which no daemon may have open
    #[arg(long = "data", value_name = "DIR")]
    dir: PathBuf,
}

// === impl StoreCommand ===

impl StoreCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::Export { data, file } => {
                let store = data.open()?;
                let Some(file) = file else {
                    let out = BufWriter::new(io::stdout().lock());
                    return export(&store, out).map(drop).map_err(printing);
                };
                let counts = write(&store, &file).map_err(|error| about(&file, error))?;
                told(session, counts, &format!("exported to {}", file.display()))
            }
            Self::Import { data, file } => {
                inspect_export(&file)?;
                let input = open(&file)?;
                let counts = RedbStore::import(&data.dir, input).map_err(|error| about(&file, error))?;
                told(session, counts, &format!("imported into {}", data.dir.display()))
            }
            Self::Check { data } => {
                let store = match RedbStore::open_existing(&data.dir) {
                    Err(error @ StoreError::Damaged { .. }) => return Err(data.locate(error)),
                    opened => opened.map_err(stored)?,
                };
                let (counts, damages) = inspect(&store).map_err(stored)?;
                sound(&data.dir, &damages)?;
                told(session, counts, "checked, all as they were written")
            }
        }
    }
}

// === impl Data ===

impl Data {
    /// Opens the store, which must be there: every page of it is checked then.
    fn open(&self) -> Result<RedbStore, CliError> {
        RedbStore::open_existing(&self.dir).map_err(stored)
    }

    /// Says as well as it can be said where a file is damaged: by what can be read of a copy of it.
    fn locate(&self, damaged: StoreError) -> CliError {
        // The pages are not what the data base expects, so that it may give up in the middle of anything.
        std::panic::set_hook(Box::new(|_| {}));
        let looked = std::panic::catch_unwind(|| inspect(&Salvage::open(&self.dir)?));
        drop(std::panic::take_hook());
        let mut damages = match looked {
            Ok(Ok((_, damages))) => damages,
            Ok(Err(error)) => vec![Damage { place: "reading".into(), what: format!("it ended: {error}") }],
            Err(_) => vec![Damage { place: "reading".into(), what: "it ended within a page".into() }],
        };
        if damages.is_empty() {
            let place = "inside a value, or between them".into();
            damages.push(Damage {
                place,
                what: "all records and lists can be read, and are what was written".into(),
            });
        }
        let problems =
            damages.into_iter().map(|Damage { place, what }| ProblemView { path: place, message: what });
        CliError::Refused(Problem::new(damaged.to_string(), problems.collect()))
    }
}

/// Looks at all that a store holds.
fn inspect(store: &dyn StoreReader) -> Result<(Counts, Vec<Damage>), StoreError> {
    let (mut inspection, mut counts) = (Inspection::default(), Counts::default());
    each_entry(store, |entry| {
        counts.count(&entry);
        inspection.take(&entry);
        Ok::<_, StoreError>(())
    })?;
    Ok((counts, inspection.finish()))
}

/// Writes an export to a new file, which is on the disk when this is done.
fn write(store: &RedbStore, file: &Path) -> Result<Counts, ExportError> {
    let mut out = BufWriter::new(File::create_new(file)?);
    let counts = export(store, &mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(counts)
}

/// Checks an export, line by line and for what it means.
fn inspect_export(file: &Path) -> Result<(), CliError> {
    let mut inspection = Inspection::default();
    let read = read_export(open(file)?, |entry| {
        inspection.take(&entry);
        Ok(())
    });
    read.map_err(|error| about(file, error))?;
    sound(file, &inspection.finish())
}

fn open(file: &Path) -> Result<BufReader<File>, CliError> {
    let read = File::open(file).map_err(|source| CliError::Read { path: file.into(), source })?;
    Ok(BufReader::new(read))
}

/// Refuses what is damaged, and names each place.
fn sound(what: &Path, damages: &[Damage]) -> Result<(), CliError> {
    if damages.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "{} is damaged in {} {}; restore a backup with `graylane store import`",
        what.display(),
        damages.len(),
        if damages.len() == 1 { "place" } else { "places" }
    );
    let problems = damages
        .iter()
        .map(|Damage { place, what }| ProblemView { path: place.clone(), message: what.clone() })
        .collect();
    Err(CliError::Refused(Problem::new(detail, problems)))
}

fn told(session: &Session, counts: Counts, what: &str) -> Result<(), CliError> {
    let Counts { values, log, blobs } = counts;
    session.show(&json!({ "values": values, "records": log, "lists": blobs }), |_| {
        format!("{values} values, {log} audit records and {blobs} lists {what}")
    })
}

fn about(file: &Path, error: ExportError) -> CliError {
    match error {
        ExportError::Store(error) => stored(error),
        error => CliError::refused(format!("{}: {:#}", file.display(), anyhow::Error::new(error))),
    }
}

fn printing(error: ExportError) -> CliError {
    match error {
        ExportError::Io(error) => CliError::Print(error),
        error => about(Path::new("standard output"), error),
    }
}

fn stored(error: StoreError) -> CliError {
    CliError::refused(format!("{:#}", anyhow::Error::new(error)))
}
