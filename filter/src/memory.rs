//! The memory that the proxy fills: it asks the module for a place, writes its answer there, and says where it is.
//!
//! Almost every answer is read and forgotten, so it goes to one block that is used again for the next: a request
//! costs no allocation. A configuration is kept, so it gets an allocation of its own.
//!
//! Nothing here is unsafe. A place is handed out as a pointer and never read through it: whoever wants the bytes says
//! where the proxy put them, and gets them out of the block, by an index that was checked, or an error.

use alloc::vec::Vec;
use core::mem;
use core::ptr::null_mut;

/// Bytes of the block that are kept for good. Envoy lets in 60 KiB of headers unless it is told otherwise; the block of
/// a request that brings more is given back.
pub const MAX_KEPT_BYTES: usize = 256 << 10;

/// Bytes of the smallest block: more than the headers of an ordinary request.
const MIN_BLOCK_BYTES: usize = 8 << 10;

/// Places start at multiples of this many bytes, which makes copies quick.
const ALIGNMENT: usize = 8;

/// Memory for the answer to one host call at a time.
#[derive(Debug, Default)]
pub struct Memory {
    /// The block. Its length is its capacity, so that all of it is initialised.
    block: Vec<u8>,
    /// Bytes of the block that are handed out.
    used: usize,
    /// Blocks of this call that were too small for its next answer. The proxy may still write to them.
    outgrown: Vec<Vec<u8>>,
    /// Where the answer goes.
    lane: Lane,
}

/// Where the answer to a call goes.
#[derive(Debug, Default)]
enum Lane {
    /// To the block.
    #[default]
    Block,
    /// To an allocation of its own, which is there once the proxy asked for it.
    Own(Option<Vec<u8>>),
}

// === impl Memory ===

impl Memory {
    /// Memory that holds nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { block: Vec::new(), used: 0, outgrown: Vec::new(), lane: Lane::Block }
    }

    /// Begins a call whose answer is read and forgotten. Whatever the calls before it brought is gone: that nobody
    /// holds it any more is what the exclusive reference says.
    #[inline]
    pub fn begin(&mut self) {
        self.used = 0;
        if !self.outgrown.is_empty() || self.block.len() > MAX_KEPT_BYTES {
            self.shrink();
        }
    }

    /// Begins a call whose answer is kept. [`Memory::take`] ends it.
    pub fn begin_own(&mut self) {
        self.begin();
        self.lane = Lane::Own(None);
    }

    /// A place of so many bytes for the proxy; null when there is no memory. It stays valid until the next call begins.
    #[inline]
    pub fn allocate(&mut self, bytes: usize) -> *mut u8 {
        match self.lane {
            Lane::Own(None) => self.allocate_own(bytes),
            Lane::Block | Lane::Own(Some(_)) => self.allocate_in_block(bytes),
        }
    }

    /// The answer that the proxy says it put at `at`. None when it was not handed a place there for so many bytes.
    #[inline]
    #[must_use]
    pub fn answer(&self, at: *const u8, bytes: usize) -> Option<&[u8]> {
        let start = at.addr().checked_sub(self.block.as_ptr().addr())?;
        let end = start.checked_add(bytes).filter(|end| *end <= self.used)?;
        self.block.get(start..end)
    }

    /// Ends the call that [`Memory::begin_own`] began, and gives its answer for good. None as for [`Memory::answer`].
    #[must_use]
    pub fn take(&mut self, at: *const u8, bytes: usize) -> Option<Vec<u8>> {
        let Lane::Own(Some(mut own)) = mem::take(&mut self.lane) else { return None };
        let is_there = own.as_ptr() == at && bytes <= own.len();
        own.truncate(bytes);
        is_there.then_some(own)
    }

    #[cold]
    fn shrink(&mut self) {
        self.outgrown = Vec::new();
        if self.block.len() > MAX_KEPT_BYTES {
            self.block = Vec::new();
        }
    }

    #[cold]
    fn allocate_own(&mut self, bytes: usize) -> *mut u8 {
        let Some(mut own) = zeroed(bytes) else { return null_mut() };
        let at = own.as_mut_ptr();
        self.lane = Lane::Own(Some(own));
        at
    }

    fn allocate_in_block(&mut self, bytes: usize) -> *mut u8 {
        if bytes > self.block.len() - self.used && !self.grow(bytes) {
            return null_mut();
        }
        let at = self.block.as_mut_ptr().wrapping_add(self.used);
        // A block's length is a multiple of the alignment, so this never passes it.
        self.used += bytes.next_multiple_of(ALIGNMENT);
        at
    }

    /// Puts a larger block into the place of the one that is too small.
    #[cold]
    fn grow(&mut self, bytes: usize) -> bool {
        let doubled = (2 * self.block.len()).clamp(MIN_BLOCK_BYTES, MAX_KEPT_BYTES);
        let block = bytes.max(doubled).checked_next_multiple_of(ALIGNMENT).and_then(zeroed);
        let Some(block) = block else { return false };
        self.outgrown.push(mem::replace(&mut self.block, block));
        self.used = 0;
        true
    }
}

