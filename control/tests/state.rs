//! What the daemon remembers, and what follows from it: lists, scopes, baselines, tenants.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;

use daemon::{Daemon, run};
use serde_json::{Value, json};
use std::path::Path;

const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");
const LOAN: &str = "loan.retail.svc.cluster.local";

// What the compiler lets through can be sent.
const _: () = assert!(graylane_rules::limits::MAX_RULES_BYTES <= graylane_xds::limits::MAX_RULES_BYTES);

fn started() -> (Daemon, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(data.path());
    daemon.json(&["plan", "apply", "-f", "-"], PLAN);
    daemon.json(&["order", "start", "loan-2026-11"], "");
    (daemon, data)
}

fn version(daemon: &Daemon, teller: &str) -> Value {
    daemon.json(&["explain", "--host", LOAN, "--teller", teller], "")["version"].clone()
}

fn refusal(daemon: &Daemon, args: &[&str], input: &str) -> String {
    let output = daemon.cli(args, input);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn finish(daemon: &Daemon, order: &str) {
    for _ in 1..4 {
        daemon.json(&["order", "advance", order], "");
    }
    daemon.wait_for(order, "Retained");
    daemon.json(&["order", "finish", order], "");
}

#[test]
fn an_adjusted_stage_takes_its_lists_as_they_are_then_and_keeps_them() {
    let (daemon, _data) = started();
    let scope = "{ include: { teller: { list: pilots } } }";
    for (ids, gray) in [("T1\n", "T1"), ("T5\n", "T5")] {
        daemon.json(&["list", "put", "pilots", "--tenant", "retail", "-f", "-"], ids);
        daemon.json(&["order", "adjust", "1", "-f", "-"], scope);
        assert_eq!(version(&daemon, gray), "v2");
    }
    assert_eq!(version(&daemon, "T1"), "v1", "people whom the list no longer names are out");
    daemon.json(&["list", "put", "pilots", "--tenant", "retail", "-f", "-"], "T9\n");
    daemon.json(&["order", "advance", "1"], "");
    assert_eq!(
        (version(&daemon, "T5"), version(&daemon, "T9")),
        (json!("v2"), json!("v1")),
        "no one adjusted it"
    );
}

#[test]
fn an_adjusted_scope_is_checked_against_the_scopes_that_hold() {
    let (daemon, _data) = started();
    daemon.json(
        &["order", "adjust", "1", "-f", "-"],
        "{ include: { teller: [T2] }, exclude: { teller: [T1] } }",
    );
    daemon.json(&["order", "advance", "1"], "");
    let does_nothing = "{ include: { teller: [T1], branch: [B012] } }";
    assert!(refusal(&daemon, &["order", "adjust", "1", "-f", "-"], does_nothing).contains("T1"));
    let no_longer_excluded = "{ include: { teller: [T0000099], branch: [B012] } }";
    daemon.json(&["order", "adjust", "1", "-f", "-"], no_longer_excluded);
    assert_eq!(version(&daemon, "T0000099"), "v2");
}

#[test]
fn a_service_keeps_the_hosts_of_its_baseline_until_the_baseline_is_cleared() {
    let (daemon, _data) = started();
    finish(&daemon, "1");
    let next = PLAN
        .replace("name: loan-2026-11", "name: next")
        .replace("gray: v2", "gray: v3")
        .replace("stable: v1", "stable: v2");
    let elsewhere = next.replace("[loan.retail", "[loans.retail");
    let told = refusal(&daemon, &["plan", "apply", "-f", "-"], &elsewhere);
    assert!(told.contains("spec.services[0].hosts") && told.contains(LOAN), "{told}");
    let taken = next.replace("name: ledger", "name: books");
    assert!(refusal(&daemon, &["plan", "apply", "-f", "-"], &taken).contains("baseline"));

    let cleared = daemon.request("DELETE", "/api/v1/tenants/retail/baselines/loan", &[], b"");
    assert_eq!(cleared.status, 204);
    assert_eq!(
        daemon.json(&["explain", "--host", LOAN], "")["reason"],
        "no-service",
        "its routes choose now"
    );
    daemon.json(&["plan", "apply", "-f", "-"], &elsewhere);
}

#[test]
fn a_baseline_that_routes_choose_by_themselves_is_none() {
    let (daemon, _data) = started();
    finish(&daemon, "1");
    let back = PLAN
        .replace("name: loan-2026-11", "name: back")
        .replace("gray: v2", "gray: v0")
        .replace("stable: v1", "stable: v2");
    let back = back.replace("gray: v0", "gray: v1");
    daemon.json(&["plan", "apply", "-f", "-"], &back);
    daemon.json(&["order", "start", "back"], "");
    finish(&daemon, "2");
    assert_eq!(daemon.request("GET", "/api/v1/baselines", &[], b"").json, json!([]));
    assert_eq!(daemon.json(&["explain", "--host", LOAN], "")["reason"], "no-service");
}

#[test]
fn an_active_order_keeps_its_hosts_though_its_plan_changed() {
    let (daemon, _data) = started();
    daemon.json(&["plan", "apply", "-f", "-"], &PLAN.replace("[loan.retail", "[loans.retail"));
    let other = PLAN
        .replace("name: loan-2026-11", "name: other")
        .replace("name: loan,", "name: credit,")
        .replace("[loan]", "[credit]");
    let told = refusal(&daemon, &["plan", "apply", "-f", "-"], &other);
    assert!(told.contains("order 1") && told.contains(LOAN), "{told}");
}

#[test]
fn a_tenant_in_use_keeps_its_headers_over_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("config.yaml");
    let write = |header: &str| {
        let text = format!(
            "tenants: {{ retail: {{ dimensions: [{{ name: teller, header: {header} }}, {{ name: branch, header: x-b }}, {{ name: region, header: x-r }}] }} }}"
        );
        std::fs::write(&config, text).unwrap();
    };
    let serve = |data: &Path| {
        ["serve", "--http", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--data", data.to_str().unwrap()]
            .map(str::to_owned)
    };
    write("x-emp");
    let with = ["--config", config.to_str().unwrap()];
    let daemon = Daemon::start_with(data.path(), &with);
    daemon.json(&["plan", "apply", "-f", "-"], PLAN);
    daemon.json(&["order", "start", "loan-2026-11"], "");
    daemon.kill();
    let serve = serve(data.path());
    let serve: Vec<&str> = serve.iter().map(String::as_str).collect();
    let without = run(&serve, "");
    assert_eq!(without.status.code(), Some(3));
    let told = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(told.contains("teller from x-emp") && told.contains("teller from x-teller"), "{told}");
    let daemon = Daemon::start_with(data.path(), &with);
    assert_eq!(version(&daemon, "T0000017"), "v2");
}

#[test]
fn a_version_is_never_used_twice() {
    let (daemon, _data) = started();
    let put = |ids: &str| {
        daemon.json(&["list", "put", "pilots", "--tenant", "retail", "-f", "-"], ids)["version"].clone()
    };
    let first = put("T1\n");
    assert_eq!(put("T1\n"), first, "the same content changes nothing");
    daemon.json(&["list", "delete", "pilots", "--tenant", "retail"], "");
    assert_ne!(put("T1\n"), first);
    let stale = [("if-match", format!("\"{first}\""))];
    let stale: Vec<(&str, &str)> = stale.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(daemon.request("DELETE", "/api/v1/tenants/retail/lists/pilots", &stale, b"").status, 412);
}
