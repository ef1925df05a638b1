//! What a store holds after the power went, or its disk failed, at any moment.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod disk;
mod model;

use disk::{Disk, Fault, Unsynced};
use graylane_store::{RedbStore, Store, StoreError, StoreReader as _, Transaction};
use model::Model;

/// A store's life: a little of everything, and large enough for the file to grow twice.
fn life() -> Vec<Transaction> {
    let step = |number: u64| {
        let large = if number % 4 == 3 { 30_000 } else { 40 };
        let hash = |number: u64| format!("hash{number}");
        Transaction {
            puts: vec![
                (format!("order/{}", number % 3), format!("at {number}").into_bytes()),
                (format!("plan/{number}"), vec![number as u8; 300]),
            ],
            deletes: (number > 4).then(|| format!("plan/{}", number - 3)).into_iter().collect(),
            appends: vec![(number, format!("record {number}").into_bytes())],
            blobs: vec![(hash(number), vec![number as u8; large])],
            blob_deletes: (number % 5 == 4).then(|| hash(number - 2)).into_iter().collect(),
            ..Transaction::default()
        }
    };
    (1..=12).map(step).collect()
}

/// What was acknowledged, and how much had been done to the disk by then.
struct Acknowledged {
    ops: usize,
    content: Model,
}

fn open(disk: &Disk) -> RedbStore {
    RedbStore::with_backend(disk.clone()).unwrap()
}

/// Lives a whole life on a disk.
fn live(disk: &Disk) -> Vec<Acknowledged> {
    let store = open(disk);
    let mut content = Model::default();
    let mut all = vec![Acknowledged { ops: disk.ops(), content: content.clone() }];
    for transaction in life() {
        store.commit(&transaction).unwrap();
        content.commit(&transaction).unwrap();
        all.push(Acknowledged { ops: disk.ops(), content: content.clone() });
    }
    std::mem::forget(store);
    all
}

/// Checks that a store has what was acknowledged when so much had been done, and perhaps the next commit, whole.
fn check(found: &Model, acknowledged: &[Acknowledged], ops: usize, what: &str) {
    let last = acknowledged.iter().rposition(|ack| ack.ops <= ops).unwrap_or(0);
    let may_be: Vec<_> = acknowledged[last..].iter().take(2).map(|ack| &ack.content).collect();
    assert!(may_be.contains(&found), "{what}: revision {} after {last} commits", found.revision);
}

/// F01, F05.
#[test]
fn a_power_cut_at_any_moment_of_commits_and_of_recovery_loses_nothing_acknowledged() {
    let disk = Disk::new(Vec::new());
    let acknowledged = live(&disk);
    let mut starts = 0;
    // What is cut before the file was made is made anew: see `file.rs`.
    for ops in acknowledged[0].ops..=disk.ops() {
        for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(ops as u64)] {
            let what = format!("cut after {ops} operations, {unsynced:?}");
            let once = disk.cut_after(ops, unsynced);
            let store = open(&once);
            check(&Model::of(&store), &acknowledged, ops, &what);
            std::mem::forget(store);
            starts += 1;
            if !matches!(unsynced, Unsynced::Torn(_)) {
                continue;
            }
            for again in 0..once.ops() {
                let twice = once.cut_after(again, Unsynced::Torn(again as u64));
                let found = Model::of(&open(&twice));
                check(&found, &acknowledged, ops, &format!("{what}, and again after {again}"));
                starts += 1;
            }
        }
    }
    assert!(disk.ops() > 150 && starts > 2_000, "{} operations, {starts} starts", disk.ops());
}

/// F03.
#[test]
fn after_a_write_or_sync_that_failed_nothing_is_acknowledged_until_a_new_start() {
    let whole = Disk::new(Vec::new());
    live(&whole);
    let faults = (0..whole.ops()).map(|after| Fault::Fails { after });
    let faults = faults.chain((0..60).map(|after| Fault::SyncFails { after }));
    let mut failures = 0;
    for fault in faults {
        let disk = Disk::new(Vec::new());
        disk.set_fault(fault);
        let Ok(store) = RedbStore::with_backend(disk.clone()) else { continue };
        let mut content = Model::default();
        let mut failed = None;
        for transaction in life() {
            match store.commit(&transaction) {
                Ok(_) if failed.is_some() => panic!("{fault:?}: a commit was acknowledged after a failure"),
                Ok(_) => drop(content.commit(&transaction).unwrap()),
                Err(StoreError::Failed(_)) if failed.is_none() => failed = Some(transaction),
                Err(StoreError::Uncertain) if failed.is_some() => {}
                Err(error) => panic!("{fault:?}: {error}"),
            }
        }
        let Some(failed) = failed else { continue };
        failures += 1;
        assert!(store.get("order/1").is_err(), "{fault:?}: what is read may not be on the disk");
        std::mem::forget(store);
        for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(failures)] {
            let found = Model::of(&open(&disk.cut_after(disk.ops(), unsynced)));
            let mut with_it = content.clone();
            with_it.commit(&failed).unwrap();
            assert!(found == content || found == with_it, "{fault:?}, {unsynced:?}: {}", found.revision);
        }
    }
    assert!(failures > 100, "{failures}");
}

/// F02.
#[test]
fn a_disk_that_is_full_at_any_growth_refuses_and_goes_on_when_there_is_room() {
    let whole = Disk::new(Vec::new());
    live(&whole);
    let mut refusals = 0;
    for len in (0..whole.bytes().len()).step_by(8_192) {
        let disk = Disk::new(Vec::new());
        disk.set_fault(Fault::Full { len });
        let Ok(store) = RedbStore::with_backend(disk.clone()) else { continue };
        let (mut content, mut watch) = (Model::default(), store.watch("", 0).unwrap());
        for transaction in life() {
            let before = Model::of(&store);
            match store.commit(&transaction) {
                Ok(_) => {}
                Err(StoreError::Full { missing, .. }) => {
                    refusals += 1;
                    assert!(missing > 0);
                    assert_eq!(Model::of(&store), before, "what is refused changes nothing, and reads go on");
                    disk.set_fault(Fault::None);
                    store.commit(&transaction).unwrap();
                    disk.set_fault(Fault::Full { len: disk.bytes().len() });
                }
                Err(error) => panic!("{error}"),
            }
            content.commit(&transaction).unwrap();
            content.follow(&watch.poll().unwrap());
            assert_eq!(Model::of(&store), content);
        }
        std::mem::forget(store);
        let found = Model::of(&open(&disk.cut_after(disk.ops(), Unsynced::Lost)));
        assert_eq!(found, content);
    }
    assert!(refusals >= 5, "{refusals}");
}
