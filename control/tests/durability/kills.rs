//! The daemon is killed at random moments while operators work.

use crate::daemon::Daemon;
use crate::ledger::Ledger;
use crate::operator::Operator;
use crate::proxy;
use fastrand::Rng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often the daemon is killed, unless `GRAYLANE_KILLS` says otherwise.
const KILLS: usize = 60;

/// The most actions that are acknowledged before a kill, and the longest time after the last of them.
const MAX_ACTIONS: usize = 12;
const MAX_DELAY: Duration = Duration::from_micros(3_000);

/// F01, F05.
#[test]
fn what_was_acknowledged_is_there_after_every_kill() {
    let kills = std::env::var("GRAYLANE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let seed =
        std::env::var("GRAYLANE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("{kills} kills; GRAYLANE_SEED={seed} draws the same moments");
    let data = tempfile::tempdir().unwrap();
    let mut rng = Rng::with_seed(seed);
    let mut operators = ["retail", "corporate"].map(|tenant| Operator::new(tenant, rng.u64(..)));
    let (mut ledger, mut revisions) = (Ledger::default(), BTreeMap::new());
    let (mut acknowledged, mut unanswered) = (0, 0);
    for kill in 0..=kills {
        let daemon = Daemon::start(data.path());
        ledger.read_on(&daemon);
        for operator in &mut operators {
            let is_done = ledger.settle(operator);
            unanswered += usize::from(is_done);
            check(operator, is_done, &daemon, kill);
            check_rules(operator, &mut revisions, &daemon);
        }
        if kill < kills {
            acknowledged += work(&mut operators, &daemon, &mut rng);
        }
        daemon.kill();
    }
    eprintln!("{acknowledged} actions acknowledged, {unanswered} done without an answer");
    assert!(acknowledged >= kills, "{acknowledged} acknowledged in {kills} lives");
}

/// Lets the operators work until a random moment, and kills the daemon. Gives how much was acknowledged.
fn work(operators: &mut [Operator; 2], daemon: &Daemon, rng: &mut Rng) -> usize {
    let count = AtomicUsize::new(0);
    let (actions, delay) = (rng.usize(..MAX_ACTIONS), MAX_DELAY.mul_f64(rng.f64()));
    std::thread::scope(|scope| {
        let working =
            operators.iter_mut().map(|operator| scope.spawn(|| operator.work(&daemon.server, &count)));
        let working: Vec<_> = working.collect();
        while count.load(Ordering::Relaxed) < actions && !working.iter().any(|one| one.is_finished()) {
            std::thread::yield_now();
        }
        // The moment of the kill is what is random here.
        std::thread::sleep(delay);
        daemon.cut();
    });
    count.into_inner()
}

/// Checks that what an operator works on is as it was acknowledged, with what was asked last done wholly or not at all.
fn check(operator: &mut Operator, is_done: bool, daemon: &Daemon, kill: usize) {
    let asked = operator.unanswered.take();
    if let Some(asked) = asked.as_ref().filter(|asked| asked.deed == "apply" && is_done) {
        operator.owner = asked.owner;
    }
    let tenant = operator.tenant.clone();
    let plan = daemon.request("GET", &format!("/api/v1/tenants/{tenant}/plans/p"), &[], b"");
    let owner = plan.json["plan"]["spec"]["owner"].as_str().map(str::to_owned);
    let expected = (operator.owner > 0).then(|| format!("owner-{}", operator.owner));
    assert_eq!(owner, expected, "kill {kill}");
    let deed = asked.map_or("", |asked| asked.deed);
    match &operator.order {
        Some(seen) => {
            let path = format!("/api/v1/orders/{}", seen["id"]);
            let found = daemon.request("GET", &path, &[], b"").json;
            check_order(seen, &found, is_done.then_some(deed), kill);
            operator.see(found);
        }
        None => {
            // One that was started without an answer is active, or none is.
            let path = format!("/api/v1/orders?tenant={tenant}&active=true");
            let active = daemon.request("GET", &path, &[], b"").json;
            let started = active.as_array().unwrap().iter().find(|order| order["phase"] != "RollingBack");
            assert_eq!(started.is_some(), is_done && deed == "start", "kill {kill}: {active}");
            if let Some(order) = started {
                let path = format!("/api/v1/orders/{}", order["id"]);
                operator.see(daemon.request("GET", &path, &[], b"").json);
            }
        }
    }
}

/// Checks an order against how it was seen last, and what was done to it without an answer.
fn check_order(seen: &Value, found: &Value, done: Option<&str>, kill: usize) {
    let state =
        |order: &Value| (order["phase"].clone(), order["stage"].clone(), order["contentHash"].clone());
    let (was, is) = (state(seen), state(found));
    let what = || format!("kill {kill}, {done:?}\nwas {seen}\nis  {found}");
    let phase = found["phase"].as_str().unwrap();
    match done {
        Some("advance") => {
            assert!(was.1 != is.1 || was.0 != is.0, "{}", what());
        }
        Some("adjust") => assert!(was.0 == is.0 && was.1 == is.1, "{}", what()),
        Some("pause") => assert!(phase == "Paused" && was.1 == is.1, "{}", what()),
        Some("resume") => assert!(phase != "Paused" && was.1 == is.1, "{}", what()),
        Some("rollback") => assert!(matches!(phase, "RollingBack" | "RolledBack"), "{}", what()),
        // The daemon itself takes an order from its last stage to what comes after.
        _ => assert!(was == is || phase == "Retained" && was.1 == is.1, "{}", what()),
    }
    assert!(found["version"].as_u64() >= seen["version"].as_u64(), "{}", what());
}

/// Checks that proxies get the published rules, and that revisions only grow.
fn check_rules(operator: &Operator, revisions: &mut BTreeMap<String, u64>, daemon: &Daemon) {
    if operator.owner == 0 {
        return;
    }
    let tenant = &operator.tenant;
    let rules = daemon.request("GET", &format!("/api/v1/tenants/{tenant}/rules"), &[], b"").json;
    let revision = rules["revision"].as_u64().unwrap();
    assert_eq!(proxy::revision(&daemon.xds, tenant), revision);
    let before = revisions.insert(tenant.clone(), revision).unwrap_or(0);
    assert!(before <= revision, "{tenant} had revision {before} and has {revision}");
}
