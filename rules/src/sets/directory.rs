//! Entries in buckets: where does a bucket start?
//!
//! Each bucket writes a one for each of its entries and then a zero. Before every sixteenth bucket the number of the
//! entries so far is kept in 32 bits; so the bit where that bucket starts is known, and only the few words of sixteen
//! buckets are searched. The unary part is the upper half of Elias and Fano's code (P. Elias, "Efficient Storage and
//! Retrieval by Content and Address of Static Files", J. ACM 21, 1974).

use super::bits;
use crate::load::LoadError;
use crate::wire::{Reader, Writer};
use alloc::vec;
use core::ops::Range;

/// Buckets between two samples.
const STEP: usize = 16;

/// A directory whose bytes lie in the rule set's.
#[derive(Clone)]
pub(crate) struct Directory {
    entries: usize,
    buckets: usize,
    samples: Range<usize>,
    words: Range<usize>,
}

// === impl Directory ===

impl Directory {
    /// The bytes of a directory of so many entries and buckets. None when no memory could hold them.
    pub(super) fn bytes_of(entries: usize, buckets: usize) -> Option<(usize, usize)> {
        let samples = buckets.div_ceil(STEP).checked_mul(4)?;
        let words = entries.checked_add(buckets)?.div_ceil(64).checked_mul(8)?;
        Some((samples, words))
    }

    /// Takes a directory of so many entries and buckets from where the reader stands.
    pub(super) fn read(reader: &mut Reader<'_>, entries: usize, buckets: usize) -> Result<Self, LoadError> {
        let offset = reader.at();
        let bytes = Self::bytes_of(entries, buckets);
        let (samples, words) = bytes.ok_or(LoadError::Invalid { what: "directory", offset })?;
        Ok(Self {
            entries,
            buckets,
            samples: reader.span(samples, "samples")?,
            words: reader.span(words, "buckets")?,
        })
    }

    /// Writes the directory of entries whose buckets ascend.
    pub(super) fn write(
        out: &mut Writer,
        buckets: usize,
        bucket_by_entry: impl ExactSizeIterator<Item = usize>,
    ) {
        let (samples, words) = Self::bytes_of(bucket_by_entry.len(), buckets).unwrap_or_default();
        let (mut samples, mut words) = (vec![0_u32; samples / 4], vec![0_u64; words / 8]);
        for (entry, bucket) in bucket_by_entry.enumerate() {
            // Before this bit stand the ones of the entries so far, and a zero for each bucket before.
            let bit = entry + bucket;
            if let Some(word) = words.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
            // Whatever comes in a later step finds this entry before it.
            if let Some(sample) = samples.get_mut(bucket / STEP + 1) {
                *sample = entry as u32 + 1;
            }
        }
        let mut before = 0;
        for sample in &mut samples {
            before = before.max(*sample);
            out.u32(before);
        }
        words.iter().for_each(|word| out.bytes.extend_from_slice(&word.to_le_bytes()));
    }

    /// The most entries that `STEP` buckets from one sample to the next have: what a search may have to pass.
    pub(super) fn most_in_a_step(bucket_by_entry: impl Iterator<Item = usize>) -> usize {
        let (mut most, mut count, mut step) = (0, 0, None);
        for bucket in bucket_by_entry {
            count = if step == Some(bucket / STEP) { count + 1 } else { 1 };
            step = Some(bucket / STEP);
            most = most.max(count);
        }
        most
    }

    /// How many buckets it has.
    pub(super) fn buckets(&self) -> usize {
        self.buckets
    }

    /// The entries of a bucket.
    #[inline]
    pub(super) fn entries_of(&self, bytes: &[u8], bucket: usize) -> Range<usize> {
        if bucket >= self.buckets {
            return 0..0;
        }
        let samples = bytes.get(self.samples.clone()).unwrap_or_default().as_chunks::<4>().0;
        let before = samples.get(bucket / STEP).map_or(0, |sample| u32::from_le_bytes(*sample) as usize);
        let before = before.min(self.entries);
        let words = bytes.get(self.words.clone()).unwrap_or_default();
        let first = before + bucket / STEP * STEP;
        let start = after_zeros(words, first, bucket % STEP);
        let end = after_zeros(words, start, 1) - 1;
        // Of the bits before `start`, as many are zeros as there are buckets before this one.
        start.saturating_sub(bucket).min(self.entries)..end.saturating_sub(bucket).min(self.entries)
    }
}

/// The bit behind the `zeros`-th zero from bit `at` on. Behind the words everything is zero, so this always ends.
#[inline]
fn after_zeros(words: &[u8], at: usize, zeros: usize) -> usize {
    if zeros == 0 {
        return at;
    }
    let (mut number, mut left) = (at / 64, zeros as u32);
    let mut found = !bits::word(words, number) & (u64::MAX << (at % 64));
    while found.count_ones() < left {
        left -= found.count_ones();
        number += 1;
        found = !bits::word(words, number);
    }
    for _ in 1..left {
        found &= found - 1;
    }
    number * 64 + found.trailing_zeros() as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn a_bucket_has_the_entries_that_were_put_there(
            counts in prop::collection::vec(prop_oneof![4 => 0_usize..4, 1 => 0_usize..200], 0..100),
        ) {
            let by_entry: Vec<usize> =
                counts.iter().enumerate().flat_map(|(bucket, count)| core::iter::repeat_n(bucket, *count)).collect();
            let mut out = Writer::default();
            Directory::write(&mut out, counts.len(), by_entry.iter().copied());
            let mut reader = Reader::new(&out.bytes, 0);
            let directory = Directory::read(&mut reader, by_entry.len(), counts.len()).unwrap();
            prop_assert!(reader.is_at_end());
            let mut start = 0;
            for (bucket, count) in counts.iter().enumerate() {
                prop_assert_eq!(directory.entries_of(&out.bytes, bucket), start..start + count);
                start += count;
            }
            prop_assert_eq!(directory.entries_of(&out.bytes, counts.len()), 0..0);
            let steps = counts.chunks(STEP).map(|step| step.iter().sum::<usize>()).max().unwrap_or(0);
            prop_assert_eq!(Directory::most_in_a_step(by_entry.into_iter()), steps);
        }
    }
}
