//! Whether what a store holds is what the daemon wrote: its log is a chain to its end, its lists have their hashes, and its
//! values can be read.

use crate::audit::Head;
use graylane_plan::{list_hash, parse_list};
use graylane_store::Entry;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, BTreeSet};

/// The most damages that are told; more of them say nothing more.
const MAX_DAMAGES: usize = 100;

/// Something that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where: a key, the number of a record, or the hash of a list.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

/// Looks at everything that a store holds, one thing after the other.
#[derive(Default)]
pub struct Inspection {
    /// The end of the log as far as it was seen, until it breaks.
    seen: Head,
    is_log_broken: bool,
    /// The end of the log as it is stored apart from it.
    stored: Head,
    /// The list that each content is for.
    list_by_hash: BTreeMap<String, String>,
    contents: BTreeSet<String>,
    damages: Vec<Damage>,
}

/// What the store keeps of a named list, as far as it matters here.
#[derive(Deserialize)]
struct List {
    hash: String,
}

// === impl Inspection ===

impl Inspection {
    /// Looks at one thing.
    pub fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Value { key, stored } => self.take_value(key, &stored.bytes),
            Entry::Log { number, bytes } => self.take_record(*number, bytes),
            Entry::Blob { hash, bytes } => self.take_list(hash, bytes),
        }
    }

    /// What is wrong, once everything was looked at.
    #[must_use]
    pub fn finish(mut self) -> Vec<Damage> {
        if !self.is_log_broken
            && let Err(broken) = self.seen.end(&self.stored)
        {
            self.note(format!("audit record {}", broken.number), broken.what);
        }
        let lists = std::mem::take(&mut self.list_by_hash).into_iter();
        for (hash, key) in lists.filter(|(hash, _)| !self.contents.contains(hash)).collect::<Vec<_>>() {
            self.note(key, format!("its content {hash} is not there"));
        }
        self.damages
    }

    fn take_value(&mut self, key: &str, bytes: &[u8]) {
        let read = match key.split_once('/') {
            _ if key == "audit/head" => serde_json::from_slice(bytes).map(|head| self.stored = head),
            Some(("list", _)) => serde_json::from_slice::<List>(bytes)
                .map(|list| drop(self.list_by_hash.insert(list.hash, key.to_owned()))),
            _ => serde_json::from_slice::<IgnoredAny>(bytes).map(drop),
        };
        if let Err(error) = read {
            self.note(key, format!("it cannot be read: {error}"));
        }
    }

    fn take_record(&mut self, number: u64, bytes: &[u8]) {
        // Behind a break every record is one that does not follow.
        if self.is_log_broken {
            return;
        }
        if let Err(broken) = self.seen.follow(&String::from_utf8_lossy(bytes)) {
            self.is_log_broken = true;
            self.note(format!("audit record {}", broken.number.min(number)), broken.what);
        }
    }

    fn take_list(&mut self, hash: &str, bytes: &[u8]) {
        self.contents.insert(hash.to_owned());
        let ids = std::str::from_utf8(bytes).ok().and_then(|text| parse_list(text).ok());
        if ids.is_none_or(|ids| list_hash(&ids) != hash) {
            self.note(format!("list content {hash}"), "it does not have this hash");
        }
    }

    fn note(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.damages.len() < MAX_DAMAGES {
            self.damages.push(Damage { place: place.into(), what: what.into() });
        }
    }
}
