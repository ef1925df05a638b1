//! What stands between the store and its disk: it remembers how the disk failed.
//!
//! A disk that is full refused something, and all that was there before is there still. After any other failure of a write
//! or a sync nobody knows what is on the disk, not even when the next one succeeds: the system may have dropped what it could
//! not write. So nothing goes through any more.

use crate::reserve::Reserve;
use redb::{BackendError, StorageBackend};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

/// A disk, or a part of one.
#[derive(Debug)]
pub(crate) struct Disk {
    backend: Box<dyn StorageBackend>,
    reserve: Option<Reserve>,
    trouble: Mutex<Option<Trouble>>,
}

/// How a disk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There was no room for so many bytes.
    Full { missing: u64 },
    /// A write or a sync failed.
    Broken,
}

/// The disk as the data base has it. There may be another one later, over the same disk.
#[derive(Debug)]
pub(crate) struct Handle(pub(crate) Arc<Disk>);

// === impl Disk ===

impl Disk {
    pub(crate) fn new(backend: impl StorageBackend, reserve: Option<Reserve>) -> Arc<Self> {
        Arc::new(Self { backend: Box::new(backend), reserve, trouble: Mutex::new(None) })
    }

    /// How it failed, if it did.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nothing through any more.
    pub(crate) fn break_off(&self) {
        self.set_trouble(Some(Trouble::Broken));
    }

    /// After it was full: what was there before is used again.
    pub(crate) fn go_on(&self) {
        if self.trouble() != Some(Trouble::Broken) {
            self.set_trouble(None);
        }
    }

    /// Makes ready for a commit, which may use the reserve or not. Gives how many bytes are missing for it.
    pub(crate) fn make_ready(&self, is_rescue: bool) -> Result<(), u64> {
        let Some(reserve) = &self.reserve else { return Ok(()) };
        reserve.set_may_use(is_rescue);
        if is_rescue { Ok(()) } else { reserve.fill() }
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn set_trouble(&self, trouble: Option<Trouble>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn check(&self) -> io::Result<()> {
        match self.trouble() {
            Some(Trouble::Broken) => Err(io::Error::other("the disk failed before")),
            _ => Ok(()),
        }
    }

    /// Remembers how something failed that wanted so many bytes.
    fn note<T>(&self, done: io::Result<T>, missing: u64) -> io::Result<T> {
        use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        if let Err(error) = &done {
            let is_full = matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge);
            self.set_trouble(Some(if is_full { Trouble::Full { missing } } else { Trouble::Broken }));
        }
        done
    }
}

// === impl Handle ===

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.0.check()?;
        self.0.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.check()?;
        self.0.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.check()?;
        let missing = len.saturating_sub(self.0.backend.len()?);
        let backend = &*self.0.backend;
        let done = match &self.0.reserve {
            Some(reserve) => reserve.set_len(backend, len),
            None => backend.set_len(len),
        };
        self.0.note(done, missing)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.check()?;
        let done = self.0.backend.sync_data();
        if done.is_err() {
            // Whatever it was: also for want of room, what was written before may be lost.
            self.0.break_off();
        }
        done
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.check()?;
        self.0.note(self.0.backend.write(offset, data), data.len() as u64)
    }

    fn close(&self) -> io::Result<()> {
        self.0.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.backend.query_lock_range(start, end)
    }
}
