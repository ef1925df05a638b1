//! A set as its parts.

use super::hashed::Hashed;
use super::numbers::Numbers;
use crate::id_set::IdSet;
use crate::limits::{MAX_SET_IDS, MAX_SET_PARTS, MAX_VALUE_BYTES};
use crate::load::LoadError;
use crate::order::sort_by;
use crate::wire::{Reader, Writer};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Digits of the longest number that always fits 64 bits.
const MAX_DIGITS: usize = 19;

/// Texts before digits that one set tells apart. The ids of any others are kept whole.
const MAX_PREFIXES: usize = 16;

/// Texts before digits that the encoder counts before it takes no new ones.
const MAX_PREFIXES_COUNTED: usize = 1_024;

/// An id set whose ids stay in the rule set's bytes.
#[derive(Clone)]
pub(crate) struct Set {
    count: usize,
    parts: Vec<Part>,
}

/// The ids of one length, and of one text before their digits if they are numbers.
#[derive(Clone)]
struct Part {
    /// Bytes of an id.
    id_len: usize,
    /// How many ids.
    count: usize,
    shape: Shape,
}

#[derive(Clone)]
enum Shape {
    Numbers(Vec<u8>, Numbers),
    Hashed(Hashed),
}

// === impl Set ===

impl Set {
    /// Takes a set from where the reader stands. The time does not grow with its ids.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, LoadError> {
        let parts = reader.u16("parts of an id set")?;
        let parts = reader.count("parts of an id set", u32::from(parts), MAX_SET_PARTS)?;
        let parts: Vec<Part> = (0..parts).map(|_| Part::read(reader)).collect::<Result<_, _>>()?;
        let count = parts.iter().map(|part| part.count).sum();
        match count > MAX_SET_IDS {
            true => Err(LoadError::OverLimit { what: "ids of a set", value: count, limit: MAX_SET_IDS }),
            false => Ok(Self { count, parts }),
        }
    }

    /// Writes a set: equal sets as equal bytes.
    pub(crate) fn write(out: &mut Writer, set: &IdSet) {
        let (numbers, whole) = split(set);
        let mut parts = Writer::default();
        let mut count = 0;
        let mut whole = whole;
        for ((id_len, prefix), numbers) in &numbers {
            let mut part = Writer::default();
            let limit = Hashed::bytes_of(numbers.len(), *id_len);
            match Numbers::write(&mut part, numbers, limit) {
                Some(()) => {
                    write_head(&mut parts, *id_len, numbers.len());
                    parts.u8(0);
                    parts.u8(prefix.len() as u8);
                    parts.bytes.extend_from_slice(prefix);
                    parts.bytes.extend(part.bytes);
                    count += 1;
                }
                None => whole.entry(*id_len).or_default().extend(ids_like(set, *id_len, prefix)),
            }
        }
        for ids in whole.values() {
            write_hashed(&mut parts, ids);
            count += 1;
        }
        out.u16(count);
        out.bytes.extend(parts.bytes);
    }

    /// Writes a set with all ids whole: larger, but by less code, for encoders of few ids.
    pub(crate) fn write_whole(out: &mut Writer, set: &IdSet) {
        let mut ids: Vec<&[u8]> = set.iter().collect();
        sort_by(&mut ids, |a, b| a.len().cmp(&b.len()));
        let parts = || ids.chunk_by(|a, b| a.len() == b.len());
        out.u16(parts().count() as u16);
        for ids in parts() {
            write_hashed(out, ids);
        }
    }

    /// How many ids it has.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether it has `id`.
    #[inline]
    pub(crate) fn contains(&self, bytes: &[u8], id: &[u8]) -> bool {
        self.parts.iter().any(|part| part.contains(bytes, id))
    }

    /// Its ids as plain data.
    pub(crate) fn to_id_set(&self, bytes: &[u8]) -> IdSet {
        let mut builder = crate::IdSetBuilder::default();
        self.parts.iter().for_each(|part| part.for_each(bytes, |id| builder.push(id)));
        builder.build()
    }
}

// === impl Part ===

impl Part {
    #[inline(never)]
    fn read(reader: &mut Reader<'_>) -> Result<Self, LoadError> {
        let offset = reader.at();
        let invalid = LoadError::Invalid { what: "part of an id set", offset };
        let id_len = usize::from(reader.u16("bytes of an id")?);
        let count = reader.u32("ids")?;
        let count = reader.count("ids", count, MAX_SET_IDS)?;
        let shape = match reader.u8("shape")? {
            0 => {
                let prefix = usize::from(reader.u8("bytes before digits")?);
                let prefix = reader.take(prefix, "text before digits")?.to_vec();
                if !id_len.checked_sub(prefix.len()).is_some_and(|digits| (1..=MAX_DIGITS).contains(&digits))
                {
                    return Err(invalid);
                }
                Shape::Numbers(prefix, Numbers::read(reader)?)
            }
            1 => Shape::Hashed(Hashed::read(reader, count, id_len)?),
            _ => return Err(invalid),
        };
        match (1..=MAX_VALUE_BYTES).contains(&id_len) {
            true => Ok(Self { id_len, count, shape }),
            false => Err(invalid),
        }
    }

    #[inline]
    fn contains(&self, bytes: &[u8], id: &[u8]) -> bool {
        if id.len() != self.id_len {
            return false;
        }
        match &self.shape {
            Shape::Numbers(prefix, numbers) => {
                // A prefix has a letter or two: to compare them here is quicker than to call for it.
                let (text, digits) = id.split_at_checked(prefix.len()).unwrap_or((id, &[]));
                let is_ours = text.iter().eq(prefix);
                is_ours && number(digits).is_some_and(|number| numbers.contains(bytes, number))
            }
            Shape::Hashed(ids) => ids.contains(bytes, id),
        }
    }

