//! What has to survive: small values by key, blobs by the hash of their content, and a log, behind one trait.
//!
//! [`Store`] is the contract, and `tests/conformance.rs` says it again as tests that every back-end passes:
//! [`MemoryStore`] lives as long as the process, [`RedbStore`] in one file. A commit is one transaction: all of it is on
//! disk when it returns, or nothing is.

mod disk;
mod embedded;
mod entry;
mod error;
mod export;
mod history;
mod limits;
mod mark;
mod memory;
mod reserve;
mod salvage;
mod store;
mod tables;

pub use embedded::{FILE, RedbStore};
pub use entry::{Entry, Standing, each_entry};
pub use error::StoreError;
pub use export::{Counts, ExportError, export, read_export};
pub use history::{Change, Event, Watch};
pub use limits::{
    MAX_BLOB_BYTES, MAX_HISTORY_BYTES, MAX_HISTORY_EVENTS, MAX_KEY_BYTES, MAX_LOG_READ_BYTES,
    MAX_TRANSACTION_BYTES, MAX_VALUE_BYTES,
};
pub use memory::MemoryStore;
pub use salvage::Salvage;
pub use store::{Listed, Rev, Store, StoreReader, Stored, Transaction};
