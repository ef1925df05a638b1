//! The audit log as its readers meet it: the real program, and a store that somebody touched.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;

use daemon::Daemon;
use redb::{Database, ReadableTable, TableDefinition};
use serde_json::{Value, json};
use std::path::Path;

const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");

/// A daemon that did some things.
fn busy(data: &Path) -> Daemon {
    let daemon = Daemon::start(data);
    daemon.json(&["plan", "apply", "-f", "-"], PLAN);
    daemon.json(&["list", "put", "pilots", "-f", "-"], "T7\nT8\n");
    daemon.json(&["order", "start", "loan-2026-11"], "");
    let scope = "{ include: { teller: { list: pilots } } }";
    daemon.json(&["order", "adjust", "1", "-f", "-", "--reason", "two more"], scope);
    daemon.json(&["order", "rollback", "1", "--service", "ledger", "--reason", "wrong sums"], "");
    daemon
}

fn fields<'a>(records: &'a Value, field: &str) -> Vec<&'a str> {
    records.as_array().unwrap().iter().map(|record| record[field].as_str().unwrap()).collect()
}

#[test]
fn every_action_is_recorded_with_its_reason_and_what_was_before_and_after() {
    let data = tempfile::tempdir().unwrap();
    let daemon = busy(data.path());
    let order = daemon.json(&["order", "get", "1"], "");
    let refused = daemon.cli(&["order", "finish", "1"], "");
    assert_eq!(refused.status.code(), Some(1));
    let records = daemon.json(&["audit", "list"], "");
    let actions = fields(&records, "action");
    let done = ["tenant.set", "plan.apply", "list.put", "order.start", "order.adjust", "order.rollback"];
    assert_eq!(actions, done);
    assert_eq!(fields(&records, "reason")[4..], ["two more", "wrong sums"]);
    assert_eq!((&records[1]["before"], &records[2]["after"]["ids"]), (&Value::Null, &json!(2)));
    assert_eq!(records[3]["object"], "order 1 of plan loan-2026-11, tenant retail");
    let started = &records[3]["after"];
    assert_eq!((&started["contentHash"], &started["what"]), (&order["contentHash"], &json!(["started"])));
    let [before, after] = [&records[4]["before"], &records[4]["after"]];
    assert_eq!((&before["lists"], &after["lists"]["pilots"]), (&json!({}), &records[2]["after"]["hash"]));
    let scopes = [&before["scope"], &after["scope"]];
    assert_eq!(scopes[0]["include"]["teller"], json!(["T0000017", "T0000018"]));
    assert_eq!(scopes[1]["include"]["teller"], json!({ "list": "pilots" }));
    let ledger = [&records[5]["before"], &records[5]["after"]].map(|order| &order["services"]["ledger"]);
    assert_eq!(ledger.map(|service| &service["rolledBack"]), [&json!(false), &json!(true)]);
    let behind = daemon.json(&["audit", "list", "--after", "4", "--limit", "1"], "");
    assert_eq!(fields(&behind, "action"), ["order.adjust"]);
}

#[test]
fn the_log_survives_kill_minus_nine_and_a_changed_record_is_named() {
    let data = tempfile::tempdir().unwrap();
    let daemon = busy(data.path());
    let verified = daemon.json(&["audit", "verify"], "");
    assert_eq!(verified["records"], 6);
    daemon.kill();

    let daemon = Daemon::start(data.path());
    assert_eq!(daemon.json(&["audit", "verify"], ""), verified);
    let export = daemon.cli(&["-o", "text", "audit", "export"], "");
    let export = String::from_utf8(export.stdout).unwrap();
    assert_eq!(daemon.json(&["audit", "verify", "-f", "-"], &export), verified);
    let told = refused(&daemon, &["-f", "-"], &export.replacen("two more", "two mope", 1));
    assert!(told.contains("audit record 5 does not have its hash"), "{told}");
    let without = |number: usize| {
        let lines = export.lines().enumerate().filter(|(at, _)| at + 1 != number);
        lines.map(|(_, line)| format!("{line}\n")).collect::<String>()
    };
    assert!(refused(&daemon, &["-f", "-"], &without(3)).contains("audit record 3 is not there"));
    assert!(refused(&daemon, &["-f", "-"], &without(6)).contains("audit record 6 is not there"));
    assert!(refused(&daemon, &["-f", "-"], &without(7)).contains("it was cut"));
    assert!(refused(&daemon, &["-f", "-"], "").contains("it was cut"));
    daemon.kill();

    flip(data.path(), 3, "operator");
    let daemon = Daemon::start(data.path());
    let told = refused(&daemon, &[], "");
    assert!(told.contains("audit record 3 does not have its hash"), "{told}");
}

#[test]
fn a_hash_that_was_noted_down_holds_while_the_log_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let daemon = busy(data.path());
    let verified = daemon.json(&["audit", "verify"], "");
    let noted = verified["head"].as_str().unwrap();
    daemon.json(&["order", "pause", "1"], "");
    let later = daemon.json(&["audit", "verify", "--head", noted], "");
    assert!(later["records"] == 7 && later["head"] != verified["head"], "{later}");
    let told = refused(&daemon, &["--head", &"0".repeat(64)], "");
    assert!(told.contains("no record has the hash 0000"), "{told}");
}

#[test]
fn a_log_that_was_cut_stops_no_rollback_and_is_told() {
    let data = tempfile::tempdir().unwrap();
    busy(data.path()).kill();
    edit_log(data.path(), |log| drop(log.remove(6).unwrap()));
    let daemon = Daemon::start(data.path());
    assert_eq!(daemon.json(&["order", "rollback", "1"], "")["id"], 1);
    let told = refused(&daemon, &[], "");
    assert!(told.contains("audit record 6 is not there"), "{told}");
}

/// What verifying says of a log that is not what was written.
fn refused(daemon: &Daemon, args: &[&str], input: &str) -> String {
    let output = daemon.cli(&[&["audit", "verify"], args].concat(), input);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// Flips a bit of a record in the store, where this text starts.
fn flip(data: &Path, number: u64, text: &str) {
    edit_log(data, |log| {
        let mut record = log.get(number).unwrap().unwrap().value().to_vec();
        let at = record.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        record[at] ^= 1;
        log.insert(number, record.as_slice()).unwrap();
    });
}

/// Edits the log of a store that no daemon has open.
fn edit_log(data: &Path, edit: impl FnOnce(&mut redb::Table<'_, u64, &[u8]>)) {
    let db = Database::open(data.join("graylane.redb")).unwrap();
    let txn = db.begin_write().unwrap();
    edit(&mut txn.open_table(TableDefinition::new("log")).unwrap());
    txn.commit().unwrap();
}
