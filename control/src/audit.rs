//! The audit log: who did what to what, why, and what was there before and after.
//!
//! Each record carries the hash of the one before it and its own. So a record that was changed, taken out, put in or moved
//! breaks the chain at its number, and one that was cut off the end is missed by the head, which is kept apart.

use graylane_order::Actor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;
use utoipa::ToSchema;

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its number, counted from 1 without a gap.
    pub number: u64,
    /// When it was done.
    pub at: Timestamp,
    /// The person or the part of the daemon that did it.
    pub actor: String,
    /// What was done, like `order.advance`.
    pub action: String,
    /// To what, like `order 7 of plan loan-2026-11, tenant retail`.
    pub object: String,
    /// Why, in the person's words, where an action takes them.
    pub reason: String,
    /// What was there before; null when there was nothing.
    pub before: Value,
    /// What is there now; null when nothing is.
    pub after: Value,
    /// The hash of the record before this one; 64 zeros for the first.
    pub previous: String,
    /// SHA-256 over this record as one line of JSON, its fields in this order and this one empty; in hexadecimal.
    pub hash: String,
}

/// What becomes a record.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Who, and why.
    pub actor: Actor,
    /// What, like `order.advance`.
    pub action: &'static str,
    /// To what.
    pub object: String,
    /// What was there before.
    pub before: Value,
    /// What is there now.
    pub after: Value,
}

/// The end of a log: how many records it has, and the hash of the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// The number of the last record; 0 when there is none.
    pub number: u64,
    /// Its hash; 64 zeros when there is none.
    pub hash: String,
}

/// Bytes of JSON of one thing that a record shows; a larger one is told by its size and SHA-256.
const MAX_SHOWN_BYTES: usize = 16 << 10;

/// Something as a record shows it.
pub(crate) fn shown(value: &impl Serialize) -> Value {
    let json = serde_json::to_string(value).unwrap_or_default();
    match json.len() {
        bytes if bytes > MAX_SHOWN_BYTES => json!({ "bytes": bytes, "sha256": sha256(&json) }),
        _ => serde_json::from_str(&json).unwrap_or_default(),
    }
}

/// Where a log is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("audit record {number} {what}; the log was changed from outside, restore a backup and compare")]
pub struct Broken {
    /// The number of the record that is not right, or not there.
    pub number: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

// === impl Head ===

impl Default for Head {
    fn default() -> Self {
        Self { number: 0, hash: "0".repeat(64) }
    }
}

impl Head {
    /// The record of what was done at `at`, which is the head from now on.
    pub fn append(&mut self, deed: Deed, at: Timestamp) -> Record {
        let Deed { actor, action, object, before, after } = deed;
        let mut record = Record {
            number: self.number + 1,
            at,
            actor: actor.name,
            action: action.to_owned(),
            object,
            reason: actor.reason,
            before,
            after,
            previous: self.hash.clone(),
            hash: String::new(),
        };
        record.hash = record.own_hash();
        *self = Self { number: record.number, hash: record.hash.clone() };
        record
    }

    /// Checks that `line` is the record behind this head, and goes on to it.
    ///
    /// # Errors
    /// When it is another one, or was changed.
    pub fn follow(&mut self, line: &str) -> Result<Record, Broken> {
        let number = self.number + 1;
        let broken = |what| Err(Broken { number, what });
        let Ok(record) = serde_json::from_str::<Record>(line) else {
            return broken("cannot be read");
        };
        // Whatever does not read back as it was written has something in it that the hash does not cover.
        if record.hash != record.own_hash() || record.line() != line {
            return broken("does not have its hash");
        }
        if record.number != number {
            return broken("is not there");
        }
        if record.previous != self.hash {
            return broken("does not follow the one before it");
        }
        *self = Self { number, hash: record.hash.clone() };
        Ok(record)
    }

