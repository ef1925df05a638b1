//! The format of an encoded rule set, version 1. All integers are little-endian.
//!
//! ```text
//! header   magic 8 · format u16 · min_reader u16 · length u32 · revision u64 · content hash u64 · header hash u64
//! content  tenant · dimensions u8 × (name · header) · output header
//!          · sets u32 × (parts u16 × (bytes of an id u16 · ids u32 · 0 · numbers | 1 · hashed))
//!          · tables u32 × (plan · stages u8 × name · levels u8 × (groups u16 × (entry · set u32)) · all)
//!          · services u32 × (name · stable · route default · hosts u16 × host · release)
//! text     length u8 · UTF-8
//! entry    action u8 (0 exclude, 1 gray, 2 percent) · hundredths of a percent u16 · stage u8
//! all      0 | 1 · entry                release   0 | 1 · gray · table u32
//! numbers  text before the digits · smallest u64 · reach u64, the largest less the smallest
//!          | 0 · width u8 · runs u32 · row of 2 × runs distances to the smallest, the first and last of each run · zeros
//!          | 1 · bits u8 · bytes of the blocks u32 · directory (reach / 2^bits + 1) × u32 · blocks of 2^bits distances
//!            · zeros
//! directory  for each block its shape in the lowest 2 bits, 0 if it is empty, and where it starts in the others
//! block    1 · a list: count u16 · row of its distances
//!          | 2 · buckets: for each of 16 its count, 4 bits · row of the distances without the bits that tell the bucket
//!          | 3 · a bitmap: a bit for each distance
//! hashed   for each of ids / 4 + 1 buckets the ids up to its end u32 · the ids, by bucket: XXH64 × buckets / 2^64
//! row      numbers of equal width, from the lowest bit on, up to a whole byte
//! zeros    8 zero bytes
//! ```
//!
//! `length` counts the content's bytes. The content hash is XXH64 (seed 0) of the content, the header hash that of the
//! 32 bytes before it; so equal content has an equal hash whatever its revision. A later format that an older reader
//! may still read keeps `min_reader` and appends to the content; only then may bytes follow the services.

use crate::load::LoadError;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

/// The first bytes of every encoded rule set. The first is not ASCII, so that no text and no JSON is taken for one.
pub(crate) const MAGIC: [u8; 8] = *b"\x89GLRULES";

/// The format that this crate writes, and the newest that it knows.
pub(crate) const FORMAT: u16 = 1;

/// The oldest format whose readers can read what this crate writes.
pub(crate) const MIN_READER: u16 = 1;

/// Bytes of the header: the content starts here.
pub(crate) const HEADER_BYTES: usize = 40;

/// Bytes of the header that the header hash covers.
pub(crate) const HASHED_HEADER_BYTES: usize = 32;

/// Reads fields one after the other, and says which one is missing when the bytes end.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Appends fields to the content.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the next field starts.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], LoadError> {
        let truncated = LoadError::Truncated { what, offset: self.at };
        let end = self.at.checked_add(len).ok_or(truncated.clone())?;
        let bytes = self.bytes.get(self.at..end).ok_or(truncated)?;
        self.at = end;
        Ok(bytes)
    }

    /// Like [`Reader::take`], but gives where the bytes lie.
    pub(crate) fn span(&mut self, len: usize, what: &'static str) -> Result<Range<usize>, LoadError> {
        let start = self.at;
        self.take(len, what)?;
        Ok(start..self.at)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], LoadError> {
        let offset = self.at;
        self.take(N, what)?.try_into().map_err(|_| LoadError::Truncated { what, offset })
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, LoadError> {
        Ok(u8::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, LoadError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, LoadError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, LoadError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A `u8` that is 0 or 1.
    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, LoadError> {
        let offset = self.at;
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(LoadError::Invalid { what, offset }),
        }
    }

    /// A count that must not be over `limit`.
    pub(crate) fn count(&self, what: &'static str, value: u32, limit: usize) -> Result<usize, LoadError> {
        let value = value as usize;
        if value > limit { Err(LoadError::OverLimit { what, value, limit }) } else { Ok(value) }
    }

    /// A text that `is_valid` accepts.
    #[inline(never)]
    pub(crate) fn text(
        &mut self,
        what: &'static str,
        is_valid: fn(&str) -> bool,
    ) -> Result<String, LoadError> {
        let offset = self.at;
        let len = self.u8(what)?;
        let bytes = self.take(usize::from(len), what)?;
        match core::str::from_utf8(bytes) {
            Ok(text) if is_valid(text) => Ok(text.into()),
            _ => Err(LoadError::Invalid { what, offset }),
        }
    }
}

// === impl Writer ===

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a text; its length was checked to fit a `u8` before.
    #[inline(never)]
    pub(crate) fn text(&mut self, text: &str) {
        debug_assert!(text.len() <= usize::from(u8::MAX));
        self.u8(text.len() as u8);
        self.bytes.extend_from_slice(text.as_bytes());
    }
}
