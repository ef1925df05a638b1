//! The sizes that a store takes.

use crate::{StoreError, Transaction};

/// Bytes of a key: a kind and two names of 63 bytes, with room to spare.
pub const MAX_KEY_BYTES: usize = 1 << 10;

/// Bytes of a value or of an entry of the log: an order with its plan, which has up to 16 MiB, and what was done to it.
pub const MAX_VALUE_BYTES: usize = 64 << 20;

/// Bytes of a blob: a list as it is uploaded has up to 64 MiB, and quotes may double that.
pub const MAX_BLOB_BYTES: usize = 128 << 20;

/// Bytes of all that one transaction writes; it is in memory as a whole until it is on disk.
pub const MAX_TRANSACTION_BYTES: usize = 256 << 20;

/// Bytes of the log that are read at once, unless a single entry has more.
pub const MAX_LOG_READ_BYTES: usize = 4 << 20;

/// Events that are kept for those who watch. Who is further behind reads everything again.
pub const MAX_HISTORY_EVENTS: usize = 4_096;

/// Bytes of the values of those events, unless a single commit has more.
pub const MAX_HISTORY_BYTES: usize = 8 << 20;

// === impl Transaction ===

impl Transaction {
    /// Whether every size is within its limit.
    ///
    /// # Errors
    /// When one is not, with its name and the limit.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let within = |what: &dyn Fn() -> String, bytes: usize, limit: usize| match bytes > limit {
            true => Err(StoreError::TooLarge { what: what(), bytes, limit }),
            false => Ok(()),
        };
        let keys = self.expects.iter().map(|(key, _)| key).chain(self.puts.iter().map(|(key, _)| key));
        for key in keys.chain(&self.deletes) {
            let start = || format!("the key that starts with {:?}", key.chars().take(40).collect::<String>());
            within(&start, key.len(), MAX_KEY_BYTES)?;
        }
        for (hash, _) in &self.blobs {
            within(&|| "the hash of a blob".to_owned(), hash.len(), MAX_KEY_BYTES)?;
        }
        for (key, bytes) in &self.puts {
            within(&|| key.clone(), bytes.len(), MAX_VALUE_BYTES)?;
        }
        for (number, bytes) in &self.appends {
            within(&|| format!("entry {number} of the log"), bytes.len(), MAX_VALUE_BYTES)?;
        }
        for (hash, bytes) in &self.blobs {
            within(&|| format!("the content {hash}"), bytes.len(), MAX_BLOB_BYTES)?;
        }
        within(&|| "the transaction".to_owned(), self.size(), MAX_TRANSACTION_BYTES)
    }

    /// Bytes of all that it writes.
    pub(crate) fn size(&self) -> usize {
        let named = self.puts.iter().chain(&self.blobs).map(|(_, bytes)| bytes.len());
        named.chain(self.appends.iter().map(|(_, bytes)| bytes.len())).sum()
    }
}
