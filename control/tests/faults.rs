//! Faults, from what a proxy counts to what follows by itself, and what people are told of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;
mod reporting;

use daemon::{read_until, run_to, terminal};
use graylane_health::TICK;
use reporting::{Bank, DEADLINE, Proxy, of_cluster};
use serde_json::{Value, json};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// A plan of two judged services that advances by itself. `ACTION` is what follows a fault.
const PLAN: &str = "{ apiVersion: graylane.dev/v1alpha1, kind: ReleasePlan, metadata: { name: p, tenant: retail }, spec: {
    owner: o, advance: auto, services: [
      { name: loan, hosts: [loan.local], stable: v1, gray: v2 }, { name: ledger, hosts: [ledger.local], stable: v1, gray: v2 }],
    stages: [{ name: one, scope: { include: { teller: [T1] } }, hold: 3s }, { name: two, scope: { all: true } }],
    health: { window: 60s, minRequests: 10, errors: { max: 2% }, endpoints: { min: 1 }, onFault: ACTION } } }";

/// What a proxy counts of a service between two reports: requests and errors of gray, then of stable.
const NOTHING: [u64; 4] = [0, 0, 0, 0];
const WELL: [u64; 4] = [5, 0, 20, 0];
const FAILING: [u64; 4] = [5, 5, 20, 0];

/// A bank with one proxy, which counts requests of both services.
struct Release {
    bank: Bank,
    proxy: Proxy,
    /// Since it started, of loan and of ledger.
    counted: [[u64; 4]; 2],
}

// === impl Release ===

impl Release {
    /// One whose requests of both services are listened to.
    fn start(plan: &str, action: &str) -> Self {
        let bank = Bank::start_with(&plan.replace("ACTION", action), "");
        let mut proxy = bank.connect("a", "retail");
        bank.follow(&mut proxy);
        let mut release = Self { bank, proxy, counted: [NOTHING; 2] };
        release.until([NOTHING; 2], |order| {
            (0..2).all(|service| order["services"][service]["judged"]["cause"] == "no-traffic")
        });
        // What comes in the same tick as the first report, or in the next, is a part of it.
        sleep(3 * TICK);
        release
    }

    /// The proxy counts so much of loan and of ledger, and reports it.
    fn count(&mut self, more: [[u64; 4]; 2]) {
        let mut families = Vec::new();
        for ((service, sums), more) in ["loan", "ledger"].iter().zip(&mut self.counted).zip(more) {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            let [gray, gray_errors, stable, stable_errors] = sums.map(|sum| sum as f64);
            families.extend(of_cluster(&format!("{service}-v2"), gray, gray_errors, more[0]));
            families.extend(of_cluster(&format!("{service}-v1"), stable, stable_errors, more[2]));
        }
        self.bank.report(&self.proxy, families).unwrap();
        sleep(Duration::from_millis(100));
    }

    /// Lets the proxy count so much, again and again, until the order is as wanted, and gives it.
    #[track_caller]
    fn until(&mut self, more: [[u64; 4]; 2], is_wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.count(more);
            let order = self.bank.order();
            if is_wanted(&order) {
                return order;
            }
            assert!(Instant::now() < deadline, "{order:#}");
        }
    }
}

/// The text of order 1, as a pipe gets it.
fn text(bank: &Bank) -> String {
    String::from_utf8(bank.daemon.cli(&["order", "get", "1"], "").stdout).unwrap()
}

/// The same as a terminal shows it, without what it draws.
fn undrawn(bank: &Bank) -> String {
    let (mut shown, screen) = terminal();
    run_to(screen.into(), &["--server", &bank.daemon.server, "order", "get", "1"], "");
    let text = read_until(&mut shown, &mut Vec::new(), "└─ last: ").replace('\r', "");
    assert!(text.contains('▁'), "{text}");
    text.split_inclusive('\n').filter(|line| !line.contains(" failed, up to ")).collect()
}

