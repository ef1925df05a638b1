//! A store that lives as long as the process, for tests and for trying things out.

use crate::history::History;
use crate::{Listed, MAX_LOG_READ_BYTES, Rev, Store, StoreError, StoreReader, Stored, Transaction, Watch};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    content: Mutex<Content>,
    history: Arc<History>,
}

#[derive(Debug, Default)]
struct Content {
    values: BTreeMap<String, Stored>,
    log: BTreeMap<u64, Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
    revision: Rev,
    epoch: u64,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { content: Mutex::default(), history: History::new(0) }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl StoreReader for MemoryStore {
    fn get(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        Ok(self.content().values.get(key).cloned())
    }

    fn list(&self, prefix: &str) -> Result<Listed, StoreError> {
        let content = self.content();
        let values = content.values.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let values = values.take_while(|(key, _)| key.starts_with(prefix));
        let values = values.map(|(key, stored)| (key.clone(), stored.clone())).collect();
        Ok(Listed { values, revision: content.revision })
    }

    fn log(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let content = self.content();
        let mut bytes = 0;
        let entries = content.log.range((Bound::Excluded(after), Bound::Unbounded)).take(limit).enumerate();
        let entries = entries.take_while(|(at, (_, entry))| {
            bytes += entry.len();
            *at == 0 || bytes <= MAX_LOG_READ_BYTES
        });
        Ok(entries.map(|(_, (number, entry))| (*number, entry.clone())).collect())
    }

    fn log_end(&self) -> Result<u64, StoreError> {
        Ok(self.content().log.last_key_value().map_or(0, |(number, _)| *number))
    }

    fn blob(&self, hash: &str) -> Result<Vec<u8>, StoreError> {
        let found = self.content().blobs.get(hash).cloned();
        found.ok_or_else(|| StoreError::NoBlob { hash: hash.into() })
    }

    fn blob_hashes(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.content().blobs.keys().cloned().collect())
    }

    fn epoch(&self) -> Result<u64, StoreError> {
        Ok(self.content().epoch)
    }
}

impl Store for MemoryStore {
    fn commit(&self, transaction: &Transaction) -> Result<Rev, StoreError> {
        transaction.check()?;
        let mut content = self.content();
        content.check(transaction)?;
        let revision = content.apply(transaction);
        // Under the lock, so that events come in the order of commits.
        self.history.add(revision, transaction);
        Ok(revision)
    }

    fn watch(&self, prefix: &str, after: Rev) -> Result<Watch, StoreError> {
        self.history.watch(prefix, after)
    }
}

// === impl Content ===

impl Content {
    fn check(&self, transaction: &Transaction) -> Result<(), StoreError> {
        let (epoch, seen) = (transaction.epoch, self.epoch);
        if epoch < seen {
            return Err(StoreError::Fenced { epoch, seen });
        }
        for (key, expected) in &transaction.expects {
            if self.values.get(key).map(|stored| stored.revision) != *expected {
                return Err(StoreError::Conflict { key: key.clone() });
            }
        }
        let mut numbers = std::collections::BTreeSet::new();
        for (number, _) in &transaction.appends {
            if self.log.contains_key(number) || !numbers.insert(number) {
                return Err(StoreError::Conflict { key: format!("log/{number}") });
            }
        }
        Ok(())
    }

    fn apply(&mut self, transaction: &Transaction) -> Rev {
        self.revision += 1;
        self.epoch = transaction.epoch;
        let revision = self.revision;
        for (key, bytes) in &transaction.puts {
            self.values.insert(key.clone(), Stored { revision, bytes: bytes.clone() });
        }
        for key in &transaction.deletes {
            self.values.remove(key);
        }
        self.log.extend(transaction.appends.iter().cloned());
        for hash in &transaction.blob_deletes {
            self.blobs.remove(hash);
        }
        self.blobs.extend(transaction.blobs.iter().cloned());
        revision
    }
}
