//! A request's headers as the proxy hands them over: one block of bytes, read where it lies.
//!
//! ```text
//! map   count u32 · count × (bytes of the name u32 · bytes of the value u32) · count × (name · 0 · value · 0)
//! ```
//! All integers are little-endian. Names and values are bytes: neither needs to be UTF-8.

use graylane_rules::Rules;

/// The name of the pseudo-header that carries the host.
pub const AUTHORITY: &[u8] = b":authority";

/// Which lengths the names of headers have: a bit for each. Most headers are told by it to be of no interest.
#[derive(Clone, Copy, Debug)]
pub struct NameLengths(u64);

/// The headers of a map whose names have one of these lengths, in the order in which they came, doubled ones included.
///
/// Bytes that are no map are never an error: the request then has fewer headers. What is of no interest is not touched.
pub fn pairs(map: &[u8], of_interest: NameLengths) -> impl Iterator<Item = (&[u8], &[u8])> {
    let (lengths, texts) = try_split(map).unwrap_or_default();
    // Forged lengths lead behind the end, however many they are.
    let mut next = 0_u64;
    lengths.iter().filter_map(move |both| {
        let both = u64::from_le_bytes(*both);
        let (name, value) = (both as u32, (both >> 32) as u32);
        let start = next;
        // A zero byte ends each text.
        next = start + u64::from(name) + u64::from(value) + 2;
        if !of_interest.has(name as usize) {
            return None;
        }
        let rest = texts.get(usize::try_from(start).ok()?..)?;
        let (name, rest) = rest.split_at_checked(name as usize)?;
        Some((name, rest.get(1..)?.get(..value as usize)?))
    })
}

/// The lengths of a map, and its texts.
fn try_split(map: &[u8]) -> Option<(&[[u8; 8]], &[u8])> {
    let (count, map) = map.split_first_chunk()?;
    let bytes_of_lengths = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(8)?;
    let (lengths, texts) = map.split_at_checked(bytes_of_lengths)?;
    Some((lengths.as_chunks().0, texts))
}

// === impl NameLengths ===

impl NameLengths {
    /// All lengths.
    pub const ALL: Self = Self(u64::MAX);

    /// The lengths of the names that a decision by `rules` needs.
    #[must_use]
    pub fn of(rules: &Rules) -> Self {
        let headers = rules.dimensions().iter().map(|dimension| dimension.header.len());
        let lengths = headers.chain([rules.output_header().len(), AUTHORITY.len()]);
        Self(lengths.fold(0, |lengths, length| lengths | bit(length)))
    }

    /// Whether a name of so many bytes may be one that matters.
    #[inline]
    #[must_use]
    pub fn has(self, bytes: usize) -> bool {
        self.0 & bit(bytes) != 0
    }
}

/// The bit of a length. The last one is that of all longer names too.
#[inline]
fn bit(length: usize) -> u64 {
    1 << length.min(63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use graylane_rules::{cases, encode};

    fn map(headers: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = (headers.len() as u32).to_le_bytes().to_vec();
        for (name, value) in headers {
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend((value.len() as u32).to_le_bytes());
        }
        for (name, value) in headers {
            bytes.extend([name, &b"\0"[..], value, &b"\0"[..]].concat());
        }
        bytes
    }

    #[test]
    fn headers_come_in_order_with_doubles_empty_values_and_any_bytes() {
        let headers: [(&[u8], &[u8]); 5] =
            [(b":authority", b"loan"), (b"x-a", b""), (b"x-a", b"\xff\0\xfe"), (b"\xff", b"1"), (b"", b"")];
        assert_eq!(pairs(&map(&headers), NameLengths::ALL).collect::<Vec<_>>(), headers);
        assert_eq!(pairs(&map(&[]), NameLengths::ALL).count(), 0);
    }

    #[test]
    fn a_cut_map_only_loses_headers() {
        let headers: [(&[u8], &[u8]); 3] =
            [(b":authority", b"loan"), (b"x-teller", b"T1"), (b"x-branch", b"B1")];
        let whole = map(&headers);
        for end in 0..whole.len() {
            let read: Vec<_> = pairs(&whole[..end], NameLengths::ALL).collect();
            assert!(headers.starts_with(&read), "{end}");
            assert!(read.len() < 3 || end == whole.len() - 1, "{end}");
        }
    }

    #[test]
    fn forged_lengths_end_the_map() {
        let mut bytes = map(&[(b"a", b"b"), (b"c", b"d")]);
        bytes[8..12].fill(0xff);
        assert_eq!(pairs(&bytes, NameLengths::ALL).count(), 0);
        bytes[..4].fill(0xff);
        assert_eq!(pairs(&bytes, NameLengths::ALL).count(), 0);
    }

    #[test]
    fn only_names_of_the_right_length_are_looked_at() {
        let rules = Rules::load(encode(&cases::load().rules, 1).unwrap()).unwrap();
        let lengths = NameLengths::of(&rules);
        let dimensions = rules.dimensions().iter().map(|dimension| dimension.header.as_str());
        let names: Vec<&str> = dimensions.chain([rules.output_header(), ":authority"]).collect();
        for length in 0..300 {
            assert_eq!(lengths.has(length), names.iter().any(|name| name.len() == length), "{length}");
        }
    }
}
