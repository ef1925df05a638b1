//! Numbers in blocks: one look at a directory, one at a block, whatever the numbers are like.
//!
//! The numbers from 0 on are cut into blocks of 2^`bits` numbers; the directory tells where each block lies and which of
//! three shapes it has (as the containers of S. Chambi, D. Lemire, O. Kaser and R. Godin, "Better bitmap performance with
//! Roaring bitmaps", Software: Practice and Experience 46, 2016). The usual one is for numbers at random. It splits its
//! block into 16 buckets, and counts the numbers of each in four bits of a word: a few steps on that word tell how many
//! numbers are in the buckets before. Of each number only the bits that its bucket does not tell are kept, so the whole
//! takes little more than Elias and Fano's code, and the two or three numbers of a bucket are compared all at once.

use super::bits::{self, MAX_BITS};
use crate::load::LoadError;
use crate::wire::{Reader, Writer};
use alloc::vec::Vec;
use core::ops::Range;

/// Bits of a number within a block that tell its bucket. A word has room for the counts of 2^4 buckets.
const BUCKET_BITS: u32 = 4;

/// Bits that count a bucket's numbers.
const COUNT_BITS: u32 = 4;

/// Numbers of a bucket that can be counted.
const MAX_IN_BUCKET: usize = (1 << COUNT_BITS) - 1;

/// Bytes of the word that counts.
const COUNTS_BYTES: usize = 8;

/// Bits of a directory entry that tell the block's shape; the others tell where it starts.
const SHAPE_BITS: u32 = 2;

/// Numbers whose blocks' shapes and places are known. The bytes lie in the rule set's.
#[derive(Clone)]
pub(crate) struct Blocks {
    /// A block has 2^`bits` numbers.
    bits: u32,
    /// What a needle is multiplied with to stand beside itself as often as fits a word. See [`is_among`].
    ones: u64,
    /// Where the directory lies: 32 bits for each block.
    directory: Range<usize>,
    /// Where the blocks lie.
    blocks: Range<usize>,
}

/// How a block that is not empty lies in its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// How many numbers, in 16 bits, then the numbers in order.
    List = 1,
    /// How many numbers each bucket has, then what the buckets do not tell of the numbers, in order.
    Buckets = 2,
    /// A bit for each number that could be there.
    Bitmap = 3,
}

// === impl Blocks ===

impl Blocks {
    /// Takes the blocks of numbers up to `reach` from where the reader stands.
    pub(super) fn read(reader: &mut Reader<'_>, reach: u64) -> Result<Self, LoadError> {
        let offset = reader.at();
        let invalid = LoadError::Invalid { what: "blocks", offset };
        let bits = u32::from(reader.u8("bits of a block")?);
        let bytes = reader.u32("bytes of blocks")? as usize;
        let entries = (bits <= MAX_BITS).then(|| directory_len(reach, bits)).flatten();
        let directory = entries.and_then(|entries| entries.checked_mul(4)).ok_or(invalid)?;
        Ok(Self {
            bits,
            ones: ones(bits.saturating_sub(BUCKET_BITS)),
            directory: reader.span(directory, "directory of blocks")?,
            blocks: reader.span(bytes, "blocks")?,
        })
    }

    /// The size of blocks, in bits, that makes these ascending numbers small, and the bytes that they take then. None
    /// where no size can hold them.
    pub(super) fn smallest(numbers: &[u64]) -> Option<(u32, usize)> {
        let gap = *numbers.last()? / numbers.len() as u64;
        let size = |bits: u32| bytes_of(numbers, bits).map(|bytes| (bits, bytes));
        // About 64 numbers to a block are a good start. From there the bytes are followed downhill.
        let start = (6 + gap.checked_ilog2().unwrap_or(0)).min(MAX_BITS);
        let ways = [downhill((start..=MAX_BITS).map(size)), downhill((1..start).rev().map(size))];
        let (bits, least) = ways.into_iter().flatten().min_by_key(|(_, bytes)| *bytes)?;
        // Half the block has half the numbers in a bucket, so it is worth a few bytes.
        let half = size(bits - 1).filter(|(_, bytes)| bytes - bytes / 16 <= least);
        Some(half.unwrap_or((bits, least)))
    }