fn zeroed(bytes: usize) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    block.try_reserve_exact(bytes).ok()?;
    block.resize(bytes, 0);
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_use_the_same_place_again() {
        let mut memory = Memory::new();
        memory.begin();
        let at = memory.allocate(100);
        assert_eq!(memory.answer(at, 100), Some(&[0; 100][..]));
        for bytes in [1, 100, MIN_BLOCK_BYTES] {
            memory.begin();
            assert_eq!(memory.allocate(bytes), at);
        }
    }

    #[test]
    fn all_places_of_one_call_stay_apart_and_only_the_newest_block_is_read() {
        let mut memory = Memory::new();
        memory.begin();
        let small = memory.allocate(5);
        let beside = memory.allocate(5);
        assert_eq!(beside.addr() - small.addr(), ALIGNMENT);
        let large = memory.allocate(MIN_BLOCK_BYTES);
        assert_eq!(memory.outgrown.iter().filter(|block| block.as_ptr() == small).count(), 1);
        assert_eq!(memory.answer(small, 5), None);
        assert_eq!(memory.answer(large, MIN_BLOCK_BYTES).unwrap().len(), MIN_BLOCK_BYTES);
        memory.begin();
        assert!(memory.outgrown.is_empty());
    }

    #[test]
    fn a_place_that_was_not_handed_out_is_refused() {
        let mut memory = Memory::new();
        memory.begin();
        assert_eq!(memory.answer(null_mut(), 0), None);
        let at = memory.allocate(16);
        for (at, bytes) in [
            (at, 17),
            (at, usize::MAX),
            (at.wrapping_sub(1), 1),
            (at.wrapping_add(16), 1),
            (null_mut(), 1),
            (null_mut(), usize::MAX),
        ] {
            assert_eq!(memory.answer(at, bytes), None, "{bytes}");
        }
        memory.begin();
        assert_eq!(memory.answer(at, 1), None, "the answer before is gone");
    }

    #[test]
    fn an_answer_of_its_own_is_taken_whole() {
        let mut memory = Memory::new();
        memory.begin_own();
        let at = memory.allocate(100);
        let second = memory.allocate(100);
        assert_eq!(memory.answer(second, 100), Some(&[0; 100][..]), "further places are in the block");
        assert_eq!(memory.take(at, 60), Some(vec![0; 60]));
        memory.begin_own();
        let at = memory.allocate(8);
        assert_eq!(memory.take(at, 9), None);
        memory.begin_own();
        assert_eq!(memory.take(null_mut(), 0), None);
        memory.begin();
        let at = memory.allocate(1);
        assert_eq!(memory.take(at, 1), None);
    }

    #[test]
    fn a_block_over_the_limit_is_given_back() {
        let mut memory = Memory::new();
        for bytes in [MAX_KEPT_BYTES, MAX_KEPT_BYTES + 1, 1] {
            memory.begin();
            assert!(memory.block.len() <= MAX_KEPT_BYTES);
            assert!(!memory.allocate(bytes).is_null());
        }
        assert_eq!(memory.allocate(usize::MAX), null_mut());
        assert_eq!(memory.allocate(usize::MAX / 2), null_mut());
    }
}
