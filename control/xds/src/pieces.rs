//! A message around rules that are not copied into it.
//!
//! Prost would copy what a message holds into each message around it: six times for a resource, and once more for each response.
//! 2 MB for 1,000 proxies would be 2 GB until the slowest has read. So here whatever holds the rules holds them as its last field,
//! which protobuf allows, and all that is its own stands before them.

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, string};

/// A message in the pieces in which it is handed to the socket.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    /// All that comes before the rules.
    pub(crate) head: Bytes,
    /// The rules, shared by all that holds them.
    pub(crate) rules: Bytes,
}

// === impl Pieces ===

impl Pieces {
    /// The rules, with nothing around them yet.
    pub(crate) fn new(rules: Bytes) -> Self {
        Self { head: Bytes::new(), rules }
    }

    /// The message that holds these as a field, behind its other fields.
    pub(crate) fn within(&self, others: &[u8], field: u32) -> Self {
        let head = [others, &start(field, self.len()), &self.head].concat();
        Self { head: head.into(), rules: self.rules.clone() }
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.rules.len()
    }

    /// The pieces in the order of the wire.
    pub(crate) fn in_order(&self) -> [&[u8]; 2] {
        [&self.head, &self.rules]
    }
}

/// What stands before a field of so many bytes.
pub(crate) fn start(field: u32, bytes: usize) -> Vec<u8> {
    let bytes = bytes as u64;
    let mut encoded = Vec::with_capacity(key_len(field) + encoded_len_varint(bytes));
    encode_key(field, WireType::LengthDelimited, &mut encoded);
    encode_varint(bytes, &mut encoded);
    encoded
}

/// A text as a field, or nothing where it is empty, as proto3 has it.
pub(crate) fn text(field: u32, text: &String) -> Vec<u8> {
    let mut encoded = Vec::new();
    if !text.is_empty() {
        encoded.reserve(string::encoded_len(field, text));
        string::encode(field, text, &mut encoded);
    }
    encoded
}
