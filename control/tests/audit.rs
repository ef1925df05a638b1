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
    let refused = daemon.cli(&["order", "finish", "1"], "");
    assert_eq!(refused.status.code(), Some(1));
    let records = daemon.json(&["audit", "list"], "");
    let actions = fields(&records, "action");
    assert_eq!(actions, ["plan.apply", "list.put", "order.start", "order.adjust", "order.rollback"]);
    assert_eq!(fields(&records, "reason")[3..], ["two more", "wrong sums"]);
    assert_eq!((&records[0]["before"], &records[1]["after"]["ids"]), (&Value::Null, &json!(2)));
    let scopes = [&records[3]["before"]["scope"], &records[3]["after"]["scope"]];
    assert_eq!(scopes[0]["include"]["teller"], json!(["T0000017", "T0000018"]));
    assert_eq!(scopes[1]["include"]["teller"], json!({ "list": "pilots" }));
    let ledger = [&records[4]["before"], &records[4]["after"]].map(|order| &order["services"]["ledger"]);
    assert_eq!(ledger.map(|service| &service["rolledBack"]), [&json!(false), &json!(true)]);
    let behind = daemon.json(&["audit", "list", "--after", "3", "--limit", "1"], "");
    assert_eq!(fields(&behind, "action"), ["order.adjust"]);
}

#[test]
fn the_log_survives_kill_minus_nine_and_a_changed_record_is_named() {
    let data = tempfile::tempdir().unwrap();
    let daemon = busy(data.path());
    let verified = daemon.json(&["audit", "verify"], "");
    assert_eq!(verified["records"], 5);
    daemon.kill();

    let daemon = Daemon::start(data.path());
    assert_eq!(daemon.json(&["audit", "verify"], ""), verified);
    let head = verified["head"].as_str().unwrap();
    daemon.json(&["audit", "verify", "--head", head], "");
    let export = daemon.cli(&["-o", "text", "audit", "export"], "");
    let export = String::from_utf8(export.stdout).unwrap();
    assert_eq!(daemon.json(&["audit", "verify", "-f", "-"], &export), verified);
    let forged = daemon.cli(&["audit", "verify", "-f", "-"], &export.replacen("two more", "two mope", 1));
    let told = String::from_utf8_lossy(&forged.stderr).into_owned();
    assert_eq!(forged.status.code(), Some(1));
    assert!(told.contains("audit record 4 does not have its hash"), "{told}");
    daemon.kill();

    flip(data.path(), 2, "operator");
    let daemon = Daemon::start(data.path());
    let told = daemon.cli(&["audit", "verify"], "");
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("audit record 2 does not have its hash"), "{told}");
    assert_eq!(daemon.json(&["order", "rollback", "1"], "")["id"], 1, "a rollback is still done");
}

/// Flips a bit of a record in the store, where this text starts.
fn flip(data: &Path, number: u64, text: &str) {
    let db = Database::open(data.join("graylane.redb")).unwrap();
    let txn = db.begin_write().unwrap();
    {
        let mut log = txn.open_table(TableDefinition::<u64, &[u8]>::new("log")).unwrap();
        let mut record = log.get(number).unwrap().unwrap().value().to_vec();
        let at = record.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        record[at] ^= 1;
        log.insert(number, record.as_slice()).unwrap();
    }
    txn.commit().unwrap();
}
