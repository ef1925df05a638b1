//! Numbers of any width, one behind the other. Reading past the end gives zeros: lengths are checked when a set is
//! loaded, and forged bytes must not hurt.

use alloc::vec::Vec;

/// Bits of the widest number that one unaligned read of eight bytes can hold at any bit offset.
pub(super) const MAX_BITS: u32 = 57;

/// Zero bytes behind the last row of numbers, so that its last number too is read in eight bytes.
pub(super) const PADDING: usize = 8;

/// The lowest `width` bits, of which there are fewer than 64.
#[inline]
pub(super) fn mask(width: u32) -> u64 {
    (1 << width) - 1
}

/// The number of `width` bits, at most [`MAX_BITS`], that starts at bit `at`.
#[inline]
pub(super) fn read(bytes: &[u8], at: usize, width: u32) -> u64 {
    let word =
        bytes.get(at / 8..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word));
    (word >> (at % 8)) & mask(width)
}

/// The bytes that `count` numbers of `width` bits take.
pub(super) fn packed(count: usize, width: u32) -> usize {
    count.saturating_mul(width as usize).div_ceil(8)
}

/// Appends the numbers, each in `width` bits, at most [`MAX_BITS`].
pub(super) fn write(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>, width: u32) {
    let (mut word, mut used) = (0, 0);
    for number in numbers {
        word |= number << used;
        used += width;
        while used >= 8 {
            out.push(word as u8);
            word >>= 8;
            used -= 8;
        }
    }
    if used > 0 {
        out.push(word as u8);
    }
}

/// The first of `count` places for which `is_before` does not hold, when it holds for all before that.
#[inline]
pub(super) fn partition_point(count: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut left) = (0, count);
    while left > 0 {
        let half = left / 2;
        if is_before(low + half) {
            low += half + 1;
            left -= half + 1;
        } else {
            left = half;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(width in 0..=MAX_BITS, numbers: Vec<u64>) {
            let numbers: Vec<u64> = numbers.into_iter().map(|number| number & mask(width)).collect();
            let mut bytes = vec![0xff];
            write(&mut bytes, numbers.iter().copied(), width);
            prop_assert_eq!(bytes.len(), 1 + packed(numbers.len(), width));
            bytes.extend([0; PADDING]);
            for (at, number) in numbers.iter().enumerate() {
                prop_assert_eq!(read(&bytes, 8 + at * width as usize, width), *number);
            }
            prop_assert_eq!(read(&bytes, usize::MAX / 2, width), 0);
        }

        #[test]
        fn the_partition_point_is_that_of_a_slice(mut numbers: Vec<u8>, limit: u8) {
            numbers.sort_unstable();
            let point = partition_point(numbers.len(), |at| numbers[at] < limit);
            prop_assert_eq!(point, numbers.partition_point(|number| *number < limit));
        }
    }
}
