//! A store in one file.

mod open;

pub use open::FILE;
pub(crate) use open::opening;

use crate::disk::{Disk, Trouble};
use crate::history::History;
use crate::mark::Mark;
use crate::tables::{self, Tables, failed};
use crate::{Rev, Store, StoreError, Transaction, Watch};
use open::open_database;
use redb::{Database, ReadTransaction, ReadableDatabase, StorageError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

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
    /// Whether a write failed, so that what is read here may not be on the disk.
    fn is_broken(&self) -> bool {
        self.disk.trouble() == Some(Trouble::Broken)
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

impl Tables for RedbStore {
    fn read<T>(&self, look: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().filter(|_| !self.is_broken()).ok_or(StoreError::Uncertain)?;
        look(&db.begin_read().map_err(failed)?)
    }
}

impl Store for RedbStore {
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

    fn watch(&self, prefix: &str, after: Rev) -> Result<Watch, StoreError> {
        // Between a commit and its events nobody begins, or a revision that was listed already would seem to come from
        // elsewhere.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.history.watch(prefix, after)
    }
}

fn begin_write(db: &Database) -> Result<redb::WriteTransaction, StoreError> {
    let mut txn = db.begin_write().map_err(failed)?;
    txn.set_two_phase_commit(true);
    Ok(txn)
}
