//! A store as a child would write it, and everything that a real one says.

#![allow(dead_code, reason = "each test file uses its part")]

use graylane_store::{Change, Event, Rev, Store, StoreError, Transaction};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// All that a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub values: BTreeMap<String, (Rev, Vec<u8>)>,
    pub log: Vec<(u64, Vec<u8>)>,
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub revision: Rev,
    pub epoch: u64,
}

impl Model {
    /// What a store holds.
    pub fn of(store: &dyn Store) -> Self {
        let listed = store.list("").unwrap();
        let values = listed.values.into_iter().map(|(key, stored)| (key, (stored.revision, stored.bytes)));
        let hashes = store.blob_hashes().unwrap().into_iter();
        Self {
            values: values.collect(),
            log: store.log(0, usize::MAX).unwrap(),
            blobs: hashes.map(|hash| (hash.clone(), store.blob(&hash).unwrap())).collect(),
            revision: listed.revision,
            epoch: store.epoch().unwrap(),
        }
    }

    pub fn commit(&mut self, transaction: &Transaction) -> Result<Rev, String> {
        let mut next = self.clone();
        next.revision += 1;
        if transaction.epoch < self.epoch {
            return Err(StoreError::Fenced { epoch: transaction.epoch, seen: self.epoch }.to_string());
        }
        next.epoch = transaction.epoch;
        for (key, expected) in &transaction.expects {
            if self.values.get(key).map(|(revision, _)| *revision) != *expected {
                return Err(StoreError::Conflict { key: key.clone() }.to_string());
            }
        }
        for (key, bytes) in &transaction.puts {
            next.values.insert(key.clone(), (next.revision, bytes.clone()));
        }
        for key in &transaction.deletes {
            next.values.remove(key);
        }
        for (number, entry) in &transaction.appends {
            if next.log.iter().any(|(other, _)| other == number) {
                return Err(StoreError::Conflict { key: format!("log/{number}") }.to_string());
            }
            next.log.push((*number, entry.clone()));
        }
        next.log.sort();
        for hash in &transaction.blob_deletes {
            next.blobs.remove(hash);
        }
        next.blobs.extend(transaction.blobs.iter().cloned());
        *self = next;
        Ok(self.revision)
    }

    /// Checks that the events of the last commit, and only those, were told.
    pub fn follow(&self, events: &[Event]) {
        for Event { revision, key, change } in events {
            assert_eq!(*revision, self.revision);
            let found = self.values.get(key);
            match change {
                Change::Put(bytes) => assert_eq!(found, Some(&(*revision, bytes.to_vec()))),
                Change::Deleted => assert_eq!(found, None),
            }
        }
        let written = self.values.iter().filter(|(_, (revision, _))| *revision == self.revision);
        let told = events.iter().filter(|event| matches!(event.change, Change::Put(_))).count();
        assert!(events.is_empty() || written.count() == told);
    }
}

/// Any transaction over few names, so that they meet.
pub fn transaction() -> impl Strategy<Value = Transaction> {
    let key = || "[ab]{1,2}";
    let bytes = || vec(any::<u8>(), 0..40);
    let expects = vec((key(), prop::option::weighted(0.3, 1..6_u64)), 0..2);
    let values = (expects, vec((key(), bytes()), 0..4), vec(key().prop_map(String::from), 0..2));
    let rest = (vec((1..12_u64, bytes()), 0..2), vec(("[xy]", bytes()), 0..2), vec("[xy]", 0..2), 0..3_u64);
    (values, rest).prop_map(|((expects, puts, deletes), (appends, blobs, blob_deletes, epoch))| Transaction {
        expects,
        puts,
        deletes,
        appends,
        blobs,
        blob_deletes,
        epoch,
        is_rescue: false,
    })
}
