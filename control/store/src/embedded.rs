//! A store in one file.

use crate::disk::{Disk, Handle, Trouble};
use crate::history::History;
use crate::mark::Mark;
use crate::reserve::Reserve;
use crate::tables::{self, failed};
use crate::{Listed, Rev, Store, StoreError, Stored, Transaction, Watch};
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageBackend, StorageError};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The file inside the data directory.
pub const FILE: &str = "graylane.redb";

/// The file while it is made: so that one of no bytes is never taken for a new one.
const NEW_FILE: &str = "graylane.redb.new";

/// Bytes of the file that are kept in memory. The state is there anyway, and lists are read once, at the start.
const CACHE_BYTES: usize = 16 << 20;

/// Bytes that are free inside the file, at least, when nothing can be kept back behind its end: what a rollback rewrites,
/// which is an order of some kilobytes, and the pages on the way to it. Of a large file it is this part, for its orders may
/// be large, too.
const MIN_SLACK: u64 = 96 << 10;
const SLACK_OF_FILE: u64 = 8;

/// A durable store in one file, which only one process has open.
pub struct RedbStore {
    /// None once the disk failed.
    db: RwLock<Option<Database>>,
    disk: Arc<Disk>,
    path: PathBuf,
    history: Arc<History>,
    /// None on a disk that has no other files.
    mark: Option<Mark>,
    /// One commit after the other, and each one's events before the next.
    writing: Mutex<()>,
}

// === impl RedbStore ===

impl RedbStore {
    /// Opens the store in `dir`, or makes it when there is none. Every byte of it is checked.
    ///
    /// # Errors
    /// When another process has it open, it is damaged, or it cannot be read or made.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let failed = |source: io::Error| StoreError::Open { path: path.clone(), source: Box::new(source) };
        fs::create_dir_all(dir).map_err(failed)?;
        let is_new = !fs::exists(&path).map_err(failed)?;
        let mut store = match is_new {
            true => Self::open_file(&dir.join(NEW_FILE), &path)?,
            false => Self::open_file(&path, &path)?,
        };
        let (mark, revision) = (Mark::open(dir).map_err(failed)?, store.history.revision());
        mark.check(&path, revision)?;
        mark.set(revision);
        store.mark = Some(mark);
        if is_new {
            fs::rename(dir.join(NEW_FILE), &path)
                .and_then(|()| File::open(dir)?.sync_all())
                .map_err(failed)?;
        }
        Ok(store)
    }

    /// Opens the file `at`, which is called `path` afterwards.
    fn open_file(at: &Path, path: &Path) -> Result<Self, StoreError> {
        let failed = |source: io::Error| StoreError::Open { path: path.into(), source: Box::new(source) };
        let is_new = at != path;
        let file = File::options().read(true).write(true).create(is_new).truncate(false).open(at);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.into() }),
            locked => locked.map_err(|error| failed(error.into()))?,
        }
        if is_new {
            // Whoever began it was killed before there was anything in it.
            file.set_len(0).map_err(failed)?;
        } else if file.metadata().map_err(failed)?.len() == 0 {
            return Err(StoreError::Damaged { path: path.into(), what: "it has no bytes".into() });
        }
        let other = file.try_clone().map_err(failed)?;
        let backend = FileBackend::new(file).map_err(|error| opening(error, path))?;
        Self::with_disk(Disk::new(backend, Some(Reserve::new(other))), path)
    }

    /// A store on a disk that the caller brings, like one that fails on purpose.
    ///
    /// # Errors
    /// When what is on it cannot be read, or it cannot be written.
    pub fn with_backend(backend: impl StorageBackend) -> Result<Self, StoreError> {
        Self::with_disk(Disk::new(backend, None), Path::new("the store"))
    }

    fn with_disk(disk: Arc<Disk>, path: &Path) -> Result<Self, StoreError> {
        let db = open_database(&disk, path)?;
        if !tables::is_ready(&db.begin_read().map_err(failed)?)? {
            let txn = begin_write(&db)?;
            tables::prepare(&txn, path)?;
            txn.commit().map_err(failed)?;
        }
        let revision = tables::revision(&db.begin_read().map_err(failed)?)?;
        if let Err(missing) = disk.make_ready(false) {
            tracing::warn!(missing, "the disk is full: only rollbacks are taken");
        }
        Ok(Self {
            db: RwLock::new(Some(db)),
            disk,
            path: path.into(),
            history: History::new(revision),
            mark: None,
            writing: Mutex::new(()),
        })
    }

    /// Whether a write failed, so that what is read here may not be on the disk.
    fn is_broken(&self) -> bool {
        self.disk.trouble() == Some(Trouble::Broken)
    }

    fn read<T>(&self, look: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().filter(|_| !self.is_broken()).ok_or(StoreError::Uncertain)?;
        look(&db.begin_read().map_err(failed)?)
    }

    fn write(&self, transaction: &Transaction) -> Result<Rev, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let txn = begin_write(db.as_ref().ok_or(StoreError::Uncertain)?)?;
        let revision = tables::write(&txn, transaction)?;
        txn.commit().map_err(failed)?;
        Ok(revision)
    }

    /// Whether the file itself has so much free room that a rollback finds some even after `transaction`. It is asked when
    /// there is no room for the file to grow; then it goes through the whole file.
    fn has_slack(&self, transaction: &Transaction) -> Result<bool, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let txn = begin_write(db.as_ref().ok_or(StoreError::Uncertain)?)?;
        let stats = txn.stats().map_err(failed)?;
        let len = self.disk.len().map_err(|error| failed(StorageError::Io(error)))?;
        let free = len.saturating_sub(stats.allocated_pages() * stats.page_size() as u64);
        let slack = (len / SLACK_OF_FILE).max(MIN_SLACK);
        // What takes content away needs some room first, and gives more.
        let factor = if transaction.blob_deletes.is_empty() { 2 } else { 1 };
        // Values lie in pages that are up to twice as large.
        Ok(free >= factor * slack + 2 * transaction.size() as u64)
    }

    /// Finds out what became of a commit that failed. When the disk is only full, the store goes on with what is there.
    fn settle(&self, failure: StoreError) -> Result<Rev, StoreError> {
        let Some(Trouble::Full { missing }) = self.disk.trouble() else {
            self.disk.break_off();
            return Err(failure);
        };
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        // The data base goes through no failure, but its file does: it is opened anew.
        *db = None;
        self.disk.go_on();
        let reopened = open_database(&self.disk, &self.path);
        if reopened.is_err() {
            self.disk.break_off();
        }
        let opened = db.insert(reopened.map_err(|error| StoreError::Failed(Box::new(error)))?);
        let found = tables::revision(&opened.begin_read().map_err(failed)?)?;
        match found > self.history.revision() {
            true => Ok(found),
            false => Err(StoreError::Full { path: self.path.clone(), missing }),
        }
    }
}

