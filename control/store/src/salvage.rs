//! What can still be read of a damaged file.

use crate::StoreError;
use crate::embedded::{FILE, opening};
use crate::tables::{Tables, failed};
use redb::{
    BackendError, ConcurrencyMode, Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    StorageBackend,
};
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::Path;

/// A damaged store, read from a copy in memory. Its pages are taken as they are: what is read may be wrong, and may end in a
/// panic.
pub struct Salvage {
    db: ReadOnlyDatabase,
}

/// A file in memory, of which nobody else knows.
#[derive(Debug)]
struct Copy(Vec<u8>);

/// Where a file says whether its owner closed it, and the bit that says that he did not. The data base would repair it then,
/// for which every page has to be right.
const STATE_BYTE: usize = 9;
const IS_OPEN: u8 = 2;

// === impl Salvage ===

impl Salvage {
    /// Opens a copy of the store in `dir`, which stays as it is.
    ///
    /// # Errors
    /// When there is too little left.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let failed = |source: io::Error| StoreError::Open { path: path.clone(), source: Box::new(source) };
        let mut bytes = fs::read(&path).map_err(failed)?;
        if let Some(state) = bytes.get_mut(STATE_BYTE) {
            *state &= !IS_OPEN;
        }
        let mut builder = Database::builder();
        // Only readers of this mode do without the list of free pages, which is written when a file is closed.
        builder.set_concurrency_mode(ConcurrencyMode::MultiWriter);
        let db = builder.open_read_only_with_backend(Copy(bytes)).map_err(|error| opening(error, &path))?;
        Ok(Self { db })
    }
}

impl Tables for Salvage {
    fn read<T>(&self, look: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        look(&self.db.begin_read().map_err(failed)?)
    }
}

// === impl Copy ===

impl StorageBackend for Copy {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)?.get(..out.len()));
        out.copy_from_slice(from.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    // Nobody else has this copy, so every lock is free.

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}
