//! How a store lies in a file: its tables, and what a transaction does to them.

use crate::entry::{Entry, Standing};
use crate::{Listed, MAX_LOG_READ_BYTES, Rev, StoreError, StoreReader, Stored, Transaction};
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use std::path::Path;

/// The values: a key, the revision that last wrote it, and its bytes.
const VALUES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("values");

/// The blobs by the hash of their content, which the writer gives.
const BLOBS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("blobs");

/// The log: entries by number, which never change.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// The revision of the last commit, the newest epoch of a writer, and the version of this layout.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const REVISION: &str = "revision";
const EPOCH: &str = "epoch";
const LAYOUT_ROW: &str = "layout";

/// The version of the layout that this program writes. Version 1 had no log, and is read as one that is empty; version 2 had
/// orders without approvals, which a program of that time would drop.
pub(crate) const LAYOUT: u64 = 3;

/// The oldest layout that this program reads.
pub(crate) const OLDEST_LAYOUT: u64 = 1;

/// Whether all tables are there, with the layout that this program writes. Asking needs no room on the disk.
pub(crate) fn is_ready(txn: &ReadTransaction) -> Result<bool, StoreError> {
    match txn.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => Ok(false),
        table => Ok(table.map_err(failed)?.get(LAYOUT_ROW).map_err(failed)?.map(|found| found.value())
            == Some(LAYOUT)),
    }
}

/// Makes the tables that are missing. The file is `path`, for errors.
pub(crate) fn prepare(txn: &WriteTransaction, path: &Path) -> Result<(), StoreError> {
    let mut meta = txn.open_table(META).map_err(failed)?;
    let found = meta.get(LAYOUT_ROW).map_err(failed)?.map(|found| found.value()).unwrap_or(LAYOUT);
    if !(OLDEST_LAYOUT..=LAYOUT).contains(&found) {
        return Err(StoreError::Layout { path: path.into(), found });
    }
    meta.insert(LAYOUT_ROW, LAYOUT).map_err(failed)?;
    txn.open_table(VALUES).map_err(failed)?;
    txn.open_table(BLOBS).map_err(failed)?;
    txn.open_table(LOG).map_err(failed)?;
    Ok(())
}

/// Does what `transaction` says, and gives its revision.
pub(crate) fn write(txn: &WriteTransaction, transaction: &Transaction) -> Result<Rev, StoreError> {
    let revision = enter(txn, transaction.epoch)?;
    let mut values = txn.open_table(VALUES).map_err(failed)?;
    for (key, expected) in &transaction.expects {
        let found = values.get(key.as_str()).map_err(failed)?.map(|value| value.value().0);
        if found != *expected {
            return Err(StoreError::Conflict { key: key.clone() });
        }
    }
    for (key, bytes) in &transaction.puts {
        values.insert(key.as_str(), (revision, bytes.as_slice())).map_err(failed)?;
    }
    for key in &transaction.deletes {
        values.remove(key.as_str()).map_err(failed)?;
    }
    let mut log = txn.open_table(LOG).map_err(failed)?;
    for (number, entry) in &transaction.appends {
        // A gap is for the log's readers to judge: what was cut from outside must not stop a rollback.
        if log.insert(number, entry.as_slice()).map_err(failed)?.is_some() {
            return Err(StoreError::Conflict { key: format!("log/{number}") });
        }
    }
    let mut blobs = txn.open_table(BLOBS).map_err(failed)?;
    for hash in &transaction.blob_deletes {
        blobs.remove(hash.as_str()).map_err(failed)?;
    }
    for (hash, bytes) in &transaction.blobs {
        blobs.insert(hash.as_str(), bytes.as_slice()).map_err(failed)?;
    }
    Ok(revision)
}

