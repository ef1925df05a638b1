//! Ids of one length that are no numbers: whole, ordered by their hash, in buckets of about two.

use super::directory::Directory;
use crate::load::LoadError;
use crate::wire::{Reader, Writer};
use crate::xxh64::xxh64;
use alloc::vec::Vec;
use core::ops::Range;

/// Ids of one length.
#[derive(Clone)]
pub(crate) struct Hashed {
    /// Bytes of an id.
    id_len: usize,
    /// How many buckets there are.
    buckets: usize,
    directory: Directory,
    /// Where the ids lie.
    ids: Range<usize>,
}

// === impl Hashed ===

impl Hashed {
    /// Takes `count` ids of `id_len` bytes from where the reader stands.
    pub(super) fn read(reader: &mut Reader<'_>, count: usize, id_len: usize) -> Result<Self, LoadError> {
        let offset = reader.at();
        let buckets = buckets_for(count);
        let directory = Directory::read(reader, count, buckets)?;
        let bytes = count.checked_mul(id_len).ok_or(LoadError::Invalid { what: "ids", offset })?;
        Ok(Self { id_len, buckets, directory, ids: reader.span(bytes, "ids")? })
    }

    /// The bytes that so many ids of one length take.
    pub(super) fn bytes_of(count: usize, id_len: usize) -> usize {
        let (samples, words) = Directory::bytes_of(count, buckets_for(count)).unwrap_or_default();
        count * id_len + samples + words
    }

    /// Writes ids of one length.
    pub(super) fn write(out: &mut Writer, ids: &[&[u8]]) {
        let buckets = buckets_for(ids.len());
        let mut placed: Vec<(usize, &[u8])> = ids.iter().map(|id| (bucket_of(id, buckets), *id)).collect();
        placed.sort_unstable();
        Directory::write(out, buckets, placed.iter().map(|(bucket, _)| *bucket));
        placed.iter().for_each(|(_, id)| out.bytes.extend_from_slice(id));
    }

    /// Whether `id` is among them.
    #[inline]
    pub(super) fn contains(&self, bytes: &[u8], id: &[u8]) -> bool {
        let entries = self.directory.entries_of(bytes, bucket_of(id, self.buckets));
        let ids = bytes.get(self.ids.clone()).unwrap_or_default();
        let candidates = ids.get(entries.start * self.id_len..entries.end * self.id_len).unwrap_or_default();
        self.id_len == id.len()
            && candidates.chunks_exact(self.id_len.max(1)).any(|candidate| candidate == id)
    }

    /// The ids, in no order, for `visit`.
    pub(super) fn for_each(&self, bytes: &[u8], visit: impl FnMut(&[u8])) {
        let ids = bytes.get(self.ids.clone()).unwrap_or_default();
        ids.chunks_exact(self.id_len.max(1)).for_each(visit);
    }
}

/// Half as many buckets as ids: 0.3 bytes of directory for each id.
fn buckets_for(count: usize) -> usize {
    count / 2 + 1
}

/// The bucket of an id: its hash as a fraction of all hashes, times the buckets.
#[inline]
fn bucket_of(id: &[u8], buckets: usize) -> usize {
    ((u128::from(xxh64(0, id)) * buckets as u128) >> 64) as usize
}
