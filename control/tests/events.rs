//! Orders as they change, by server-sent events of the real program.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;
mod watching;

use daemon::Daemon;
use serde_json::json;
use std::time::{Duration, Instant};
use watching::{PATIENCE, Watch};

const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");

fn started() -> (Daemon, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(data.path());
    daemon.json(&["plan", "apply", "-f", "-"], PLAN);
    (daemon, data)
}

#[test]
fn an_order_is_told_as_it_is_and_again_whenever_it_changes() {
    let (daemon, _data) = started();
    daemon.json(&["order", "start", "loan-2026-11"], "");
    let mut watch = Watch::open(&daemon, "/1/events", "");
    assert!(watch.head.contains("content-type: text/event-stream") && watch.head.contains("no-store"));
    let order = watch.order();
    assert_eq!(order, daemon.json(&["order", "get", "1"], ""));
    daemon.json(&["order", "pause", "1"], "");
    assert_eq!(watch.until(1, "Paused")["timeline"].as_array().unwrap().len(), 2);
    let paused = watch.last_id.clone();
    drop(watch);
    let mut watch = Watch::open(&daemon, "/1/events", &paused);
    daemon.json(&["order", "resume", "1"], "");
    assert_eq!(watch.order()["phase"], "Running", "what it was told already does not come again");
    let mut late = Watch::open(&daemon, "/1/events", &paused);
    assert_eq!(late.order()["phase"], "Running", "what changed while it was away comes at once");
    daemon.json(&["order", "rollback", "1"], "");
    for watch in [&mut watch, &mut late] {
        watch.until(1, "RolledBack");
    }
    assert_eq!(Watch::open(&daemon, "/2/events", "").status, 404);
    assert_eq!(Watch::open(&daemon, "/one/events", "").status, 400);
}

#[test]
fn all_orders_of_a_tenant_are_told_and_those_that_ended_while_somebody_was_away() {
    let (daemon, data) = started();
    let cards = PLAN.replace("tenant: retail", "tenant: cards").replace("loan-2026-11", "cards-2026-11");
    daemon.json(&["plan", "apply", "-f", "-"], &cards);
    let mut all = Watch::open(&daemon, "/events", "");
    let mut retail = Watch::open(&daemon, "/events?tenant=retail", "");
    all.synced();
    retail.synced();
    daemon.json(&["order", "start", "cards-2026-11"], "");
    daemon.json(&["order", "start", "loan-2026-11"], "");
    all.until(1, "Running");
    all.until(2, "Running");
    assert_eq!(retail.order()["id"], 2);
    let left = retail.last_id.clone();
    drop(retail);
    daemon.json(&["order", "rollback", "2"], "");
    all.until(2, "RolledBack");
    daemon.kill();
    assert!(all.next().is_none());

    let daemon = Daemon::start(data.path());
    let mut back = Watch::open(&daemon, "/events?tenant=retail", &left);
    assert_eq!((back.until(2, "RolledBack")["tenant"].clone(), back.synced()), (json!("retail"), ()));
    let mut fresh = Watch::open(&daemon, "/events", "");
    assert_eq!(fresh.order()["id"], 1, "what ended before somebody came is no news");
    fresh.synced();
    assert_eq!(Watch::open(&daemon, "/events?tenent=retail", "").status, 400);
}

#[test]
fn many_changes_are_few_events_and_the_last_state_is_among_them() {
    let (daemon, _data) = started();
    daemon.json(&["order", "start", "loan-2026-11"], "");
    let mut watch = Watch::open(&daemon, "/1/events", "");
    watch.order();
    let began = Instant::now();
    let json = [("content-type", "application/json")];
    for _ in 0..60 {
        for action in ["pause", "resume"] {
            assert_eq!(
                daemon.request("POST", &format!("/api/v1/orders/1/{action}"), &json, b"{}").status,
                200
            );
        }
    }
    let took = began.elapsed();
    let last = daemon.json(&["order", "get", "1"], "")["version"].as_u64().unwrap();
    assert_eq!(last, 121);
    let mut events = 0;
    loop {
        events += 1;
        if watch.order()["version"] == last {
            break;
        }
    }
    assert!(events <= took.as_millis() / 100 + 2, "{events} events in {took:?}");
}

#[test]
fn streams_are_bounded_and_a_place_is_free_again_when_its_reader_leaves() {
    let (daemon, _data) = started();
    let mut watches: Vec<Watch> =
        (0..graylane::api::MAX_STREAMS).map(|_| Watch::open(&daemon, "/events", "")).collect();
    assert!(watches.iter().all(|watch| watch.status == 200));
    let full = Watch::open(&daemon, "/events", "");
    assert!(full.status == 503 && full.head.contains("retry-after: 10"), "{}", full.head);
    daemon.json(&["order", "start", "loan-2026-11"], "");
    for watch in &mut watches {
        watch.synced();
        assert_eq!(watch.order()["id"], 1);
    }
    watches.pop();
    let deadline = Instant::now() + PATIENCE;
    while Watch::open(&daemon, "/events", "").status != 200 {
        assert!(Instant::now() < deadline, "the place stays taken");
        std::thread::yield_now();
    }
}

#[test]
fn a_daemon_that_stops_ends_its_streams_and_does_not_wait_for_who_reads_nothing() {
    let (daemon, _data) = started();
    let mut watch = Watch::open(&daemon, "/events", "");
    watch.synced();
    let asked = Instant::now();
    let silent = Watch::open(&daemon, "/events", "");
    assert!(daemon.terminate(), "it ended well");
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    assert!(watch.next().is_none());
    drop(silent);
}

#[test]
fn a_page_of_another_origin_is_refused_and_no_answer_is_kept() {
    let (daemon, _data) = started();
    let own = daemon.server.clone();
    let ask = |origin: &str| daemon.request("GET", "/api/v1/orders", &[("origin", origin)], b"");
    assert_eq!(ask("https://evil.example").status, 403);
    let answer = ask(&own);
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let post = daemon.request("POST", "/api/v1/plans", &[("origin", "null")], PLAN.as_bytes());
    assert_eq!((post.status, &post.json["title"]), (403, &json!("foreign origin")));
}