impl Store for RedbStore {
    fn get(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.read(|txn| tables::get(txn, key))
    }

    fn list(&self, prefix: &str) -> Result<Listed, StoreError> {
        self.read(|txn| tables::list(txn, prefix))
    }

    fn commit(&self, transaction: &Transaction) -> Result<Rev, StoreError> {
        transaction.check()?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_broken() {
            return Err(StoreError::Uncertain);
        }
        if let Err(missing) = self.disk.make_ready(transaction.is_rescue)
            && !self.has_slack(transaction)?
        {
            return Err(StoreError::Full { path: self.path.clone(), missing });
        }
        let revision = match self.write(transaction) {
            Err(failure @ StoreError::Failed(_)) => self.settle(failure),
            written => written,
        }?;
        if let Some(mark) = &self.mark {
            mark.set(revision);
        }
        self.history.add(revision, transaction);
        Ok(revision)
    }

    fn log(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.read(|txn| tables::log(txn, after, limit))
    }

    fn log_end(&self) -> Result<u64, StoreError> {
        self.read(tables::log_end)
    }

    fn blob(&self, hash: &str) -> Result<Vec<u8>, StoreError> {
        self.read(|txn| tables::blob(txn, hash))
    }

    fn blob_hashes(&self) -> Result<Vec<String>, StoreError> {
        self.read(tables::blob_hashes)
    }

    fn epoch(&self) -> Result<u64, StoreError> {
        self.read(tables::epoch)
    }

    fn watch(&self, prefix: &str, after: Rev) -> Result<Watch, StoreError> {
        // Between a commit and its events nobody begins, or a revision that was listed already would seem to come from
        // elsewhere.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.history.watch(prefix, after)
    }
}

/// Opens the data base, with every page checked.
fn open_database(disk: &Arc<Disk>, path: &Path) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder.create_with_backend(Handle(Arc::clone(disk))).map_err(|error| opening(error, path))
}

fn begin_write(db: &Database) -> Result<redb::WriteTransaction, StoreError> {
    let mut txn = db.begin_write().map_err(failed)?;
    txn.set_two_phase_commit(true);
    Ok(txn)
}

/// Why a file does not open.
fn opening(error: DatabaseError, path: &Path) -> StoreError {
    let path = path.to_path_buf();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path },
        DatabaseError::Storage(StorageError::Corrupted(what)) => StoreError::Damaged { path, what },
        DatabaseError::UpgradeRequired(version) => {
            StoreError::Damaged { path, what: format!("it says that it has file format {version}") }
        }
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            StoreError::Damaged { path, what: error.to_string() }
        }
        error => StoreError::Open { path, source: Box::new(redb::Error::from(error)) },
    }
}
