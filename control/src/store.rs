//! What has to survive: small values by key, blobs by the hash of their content, and a log.
//!
//! A commit is one transaction: all of it is on disk when it returns, or nothing is. It is refused when a value that
//! it was built upon has changed.

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, StorageError, TableDefinition,
    TableError, backends::InMemoryBackend,
};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The values: a key, the revision that last wrote it, and its bytes.
const VALUES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("values");

/// The blobs by the hash of their content, which the writer gives.
const BLOBS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("blobs");

/// The log: entries by number, which never change.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// One row: the revision of the last commit, and the version of this layout.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The version of the layout that this program writes. Version 1 had no log, and is read as one that is empty.
const LAYOUT: u64 = 2;

/// The oldest layout that this program reads.
const OLDEST_LAYOUT: u64 = 1;

/// Bytes of the log that are read at once, unless a single entry has more.
const MAX_LOG_READ_BYTES: usize = 4 << 20;

/// Bytes of the file that are kept in memory. The state is there anyway, and lists are read once, at the start.
const CACHE_BYTES: usize = 16 << 20;

/// The file inside the data directory.
const FILE: &str = "graylane.redb";

/// A durable store in one file.
pub struct Store {
    db: Database,
}

/// A value and the revision of the commit that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The commit's revision.
    pub revision: u64,
    /// The value.
    pub bytes: Vec<u8>,
}

/// What one commit checks and changes.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Keys, each with the revision that it must have; none means that it must not exist.
    pub expects: Vec<(String, Option<u64>)>,
    /// Values to write.
    pub puts: Vec<(String, Vec<u8>)>,
    /// Keys to delete.
    pub deletes: Vec<String>,
    /// Entries for the end of the log, each with its number.
    pub appends: Vec<(u64, Vec<u8>)>,
    /// Contents to keep, each under its hash.
    pub blobs: Vec<(String, Vec<u8>)>,
    /// Hashes of contents that nothing names any more.
    pub blob_deletes: Vec<String>,
}

/// Why the store did not do what it was asked. Nothing changed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another commit came first.
    #[error("{key} changed in the meantime; read it again and repeat")]
    Conflict {
        /// The key that changed.
        key: String,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process; stop that one, or give another --data", path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The file was written by another version of this program.
    #[error("{} has layout {found}, this program reads {OLDEST_LAYOUT} to {LAYOUT}; use the program that wrote it", path.display())]
    Layout {
        /// The store's file.
        path: PathBuf,
        /// The layout that it has.
        found: u64,
    },
    /// A blob that a value names is not there.
    #[error("the store has no content {hash}")]
    NoBlob {
        /// The blob's hash.
        hash: String,
    },
    /// The file cannot be opened or created.
    #[error("cannot open the store {}", path.display())]
    Open {
        /// The store's file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// A write failed before, and whether it is on disk is not known.
    #[error(
        "a write failed before, so that nobody knows what is on disk; mend the disk and start the daemon again"
    )]
    Uncertain,
    /// Reading or writing failed.
    #[error("the store failed")]
    Failed(#[source] Box<redb::Error>),
}

// === impl Store ===

impl Store {
    /// Opens the store in `dir`, which is created when it is missing.
    ///
    /// # Errors
    /// When another process has it open, or it cannot be read or created.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let failed = |source| StoreError::Open { path: path.clone(), source: Box::new(source) };
        std::fs::create_dir_all(dir).map_err(|error| failed(redb::Error::from(StorageError::Io(error))))?;
        let db = match Database::builder().set_cache_size(CACHE_BYTES).create(&path) {
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(StoreError::InUse { path }),
            opened => opened.map_err(|error| failed(error.into()))?,
        };
        Self::with(db, &path)
    }

    /// A store that lives as long as the process, for tests and for trying things out.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn in_memory() -> Result<Self, StoreError> {
        let db = Database::builder().create_with_backend(InMemoryBackend::new()).map_err(failed)?;
        Self::with(db, Path::new("memory"))
    }

    /// A store on a disk that the caller brings, like one that fails on purpose.
    ///
    /// # Errors
    /// When what is on it cannot be read, or it cannot be written.
    pub fn with_backend(backend: impl StorageBackend) -> Result<Self, StoreError> {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        Self::with(db.map_err(failed)?, Path::new("memory"))
    }

    fn with(db: Database, path: &Path) -> Result<Self, StoreError> {
        let txn = db.begin_write().map_err(failed)?;
        let found = {
            txn.open_table(VALUES).map_err(failed)?;
            txn.open_table(BLOBS).map_err(failed)?;
            txn.open_table(LOG).map_err(failed)?;
            let mut meta = txn.open_table(META).map_err(failed)?;
            let found = meta.get("layout").map_err(failed)?.map(|found| found.value());
            let found = found.unwrap_or(LAYOUT);
            if (OLDEST_LAYOUT..=LAYOUT).contains(&found) {
                meta.insert("layout", LAYOUT).map_err(failed)?;
            }
            found
        };
        if !(OLDEST_LAYOUT..=LAYOUT).contains(&found) {
            return Err(StoreError::Layout { path: path.into(), found });
        }
        txn.commit().map_err(failed)?;
        Ok(Self { db })
    }

    /// All values whose key starts with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self, prefix: &str) -> Result<Vec<(String, Stored)>, StoreError> {
        let txn = self.db.begin_read().map_err(failed)?;
        let values = txn.open_table(VALUES).map_err(failed)?;
        let mut found = Vec::new();
        for row in values.range(prefix..).map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            let (revision, bytes) = value.value();
            found.push((key.value().to_owned(), Stored { revision, bytes: bytes.to_vec() }));
        }
        Ok(found)
    }

    /// At most `limit` entries of the log with their numbers, oldest first, from the one behind number `after` on; fewer
    /// when they are large.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn log(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let txn = self.db.begin_read().map_err(failed)?;
        let log = txn.open_table(LOG).map_err(failed)?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for row in log.range(after.saturating_add(1)..).map_err(failed)?.take(limit) {
            let (number, entry) = row.map_err(failed)?;
            bytes += entry.value().len();
            if bytes > MAX_LOG_READ_BYTES && !found.is_empty() {
                break;
            }
            found.push((number.value(), entry.value().to_vec()));
        }
        Ok(found)
    }

    /// The number of the last entry of the log; 0 when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn log_end(&self) -> Result<u64, StoreError> {
        let txn = self.db.begin_read().map_err(failed)?;
        let log = txn.open_table(LOG).map_err(failed)?;
        Ok(log.last().map_err(failed)?.map_or(0, |(number, _)| number.value()))
    }

    /// The content with this hash.
    ///
    /// # Errors
    /// When there is none, or the store cannot be read.
    pub fn blob(&self, hash: &str) -> Result<Vec<u8>, StoreError> {
        let txn = self.db.begin_read().map_err(failed)?;
        let blobs = txn.open_table(BLOBS).map_err(failed)?;
        let found = blobs.get(hash).map_err(failed)?.map(|blob| blob.value().to_vec());
        found.ok_or_else(|| StoreError::NoBlob { hash: hash.into() })
    }

    /// Commits `transaction` and returns its revision; it is on disk then.
    ///
    /// # Errors
    /// When a key does not have the expected revision, or the store cannot be written.
    pub fn commit(&self, transaction: &Transaction) -> Result<u64, StoreError> {
        let mut txn = self.db.begin_write().map_err(failed)?;
        txn.set_two_phase_commit(true);
        let revision = {
            let mut meta = txn.open_table(META).map_err(failed)?;
            let last = meta.get("revision").map_err(failed)?.map_or(0, |last| last.value());
            meta.insert("revision", last + 1).map_err(failed)?;
            last + 1
        };
        {
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
        }
        txn.commit().map_err(failed)?;
        Ok(revision)
    }
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(Box::new(error.into()))
}

