//! A request's headers as the proxy hands them over: one block of bytes, read where it lies.
//!
//! ```text
//! map   count u32 · count × (bytes of the name u32 · bytes of the value u32) · count × (name · 0 · value · 0)
//! ```
//! All integers are little-endian. Names and values are bytes: neither needs to be UTF-8.

use graylane_rules::Rules;
use graylane_rules::limits::MAX_HEADER_BYTES;

/// The name of the pseudo-header that carries the host.
pub const AUTHORITY: &[u8] = b":authority";

/// The headers of a map, in the order in which they came, doubled ones included. See [`pairs`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    /// The bytes of name and value of the headers to come.
    lengths: core::slice::Iter<'a, [u8; 8]>,
    /// The headers to come.
    rest: &'a [u8],
}

/// Which lengths the names of the headers have that rules look at. Most headers are told by it to be others.
#[derive(Clone, Copy, Debug)]
pub struct NameLengths(u128);

/// Reads a map. Bytes that are none end early, and are never an error: the request then has fewer headers.
#[must_use]
pub fn pairs(map: &[u8]) -> Pairs<'_> {
    try_pairs(map).unwrap_or(Pairs { lengths: [].iter(), rest: &[] })
}

fn try_pairs(map: &[u8]) -> Option<Pairs<'_>> {
    let (count, map) = map.split_first_chunk()?;
    let bytes_of_lengths = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(8)?;
    let (lengths, rest) = map.split_at_checked(bytes_of_lengths)?;
    Some(Pairs { lengths: lengths.as_chunks().0.iter(), rest })
}

// === impl Pairs ===

impl<'a> Pairs<'a> {
    /// The next text of this length, without the zero byte behind it.
    fn text(&mut self, bytes: u32) -> Option<&'a [u8]> {
        let (text, rest) = self.rest.split_at_checked(usize::try_from(bytes).ok()?)?;
        self.rest = rest.split_first()?.1;
        Some(text)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [a, b, c, d, e, f, g, h] = *self.lengths.next()?;
        let name = self.text(u32::from_le_bytes([a, b, c, d]))?;
        Some((name, self.text(u32::from_le_bytes([e, f, g, h]))?))
    }
}

// === impl NameLengths ===

// A length is a bit.
const _: () = assert!(MAX_HEADER_BYTES < u128::BITS as usize);

impl NameLengths {
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

#[inline]
fn bit(length: usize) -> u128 {
    u32::try_from(length).ok().and_then(|length| 1_u128.checked_shl(length)).unwrap_or(0)
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
        assert_eq!(pairs(&map(&headers)).collect::<Vec<_>>(), headers);
        assert_eq!(pairs(&map(&[])).count(), 0);
    }

    #[test]
    fn a_cut_map_only_loses_headers() {
        let headers: [(&[u8], &[u8]); 3] =
            [(b":authority", b"loan"), (b"x-teller", b"T1"), (b"x-branch", b"B1")];
        let whole = map(&headers);
        for end in 0..whole.len() {
            let read: Vec<_> = pairs(&whole[..end]).collect();
            assert!(read.len() < 3 && headers.starts_with(&read), "{end}");
        }
    }

    #[test]
    fn forged_lengths_end_the_map() {
        let mut bytes = map(&[(b"a", b"b"), (b"c", b"d")]);
        bytes[8..12].fill(0xff);
        assert_eq!(pairs(&bytes).count(), 0);
        bytes[..4].fill(0xff);
        assert_eq!(pairs(&bytes).count(), 0);
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
