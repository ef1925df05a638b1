//! Which orders a list has: the real program, by command line and by HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;

use daemon::Daemon;
use serde_json::Value;

const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");

/// Four orders: 1 of the loan plan, rolled back; 2 of it, running; 3 of tenant `cards`, paused; 4 of one service `desk`.
fn four() -> (Daemon, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(data.path());
    let cards = PLAN.replace("tenant: retail", "tenant: cards").replace("loan-2026-11", "cards-2026-11");
    let desk = PLAN.replace("loan-2026-11", "desk").replace("loan", "desk").replace("ledger", "till");
    for plan in [PLAN, &cards, &desk] {
        daemon.json(&["plan", "apply", "-f", "-"], plan);
    }
    daemon.json(&["order", "start", "loan-2026-11"], "");
    daemon.json(&["order", "rollback", "1"], "");
    daemon.wait_for("1", "RolledBack");
    for plan in ["loan-2026-11", "cards-2026-11", "desk"] {
        daemon.json(&["order", "start", plan], "");
    }
    daemon.json(&["order", "pause", "3"], "");
    (daemon, data)
}

fn ids(orders: &Value) -> Vec<u64> {
    orders.as_array().unwrap().iter().map(|order| order["id"].as_u64().unwrap()).collect()
}

#[test]
fn a_list_has_the_orders_of_which_all_holds_that_is_given() {
    let (daemon, _data) = four();
    let third = daemon.json(&["order", "get", "3"], "")["timeline"][0]["at"].as_str().unwrap().to_owned();
    for (filter, found) in [
        (&[][..], &[4, 3, 2, 1][..]),
        (&["--active"], &[4, 3, 2]),
        (&["--tenant", "cards"], &[3]),
        (&["--plan", "loan-2026-11"], &[2, 1]),
        (&["--plan", "loan-2026-11", "--active"], &[2]),
        (&["--service", "till"], &[4]),
        (&["--service", "loan", "--phase", "rolledback"], &[1]),
        (&["--phase", "Paused", "--phase", "RolledBack"], &[3, 1]),
        (&["--since", &third], &[4, 3]),
        (&["--until", &third], &[2, 1]),
        (&["--since", "1h"], &[4, 3, 2, 1]),
        (&["--until", "1h"], &[]),
        (&["--since", "2026-11-01T08:00:00+08:00", "--before", "3"], &[2, 1]),
        (&["--before", "3", "--limit", "1"], &[2]),
        (&["--plan", "loan-2026-11&plan=desk"], &[]),
    ] {
        let orders = daemon.json(&[&["order", "list"], filter].concat(), "");
        assert_eq!(ids(&orders), found, "{filter:?}");
    }
}

#[test]
fn a_page_names_the_next_one_and_pages_have_every_order_once() {
    let (daemon, _data) = four();
    let page = daemon.cli(&["order", "list", "--limit", "2"], "");
    assert!(String::from_utf8(page.stdout).unwrap().contains("see older ones with --before 3"));
    let (mut seen, mut before) = (Vec::new(), u64::MAX);
    loop {
        let path = format!("/api/v1/orders?limit=3&before={before}");
        let page = ids(&daemon.request("GET", &path, &[], b"").json);
        let Some(last) = page.last() else { break };
        before = *last;
        seen.extend(page);
    }
    assert_eq!(seen, [4, 3, 2, 1]);
}

#[test]
fn a_filter_that_cannot_be_is_refused_with_its_field() {
    let (daemon, _data) = four();
    for (query, said) in [
        ("phase=Runing", "the phases are AwaitingApproval, Running"),
        ("phase=", "phase"),
        ("limit=0", "read on with `before`"),
        ("limit=1001", "limit"),
        ("since=yesterday", "since"),
        ("before=-1", "before"),
        ("plans=x", "plans"),
    ] {
        let answer = daemon.request("GET", &format!("/api/v1/orders?{query}"), &[], b"");
        let detail = answer.json["detail"].as_str().unwrap();
        assert!(answer.status == 400 && detail.contains(said), "{query}: {detail}");
    }
    let wrong = daemon.cli(&["order", "list", "--since", "yesterday"], "");
    assert!(wrong.status.code() == Some(2) && String::from_utf8(wrong.stderr).unwrap().contains("like 7d"));
}