    /// Writes ascending numbers in blocks of 2^`bits`.
    pub(super) fn write(out: &mut Writer, numbers: &[u64], bits: u32) {
        let reach = numbers.last().copied().unwrap_or(0);
        let mut directory = alloc::vec![0_u32; directory_len(reach, bits).unwrap_or(0)];
        let mut blocks = Writer::default();
        for block in in_blocks(numbers, bits) {
            let (Some((shape, _)), Some(first)) = (Shape::smallest(block, bits), block.first()) else {
                continue;
            };
            if let Some(entry) = directory.get_mut((first >> bits) as usize) {
                *entry = (blocks.bytes.len() as u32) << SHAPE_BITS | shape as u32;
            }
            shape.write(&mut blocks.bytes, block, bits);
        }
        // Any number is read in eight bytes.
        blocks.bytes.extend([0; bits::PADDING]);
        out.u8(bits as u8);
        out.u32(blocks.bytes.len() as u32);
        directory.into_iter().for_each(|entry| out.u32(entry));
        out.bytes.extend(blocks.bytes);
    }

    /// Whether `number` is among them.
    #[inline]
    pub(super) fn contains(&self, bytes: &[u8], number: u64) -> bool {
        let directory = bytes.get(self.directory.clone()).unwrap_or_default().as_chunks().0;
        let entry =
            directory.get((number >> self.bits) as usize).map_or(0, |entry| u32::from_le_bytes(*entry));
        let within = number & bits::mask(self.bits);
        match (Shape::of(entry), self.block(bytes, entry)) {
            (Some(Shape::Buckets), Some(block)) => self.is_in_buckets(block, within),
            (Some(Shape::Bitmap), Some(block)) => is_in_bitmap(block, within),
            (Some(Shape::List), Some(block)) => is_in_list(block, within, self.bits),
            _ => false,
        }
    }

    /// The numbers in ascending order, for `visit`. Blocks that overlap, which only forged ones do, end them.
    pub(super) fn for_each(&self, bytes: &[u8], mut visit: impl FnMut(u64)) {
        let directory = bytes.get(self.directory.clone()).unwrap_or_default().as_chunks().0;
        let mut end = 0;
        for (entry, number) in directory.iter().zip(0_u64..) {
            let entry = u32::from_le_bytes(*entry);
            let (Some(shape), Some(block)) = (Shape::of(entry), self.block(bytes, entry)) else { continue };
            let start = (entry >> SHAPE_BITS) as usize;
            if start < end {
                return;
            }
            let first = number << self.bits;
            end = start.saturating_add(shape.for_each(block, self.bits, |within| visit(first | within)));
        }
    }

    #[inline]
    fn is_in_buckets(&self, block: &[u8], number: u64) -> bool {
        let low_bits = self.bits.saturating_sub(BUCKET_BITS);
        let (counts, lows) = counts(block);
        let places = in_bucket(counts, bucket_of(number, low_bits));
        is_among(lows, places, low_bits, number & bits::mask(low_bits), self.ones)
    }

    #[inline]
    fn block<'a>(&self, bytes: &'a [u8], entry: u32) -> Option<&'a [u8]> {
        bytes.get(self.blocks.clone())?.get((entry >> SHAPE_BITS) as usize..)
    }
}

// === impl Shape ===

impl Shape {
    #[inline]
    fn of(entry: u32) -> Option<Self> {
        match entry & ((1 << SHAPE_BITS) - 1) {
            1 => Some(Self::List),
            2 => Some(Self::Buckets),
            3 => Some(Self::Bitmap),
            _ => None,
        }
    }

