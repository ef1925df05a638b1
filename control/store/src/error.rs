//! Why a store does not do what it was asked.

use crate::Rev;
use crate::tables::{LAYOUT, OLDEST_LAYOUT};
use std::error::Error;
use std::path::PathBuf;
use thiserror::Error as ThisError;

/// Why the store did not do what it was asked. Nothing changed, unless it is [`StoreError::Failed`].
#[derive(Debug, ThisError)]
pub enum StoreError {
    /// Another commit came first.
    #[error("{key} changed in the meantime; read it again and repeat")]
    Conflict {
        /// The key that changed.
        key: String,
    },
    /// The writer was replaced by another one.
    #[error("epoch {epoch} is over, the store was taken over in epoch {seen}; this writer has to stop")]
    Fenced {
        /// The writer's epoch.
        epoch: u64,
        /// The epoch that the store has seen.
        seen: u64,
    },
    /// There is no room for it.
    #[error(
        "the disk of {} is full: the store needs {missing} more bytes to go on; free some and repeat. Reading, proxies and \
         rollbacks go on meanwhile", path.display()
    )]
    Full {
        /// The store's file.
        path: PathBuf,
        /// How many bytes the store wants to have for growing, and to keep back for rollbacks.
        missing: u64,
    },
    /// Something is larger than the store takes.
    #[error("{what} has {bytes} bytes, over the limit of {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// The reader was away for too long, or is of another store: it has to read everything again.
    #[error("the changes since revision {after} are no longer kept; list again, and watch from there")]
    Compacted {
        /// Where the reader wanted to go on.
        after: Rev,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process; stop that one, or give another --data", path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// There is no store.
    #[error("there is no store in {}; see --data", path.display())]
    NoStore {
        /// The directory.
        path: PathBuf,
    },
    /// There is something already where a store should be made.
    #[error("{} is not empty; give another --data, or move away what is there", path.display())]
    NotEmpty {
        /// The directory.
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
    /// What is on the disk is not what was written.
    #[error(
        "{} is damaged: {what}; move it away and restore a backup with `graylane store import`", path.display()
    )]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// The file cannot be opened or created.
    #[error("cannot open the store {}", path.display())]
    Open {
        /// The store's file.
        path: PathBuf,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A write failed before, and whether it is on disk is not known.
    #[error(
        "a write failed before, so that nobody knows what is on disk; mend the disk and start the daemon again"
    )]
    Uncertain,
    /// Reading or writing failed. Whether what was to be committed is on disk is not known, and nothing is committed any
    /// more: only a new start can tell.
    #[error("the store failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}
