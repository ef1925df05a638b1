//! Gray versions that do badly behind real Envoys: found by what these count, and taken back with nobody at hand.

mod judged;

use std::time::{Duration, Instant};

use anyhow::ensure;
use graylane_wasm_tests::{Mood, Testbed, TestbedSettings, wait};
use judged::{ERRORS, LATENCY, Release, plan};

/// For how long nothing may happen.
const LONG_ENOUGH: Duration = Duration::from_secs(8);

/// A request of four a second is gray in so many, which makes five a minute.
const FEW: [u32; 3] = [1, 4, 48];

#[test]
fn a_gray_version_that_fails_is_taken_back_and_the_order_says_by_which_figures() {
    let release = Release::start(ERRORS);
    let healthy = release.until_found("healthy");
    assert!(healthy["judged"]["gray"]["requests"].as_u64() >= Some(20), "{healthy}");
    assert!(healthy["judged"]["stable"]["requests"].as_u64() >= Some(20), "{healthy}");
    assert_eq!((&healthy["judged"]["endpoints"], &healthy["health"]), (&1.into(), &"Healthy".into()));
    let begun = Instant::now();
    release.be("loan-v2", Mood::Failing(100));
    let order = release.until_back();
    let took = begun.elapsed();
    eprintln!("from the first failing answer to stable everywhere: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    release.check_taken_back(&order, "fail");
}

#[test]
fn a_gray_version_that_is_gone_is_taken_back() {
    let mut release = Release::start(ERRORS);
    release.until_found("healthy");
    release.testbed.upstreams.retain(|upstream| upstream.cluster() != "loan-v2");
    let order = release.until_back();
    release.check_taken_back(&order, "fail");
}

#[test]
fn what_fails_for_all_alike_is_not_taken_back() {
    let release = Release::start(ERRORS);
    release.until_found("healthy");
    for version in ["loan-v1", "loan-v2"] {
        release.be(version, Mood::Failing(50));
    }
    let found = release.until_found("undecided");
    release.check_it_stays(LONG_ENOUGH);
    let reason = found["judged"]["reason"].as_str().unwrap();
    assert!(reason.contains("stable"), "{reason}");
}

#[test]
fn a_gray_version_that_gets_slow_is_taken_back() {
    let release = Release::start(LATENCY);
    release.until_found("healthy");
    release.be("loan-v2", Mood::Slow(Duration::from_millis(200)));
    let order = release.until_back();
    release.check_taken_back(&order, "ms");
}

#[test]
fn nobody_is_taken_back_for_nothing_and_nobody_is_called_healthy_for_nothing() {
    let settings = TestbedSettings { envoys: 1, ..TestbedSettings::default() };
    let testbed = Testbed::start(&settings).unwrap();
    testbed.daemon.apply(&plan(ERRORS)).unwrap();
    testbed.daemon.cli(&["order", "start", "loan", "--wait", "30"]).unwrap();
    let order = wait::until("that nobody can say", || {
        let order = testbed.daemon.get("/api/v1/orders/1")?;
        ensure!(
            order["services"][0]["judged"]["reason"].as_str().is_some_and(|why| why.contains("request")),
            "{order}"
        );
        Ok(order)
    })
    .unwrap();
    assert_eq!((&order["phase"], &order["services"][0]["health"]), (&"Running".into(), &"Unknown".into()));
    assert_eq!(order["waitsFor"]["kind"], "verdict", "{order}");
    let refused = testbed.daemon.try_cli(&["order", "advance", "1"]).unwrap();
    assert!(refused.stderr.contains("nobody can say yet"), "{}", refused.stderr);
}

#[test]
fn with_five_requests_a_minute_nobody_can_say_and_one_or_two_that_fail_take_nobody_back() {
    let testbed = Testbed::start(&TestbedSettings { envoys: 1, ..TestbedSettings::default() }).unwrap();
    let release = Release::start_with(testbed, &ERRORS.replace("10s", "60s"), FEW);
    let check_held = |requests: u64| {
        let order = release.order().unwrap();
        let service = &order["services"][0];
        let judged = &service["judged"];
        assert_eq!(
            (&judged["cause"], &service["health"]),
            (&"too-few-requests".into(), &"Unknown".into()),
            "{order}"
        );
        assert!(judged["gray"]["requests"].as_u64() >= Some(requests), "{judged}");
        let advanced = release.testbed.daemon.try_cli(&["order", "advance", "1"]).unwrap();
        assert!(advanced.stderr.contains("nobody can say yet"), "{}", advanced.stderr);
        judged["gray"]["errors"].as_u64()
    };
    release.check_it_stays(Duration::from_secs(26));
    assert_eq!(check_held(2), Some(0));
    release.be("loan-v2", Mood::Failing(100));
    release.check_it_stays(Duration::from_secs(15));
    assert!((1..=2).contains(&check_held(3).unwrap()));
}