    /// The shape of a block, with its bytes: buckets unless a bitmap is smaller, and a list where some numbers are
    /// too close for their bucket. None when there are too many even for a list.
    fn smallest(block: &[u64], bits: u32) -> Option<(Self, usize)> {
        let low_bits = bits.checked_sub(BUCKET_BITS).filter(|low_bits| *low_bits > 0);
        let buckets = low_bits
            .filter(|low_bits| {
                let mut as_many_later = block.iter().zip(block.iter().skip(MAX_IN_BUCKET));
                as_many_later.all(|(first, later)| first >> low_bits != later >> low_bits)
            })
            .map(|low_bits| (Self::Buckets, COUNTS_BYTES + bits::packed(block.len(), low_bits)));
        let list =
            || u16::try_from(block.len()).ok().map(|_| (Self::List, 2 + bits::packed(block.len(), bits)));
        let bitmap = (3..usize::BITS).contains(&bits).then(|| (Self::Bitmap, 1 << (bits - 3)));
        let smaller = [buckets.or_else(list), bitmap];
        smaller.into_iter().flatten().min_by_key(|(_, bytes)| *bytes)
    }

    fn write(self, out: &mut Vec<u8>, block: &[u64], bits: u32) {
        let within = block.iter().map(|number| number & bits::mask(bits));
        match self {
            Self::List => {
                out.extend((block.len() as u16).to_le_bytes());
                bits::write(out, within, bits);
            }
            Self::Buckets => {
                let low_bits = bits - BUCKET_BITS;
                let counts = in_blocks(block, low_bits).filter_map(|bucket| {
                    let at = COUNT_BITS * bucket_of(*bucket.first()?, low_bits);
                    Some((bucket.len() as u64) << at)
                });
                out.extend(counts.sum::<u64>().to_le_bytes());
                bits::write(out, within.map(|number| number & bits::mask(low_bits)), low_bits);
            }
            Self::Bitmap => {
                let start = out.len();
                out.resize(start + (1 << (bits - 3)), 0);
                for number in within {
                    if let Some(byte) = out.get_mut(start + (number / 8) as usize) {
                        *byte |= 1 << (number % 8);
                    }
                }
            }
        }
    }

    /// The numbers within a block, for `visit`, and how many bytes they take.
    fn for_each(self, block: &[u8], bits: u32, mut visit: impl FnMut(u64)) -> usize {
        match self {
            Self::List => {
                let (count, numbers) = list(block);
                (0..count).for_each(|at| visit(bits::read(numbers, at * bits as usize, bits)));
                2 + bits::packed(count, bits)
            }
            Self::Buckets => {
                let (counts, lows) = counts(block);
                let low_bits = bits.saturating_sub(BUCKET_BITS);
                for bucket in 0..1 << BUCKET_BITS {
                    let high = u64::from(bucket) << low_bits;
                    let low_at = |at: usize| bits::read(lows, at * low_bits as usize, low_bits);
                    in_bucket(counts, bucket).for_each(|at| visit(high | low_at(at)));
                }
                COUNTS_BYTES + bits::packed(in_bucket(counts, (1 << BUCKET_BITS) - 1).end, low_bits)
            }
            Self::Bitmap => {
                let bytes = 1_usize.checked_shl(bits.saturating_sub(3)).unwrap_or(usize::MAX);
                let bitmap = block.get(..bytes).unwrap_or(block);
                let is_set = |number: &u64| is_in_bitmap(bitmap, *number);
                (0..bitmap.len() as u64 * 8).filter(is_set).for_each(visit);
                bytes
            }
        }
    }
}

#[inline]
fn is_in_list(block: &[u8], number: u64, bits: u32) -> bool {
    let (count, numbers) = list(block);
    let at = |at: usize| bits::read(numbers, at * bits as usize, bits);
    let first = bits::partition_point(count, |place| at(place) < number);
    first < count && at(first) == number
}

#[inline]
fn is_in_bitmap(block: &[u8], number: u64) -> bool {
    let byte = usize::try_from(number / 8).ok().and_then(|at| block.get(at));
    byte.is_some_and(|byte| byte >> (number % 8) & 1 == 1)
}