#[test]
fn the_text_of_an_order_has_what_is_found_of_both_versions_and_after_the_rollback_why() {
    let mut release =
        Release::start(&PLAN.replace("advance: auto,", "").replace(", hold: 3s", ""), "rollback-order");
    release.count([[200, 0, 800, 8], [100, 1, 50, 0]]);
    let order = release
        .until([NOTHING; 2], |order| (0..2).all(|service| order["services"][service]["health"] == "Healthy"));
    let last = order["timeline"].as_array().unwrap().last().unwrap();
    let [since, at] = [&order["phaseSince"], &last["at"]].map(|time| time.as_str().unwrap().to_owned());
    let what = last["what"].as_str().unwrap();
    let expected = format!(
        r#"order 1 of plan p, tenant retail: Running since {since} (version 3)
├─ waits for `order advance` to stage "two", since {since}
├─ stages: ● one  ○ two
├─ stage one (1 of 2) since {since}
│  ├─ loan: v1 → v2, in stage one, 1/1 converged, healthy
│  │  ├─ found by envoy: healthy
│  │  ├─ gray v2: 200 requests, 0 failed, p50 17.5 ms, p99 24.9 ms, endpoints: 1
│  │  └─ stable v1: 800 requests, 8 failed, p50 17.5 ms, p99 24.9 ms
│  └─ ledger: v1 → v2, in stage one, 1/1 converged, healthy
│     ├─ found by envoy: healthy
│     ├─ gray v2: 100 requests, 1 failed, p50 17.5 ms, p99 24.9 ms, endpoints: 1
│     └─ stable v1: 50 requests, 0 failed, p50 17.5 ms, p99 24.9 ms
├─ revision 2: acknowledged 1/1, applied 0/1
└─ last: {at} by graylane: {what}
"#
    );
    assert_eq!((text(&release.bank), undrawn(&release.bank)), (expected.clone(), expected));

    release.until([FAILING, WELL], |order| order["phase"] == "RolledBack");
    let order = release
        .until([NOTHING; 2], |order| (0..2).all(|service| order["services"][service]["judged"].is_null()));
    let fault = &order["services"][0]["lastFault"];
    let [why, at] = ["figures", "at"].map(|field| fault[field].as_str().unwrap());
    assert!(why.starts_with("unhealthy: ") && why.contains(" (100 %) gray requests failed in "), "{why}");
    assert!(why.contains("; of stable's 0 of "), "{why}");
    let over = order["phaseSince"].as_str().unwrap();
    let expected = format!(
        "order 1 of plan p, tenant retail: RolledBack since {over} (version 6)
├─ stages: ● one  ○ two
├─ stage one (1 of 2) since {since}
│  ├─ loan: v1 → v2, rolled back, 1/1 converged, faulty
│  │  └─ last fault: {at} by graylane: {why}
│  └─ ledger: v1 → v2, rolled back, 1/1 converged, healthy
├─ revision 3: acknowledged 1/1, applied 0/1
└─ last: {over} by graylane: rolled back everywhere
"
    );
    assert_eq!(text(&release.bank), expected);
    let bank = release.bank.restarted();
    assert_eq!(bank.order()["services"][0]["lastFault"], *fault);
    assert!(text(&bank).contains(&format!("└─ last fault: {at} by graylane: {why}\n")), "{}", text(&bank));
}

/// What is to be seen of an action on a fault of loan.
struct Expected {
    action: &'static str,
    phase: &'static str,
    /// Of loan and of ledger.
    rolled_back: [bool; 2],
    /// Revisions of the rules that follow at once.
    published: u64,
    /// The stage of ledger when the first one was held for longer than it has to be.
    ends_in: &'static str,
}

impl Expected {
    /// Lets loan fail, and then waits for longer than the stage is held.
    fn check(&self) {
        let Self { action, phase, rolled_back, published, ends_in } = self;
        let mut release = Release::start(PLAN, action);
        let before = release.bank.order();
        assert_eq!((&before["phase"], &before["stage"]["name"]), (&json!("Running"), &json!("one")));
        let is_told =
            |order: &Value| order["services"][0]["health"] == "Faulty" && order["phase"] != "RollingBack";
        let found = release.until([FAILING, WELL], is_told);
        // The stage is held for three seconds, and the next one judged after five.
        let held = Instant::now() + Duration::from_secs(10);
        let after = release.until([NOTHING, WELL], |_| Instant::now() > held);

        let wanted = |order: &Value| order["convergence"]["wanted"].as_u64().unwrap();
        assert_eq!(
            (&found["phase"], wanted(&found)),
            (&json!(phase), wanted(&before) + published),
            "{action}: {found}"
        );
        for order in [&found, &after] {
            let services = [0, 1].map(|service| &order["services"][service]["rolledBack"]);
            assert_eq!(services, rolled_back.map(Value::Bool).each_ref(), "{action}: {order}");
            assert_eq!(order["services"][0]["stage"], "one", "{action}: {order}");
        }
        let goes_on = *ends_in == "two";
        assert_eq!(after["services"][1]["stage"], *ends_in, "{action}: {after}");
        assert_eq!(wanted(&after), wanted(&found) + u64::from(goes_on), "{action}: {after}");
        assert_eq!(after["phase"], if goes_on { "Retained" } else { *phase }, "{action}: {after}");

        let records = release.bank.daemon.json(&["audit", "list"], "");
        let is_fault = |record: &&Value| record["after"]["judged"]["verdict"] == "unhealthy";
        let faults: Vec<&Value> = records.as_array().unwrap().iter().filter(is_fault).collect();
        assert_eq!(faults.len(), 1, "{action}: {faults:#?}");
        let judged = &faults[0]["after"]["judged"];
        assert_eq!((&faults[0]["action"], &judged["source"]), (&json!("order.health"), &json!("envoy")));
        assert!(judged["windowSeconds"].as_f64() > Some(0.0), "{judged}");
        assert!(judged["gray"]["errors"].as_u64() >= Some(10), "{judged}");
        assert_eq!(judged["gray"]["errors"], judged["gray"]["requests"], "{judged}");
        assert_eq!(judged["stable"]["errors"], 0, "{judged}");
    }
}

#[test]
fn a_fault_is_acted_on_once_as_the_plan_says_and_what_it_stops_goes_no_further() {
    let expected = [
        Expected {
            action: "rollback-order",
            phase: "RolledBack",
            rolled_back: [true, true],
            published: 1,
            ends_in: "one",
        },
        // What is left does well, and goes on.
        Expected {
            action: "rollback-service",
            phase: "Running",
            rolled_back: [true, false],
            published: 1,
            ends_in: "two",
        },
        Expected {
            action: "pause",
            phase: "Paused",
            rolled_back: [false, false],
            published: 0,
            ends_in: "one",
        },
    ];
    scope(|threads| {
        for expected in &expected {
            threads.spawn(|| expected.check());
        }
    });
}
