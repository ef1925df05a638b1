//! A store in a real file.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use graylane_store::{FILE, RedbStore, Store, StoreError, StoreReader as _, Stored, Transaction};
use redb::{Database, TableDefinition};
use std::path::Path;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Writes a row as another version of the program would.
fn set(dir: &Path, layout: u64) {
    let db = Database::create(dir.join(FILE)).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(META).unwrap().insert("layout", layout).unwrap();
    txn.commit().unwrap();
}

fn put(key: &str, value: &str) -> Transaction {
    Transaction { puts: vec![(key.to_owned(), value.into())], ..Transaction::default() }
}

#[test]
fn the_layouts_before_are_read_and_a_later_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    for before in [1, 2] {
        set(dir.path(), before);
        assert_eq!(RedbStore::open(dir.path()).unwrap().log(0, 9).unwrap(), []);
    }
    set(dir.path(), 4);
    assert!(matches!(RedbStore::open(dir.path()), Err(StoreError::Layout { found: 4, .. })));
}

#[test]
fn what_was_committed_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    let blobs = vec![("hash".to_owned(), b"ids".to_vec())];
    let revision = store.commit(&Transaction { blobs, epoch: 4, ..put("a", "1") }).unwrap();
    drop(store);
    let store = RedbStore::open(dir.path()).unwrap();
    let listed = store.list("a").unwrap();
    assert_eq!(listed.values, [("a".to_owned(), Stored { revision, bytes: b"1".to_vec() })]);
    assert_eq!((listed.revision, store.epoch().unwrap()), (revision, 4));
    assert_eq!(store.blob("hash").unwrap(), b"ids");
    assert!(matches!(store.commit(&put("a", "2")), Err(StoreError::Fenced { seen: 4, .. })));
    assert!(matches!(store.watch("", 0), Err(StoreError::Compacted { after: 0 })));
    assert_eq!(store.watch("", revision).unwrap().poll().unwrap(), []);
}

#[test]
fn a_second_opener_is_told_that_the_store_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let first = RedbStore::open(dir.path()).unwrap();
    assert!(matches!(RedbStore::open(dir.path()), Err(StoreError::InUse { .. })));
    drop(first);
    RedbStore::open(dir.path()).unwrap();
}