/// How many numbers a list has, and the numbers.
#[inline]
fn list(block: &[u8]) -> (usize, &[u8]) {
    let list = block.split_first_chunk();
    list.map_or((0, block), |(count, numbers)| (usize::from(u16::from_le_bytes(*count)), numbers))
}

/// The counts of a block's buckets, and what is behind them.
#[inline]
fn counts(block: &[u8]) -> (u64, &[u8]) {
    let parts = block.split_first_chunk::<COUNTS_BYTES>();
    parts.map_or((0, block), |(counts, lows)| (u64::from_le_bytes(*counts), lows))
}

#[inline]
fn bucket_of(number: u64, low_bits: u32) -> u32 {
    (number >> low_bits) as u32 % (1 << BUCKET_BITS)
}

/// The places of a bucket's numbers among those of its block.
#[inline]
fn in_bucket(counts: u64, bucket: u32) -> Range<usize> {
    const EVERY_OTHER: u64 = 0x0F0F_0F0F_0F0F_0F0F;
    let at = COUNT_BITS * bucket;
    let before = counts & bits::mask(at);
    let pairs = (before & EVERY_OTHER) + (before >> COUNT_BITS & EVERY_OTHER);
    // The highest byte of the product is the sum of all bytes: of 15 buckets at most 15 numbers each, so it fits.
    let start = (pairs.wrapping_mul(0x0101_0101_0101_0101) >> 56) as usize;
    start..start + (counts >> at) as usize % (1 << COUNT_BITS)
}

/// A one in the lowest bit of each field of `width` bits, as many as one read brings.
fn ones(width: u32) -> u64 {
    let fields = MAX_BITS.checked_div(width).unwrap_or(0);
    (0..fields).map(|field| 1 << (field * width)).sum()
}

/// Whether the numbers of `width` bits at these places hold `needle`: as many as fit a word are compared at once.
#[inline]
fn is_among(row: &[u8], places: Range<usize>, width: u32, needle: u64, ones: u64) -> bool {
    let at_once = (MAX_BITS / width.max(1)) as usize;
    let mut left = places;
    while !left.is_empty() {
        let used = bits::mask(left.len().min(at_once) as u32 * width);
        let (ones, word) = (ones & used, bits::read(row, left.start * width as usize, MAX_BITS));
        // Equal fields become zero. Some field is zero exactly if taking one from each borrows from a highest bit that
        // was not set before (H. S. Warren, "Hacker's Delight", 2nd edition, 6-1).
        let differences = (word ^ needle.wrapping_mul(ones)) & used;
        let highest = ones << width.saturating_sub(1);
        if differences.wrapping_sub(ones) & !differences & highest != 0 {
            return true;
        }
        left.start = left.end.min(left.start + at_once);
    }
    false
}

/// The entries of a directory for numbers up to `reach`.
fn directory_len(reach: u64, bits: u32) -> Option<usize> {
    usize::try_from(reach >> bits).ok()?.checked_add(1)
}

/// Ascending numbers, cut where their bits over the lowest `bits` differ.
fn in_blocks(numbers: &[u64], bits: u32) -> impl Iterator<Item = &[u64]> {
    numbers.chunk_by(move |a, b| a >> bits == b >> bits)
}

/// The bytes of ascending numbers in blocks of 2^`bits`. None when they would not be good for anything.
fn bytes_of(numbers: &[u64], bits: u32) -> Option<usize> {
    let directory = directory_len(*numbers.last()?, bits)?.checked_mul(4)?;
    // A directory that is larger than the numbers themselves is no gain, and should not be gone through.
    (directory / 16 <= numbers.len()).then_some(())?;
    let blocks = in_blocks(numbers, bits).map(|block| Shape::smallest(block, bits).map(|(_, bytes)| bytes));
    blocks.sum::<Option<usize>>()?.checked_add(directory)
}