    fn for_each(&self, bytes: &[u8], mut visit: impl FnMut(&[u8])) {
        match &self.shape {
            Shape::Numbers(prefix, numbers) => {
                let mut id = prefix.clone();
                id.resize(self.id_len, b'0');
                numbers.for_each(bytes, self.count, |mut number| {
                    for digit in id.iter_mut().skip(prefix.len()).rev() {
                        *digit = b'0' + (number % 10) as u8;
                        number /= 10;
                    }
                    visit(&id);
                });
            }
            Shape::Hashed(ids) => ids.for_each(bytes, visit),
        }
    }
}

type NumbersByPrefix<'a> = BTreeMap<(usize, &'a [u8]), Vec<u64>>;
type IdsByLength<'a> = BTreeMap<usize, Vec<&'a [u8]>>;

/// The ids that are numbers, by their length and the text before their digits, and all others by their length.
fn split(set: &IdSet) -> (NumbersByPrefix<'_>, IdsByLength<'_>) {
    let (mut by_prefix, mut whole) = (NumbersByPrefix::new(), IdsByLength::new());
    let mut ids = set.iter().peekable();
    while let Some(id) = ids.next() {
        let (prefix, digits) = id.split_at(prefix_len(id));
        let key = (id.len(), prefix);
        if let Some(number) = number(digits)
            && (by_prefix.len() < MAX_PREFIXES_COUNTED || by_prefix.contains_key(&key))
        {
            let numbers = by_prefix.entry(key).or_default();
            numbers.push(number);
            // Most ids are like the one before them.
            while let Some(number) = ids.peek().and_then(|next| number_like(next, id.len(), prefix)) {
                numbers.push(number);
                ids.next();
            }
        }
    }
    let mut by_size: Vec<_> = by_prefix.iter().map(|(key, numbers)| (Reverse(numbers.len()), *key)).collect();
    sort_by(&mut by_size, Ord::cmp);
    for (_, key) in by_size.iter().skip(MAX_PREFIXES) {
        by_prefix.remove(key);
    }
    if by_prefix.values().map(Vec::len).sum::<usize>() < set.len() {
        for id in set.iter() {
            let (prefix, digits) = id.split_at(prefix_len(id));
            if number(digits).is_none() || !by_prefix.contains_key(&(id.len(), prefix)) {
                whole.entry(id.len()).or_default().push(id);
            }
        }
    }
    (by_prefix, whole)
}

/// The ids of this length with this text before their digits.
fn ids_like<'a>(set: &'a IdSet, id_len: usize, prefix: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    set.iter().filter(move |id| id.len() == id_len && id.get(..prefix_len(id)) == Some(prefix))
}

/// The number of an id of this length with this text before its digits.
fn number_like(id: &[u8], id_len: usize, prefix: &[u8]) -> Option<u64> {
    if id.len() == id_len { id.strip_prefix(prefix).and_then(number) } else { None }
}

/// Writes ids of one length as a part.
fn write_hashed(out: &mut Writer, ids: &[&[u8]]) {
    write_head(out, ids.first().map_or(0, |id| id.len()), ids.len());
    out.u8(1);
    Hashed::write(out, ids);
}

fn write_head(out: &mut Writer, id_len: usize, count: usize) {
    out.u16(id_len as u16);
    out.u32(count as u32);
}

/// Bytes of the text before the digits at an id's end.
fn prefix_len(id: &[u8]) -> usize {
    let digits = id.iter().rev().take(MAX_DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
    id.len() - digits
}

/// The number of some digits, of which there are at most [`MAX_DIGITS`].
#[inline]
fn number(digits: &[u8]) -> Option<u64> {
    let (first, eights) = digits.as_rchunks::<8>();
    let mut number = 0_u64;
    for byte in first {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    for eight in eights {
        number = number * 100_000_000 + eight_digits(*eight)?;
    }
    (1..=MAX_DIGITS).contains(&digits.len()).then_some(number)
}

/// The number of eight digits, all at once: neighbours become pairs, pairs fours, and fours the whole (after J. Dvorak
/// and D. Lemire, "Quickly parsing eight digits", 2018).
#[inline]
fn eight_digits(digits: [u8; 8]) -> Option<u64> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let digits = u64::from_le_bytes(digits) ^ (u64::from(b'0') * EACH);
    // What is over nine gets the highest bit of its byte, or has it already.
    if (digits.wrapping_add(0x76 * EACH) | digits) & (0x80 * EACH) != 0 {
        return None;
    }
    let pairs = (digits.wrapping_mul(1 + (10 << 8)) >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(1 + (100 << 16)) >> 16) & 0x0000_FFFF_0000_FFFF;
    Some(fours.wrapping_mul(1 + (10_000 << 32)) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;

    proptest! {
        #[test]
        fn digits_read_as_the_number_that_they_write(digits in "[0-9]{1,19}", at: prop::sample::Index, other: u8) {
            prop_assert_eq!(number(digits.as_bytes()), digits.parse().ok());
            let mut bytes = digits.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = other;
            let text = String::from_utf8(bytes.clone()).ok().filter(|text| !text.starts_with('+'));
            prop_assert_eq!(number(&bytes), text.and_then(|text| text.parse().ok()));
        }
    }
}
