//! The daemon as its users meet it: the real program, by command line and by HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod command_line;
mod daemon;
mod lists;

use daemon::{Daemon, run};
use graylane_store::{RedbStore, StoreReader as _};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");
const LOAN: &str = "loan.retail.svc.cluster.local";

fn started() -> (Daemon, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(data.path());
    daemon.json(&["plan", "apply", "-f", "-"], PLAN);
    (daemon, data)
}

fn version(daemon: &Daemon, teller: &str) -> Value {
    daemon.json(&["explain", "--host", LOAN, "--teller", teller], "")["version"].clone()
}

/// Waits until an order is in a phase.
fn wait_for(daemon: &Daemon, phase: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let order = daemon.json(&["order", "get", "1"], "");
        if order["phase"] == phase {
            return order;
        }
        assert!(Instant::now() < deadline, "{order}");
        std::thread::yield_now();
    }
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_order_goes_from_start_to_finish_and_leaves_a_baseline() {
    let (daemon, _data) = started();
    assert_eq!(daemon.json(&["order", "start", "loan-2026-11"], "")["convergence"]["wanted"], 2);
    assert_eq!((version(&daemon, "T0000017"), version(&daemon, "T1")), (json!("v2"), json!("v1")));
    for stage in ["pilot-branch", "east-20", "whole-bank"] {
        assert_eq!(daemon.json(&["order", "advance", "1"], "")["stage"]["name"], stage);
    }
    wait_for(&daemon, "Retained");
    assert_eq!(daemon.json(&["order", "finish", "1"], "")["phase"], "Finished");
    let explained = daemon.json(&["explain", "--host", LOAN, "--teller", "T1"], "");
    assert_eq!((&explained["version"], &explained["gray"]), (&json!("v2"), &json!(false)));
    assert_eq!(explained["header"], json!(["x-gray-version", "v2"]));
    let again = daemon.cli(&["order", "start", "loan-2026-11"], "");
    assert!(
        stderr(&again).contains("spec.services[0].stable") && stderr(&again).contains("v2"),
        "{}",
        stderr(&again)
    );
}

#[test]
fn a_rollback_of_one_service_leaves_the_others_and_a_rollback_of_all_ends_the_order() {
    let (daemon, _data) = started();
    daemon.json(&["order", "start", "loan-2026-11"], "");
    let order = daemon.json(&["order", "rollback", "1", "--service", "ledger", "--reason", "wrong sums"], "");
    assert_eq!(order["phase"], "Running");
    assert_eq!(order["timeline"][1]["actor"]["reason"], "wrong sums");
    assert_eq!(version(&daemon, "T0000017"), "v2");
    daemon.json(&["order", "rollback", "1"], "");
    assert_eq!(version(&daemon, "T0000017"), Value::Null);
    wait_for(&daemon, "RolledBack");
}