impl From<TableError> for StoreError {
    fn from(error: TableError) -> Self {
        failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str, expected: Option<u64>) -> Transaction {
        let expects = vec![(key.to_owned(), expected)];
        Transaction { expects, puts: vec![(key.to_owned(), value.into())], ..Transaction::default() }
    }

    #[test]
    fn a_commit_on_an_old_revision_changes_nothing() {
        let store = Store::in_memory().unwrap();
        let first = store.commit(&put("plan/a", "1", None)).unwrap();
        store.commit(&put("plan/a", "2", Some(first))).unwrap();
        let mut late = put("plan/a", "3", Some(first));
        late.puts.push(("plan/b".into(), vec![]));
        assert!(matches!(store.commit(&late), Err(StoreError::Conflict { key }) if key == "plan/a"));
        let values = store.list("plan/").unwrap();
        assert_eq!(values.len(), 1);
        assert_eq!(values[0].1.bytes, b"2");
    }

    #[test]
    fn a_list_has_the_keys_of_its_prefix_in_order() {
        let store = Store::in_memory().unwrap();
        for key in ["a/2", "b/1", "a/1", "a"] {
            store.commit(&put(key, key, None)).unwrap();
        }
        let keys: Vec<String> = store.list("a/").unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a/1", "a/2"]);
    }

    #[test]
    fn the_log_grows_with_what_else_is_committed_and_its_entries_stay() {
        let store = Store::in_memory().unwrap();
        assert_eq!(store.log_end().unwrap(), 0);
        let append = |number: u64, expected| Transaction {
            appends: vec![(number, number.to_string().into_bytes())],
            ..put("a", "1", expected)
        };
        let first = store.commit(&append(1, None)).unwrap();
        for late in [append(1, Some(first)), append(2, None)] {
            assert!(matches!(store.commit(&late), Err(StoreError::Conflict { .. })));
        }
        store.commit(&append(2, Some(first))).unwrap();
        let entry = |number: u64| (number, number.to_string().into_bytes());
        assert_eq!(store.log(0, 9).unwrap(), [entry(1), entry(2)]);
        assert_eq!((store.log(1, 9).unwrap(), store.log(0, 1).unwrap()), (vec![entry(2)], vec![entry(1)]));
        assert_eq!((store.log(u64::MAX, 9).unwrap(), store.log_end().unwrap()), (vec![], 2));
    }

    #[test]
    fn the_layout_before_is_read_and_a_later_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let set = |layout: u64| {
            let db = Database::create(dir.path().join(FILE)).unwrap();
            let txn = db.begin_write().unwrap();
            txn.open_table(META).unwrap().insert("layout", layout).unwrap();
            txn.commit().unwrap();
        };
        set(1);
        assert_eq!(Store::open(dir.path()).unwrap().log(0, 9).unwrap(), []);
        set(LAYOUT + 1);
        assert!(
            matches!(Store::open(dir.path()), Err(StoreError::Layout { found, .. }) if found == LAYOUT + 1)
        );
    }

    #[test]
    fn what_was_committed_is_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let blobs = vec![("hash".to_owned(), b"ids".to_vec())];
        let revision = store.commit(&Transaction { blobs, ..put("a", "1", None) }).unwrap();
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.list("a").unwrap(), [("a".to_owned(), Stored { revision, bytes: b"1".to_vec() })]);
        assert_eq!(store.blob("hash").unwrap(), b"ids");
        assert!(matches!(store.blob("none"), Err(StoreError::NoBlob { .. })));
    }

    #[test]
    fn a_second_opener_is_told_that_the_store_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Store::open(dir.path()).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse { .. })));
    }
}
