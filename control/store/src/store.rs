//! The contract.

use crate::{StoreError, Watch};

/// A revision of a store: the number of the commit that made it. An empty store has 0, and every commit adds one.
pub type Rev = u64;

/// A value and the revision of the commit that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The commit's revision.
    pub revision: Rev,
    /// The value.
    pub bytes: Vec<u8>,
}

/// The values below a prefix, all as they were at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The values with their keys, in the order of the keys' bytes.
    pub values: Vec<(String, Stored)>,
    /// The revision that the store had: what to watch from.
    pub revision: Rev,
}

/// What one commit checks and changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Keys, each with the revision that it must have; none means that it must not exist.
    pub expects: Vec<(String, Option<Rev>)>,
    /// Values to write.
    pub puts: Vec<(String, Vec<u8>)>,
    /// Keys to delete, after the values were written.
    pub deletes: Vec<String>,
    /// Entries for the end of the log, each with its number.
    pub appends: Vec<(u64, Vec<u8>)>,
    /// Contents to keep, each under its hash.
    pub blobs: Vec<(String, Vec<u8>)>,
    /// Hashes of contents that nothing names any more; they go before the contents to keep come.
    pub blob_deletes: Vec<String>,
    /// The epoch of the writer. One that is older than the store has seen is refused, and a newer one is noted down.
    pub epoch: u64,
    /// Whether the room that is kept back for rollbacks may be used.
    pub is_rescue: bool,
}

/// Values, a log and blobs that can be read.
pub trait StoreReader {
    /// A value, if there is one.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, key: &str) -> Result<Option<Stored>, StoreError>;

    /// All values whose key starts with `prefix`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(&self, prefix: &str) -> Result<Listed, StoreError>;

    /// At most `limit` entries of the log with their numbers, oldest first, from the one behind number `after` on; fewer
    /// when they are large.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn log(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;

    /// The number of the last entry of the log; 0 when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn log_end(&self) -> Result<u64, StoreError>;

    /// The content with this hash.
    ///
    /// # Errors
    /// When there is none, or the store cannot be read.
    fn blob(&self, hash: &str) -> Result<Vec<u8>, StoreError>;

    /// The hashes of all contents, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn blob_hashes(&self) -> Result<Vec<String>, StoreError>;

    /// The newest epoch of a writer that the store has seen.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn epoch(&self) -> Result<u64, StoreError>;
}

/// Values, a log and blobs that survive.
///
/// Everything that a commit acknowledged is on disk. What a reader got, a later reader gets, or something newer.
pub trait Store: StoreReader + Send + Sync {
    /// Commits `transaction` and returns its revision; it is on disk then.
    ///
    /// # Errors
    /// When a key does not have the expected revision, an entry of the log is there already, the writer's epoch is over,
    /// something is too large, or there is no room: nothing changed. When the store fails, nobody knows.
    fn commit(&self, transaction: &Transaction) -> Result<Rev, StoreError>;

    /// What changes below `prefix` behind revision `after`: every event once, in the order of commits.
    ///
    /// # Errors
    /// When the store no longer knows what changed since, or never had that revision.
    fn watch(&self, prefix: &str, after: Rev) -> Result<Watch, StoreError>;
}