#[test]
fn a_paused_order_advances_no_more_until_it_is_resumed() {
    let (daemon, _data) = started();
    daemon.json(&["order", "start", "loan-2026-11"], "");
    let paused = daemon.json(&["order", "pause", "1", "--reason", "month end", "--wait"], "");
    assert_eq!(
        (&paused["phase"], &paused["timeline"][1]["actor"]["reason"]),
        (&json!("Paused"), &json!("month end"))
    );
    let refused = daemon.cli(&["order", "advance", "1"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("resume it first"), "{}", stderr(&refused));
    assert_eq!(version(&daemon, "T0000017"), "v2", "the published rules stay");
    assert_eq!(daemon.json(&["order", "pause", "1"], "")["version"], paused["version"], "idempotent");
    assert_eq!(daemon.json(&["order", "resume", "1"], "")["phase"], "Running");
    assert_eq!(daemon.json(&["order", "advance", "1"], "")["stage"]["name"], "pilot-branch");
}

#[test]
fn an_acknowledged_action_survives_kill_minus_nine() {
    let (daemon, data) = started();
    daemon.json(&["list", "put", "pilots", "-f", "-"], "T7\nT8\n");
    daemon.json(&["order", "start", "loan-2026-11"], "");
    let scope = "{ include: { teller: { list: pilots } } }";
    let before = daemon.json(&["order", "adjust", "1", "-f", "-"], scope);
    let rules = daemon.request("GET", "/api/v1/tenants/retail/rules", &[], b"").json;
    daemon.kill();

    let daemon = Daemon::start(data.path());
    assert_eq!(daemon.json(&["order", "get", "1"], ""), before);
    assert_eq!(
        daemon.request("GET", "/api/v1/tenants/retail/rules", &[], b"").json,
        rules,
        "same content, same revision"
    );
    assert_eq!((version(&daemon, "T7"), version(&daemon, "T0000017")), (json!("v2"), json!("v1")));
    daemon.json(&["list", "put", "pilots", "-f", "-"], "T9\n");
    assert_eq!(version(&daemon, "T9"), "v1", "an order keeps the list that it was given");

    daemon.json(&["order", "rollback", "1"], "");
    wait_for(&daemon, "RolledBack");
    let rules = daemon.request("GET", "/api/v1/tenants/retail/rules", &[], b"").json;
    daemon.kill();
    let daemon = Daemon::start(data.path());
    assert_eq!(daemon.request("GET", "/api/v1/tenants/retail/rules", &[], b"").json, rules);
}

#[test]
fn a_second_daemon_on_the_same_data_is_told_at_once() {
    let (_daemon, data) = started();
    let asked = Instant::now();
    let second = run(
        &["serve", "--http", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--data", data.path().to_str().unwrap()],
        "",
    );
    assert_eq!(second.status.code(), Some(3));
    assert!(stderr(&second).contains("in use by another process"), "{}", stderr(&second));
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_second_active_order_on_a_service_is_refused_with_the_first_ones_number() {
    let (daemon, _data) = started();
    daemon.json(&["order", "start", "loan-2026-11"], "");
    daemon.json(&["plan", "apply", "-f", "-"], &PLAN.replace("name: loan-2026-11", "name: loan-2026-12"));
    let answer = daemon.request(
        "POST",
        "/api/v1/orders",
        &[("content-type", "application/json")],
        br#"{"plan":"loan-2026-12"}"#,
    );
    assert_eq!(answer.status, 409);
    let detail = answer.json["detail"].as_str().unwrap();
    assert!(detail.contains(r#""loan" is held by order 1 of plan "loan-2026-11""#), "{detail}");
}

#[test]
fn a_stale_update_is_refused_and_changes_nothing() {
    let (daemon, _data) = started();
    let post = |path: &str, version: &str, body: &str| {
        let headers = [("content-type", "application/json"), ("if-match", version)];
        daemon.request("POST", path, &headers, body.as_bytes())
    };
    assert_eq!(post("/api/v1/plans", "\"7\"", &PLAN.replace("owner: release", "owner: other")).status, 412);
    assert_eq!(post("/api/v1/plans", "\"1\"", &PLAN.replace("owner: release", "owner: other")).status, 200);
    daemon.json(&["order", "start", "loan-2026-11"], "");
    let order = daemon.json(&["order", "get", "1"], "");
    let stale = post("/api/v1/orders/1/advance", "\"99\"", "{}");
    assert_eq!(stale.status, 412);
    assert!(stale.json["detail"].as_str().unwrap().contains("order 1 is at version 1, not 99"));
    assert_eq!(daemon.json(&["order", "get", "1"], ""), order);
    assert_eq!(post("/api/v1/orders/1/advance", "one", "{}").status, 400);
    assert_eq!(post("/api/v1/orders/1/advance", "\"1\"", "{}").status, 200);
}

#[test]
fn what_http_carries_has_its_limits() {
    let (daemon, _data) = started();
    let json = [("content-type", "application/json")];
    let large = vec![b' '; (64 << 20) + 1];
    let answer = daemon.request("PUT", "/api/v1/tenants/retail/lists/pilots", &[], &large);
    assert_eq!(answer.status, 413);
    assert!(answer.json["detail"].as_str().unwrap().contains("over the limit of 67108864 bytes"));
    for (method, path, headers, body, status) in [
        ("POST", "/api/v1/orders", json.as_slice(), r#"{"plan":"loan-2026-11","plam":1}"#, 422),
        ("POST", "/api/v1/orders", &json, r#"{"plan":"loan-2026-11","plan":"x"}"#, 422),
        ("POST", "/api/v1/orders", &json, &"[".repeat(100_000), 422),
        ("POST", "/api/v1/orders", &[], r#"{"plan":"loan-2026-11"}"#, 415),
        ("POST", "/api/v1/plans", &[], "\u{0}", 422),
        ("GET", "/api/v1/orders/one", &[], "", 400),
        ("GET", "/api/v1/orders/1", &[], "", 404),
        ("GET", "/api/v1/nothing", &[], "", 404),
        ("PATCH", "/api/v1/orders", &[], "", 405),
        ("GET", "/api/v1/explain?teller=T1", &[], "", 400),
        ("GET", "/api/v1/explain?host=a&shop=1", &[], "", 404),
        ("PUT", "/api/v1/tenants/retail/lists/a%20b", &[], "T1", 422),
        ("PUT", "/api/v1/tenants/retail/lists/a", &[], "T1\n\u{1}\n", 422),
        ("DELETE", "/api/v1/tenants/retail/lists/none", &[], "", 404),
    ] {
        let answer = daemon.request(method, path, headers, body.as_bytes());
        assert_eq!(answer.status, status, "{method} {path} {:.60}: {}", body, answer.json);
        assert_eq!(answer.json["status"], status, "{method} {path}: a problem, with its status");
        assert!(!answer.json["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(daemon.json(&["order", "list"], ""), json!([]));
    assert_eq!(daemon.json(&["list", "list"], ""), json!([]));
}

#[test]
fn a_body_of_the_wrong_shape_is_refused_with_its_field() {
    let (daemon, _data) = started();
    for (path, body, field, message) in [
        ("orders", r#"{"plan":5}"#, "plan", "expected a string"),
        ("orders", r#"{"plan":"loan-2026-11","plam":1}"#, "plam", "unknown field `plam`"),
        ("orders", "{}", "", "missing field `plan`"),
        ("orders", "{", "", "EOF"),
        ("orders", r#"{"plan":"loan-2026-11"} 1"#, "", "trailing characters"),
        ("orders/1/rollback", r#"{"services":"loan"}"#, "services", "expected a sequence"),
        ("orders/1/rollback", r#"{"services":["loan",7]}"#, "services[1]", "expected a string"),
    ] {
        let json = [("content-type", "application/json")];
        let answer = daemon.request("POST", &format!("/api/v1/{path}"), &json, body.as_bytes());
        assert_eq!((answer.status, &answer.json["errors"][0]["path"]), (422, &json!(field)), "{body}");
        let (detail, said) = (&answer.json["detail"], &answer.json["errors"][0]["message"]);
        assert!(said.as_str().unwrap().contains(message), "{body}: {said}");
        let start = if field.is_empty() { String::new() } else { format!("{field}: ") };
        assert_eq!(*detail, json!(format!("{start}{}", said.as_str().unwrap())));
    }
}

#[test]
fn bad_plans_are_refused_with_every_field_and_nothing_changes() {
    let (daemon, _data) = started();
    let plans = daemon.json(&["plan", "list"], "");
    for (right, wrong, path) in [
        ("teller: [T0000017", "shop: [T0000017", "spec.stages[0].scope.include.shop"),
        ("{ all: true }", "{ }", "spec.stages[3].scope"),
        ("name: ledger", "name: loan", "spec.services[1].name"),
        ("percent: 20", "percent: 120", "spec.stages[2].scope.percent"),
        ("percent: 20", "percent: 20.125", "spec.stages[2].scope.percent"),
        ("gray: v2 }", "gray: v1 }", "spec.services[0].gray"),
        ("[ledger.retail", "[loan.retail", "spec.services[1].hosts[0]"),
        ("T0000018]", "\"T\\u0001\"]", "spec.stages[0].scope.include.teller[1]"),
        ("[B012]", "{ list: pilot-branchs }", "spec.stages[1].scope.include.branch"),
        ("teller: [T0000099]", "teller: [T0000017]", "spec.stages[1].scope.exclude.teller"),
        ("owner:", "ownr:", "spec.ownr"),
    ] {
        let bad = PLAN.replacen(right, wrong, 1);
        assert_ne!(bad, PLAN, "{right}");
        let answer = daemon.request("POST", "/api/v1/plans", &[], bad.as_bytes());
        assert_eq!(answer.status, 422, "{wrong}");
        let errors = answer.json["errors"].as_array().unwrap();
        assert!(
            errors.iter().any(|error| error["path"].as_str().unwrap().starts_with(path)),
            "{wrong}: {}",
            answer.json
        );
        if !wrong.contains("list:") {
            let offline = run(&["plan", "check", "-f", "-"], &bad);
            assert_eq!(offline.status.code(), Some(1), "{wrong}");
            assert!(String::from_utf8_lossy(&offline.stdout).contains(path), "{wrong}");
        }
    }
    assert_eq!(daemon.json(&["plan", "list"], ""), plans);
}

#[test]
fn names_that_are_nearly_right_are_answered_with_the_right_ones() {
    let (daemon, _data) = started();
    let order = daemon.cli(&["order", "start", "loan-2026-1"], "");
    assert_eq!(order.status.code(), Some(1));
    assert!(stderr(&order).contains(r#"did you mean "loan-2026-11"?"#), "{}", stderr(&order));
    daemon.json(&["list", "put", "pilot-branches", "-f", "-"], "B1\n");
    let slip = PLAN.replace("[B012]", "{ list: pilot-branchs }");
    let plan = daemon.cli(&["plan", "apply", "-f", "-"], &slip);
    assert!(stderr(&plan).contains(r#"did you mean "pilot-branches"?"#), "{}", stderr(&plan));
}

#[test]
fn what_is_in_use_is_not_deleted() {
    let (daemon, _data) = started();
    daemon.json(&["list", "put", "branches", "-f", "-"], "B012\n");
    daemon.json(&["plan", "apply", "-f", "-"], &PLAN.replace("[B012]", "{ list: branches }"));
    assert!(
        stderr(&daemon.cli(&["list", "delete", "branches"], ""))
            .contains(r#"is used by plan "loan-2026-11""#)
    );
    daemon.json(&["order", "start", "loan-2026-11"], "");
    assert!(
        stderr(&daemon.cli(&["plan", "delete", "loan-2026-11"], "")).contains("is used by active order 1")
    );
    daemon.json(&["order", "rollback", "1"], "");
    wait_for(&daemon, "RolledBack");
    daemon.json(&["plan", "delete", "loan-2026-11"], "");
    daemon.json(&["list", "delete", "branches"], "");
}

#[test]
fn a_list_that_nothing_names_any_more_leaves_no_ids_behind() {
    let (daemon, data) = started();
    for ids in ["B1", "B2", "B3"] {
        daemon.json(&["list", "put", "branches", "-f", "-"], ids);
    }
    daemon.kill();
    let store = RedbStore::open(data.path()).unwrap();
    let hash = |ids: &str| graylane_plan::list_hash(&graylane_plan::parse_list(ids).unwrap());
    assert_eq!(store.blob(&hash("B3")).unwrap(), b"B3\n");
    assert!(store.blob(&hash("B1")).is_err() && store.blob(&hash("B2")).is_err());
}

#[test]
fn offline_and_daemon_explain_alike() {
    let (daemon, data) = started();
    daemon.json(&["order", "start", "loan-2026-11"], "");
    daemon.json(&["order", "advance", "1"], "");
    let rules = daemon.request("GET", "/api/v1/tenants/retail/rules", &[], b"").json;
    let bytes = ureq::get(format!("{}/api/v1/tenants/retail/rules/bytes", daemon.server)).call().unwrap();
    let file = data.path().join("rules.bin");
    std::fs::write(&file, bytes.into_body().read_to_vec().unwrap()).unwrap();
    for id in [["--teller", "T0000099"], ["--branch", "B012"], ["--region", "R-EAST"]] {
        let ask = [&["explain", "--host", LOAN], id.as_slice()].concat();
        let online = daemon.json(&ask, "");
        assert_eq!(online["revision"], rules["revision"]);
        let offline = daemon.json(&[&ask, ["--rules", file.to_str().unwrap()].as_slice()].concat(), "");
        assert_eq!(offline, online);
        let mut by_plan =
            daemon.json(&[&ask, ["-f", "-", "--stage", "pilot-branch"].as_slice()].concat(), PLAN);
        by_plan["revision"] = online["revision"].clone();
        assert_eq!(by_plan, online);
    }
}

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let nowhere = run(&["--server", "http://127.0.0.1:1", "plan", "list"], "");
    assert_eq!(nowhere.status.code(), Some(3));
    assert!(stderr(&nowhere).contains("is `graylane serve` running"), "{}", stderr(&nowhere));
    assert_eq!(run(&["plan", "lst"], "").status.code(), Some(2));
    assert_eq!(run(&["plan", "check", "-f", "/nonexistent"], "").status.code(), Some(1));
    assert_eq!(run(&["plan", "check", "-f", "-"], PLAN).status.code(), Some(0));
}