/// Follows sizes as long as they get smaller; sizes that cannot be are passed over before the first that can.
fn downhill(sizes: impl Iterator<Item = Option<(u32, usize)>>) -> Option<(u32, usize)> {
    let mut best: Option<(u32, usize)> = None;
    for size in sizes.skip_while(Option::is_none) {
        match (size, best) {
            (Some((_, bytes)), Some((_, least))) if bytes >= least => break,
            (None, _) => break,
            (size, _) => best = size,
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn encoded(numbers: &[u64], bits: u32) -> (Vec<u8>, Blocks) {
        let mut out = Writer::default();
        Blocks::write(&mut out, numbers, bits);
        let blocks = Blocks::read(&mut Reader::new(&out.bytes, 0), *numbers.last().unwrap()).unwrap();
        (out.bytes, blocks)
    }

    /// Numbers of all kinds: far from each other, close to each other, and all of a range.
    fn numbers() -> impl Strategy<Value = BTreeSet<u64>> {
        let cluster = (0_u64..1 << 20, 1_u64..200, 1_u64..5);
        (btree_set(0_u64..1 << 20, 1..300), vec(cluster, 0..5)).prop_map(|(mut numbers, clusters)| {
            for (start, count, step) in clusters {
                numbers.extend((0..count).map(|at| start + at * step));
            }
            numbers
        })
    }

    proptest! {
        #[test]
        fn blocks_of_any_size_hold_what_a_tree_set_holds(tree in numbers(), bits in 1_u32..25) {
            let numbers: Vec<u64> = tree.iter().copied().collect();
            let (bytes, blocks) = encoded(&numbers, bits);
            let mut all = Vec::new();
            blocks.for_each(&bytes, |number| all.push(number));
            prop_assert_eq!(&all, &numbers);
            for number in numbers.iter().flat_map(|number| [number.saturating_sub(1), *number, number + 1]) {
                prop_assert_eq!(blocks.contains(&bytes, number), tree.contains(&number), "{}", number);
            }
        }

        #[test]
        fn fields_compared_at_once_are_those_compared_one_by_one(
            width in 1..=MAX_BITS,
            numbers in vec(0_u64..16, 1..20),
            needle in 0_u64..16,
            start in 0_usize..20,
        ) {
            let numbers: Vec<u64> = numbers.iter().map(|number| number & bits::mask(width)).collect();
            let needle = needle & bits::mask(width);
            let mut row = Vec::new();
            bits::write(&mut row, numbers.iter().copied(), width);
            row.extend([0; bits::PADDING]);
            let start = start.min(numbers.len());
            let found = is_among(&row, start..numbers.len(), width, needle, ones(width));
            prop_assert_eq!(found, numbers[start..].contains(&needle));
        }
    }

    #[test]
    fn each_block_has_the_shape_that_fits_it() {
        let (bits, size) = (12, 1 << 12);
        let bitmap = (0..size).step_by(2);
        let buckets = (size..2 * size).step_by(100);
        let list = (3 * size..3 * size + 20).chain([4 * size - 1]);
        let numbers: Vec<u64> = bitmap.chain(buckets).chain(list).collect();
        let (bytes, blocks) = encoded(&numbers, bits);
        let directory = bytes[blocks.directory.clone()].as_chunks().0;
        let shapes: Vec<u32> = directory.iter().map(|entry| u32::from_le_bytes(*entry) & 3).collect();
        assert_eq!(shapes, [Shape::Bitmap as u32, Shape::Buckets as u32, 0, Shape::List as u32]);
    }

    #[test]
    fn blocks_that_overlap_are_told_once() {
        let numbers: Vec<u64> = (0..64).map(|at| at * 1_000).collect();
        let (mut bytes, blocks) = encoded(&numbers, 12);
        let directory = &mut bytes[blocks.directory.clone()];
        let first: [u8; 4] = directory[..4].try_into().unwrap();
        directory.as_chunks_mut::<4>().0.fill(first);
        let mut told = 0;
        blocks.for_each(&bytes, |_| told += 1);
        assert!(told <= 5, "{told}");
    }
}
