//! Judged services, from what proxies count to what people are told: the real program, and proxies as far as it sees them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;
mod reporting;
mod watching;

use daemon::{read_until, run_to, terminal};
use reporting::Bank;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use watching::Watch;

/// What a proxy counts in a tenth of a second: requests and errors of gray, then of stable.
const WELL: [u64; 4] = [5, 0, 20, 0];
const FAILING: [u64; 4] = [5, 5, 20, 0];
const ALIKE: [u64; 4] = [5, 2, 20, 8];

#[test]
fn the_audit_log_has_the_figures_the_window_and_the_source_of_each_verdict() {
    let bank = Bank::start();
    let mut proxies = [bank.connect("a", "retail"), bank.connect("b", "retail")];
    bank.until(&mut proxies, WELL, |order| order["services"][0]["health"] == "Healthy");
    let order = bank.until(&mut proxies, FAILING, |order| order["phase"] != "Running");
    assert_eq!(order["phase"], "RollingBack", "{order}");
    let records = bank.daemon.json(&["audit", "list"], "");
    let told: Vec<_> =
        records.as_array().unwrap().iter().filter(|record| record["action"] == "order.health").collect();
    let verdicts: Vec<_> = told.iter().map(|record| &record["after"]["judged"]["verdict"]).collect();
    assert_eq!(verdicts, ["healthy", "unhealthy"]);
    let judged = &told[1]["after"]["judged"];
    assert_eq!((&told[1]["actor"], &judged["source"]), (&json!("graylane"), &json!("envoy")));
    let [window, gray, stable] = [&judged["windowSeconds"], &judged["gray"], &judged["stable"]];
    assert!(window.as_f64().is_some_and(|seconds| (1.0..=5.0).contains(&seconds)), "{judged}");
    assert!(
        gray["errors"].as_u64() > Some(0) && gray["requests"].as_u64() >= gray["errors"].as_u64(),
        "{judged}"
    );
    assert!(stable["requests"].as_u64() > gray["requests"].as_u64() && stable["errors"] == 0, "{judged}");
    for times in ["p50Ms", "p99Ms"] {
        assert!(gray[times].as_f64().is_some_and(|ms| (1.0..=25.0).contains(&ms)), "{judged}");
    }
    assert!(judged["reason"].as_str().is_some_and(|why| why.contains("gray requests failed")), "{judged}");
    assert_eq!(bank.daemon.json(&["audit", "verify"], "")["records"], records.as_array().unwrap().len());
}

#[test]
fn a_terminal_shows_how_many_failed_over_time_and_a_pipe_gets_none_of_it() {
    let bank = Bank::start();
    let mut proxies = [bank.connect("a", "retail")];
    bank.until(&mut proxies, WELL, |order| order["services"][0]["health"] == "Healthy");
    let order = bank.until(&mut proxies, ALIKE, |order| {
        let judged = &order["services"][0]["judged"];
        judged["reason"].as_str().is_some_and(|why| why.contains("rolling back would not help"))
    });
    let series = &order["services"][0]["judged"]["series"];
    let points = series["gray"].as_array().unwrap();
    assert!(points.len() <= 30 && points[0]["errors"] == 0, "{series}");
    assert!(points.iter().any(|point| point["errors"].as_u64() > Some(0)), "{series}");
    assert_eq!(points.len(), series["stable"].as_array().unwrap().len());

    let (mut shown, screen) = terminal();
    run_to(screen.into(), &["--server", &bank.daemon.server, "order", "get", "1"], "");
    let tree = read_until(&mut shown, &mut Vec::new(), "revision ");
    let charts: Vec<&str> = tree.lines().filter(|line| line.contains('█')).collect();
    assert!(
        charts.len() == 2 && charts[0].contains('▁') && charts[0].contains("failed, up to 40.0 %"),
        "{tree}"
    );
    let piped = String::from_utf8(bank.daemon.cli(&["order", "get", "1"], "").stdout).unwrap();
    assert!(piped.contains("gray v2: ") && !piped.contains('█'), "{piped}");
}

#[test]
fn who_watches_an_order_is_told_of_another_verdict_soon_and_not_of_more_requests() {
    let bank = Bank::start();
    let mut proxies = [bank.connect("a", "retail")];
    let mut watch = Watch::open(&bank.daemon, "/1/events", "");
    let mut told = Vec::new();
    let mut until_told = |cause: &str| {
        loop {
            let order = watch.order();
            told.push(without_figures(order.clone()));
            if order["services"][0]["judged"]["cause"] == cause {
                return order;
            }
        }
    };
    let is = |cause: &'static str| move |order: &Value| order["services"][0]["judged"]["cause"] == cause;
    bank.until(&mut proxies, WELL, is("within-limits"));
    (0..60).for_each(|_| bank.count(&mut proxies, WELL));
    until_told("within-limits");
    bank.until(&mut proxies, ALIKE, is("stable-fails-too"));
    let found = Instant::now();
    let order = until_told("stable-fails-too");
    assert!(found.elapsed() < Duration::from_secs(2), "{:?}", found.elapsed());
    let judged = &order["services"][0]["judged"];
    assert!(judged["gray"]["errors"].as_u64() > Some(0) && judged["series"]["gray"].is_array(), "{judged}");
    assert!(told.windows(2).all(|two| two[0] != two[1]), "only more requests: {told:?}");
    assert!(told.len() < 12, "{told:?}");
}

/// An order without what moves with each request.
fn without_figures(mut order: Value) -> Value {
    if let Some(judged) = order["services"][0]["judged"].as_object_mut() {
        judged.retain(|field, _| ["verdict", "cause", "endpoints", "sources"].contains(&field.as_str()));
    }
    order
}
