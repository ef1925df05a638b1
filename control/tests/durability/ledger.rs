//! What the audit log says, read on after each start and checked against what was acknowledged.

use crate::daemon::Daemon;
use crate::operator::Operator;
use graylane::audit::{Head, Record};
use std::collections::BTreeSet;

/// A reader of the audit log that has seen all up to a place.
#[derive(Default)]
pub struct Ledger {
    head: Head,
    reasons: BTreeSet<String>,
}

// === impl Ledger ===

impl Ledger {
    /// Reads what is new, and checks the chain to its end.
    pub fn read_on(&mut self, daemon: &Daemon) -> Vec<Record> {
        let mut new = Vec::new();
        loop {
            let path = format!("/api/v1/audit?after={}&limit=1000", self.head.number);
            let page = daemon.request("GET", &path, &[], b"").json;
            for line in page["records"].as_array().unwrap() {
                new.push(self.head.follow(line.as_str().unwrap()).unwrap());
            }
            let end: Head = serde_json::from_value(page["head"].clone()).unwrap();
            if self.head.number >= end.number {
                self.head.end(&end).unwrap();
                break;
            }
        }
        // A tenant's first plan makes the tenant, for the same reason.
        let by_people = |record: &&Record| !record.reason.is_empty() && record.action != "tenant.set";
        for record in new.iter().filter(by_people) {
            assert!(self.reasons.insert(record.reason.clone()), "done twice: {record:?}");
        }
        new
    }

    /// Checks that all that an operator was told is there, and tells whether the last thing asked for was done.
    pub fn settle(&self, operator: &mut Operator) -> bool {
        for reason in operator.acknowledged.drain(..) {
            assert!(self.reasons.contains(&reason), "{reason:?} was acknowledged, and is lost");
        }
        operator.unanswered.as_ref().is_some_and(|asked| self.reasons.contains(&asked.reason))
    }
}
