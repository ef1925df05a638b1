//! Everything that a store holds, one after the other.

use crate::{Rev, StoreError, StoreReader, Stored};

/// Entries of the log that are read at once.
const LOG_PAGE: usize = 1_000;

/// One thing that a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A value.
    Value {
        /// Its key.
        key: String,
        /// The value, and the revision that wrote it.
        stored: Stored,
    },
    /// An entry of the log.
    Log {
        /// Its number.
        number: u64,
        /// The entry.
        bytes: Vec<u8>,
    },
    /// A blob.
    Blob {
        /// The hash that its writer gave.
        hash: String,
        /// The content.
        bytes: Vec<u8>,
    },
}

/// Where a store stands besides what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The revision of the last commit.
    pub revision: Rev,
    /// The newest epoch of a writer.
    pub epoch: u64,
}

/// Visits all values, then the log, then the blobs, each in their order. Nobody may write meanwhile.
///
/// # Errors
/// When the store cannot be read, or what `visit` says.
pub fn each_entry<E: From<StoreError>>(
    store: &dyn StoreReader,
    mut visit: impl FnMut(Entry) -> Result<(), E>,
) -> Result<(), E> {
    for (key, stored) in store.list("")?.values {
        visit(Entry::Value { key, stored })?;
    }
    let mut last = 0;
    loop {
        let page = store.log(last, LOG_PAGE)?;
        let Some((end, _)) = page.last() else { break };
        last = *end;
        page.into_iter().try_for_each(|(number, bytes)| visit(Entry::Log { number, bytes }))?;
    }
    for hash in store.blob_hashes()? {
        let bytes = store.blob(&hash)?;
        visit(Entry::Blob { hash, bytes })?;
    }
    Ok(())
}
