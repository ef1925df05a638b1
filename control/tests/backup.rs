//! Backup, restore and check, as operators do them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod daemon;

use daemon::{Daemon, run};
use graylane_store::{
    Entry, MemoryStore, RedbStore, Store as _, StoreError, Transaction, each_entry, export,
};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");

/// Entries of a log, with their numbers.
type Log = Vec<(u64, Vec<u8>)>;

/// A data directory with a history, of a daemon that was killed; and what that daemon said last.
fn history() -> (tempfile::TempDir, [Value; 4]) {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(data.path());
    daemon.json(&["list", "put", "branches", "-f", "-", "--tenant", "retail"], "B012\nB013\n");
    daemon.json(&["plan", "apply", "-f", "-"], &PLAN.replace("[B012]", "{ list: branches }"));
    daemon.json(&["order", "start", "loan-2026-11"], "");
    daemon.json(&["order", "advance", "1", "--reason", "the pilots are content"], "");
    let said = says(&daemon);
    daemon.kill();
    (data, said)
}

/// What a daemon says about everything that has to last.
fn says(daemon: &Daemon) -> [Value; 4] {
    let mut order = daemon.json(&["order", "get", "1"], "");
    // How long it waits for whom goes on.
    order["waitsFor"] = Value::Null;
    let audit = daemon.json(&["audit", "verify"], "");
    let rules = daemon.request("GET", "/api/v1/tenants/retail/rules", &[], b"").json;
    [order, audit, rules, daemon.json(&["list", "list"], "")]
}

fn store(verb: &str, data: &Path, file: Option<&Path>) -> Output {
    let file = file.map_or(vec![], |file| vec!["-f", file.to_str().unwrap()]);
    run(&[&["store", verb, "--data", data.to_str().unwrap()], file.as_slice()].concat(), "")
}

/// Checks that a command succeeds, and gives what it said.
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Checks that a command is refused, and gives why.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_restored_backup_goes_on_where_the_daemon_was() {
    let (data, said) = history();
    let dir = tempfile::tempdir().unwrap();
    let (file, restored) = (dir.path().join("backup"), dir.path().join("restored"));
    assert!(done(&store("check", data.path(), None)).contains("checked, all as they were written"));
    let told = done(&store("export", data.path(), Some(&file)));
    assert!(told.contains(" audit records and 1 lists exported to "), "{told}");
    assert_eq!(done(&store("export", data.path(), None)), fs::read_to_string(&file).unwrap());
    assert!(refused(&store("export", data.path(), Some(&file))).contains("exists"));
    done(&store("import", &restored, Some(&file)));
    done(&store("check", &restored, None));
    let daemon = Daemon::start(&restored);
    assert_eq!(says(&daemon), said);
    daemon.json(&["order", "rollback", "1"], "");
}

#[test]
fn a_store_in_use_or_not_there_is_neither_exported_nor_checked() {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(data.path());
    let dir = tempfile::tempdir().unwrap();
    for verb in ["export", "check"] {
        let told = refused(&store(verb, data.path(), None));
        assert!(told.contains("is in use by another process"), "{told}");
        let told = refused(&store(verb, dir.path(), None));
        assert!(told.contains("there is no store in"), "{told}");
    }
    let file = dir.path().join("backup");
    fs::write(&file, "{}\n").unwrap();
    let told = refused(&store("import", data.path(), Some(&file)));
    assert!(told.contains("line 1 is cut or no line of an export"), "{told}");
    daemon.kill();
    done(&store("export", data.path(), Some(&dir.path().join("empty"))));
    let told = refused(&store("import", data.path(), Some(&dir.path().join("empty"))));
    assert!(told.contains("is not empty"), "{told}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing was made where nothing was");
}

#[test]
fn an_export_that_was_forged_is_refused_with_the_place() {
    let (data, _) = history();
    let dir = tempfile::tempdir().unwrap();
    // Forged in the store itself, so that the lines have their sums.
    let forge = |edit: fn(&mut Log)| {
        let source = RedbStore::open(data.path()).unwrap();
        let forged = MemoryStore::new();
        let mut transaction = Transaction::default();
        each_entry(&source, |entry| {
            match entry {
                Entry::Value { key, stored } => transaction.puts.push((key, stored.bytes)),
                Entry::Log { number, bytes } => transaction.appends.push((number, bytes)),
                Entry::Blob { hash, .. } => transaction.blobs.push((hash, b"B099\n".to_vec())),
            }
            Ok::<_, StoreError>(())
        })
        .unwrap();
        edit(&mut transaction.appends);
        forged.commit(&transaction).unwrap();
        let file = dir.path().join("forged");
        export(&forged, fs::File::create(&file).unwrap()).unwrap();
        let told = refused(&store("import", &dir.path().join("data"), Some(&file)));
        assert!(!dir.path().join("data").exists(), "nothing was made");
        told
    };
    let told = forge(|log| {
        let text = String::from_utf8(log[2].1.clone()).unwrap().replace("operator", "nobody");
        log[2].1 = text.into_bytes();
    });
    assert!(told.contains("audit record 3: does not have its hash") && told.contains("2 places"), "{told}");
    assert!(told.contains("list content") && told.contains("it does not have this hash"), "{told}");
    let told = forge(|log| drop(log.pop()));
    assert!(told.contains("is not there"), "{told}");
}

#[test]
fn a_flipped_byte_of_a_record_or_a_list_is_named_with_its_place() {
    let (data, _) = history();
    let file = data.path().join("graylane.redb");
    let bytes = fs::read(&file).unwrap();
    // The newest copy of a text lies where the file was written last.
    let damaged = |text: &[u8]| -> Vec<String> {
        let places = (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text));
        let told = places.map(|at| {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&file, changed).unwrap();
            let output = store("check", data.path(), None);
            fs::write(&file, &bytes).unwrap();
            String::from_utf8_lossy(&output.stderr).into_owned()
        });
        told.collect()
    };
    let of_records = damaged(b"the pilots are content");
    assert!(
        of_records
            .iter()
            .any(|told| told.contains("audit record ") && told.contains("graylane store import")),
        "{of_records:?}"
    );
    let of_lists = damaged(b"B012\nB013\n");
    assert!(of_lists.iter().any(|told| told.contains("list content ")), "{of_lists:?}");
}
