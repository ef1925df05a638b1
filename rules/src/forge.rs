//! What a fuzzer needs to come behind the hashes of a rule set, and to know what it found there.

use crate::loaded::Rules;
use crate::wire::{HASHED_HEADER_BYTES, HEADER_BYTES, MAGIC};
use crate::xxh64::xxh64;

/// Where the header says how long the content is.
const LENGTH_AT: usize = MAGIC.len() + 4;

/// Where the header has the content's hash.
const CONTENT_HASH_AT: usize = HASHED_HEADER_BYTES - 8;

/// Makes the length and both hashes of changed bytes fit again, as whoever forges a rule set would. Bytes that are
/// shorter than a header stay as they are.
pub fn seal(bytes: &mut [u8]) {
    let Some(content) = bytes.get(HEADER_BYTES..) else { return };
    let (length, content_hash) = (content.len() as u32, xxh64(0, content));
    put(bytes, LENGTH_AT, &length.to_le_bytes());
    put(bytes, CONTENT_HASH_AT, &content_hash.to_le_bytes());
    let header_hash = xxh64(0, bytes.get(..HASHED_HEADER_BYTES).unwrap_or_default());
    put(bytes, HASHED_HEADER_BYTES, &header_hash.to_le_bytes());
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

// === impl Rules ===

impl Rules {
    /// The hosts of all services in ascending order.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.service_by_host.iter().map(|(host, _)| host.as_str())
    }

    /// How many ids all sets claim to have. Of a forged rule set that may be many for its bytes.
    #[must_use]
    pub fn ids_claimed(&self) -> usize {
        (0..self.sets.len()).map(|set| self.set_len(set)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::seal;
    use crate::{Rules, cases, encode};

    #[test]
    fn bytes_that_were_sealed_load_although_they_were_changed() {
        let mut bytes = encode(&cases::load().rules, 1).unwrap();
        let whole = bytes.clone();
        seal(&mut bytes);
        assert_eq!(bytes, whole);
        let tenant = bytes.windows(6).position(|window| window == b"retail").unwrap();
        bytes[tenant] = b'd';
        assert!(Rules::load(bytes.clone()).is_err());
        seal(&mut bytes);
        assert_eq!(Rules::load(bytes).unwrap().tenant(), "detail");
        seal(&mut []);
    }
}
