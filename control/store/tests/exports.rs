//! An export is the store, or it is refused.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod model;

use graylane_store::{
    Counts, ExportError, MemoryStore, RedbStore, Store, StoreError, Transaction, export, read_export,
};
use model::Model;
use proptest::prelude::*;
use std::fs;

fn exported(store: &dyn Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(store, &mut bytes).unwrap();
    bytes
}

/// The number of the line at which an export is refused.
fn refused(bytes: &[u8]) -> u64 {
    match read_export(bytes, |_| Ok(())) {
        Err(ExportError::Line { line, .. }) => line,
        other => panic!("{other:?}"),
    }
}

fn small() -> MemoryStore {
    let store = MemoryStore::new();
    for number in 1..4 {
        let transaction = Transaction {
            puts: vec![
                (format!("order/{number}"), b"{\"x\":\"\\n\"}".to_vec()),
                ("raw".into(), vec![0xff, number as u8]),
            ],
            appends: vec![(number, format!("record {number}").into_bytes())],
            blobs: vec![(format!("hash{number}"), "柜员\n".into())],
            epoch: 2,
            ..Transaction::default()
        };
        store.commit(&transaction).unwrap();
    }
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn an_imported_store_is_the_one_that_was_exported(transactions in prop::collection::vec(model::transaction(), 0..12)) {
        let store = MemoryStore::new();
        for transaction in &transactions {
            let _ = store.commit(transaction);
        }
        let (bytes, dir) = (exported(&store), tempfile::tempdir().unwrap());
        RedbStore::import(dir.path(), bytes.as_slice()).unwrap();
        let imported = RedbStore::open(dir.path()).unwrap();
        prop_assert_eq!(Model::of(&imported), Model::of(&store));
        prop_assert_eq!(exported(&imported), bytes, "and its export is the same");
        let last = Model::of(&store).revision;
        let next = Transaction { epoch: 9, ..Transaction::default() };
        prop_assert_eq!(imported.commit(&next).unwrap(), last + 1);
    }
}

#[test]
fn an_export_has_a_line_for_each_thing_and_reads_as_text_where_it_is() {
    let bytes = exported(&small());
    let text = String::from_utf8(bytes.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 4 + 3 + 3 + 1, "{text}");
    assert!(lines[0].starts_with(r#"{"store":{"format":1,"revision":3,"epoch":2},"sum":""#), "{text}");
    assert!(
        lines[1].contains(r#"{"key":"order/1","revision":1,"content":{"text":"{\"x\":\"\\n\"}"}}"#),
        "{text}"
    );
    assert!(lines[4].contains(r#""content":{"base64":"/wM="}"#), "{text}");
    assert!(lines[5].contains(r#"{"number":1,"content":{"text":"record 1"}}"#), "{text}");
    assert!(lines[8].contains(r#"{"hash":"hash1","content":{"text":"柜员\n"}}"#), "{text}");
    assert!(lines[11].contains(r#"{"end":{"values":4,"log":3,"blobs":3},"sum""#), "{text}");
    let (standing, counts) = read_export(bytes.as_slice(), |_| Ok(())).unwrap();
    assert_eq!((standing.revision, standing.epoch), (3, 2));
    assert_eq!(counts, Counts { values: 4, log: 3, blobs: 3 });
}

#[test]
fn a_flipped_bit_anywhere_is_refused_at_its_line() {
    let bytes = exported(&small());
    let mut line = 1;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert_eq!(refused(&changed), line, "byte {at}");
        line += u64::from(bytes[at] == b'\n');
    }
}

#[test]
fn a_cut_anywhere_is_refused_at_the_line_that_is_not_whole() {
    let bytes = exported(&small());
    for len in 0..bytes.len() {
        let whole = bytes[..len].iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(refused(&bytes[..len]), whole + 1, "{len} bytes");
    }
}

#[test]
fn lines_that_are_missing_moved_or_added_are_refused() {
    let bytes = exported(&small());
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() - 1 {
        let mut less = lines.clone();
        less.remove(at);
        assert_eq!(refused(&less.concat()), at as u64 + 1);
        let mut moved = lines.clone();
        moved.swap(at, at + 1);
        assert_eq!(refused(&moved.concat()), at as u64 + 1);
    }
    let twice = [bytes.as_slice(), bytes.as_slice()].concat();
    assert_eq!(refused(&twice), lines.len() as u64 + 1);
}

#[test]
fn what_is_refused_leaves_nothing_behind_and_what_is_there_stays() {
    let (bytes, dir) = (exported(&small()), tempfile::tempdir().unwrap());
    let data = dir.path().join("data");
    let cut = RedbStore::import(&data, &bytes[..bytes.len() - 1]).unwrap_err();
    assert!(matches!(cut, ExportError::Line { line: 12, .. }), "{cut}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    RedbStore::import(&data, bytes.as_slice()).unwrap();
    let before = fs::read(data.join("graylane.redb")).unwrap();
    let again = RedbStore::import(&data, bytes.as_slice()).unwrap_err();
    assert!(matches!(again, ExportError::Store(StoreError::NotEmpty { .. })), "{again}");
    assert_eq!(fs::read(data.join("graylane.redb")).unwrap(), before);
}
