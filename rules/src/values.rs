//! What a request's headers say.

use crate::decide::Decision;
use crate::limits::{MAX_DIMENSIONS, MAX_VALUE_BYTES};
use crate::loaded::Rules;
use crate::words::{caseless, is_same_caseless, last_word};
use alloc::string::String;
use alloc::vec::Vec;

/// What a request's headers say of its dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values<'a> {
    /// The value of each dimension that is present, trimmed, in the rule set's order.
    by_dimension: [Option<&'a [u8]>; MAX_DIMENSIONS],
    /// The headers that were seen: a bit for each place in [`HeaderNames`].
    seen: u32,
    /// Whether a dimension's header occurs more than once.
    is_ambiguous: bool,
    /// Whether a value is longer than [`MAX_VALUE_BYTES`], which makes its dimension absent.
    is_oversize: bool,
    /// What the caller sent in the output header.
    incoming: Incoming<'a>,
}

/// What the caller sent in the output header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// Nothing.
    #[default]
    Absent,
    /// One value.
    Once(&'a [u8]),
    /// More than one value.
    Repeated,
}

/// What has to happen to the output header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'r> {
    /// Nothing: it is as it has to be.
    Keep,
    /// It has to carry this value alone.
    Set(&'r str),
    /// It has to go.
    Remove,
}

/// The names of the headers that matter, side by side: those of the dimensions in their order, then the output header's.
pub(crate) struct HeaderNames(Vec<HeaderName>);

/// A header's name in lower case.
struct HeaderName {
    /// Its [`last_word`], which tells almost all others apart from it.
    last: u64,
    text: String,
}

// === impl Rules ===

impl Rules {
    /// Reads what the decision needs from a request's headers.
    pub fn values<'a>(&self, headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Values<'a> {
        let mut values = Values::default();
        headers.into_iter().for_each(|(name, value)| self.read_header(&mut values, name, value));
        values
    }

    /// Reads one header of a request. Names compare without case; one that means nothing here changes nothing.
    pub fn read_header<'a>(&self, values: &mut Values<'a>, name: &[u8], value: &'a [u8]) {
        let Some(place) = self.header_names.place_of(name) else { return };
        let is_repeated = values.seen & 1 << place != 0;
        values.seen |= 1 << place;
        if place == self.dimensions.len() {
            values.incoming = if is_repeated { Incoming::Repeated } else { Incoming::Once(value) };
        } else if let Some(slot) = values.by_dimension.get_mut(place) {
            values.is_ambiguous |= is_repeated;
            let value = trimmed(value);
            values.is_oversize |= value.len() > MAX_VALUE_BYTES;
            *slot = (1..=MAX_VALUE_BYTES).contains(&value.len()).then_some(value);
        }
    }
}

// === impl Values ===

impl<'a> Values<'a> {
    /// The value of a dimension, when it is present.
    #[must_use]
    pub fn get(&self, dimension: usize) -> Option<&'a [u8]> {
        self.by_dimension.get(dimension).copied().flatten()
    }

    /// Whether a dimension's header occurs more than once.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    /// Whether a dimension counts as absent because its value is longer than [`MAX_VALUE_BYTES`].
    #[must_use]
    pub fn is_oversize(&self) -> bool {
        self.is_oversize
    }

    /// What percentages go by: the value of the most specific dimension that is present.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.by_dimension.iter().copied().flatten().next()
    }

    /// What has to happen to the output header, so that the upstream and the routes see `decision` and nothing else.
    #[must_use]
    pub fn edit<'r>(&self, decision: &Decision<'r>) -> Edit<'r> {
        match (decision.header, self.incoming) {
            (None, Incoming::Absent) => Edit::Keep,
            (None, _) => Edit::Remove,
            (Some(version), Incoming::Once(value)) if version.as_bytes() == value => Edit::Keep,
            (Some(version), _) => Edit::Set(version),
        }
    }
}

// === impl HeaderNames ===

impl HeaderNames {
    /// These names, all in lower case, in this order.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.map(|name| HeaderName { last: last_word(name.as_bytes()), text: name.into() }).collect())
    }

    /// The place of `name`, in any case.
    #[inline]
    fn place_of(&self, name: &[u8]) -> Option<usize> {
        let last = caseless(last_word(name));
        let is_it = |known: &HeaderName| {
            caseless(known.last) == last && is_same_caseless(known.text.as_bytes(), name)
        };
        self.0.iter().position(is_it)
    }
}

/// `value` without the spaces and tabs around it.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::trimmed;

    #[test]
    fn only_spaces_and_tabs_around_are_trimmed() {
        assert_eq!(trimmed(b" \tT 1\t "), b"T 1");
        assert_eq!(trimmed(b" \t "), b"");
        assert_eq!(trimmed(b"\xa0T1\n"), b"\xa0T1\n");
    }
}
