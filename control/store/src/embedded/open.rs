//! From a file to a store.

use crate::StoreError;
use crate::disk::{Disk, Handle};
use crate::embedded::{RedbStore, begin_write};
use crate::export::{Counts, ExportError, read_export};
use crate::history::History;
use crate::mark::Mark;
use crate::reserve::Reserve;
use crate::tables::{self, failed};
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, StorageBackend, StorageError};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The file inside the data directory.
pub const FILE: &str = "graylane.redb";

/// The file while it is made: so that one of no bytes is never taken for a new one.
const NEW_FILE: &str = "graylane.redb.new";

/// Bytes of the file that are kept in memory. The state is there anyway, and lists are read once, at the start.
const CACHE_BYTES: usize = 16 << 20;
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

    /// Opens the store in `dir` like [`Self::open`], but makes none.
    ///
    /// # Errors
    /// When there is none, and as [`Self::open`].
    pub fn open_existing(dir: &Path) -> Result<Self, StoreError> {
        match dir.join(FILE).exists() {
            true => Self::open(dir),
            false => Err(StoreError::NoStore { path: dir.into() }),
        }
    }

    /// Makes a store of an export in `dir`, which has to be empty or not there. When this fails, nothing is in it.
    ///
    /// # Errors
    /// When there is something in `dir`, the export is not what was written, or the store cannot be made.
    pub fn import(dir: &Path, input: impl BufRead) -> Result<Counts, ExportError> {
        fs::create_dir_all(dir)?;
        if fs::read_dir(dir)?.next().is_some() {
            return Err(StoreError::NotEmpty { path: dir.into() }.into());
        }
        let (new, path) = (dir.join(NEW_FILE), dir.join(FILE));
        let store = Self::open_file(&new, &path)?;
        let imported = store.restore(input);
        drop(store);
        let done = imported.and_then(|counts| {
            fs::rename(&new, &path)?;
            File::open(dir)?.sync_all()?;
            Ok(counts)
        });
        if done.is_err() {
            fs::remove_file(&new)?;
        }
        done
    }

    fn restore(&self, input: impl BufRead) -> Result<Counts, ExportError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let txn = begin_write(db.as_ref().ok_or(StoreError::Uncertain)?)?;
        let (standing, counts) = read_export(input, |entry| Ok(tables::restore(&txn, &entry)?))?;
        tables::stand(&txn, standing)?;
        txn.commit().map_err(failed)?;
        Ok(counts)
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
}

/// Opens the data base, with every page checked.
pub(super) fn open_database(disk: &Arc<Disk>, path: &Path) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder.create_with_backend(Handle(Arc::clone(disk))).map_err(|error| opening(error, path))
}

/// Why a file does not open.
pub(crate) fn opening(error: DatabaseError, path: &Path) -> StoreError {
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
