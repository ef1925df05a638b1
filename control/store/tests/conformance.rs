//! What every store does, whatever it keeps its content in. Each law is run on each back-end.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod model;

use graylane_store::{
    Change, Event, MAX_BLOB_BYTES, MAX_HISTORY_EVENTS, MAX_KEY_BYTES, MAX_LOG_READ_BYTES, MAX_VALUE_BYTES,
    MemoryStore, RedbStore, Rev, Store, StoreError, Stored, Transaction,
};
use model::Model;
use proptest::prelude::*;
use redb::backends::InMemoryBackend;
use std::sync::Arc;

fn memory() -> impl Store + 'static {
    MemoryStore::new()
}

fn embedded() -> impl Store + 'static {
    RedbStore::with_backend(InMemoryBackend::new()).unwrap()
}

macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        mod in_memory { $(#[test] fn $law() { super::$law(super::memory()); })* }
        mod in_a_file { $(#[test] fn $law() { super::$law(super::embedded()); })* }
    };
}

laws! {
    a_commit_on_an_old_revision_changes_nothing,
    a_commit_is_read_at_its_revision,
    a_list_has_the_keys_of_its_prefix_in_order,
    the_log_grows_with_what_else_is_committed_and_its_entries_stay,
    a_read_of_the_log_has_few_bytes_and_at_least_one_entry,
    a_blob_may_come_again_and_goes_when_nothing_names_it,
    a_writer_whose_epoch_is_over_is_refused,
    sizes_over_the_limit_are_refused_by_name,
    a_watch_tells_every_change_once_and_in_order,
    a_watch_of_what_is_no_longer_kept_says_so,
    a_watch_wakes_when_something_changes,
    writers_at_the_same_time_lose_no_update,
    random_transactions_do_what_the_model_does,
}

fn put(key: &str, value: &str, expected: Option<Rev>) -> Transaction {
    let expects = vec![(key.to_owned(), expected)];
    Transaction { expects, puts: vec![(key.to_owned(), value.into())], ..Transaction::default() }
}

fn event(revision: Rev, key: &str, value: Option<&str>) -> Event {
    let change = value.map_or(Change::Deleted, |value| Change::Put(value.as_bytes().into()));
    Event { revision, key: key.to_owned(), change }
}

fn a_commit_on_an_old_revision_changes_nothing(store: impl Store) {
    let first = store.commit(&put("plan/a", "1", None)).unwrap();
    let second = store.commit(&put("plan/a", "2", Some(first))).unwrap();
    for expected in [Some(first), None, Some(second + 1)] {
        let mut late = put("plan/a", "3", expected);
        late.puts.push(("plan/b".into(), vec![]));
        late.appends.push((1, vec![]));
        late.blobs.push(("hash".into(), vec![]));
        late.epoch = 7;
        assert!(matches!(store.commit(&late), Err(StoreError::Conflict { key }) if key == "plan/a"));
    }
    let listed = store.list("plan/").unwrap();
    assert_eq!((listed.values.len(), listed.revision), (1, second));
    assert_eq!(listed.values[0].1.bytes, b"2");
    assert_eq!((store.log_end().unwrap(), store.epoch().unwrap()), (0, 0));
    assert!(store.blob("hash").is_err());
    assert_eq!(store.watch("", second).unwrap().poll().unwrap(), []);
}

fn a_commit_is_read_at_its_revision(store: impl Store) {
    assert_eq!(store.get("a").unwrap(), None);
    for expected in [None, Some(1), Some(2)] {
        let revision = store.commit(&put("a", "x", expected)).unwrap();
        assert_eq!(revision, expected.unwrap_or(0) + 1);
        assert_eq!(store.get("a").unwrap(), Some(Stored { revision, bytes: b"x".to_vec() }));
        assert_eq!(store.list("").unwrap().revision, revision);
    }
    let other = store.commit(&put("b", "y", None)).unwrap();
    assert_eq!((other, store.get("a").unwrap().unwrap().revision), (4, 3), "only what is written moves on");
}

fn a_list_has_the_keys_of_its_prefix_in_order(store: impl Store) {
    for key in ["a/2", "b/1", "a/1", "a", "a0", "", "a/\u{10ffff}"] {
        store.commit(&put(key, key, None)).unwrap();
    }
    let keys = |prefix| -> Vec<String> {
        store.list(prefix).unwrap().values.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys("a/"), ["a/1", "a/2", "a/\u{10ffff}"]);
    assert_eq!(keys(""), ["", "a", "a/1", "a/2", "a/\u{10ffff}", "a0", "b/1"]);
    assert_eq!(keys("c"), [""; 0]);
}

fn the_log_grows_with_what_else_is_committed_and_its_entries_stay(store: impl Store) {
    assert_eq!(store.log_end().unwrap(), 0);
    let append = |number: u64, expected| Transaction {
        appends: vec![(number, number.to_string().into_bytes())],
        ..put("a", "1", expected)
    };
    let first = store.commit(&append(1, None)).unwrap();
    for late in [append(1, Some(first)), append(2, None)] {
        assert!(matches!(store.commit(&late), Err(StoreError::Conflict { .. })));
    }
    let second = store.commit(&append(2, Some(first))).unwrap();
    let entry = |number: u64| (number, number.to_string().into_bytes());
    assert_eq!(store.log(0, 9).unwrap(), [entry(1), entry(2)]);
    assert_eq!((store.log(1, 9).unwrap(), store.log(0, 1).unwrap()), (vec![entry(2)], vec![entry(1)]));
    assert_eq!((store.log(u64::MAX, 9).unwrap(), store.log_end().unwrap()), (vec![], 2));
    let twice = Transaction { appends: vec![(3, vec![]), (3, vec![])], ..Transaction::default() };
    assert!(matches!(store.commit(&twice), Err(StoreError::Conflict { key }) if key == "log/3"));
    store.commit(&append(9, Some(second))).unwrap();
    assert_eq!(store.log_end().unwrap(), 9, "a gap is for the readers to judge");
}

fn a_read_of_the_log_has_few_bytes_and_at_least_one_entry(store: impl Store) {
    let half = vec![0; MAX_LOG_READ_BYTES / 2];
    let appends = vec![(1, vec![0; MAX_LOG_READ_BYTES + 1]), (2, half.clone()), (3, half.clone()), (4, half)];
    store.commit(&Transaction { appends, ..Transaction::default() }).unwrap();
    let numbers =
        |after| -> Vec<u64> { store.log(after, 9).unwrap().into_iter().map(|(number, _)| number).collect() };
    assert_eq!((numbers(0), numbers(1), numbers(3)), (vec![1], vec![2, 3], vec![4]));
}

fn a_blob_may_come_again_and_goes_when_nothing_names_it(store: impl Store) {
    let keep = |hash: &str| Transaction {
        blobs: vec![(hash.to_owned(), hash.as_bytes().to_vec())],
        ..Transaction::default()
    };
    for hash in ["b", "a", "b"] {
        store.commit(&keep(hash)).unwrap();
        assert_eq!(store.blob(hash).unwrap(), hash.as_bytes());
    }
    assert_eq!(store.blob_hashes().unwrap(), ["a", "b"]);
    let drop_a = Transaction { blob_deletes: vec!["a".into(), "none".into()], ..Transaction::default() };
    store.commit(&drop_a).unwrap();
    assert!(matches!(store.blob("a"), Err(StoreError::NoBlob { hash }) if hash == "a"));
    store.commit(&Transaction { blob_deletes: vec!["b".into()], ..keep("b") }).unwrap();
    assert_eq!(store.blob_hashes().unwrap(), ["b"], "what a commit brings, it does not take away");
}

fn a_writer_whose_epoch_is_over_is_refused(store: impl Store) {
    let in_epoch = |epoch, key: &str| Transaction { epoch, ..put(key, "1", None) };
    store.commit(&in_epoch(0, "a")).unwrap();
    store.commit(&in_epoch(3, "b")).unwrap();
    assert_eq!(store.epoch().unwrap(), 3);
    for late in [0, 2] {
        let refused = store.commit(&in_epoch(late, "c"));
        assert!(matches!(refused, Err(StoreError::Fenced { epoch, seen: 3 }) if epoch == late));
    }
    assert_eq!(store.commit(&in_epoch(3, "c")).unwrap(), 3);
}

fn sizes_over_the_limit_are_refused_by_name(store: impl Store) {
    let key = "k".repeat(MAX_KEY_BYTES + 1);
    let told = |transaction: &Transaction| match store.commit(transaction) {
        Err(error @ StoreError::TooLarge { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let value = put("plan/a", "", None);
    let value = Transaction { puts: vec![("plan/a".into(), vec![0; MAX_VALUE_BYTES + 1])], ..value };
    let text = told(&value);
    assert_eq!(
        text,
        format!("plan/a has {} bytes, over the limit of {MAX_VALUE_BYTES}", MAX_VALUE_BYTES + 1)
    );
    assert!(told(&put(&key, "", None)).contains("key that starts with \"kkk"));
    assert!(told(&Transaction { deletes: vec![key.clone()], ..Transaction::default() }).contains("key"));
    let entry = Transaction { appends: vec![(4, vec![0; MAX_VALUE_BYTES + 1])], ..Transaction::default() };
    assert!(told(&entry).contains("entry 4"));
    let blob = vec![("abc".to_owned(), vec![0; MAX_BLOB_BYTES + 1])];
    assert!(told(&Transaction { blobs: blob, ..Transaction::default() }).contains("content abc"));
    let half = |name: &str| (name.to_owned(), vec![0; MAX_BLOB_BYTES]);
    let blobs = vec![half("a"), half("b"), ("c".to_owned(), vec![0])];
    assert!(told(&Transaction { blobs, ..Transaction::default() }).contains("the transaction"));
    assert_eq!(store.list("").unwrap().revision, 0);
    let largest = put(&"k".repeat(MAX_KEY_BYTES), "", None);
    store.commit(&largest).unwrap();
}

fn a_watch_tells_every_change_once_and_in_order(store: impl Store) {
    let first = store.commit(&put("plan/a", "1", None)).unwrap();
    let (mut all, mut late) = (store.watch("", first).unwrap(), store.watch("plan/", first).unwrap());
    let mut second = put("plan/b", "2", None);
    second.puts.push(("order/1".into(), b"x".to_vec()));
    second.puts.push(("gone".into(), b"y".to_vec()));
    second.deletes = vec!["plan/a".into(), "gone".into()];
    let second = store.commit(&second).unwrap();
    let plan_a = event(second, "plan/a", None);
    let plan_b = event(second, "plan/b", Some("2"));
    assert_eq!(
        all.poll().unwrap(),
        [event(second, "gone", None), event(second, "order/1", Some("x")), plan_a.clone(), plan_b.clone()]
    );
    assert_eq!(all.poll().unwrap(), []);
    let third = store.commit(&put("order/2", "z", None)).unwrap();
    assert_eq!(late.poll().unwrap(), [plan_a.clone(), plan_b.clone()]);
    assert_eq!(
        (all.poll().unwrap(), late.poll().unwrap()),
        (vec![event(third, "order/2", Some("z"))], vec![])
    );
    let again = store.watch("plan/", first).unwrap().poll().unwrap();
    assert_eq!(again, [plan_a, plan_b], "whoever comes back finds everything since");
    assert_eq!((all.revision(), late.revision()), (third, third));
}

fn a_watch_of_what_is_no_longer_kept_says_so(store: impl Store) {
    let mut slow = store.watch("", 0).unwrap();
    for _ in 0..=MAX_HISTORY_EVENTS / 512 {
        let puts = (0..512).map(|key| (format!("{key}"), vec![])).collect();
        store.commit(&Transaction { puts, ..Transaction::default() }).unwrap();
    }
    let compacted = |error| matches!(error, StoreError::Compacted { after: 0 });
    assert!(compacted(slow.poll().unwrap_err()) && compacted(store.watch("", 0).unwrap_err()));
    let last = store.list("").unwrap().revision;
    assert_eq!(store.watch("", 1).unwrap().poll().unwrap().len(), MAX_HISTORY_EVENTS);
    assert!(matches!(store.watch("", last + 1), Err(StoreError::Compacted { .. })), "of another store");
    assert_eq!(store.watch("", last).unwrap().poll().unwrap(), []);
    let large = Transaction { puts: vec![("large".into(), vec![0; 16 << 20])], ..Transaction::default() };
    store.commit(&large).unwrap();
    assert_eq!(store.watch("", last).unwrap().poll().unwrap().len(), 1, "the last commit is always there");
    assert!(store.watch("", last - 1).is_err());
}

fn a_watch_wakes_when_something_changes(store: impl Store + 'static) {
    let store: Arc<dyn Store> = Arc::new(store);
    let mut watch = store.watch("b", 0).unwrap();
    let writer = Arc::clone(&store);
    let writing = std::thread::spawn(move || {
        for key in ["a", "b", "c", "b2"] {
            writer.commit(&put(key, "1", None)).unwrap();
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let waited = async { tokio::time::timeout(std::time::Duration::from_secs(10), watch.next()).await };
        seen.extend(runtime.block_on(waited).unwrap().unwrap());
    }
    writing.join().unwrap();
    assert_eq!(seen, [event(2, "b", Some("1")), event(4, "b2", Some("1"))]);
}

fn writers_at_the_same_time_lose_no_update(store: impl Store + 'static) {
    let store: Arc<dyn Store> = Arc::new(store);
    let count = |store: &dyn Store| {
        let stored = store.get("count").unwrap();
        let number = stored.as_ref().map_or(0, |stored| stored.bytes.len());
        (number, stored.map(|stored| stored.revision))
    };
    let mut watch = store.watch("", 0).unwrap();
    let one = || {
        let store = Arc::clone(&store);
        std::thread::spawn(move || {
            let mut done = 0;
            while done < 25 {
                let (number, revision) = count(&*store);
                let next = put("count", &"x".repeat(number + 1), revision);
                done += u64::from(store.commit(&next).is_ok());
            }
        })
    };
    let writers: Vec<_> = (0..4).map(|_| one()).collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(count(&*store), (100, Some(100)));
    let told: Vec<Rev> = watch.poll().unwrap().iter().map(|event| event.revision).collect();
    assert_eq!(told, (1..=100).collect::<Vec<_>>());
}

fn random_transactions_do_what_the_model_does(_: impl Store + 'static) {
    proptest!(ProptestConfig::with_cases(64), |(transactions in prop::collection::vec(model::transaction(), 1..12))| {
        check_against_model(&memory(), &transactions);
        check_against_model(&embedded(), &transactions);
    });
}

fn check_against_model(store: &dyn Store, transactions: &[Transaction]) {
    let (mut model, mut watch) = (Model::default(), store.watch("", 0).unwrap());
    for transaction in transactions {
        let expected = model.commit(transaction);
        assert_eq!(store.commit(transaction).map_err(|error| error.to_string()), expected);
        assert_eq!(Model::of(store), model);
        model.follow(&watch.poll().unwrap());
    }
}
