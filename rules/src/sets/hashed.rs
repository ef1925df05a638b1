//! Ids of one length that are no numbers: whole, ordered by their hash, in buckets of about four.

use crate::load::LoadError;
use crate::order::sort_by;
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
    /// Where it lies how many ids are in each bucket and those before it, in 32 bits.
    ends: Range<usize>,
    /// Where the ids lie.
    ids: Range<usize>,
}

// === impl Hashed ===

impl Hashed {
    /// Takes `count` ids of `id_len` bytes from where the reader stands.
    pub(super) fn read(reader: &mut Reader<'_>, count: usize, id_len: usize) -> Result<Self, LoadError> {
        let buckets = buckets_for(count);
        let ends = reader.span(buckets * 4, "buckets")?;
        Ok(Self { id_len, buckets, ends, ids: reader.span(count.saturating_mul(id_len), "ids")? })
    }

    /// The bytes that so many ids of one length take.
    pub(super) fn bytes_of(count: usize, id_len: usize) -> usize {
        count * id_len + buckets_for(count) * 4
    }

    /// Writes ids of one length.
    pub(super) fn write(out: &mut Writer, ids: &[&[u8]]) {
        let buckets = buckets_for(ids.len());
        let mut placed: Vec<(usize, &[u8])> = ids.iter().map(|id| (bucket_of(id, buckets), *id)).collect();
        sort_by(&mut placed, Ord::cmp);
        let mut ends = alloc::vec![0_u32; buckets];
        for ((bucket, _), end) in placed.iter().zip(1..) {
            if let Some(slot) = ends.get_mut(*bucket) {
                *slot = end;
            }
        }
        let mut before = 0;
        for end in ends {
            // An empty bucket ends where the one before it does.
            before = end.max(before);
            out.u32(before);
        }
        placed.iter().for_each(|(_, id)| out.bytes.extend_from_slice(id));
    }

    /// Whether `id` is among them.
    #[inline]
    pub(super) fn contains(&self, bytes: &[u8], id: &[u8]) -> bool {
        let ends = bytes.get(self.ends.clone()).unwrap_or_default().as_chunks().0;
        let end = |bucket: usize| ends.get(bucket).map_or(0, |end| u32::from_le_bytes(*end) as usize);
        let bucket = bucket_of(id, self.buckets);
        let entries = bucket.checked_sub(1).map_or(0, end)..end(bucket);
        let ids = bytes.get(self.ids.clone()).unwrap_or_default();
        let at = |entry: usize| entry.saturating_mul(self.id_len);
        let candidates = ids.get(at(entries.start)..at(entries.end)).unwrap_or_default();
        candidates.chunks_exact(self.id_len.max(1)).any(|candidate| candidate == id)
    }

    /// The ids, in no order, for `visit`.
    pub(super) fn for_each(&self, bytes: &[u8], visit: impl FnMut(&[u8])) {
        let ids = bytes.get(self.ids.clone()).unwrap_or_default();
        ids.chunks_exact(self.id_len.max(1)).for_each(visit);
    }
}

/// A quarter as many buckets as ids: a byte of directory for each id.
fn buckets_for(count: usize) -> usize {
    count / 4 + 1
}

/// The bucket of an id: its hash as a fraction of all hashes, times the buckets.
#[inline]
fn bucket_of(id: &[u8], buckets: usize) -> usize {
    ((u128::from(xxh64(0, id)) * buckets as u128) >> 64) as usize
}
