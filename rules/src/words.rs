//! Texts as words of eight bytes. In the sandbox, where there are no vector instructions, one at a time is slow.

/// The lower-case bit of eight ASCII letters.
const LOWER: u64 = 0x2020_2020_2020_2020;

/// The last eight bytes of a text, or all of a shorter one, as a word.
#[inline]
pub(crate) fn last_word(text: &[u8]) -> u64 {
    text.last_chunk().map_or_else(
        || text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        |last| u64::from_le_bytes(*last),
    )
}

/// A word in which letters have no case. Some other characters become one, too.
#[inline]
pub(crate) fn caseless(word: u64) -> u64 {
    word | LOWER
}

/// Whether `known`, which is in lower case, is `text` in any case. Almost every text comes as it is known.
#[inline]
pub(crate) fn is_same_caseless(known: &[u8], text: &[u8]) -> bool {
    known.len() == text.len() && (is_same(known, text) || is_same_by_bytes(known, text))
}

/// Whether two texts of one length are the same.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let words = || one.as_chunks().0.iter().zip(other.as_chunks().0);
    match (one.last_chunk(), other.last_chunk()) {
        // The last eight bytes may overlap the words before them, which is quicker than to fill up what is left.
        (Some(a), Some(b)) => word(a) == word(b) && words().all(|(a, b)| word(a) == word(b)),
        _ => one == other,
    }
}

#[cold]
fn is_same_by_bytes(known: &[u8], text: &[u8]) -> bool {
    known.eq_ignore_ascii_case(text)
}
