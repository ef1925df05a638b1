//! Numbers of any width, one behind the other. Reading past the end gives zeros: lengths are checked when a set is
//! loaded, and forged bytes must not hurt.

use alloc::vec;
use alloc::vec::Vec;

/// Bits of the widest number that one unaligned read of eight bytes can hold at any bit offset.
pub(super) const MAX_BITS: u32 = 57;

/// Zero bytes behind a row of numbers, so that the last one too is read in eight bytes.
pub(super) const PADDING: usize = 8;

/// The number of `width` bits, at most [`MAX_BITS`], that starts at bit `at`.
#[inline]
pub(super) fn read(bytes: &[u8], at: usize, width: u32) -> u64 {
    let word =
        bytes.get(at / 8..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word));
    (word >> (at % 8)) & ((1 << width) - 1)
}

/// The `at`-th word of 64 bits.
#[inline]
pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.as_chunks().0.get(at).map_or(0, |word| u64::from_le_bytes(*word))
}

/// The bytes that `count` numbers of `width` bits take, with their padding. None when no memory could hold them.
pub(super) fn bytes_of(count: usize, width: u32) -> Option<usize> {
    count.checked_mul(width as usize)?.div_ceil(8).checked_add(PADDING)
}

/// The numbers, each in `width` bits, and the padding.
pub(super) fn write(numbers: impl ExactSizeIterator<Item = u64>, width: u32) -> Vec<u8> {
    let mut bytes = vec![0; (numbers.len() * width as usize).div_ceil(8) + PADDING];
    for (number, at) in numbers.zip((0_usize..).step_by((width as usize).max(1))) {
        if let Some(chunk) =
            bytes.get_mut(at / 8..).and_then(|rest| rest.first_chunk_mut()).filter(|_| width > 0)
        {
            *chunk = (u64::from_le_bytes(*chunk) | number << (at % 8)).to_le_bytes();
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(width in 0..=MAX_BITS, numbers: Vec<u64>) {
            let numbers: Vec<u64> = numbers.into_iter().map(|number| number & ((1 << width) - 1)).collect();
            let bytes = write(numbers.iter().copied(), width);
            prop_assert_eq!(Some(bytes.len()), bytes_of(numbers.len(), width));
            for (at, number) in numbers.iter().enumerate() {
                prop_assert_eq!(read(&bytes, at * width as usize, width), *number);
            }
            prop_assert_eq!(read(&bytes, usize::MAX / 2, width), 0);
        }
    }
}