    /// Checks that the log ends here.
    ///
    /// # Errors
    /// When `end` is another head.
    pub fn end(&self, end: &Self) -> Result<(), Broken> {
        let (number, what) = match end.number {
            last if last > self.number => (self.number + 1, "is not there"),
            last if last < self.number => (last + 1, "was added"),
            last if end.hash != self.hash => (last, "is not the one that was written"),
            _ => return Ok(()),
        };
        Err(Broken { number, what })
    }
}

// === impl Record ===

impl Record {
    /// The record as one line of JSON: as it is stored and exported.
    #[must_use]
    pub fn line(&self) -> String {
        // A record has no map with keys that are no texts, which is all that JSON cannot write.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn own_hash(&self) -> String {
        let unsigned = Self { hash: String::new(), ..self.clone() };
        sha256(&unsigned.line())
    }
}

fn sha256(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(records: usize) -> (Vec<String>, Head) {
        let mut head = Head::default();
        let line = |at: usize| {
            let actor = Actor { name: "lin".into(), reason: "\"ok\"\n给".into() };
            let after = json!({ "stage": "pilot", "phase": at });
            let deed = Deed {
                actor,
                action: "order.advance",
                object: format!("order {at}"),
                before: Value::Null,
                after,
            };
            head.append(deed, Timestamp::UNIX_EPOCH).line()
        };
        ((0..records).map(line).collect(), head)
    }

    fn verify(lines: &[impl AsRef<str>], end: &Head) -> Result<(), Broken> {
        let mut head = Head::default();
        for line in lines {
            head.follow(line.as_ref())?;
        }
        head.end(end)
    }

    #[test]
    fn a_log_that_nobody_touched_verifies() {
        let (lines, head) = log(5);
        assert_eq!(verify(&lines, &head), Ok(()));
        assert_eq!(verify(&[""; 0], &Head::default()), Ok(()));
        assert!(lines[0].contains(&"0".repeat(64)), "{}", lines[0]);
    }

    #[test]
    fn records_that_are_missing_moved_or_added_are_named() {
        let (lines, head) = log(5);
        let at = |order: &[usize]| -> Vec<&str> { order.iter().map(|at| lines[*at].as_str()).collect() };
        for (order, number) in
            [(&[0, 1, 2, 3][..], 5), (&[0, 1, 3, 4], 3), (&[1, 2, 3, 4], 1), (&[0, 2, 1, 3, 4], 2), (&[], 1)]
        {
            assert_eq!(verify(&at(order), &head).unwrap_err().number, number, "{order:?}");
        }
        let (longer, _) = log(6);
        assert_eq!(verify(&longer, &head).unwrap_err(), Broken { number: 6, what: "was added" });
    }

    #[test]
    fn a_record_that_was_written_anew_with_a_hash_that_fits_breaks_the_next() {
        let (mut lines, head) = log(3);
        let mut record: Record = serde_json::from_str(&lines[1]).unwrap();
        record.actor = "nobody".into();
        record.hash = record.own_hash();
        lines[1] = record.line();
        let broken = verify(&lines, &head).unwrap_err();
        assert_eq!((broken.number, broken.what), (3, "does not follow the one before it"));
        assert_eq!(verify(&lines[..2], &log(2).1).unwrap_err().number, 2, "the last one is held by the head");
    }

    #[test]
    fn every_percentage_reads_back_as_it_was_hashed() {
        let (mut log, mut reader) = (Head::default(), Head::default());
        for hundredths in 0..=10_000 {
            let after = shown(&(f64::from(hundredths) / 100.0));
            let deed =
                Deed { actor: Actor::daemon(), action: "a", object: "b".into(), before: Value::Null, after };
            let line = log.append(deed, Timestamp::UNIX_EPOCH).line();
            assert!(reader.follow(&line).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_is_large_is_shown_by_its_size_and_hash() {
        assert_eq!(shown(&["T1", "T2"]), json!(["T1", "T2"]));
        let large = "x".repeat(MAX_SHOWN_BYTES - 1);
        let hash = sha256(&format!("\"{large}\""));
        assert_eq!(shown(&large), json!({ "bytes": MAX_SHOWN_BYTES + 1, "sha256": hash }));
    }

    proptest! {
        #[test]
        fn one_flipped_byte_is_found_and_its_record_named(at in 0_usize..8, byte: prop::sample::Index, bit in 0_u8..8) {
            let (mut lines, head) = log(8);
            let mut bytes = std::mem::take(&mut lines[at]).into_bytes();
            let byte = byte.index(bytes.len());
            bytes[byte] ^= 1 << bit;
            lines[at] = String::from_utf8_lossy(&bytes).into_owned();
            prop_assert_eq!(verify(&lines, &head).unwrap_err().number, at as u64 + 1);
        }
    }
}