/// Puts something in its place as it was in another store.
pub(crate) fn restore(txn: &WriteTransaction, entry: &Entry) -> Result<(), StoreError> {
    match entry {
        Entry::Value { key, stored } => {
            let mut values = txn.open_table(VALUES).map_err(failed)?;
            values.insert(key.as_str(), (stored.revision, stored.bytes.as_slice())).map_err(failed)?;
        }
        Entry::Log { number, bytes } => {
            txn.open_table(LOG).map_err(failed)?.insert(number, bytes.as_slice()).map_err(failed)?;
        }
        Entry::Blob { hash, bytes } => {
            let mut blobs = txn.open_table(BLOBS).map_err(failed)?;
            blobs.insert(hash.as_str(), bytes.as_slice()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Takes over where another store stood.
pub(crate) fn stand(txn: &WriteTransaction, standing: Standing) -> Result<(), StoreError> {
    let mut meta = txn.open_table(META).map_err(failed)?;
    meta.insert(REVISION, standing.revision).map_err(failed)?;
    meta.insert(EPOCH, standing.epoch).map_err(failed)?;
    Ok(())
}

/// Begins a commit of a writer, if its epoch is not over, and gives the commit's revision.
fn enter(txn: &WriteTransaction, epoch: u64) -> Result<Rev, StoreError> {
    let mut meta = txn.open_table(META).map_err(failed)?;
    let seen = meta.get(EPOCH).map_err(failed)?.map_or(0, |seen| seen.value());
    if epoch < seen {
        return Err(StoreError::Fenced { epoch, seen });
    }
    if epoch > seen {
        meta.insert(EPOCH, epoch).map_err(failed)?;
    }
    let revision = meta.get(REVISION).map_err(failed)?.map_or(0, |last| last.value()) + 1;
    meta.insert(REVISION, revision).map_err(failed)?;
    Ok(revision)
}

/// The revision of the last commit.
pub(crate) fn revision(txn: &ReadTransaction) -> Result<Rev, StoreError> {
    meta(txn, REVISION)
}

fn meta(txn: &ReadTransaction, row: &str) -> Result<u64, StoreError> {
    let meta = txn.open_table(META).map_err(failed)?;
    Ok(meta.get(row).map_err(failed)?.map_or(0, |value| value.value()))
}

/// A file with these tables, as its readers see it.
pub(crate) trait Tables {
    /// Looks at the tables as they are at one moment.
    fn read<T>(&self, look: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError>;
}

impl<F: Tables> StoreReader for F {
    fn get(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.read(|txn| {
            let values = txn.open_table(VALUES).map_err(failed)?;
            Ok(values.get(key).map_err(failed)?.map(|value| stored(value.value())))
        })
    }

    fn list(&self, prefix: &str) -> Result<Listed, StoreError> {
        self.read(|txn| {
            let table = txn.open_table(VALUES).map_err(failed)?;
            let mut values = Vec::new();
            for row in table.range(prefix..).map_err(failed)? {
                let (key, value) = row.map_err(failed)?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                values.push((key.value().to_owned(), stored(value.value())));
            }
            Ok(Listed { values, revision: revision(txn)? })
        })
    }

    fn log(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.read(|txn| {
            let log = txn.open_table(LOG).map_err(failed)?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            let Some(from) = after.checked_add(1) else { return Ok(found) };
            for row in log.range(from..).map_err(failed)?.take(limit) {
                let (number, entry) = row.map_err(failed)?;
                bytes += entry.value().len();
                if bytes > MAX_LOG_READ_BYTES && !found.is_empty() {
                    break;
                }
                found.push((number.value(), entry.value().to_vec()));
            }
            Ok(found)
        })
    }

    fn log_end(&self) -> Result<u64, StoreError> {
        self.read(|txn| {
            let log = txn.open_table(LOG).map_err(failed)?;
            Ok(log.last().map_err(failed)?.map_or(0, |(number, _)| number.value()))
        })
    }

    fn blob(&self, hash: &str) -> Result<Vec<u8>, StoreError> {
        self.read(|txn| {
            let blobs = txn.open_table(BLOBS).map_err(failed)?;
            let found = blobs.get(hash).map_err(failed)?.map(|blob| blob.value().to_vec());
            found.ok_or_else(|| StoreError::NoBlob { hash: hash.into() })
        })
    }

    fn blob_hashes(&self) -> Result<Vec<String>, StoreError> {
        self.read(|txn| {
            let blobs = txn.open_table(BLOBS).map_err(failed)?;
            let hashes =
                blobs.iter().map_err(failed)?.map(|row| Ok(row.map_err(failed)?.0.value().to_owned()));
            hashes.collect()
        })
    }

    fn epoch(&self) -> Result<u64, StoreError> {
        self.read(|txn| meta(txn, EPOCH))
    }
}

fn stored((revision, bytes): (u64, &[u8])) -> Stored {
    Stored { revision, bytes: bytes.to_vec() }
}

pub(crate) fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(Box::new(error.into()))
}
