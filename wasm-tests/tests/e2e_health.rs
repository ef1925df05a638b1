//! Gray versions that do badly behind real Envoys: found by what these count, and taken back with nobody at hand.

use std::time::{Duration, Instant};

use anyhow::ensure;
use graylane_wasm_tests::release::{self, GRAY, STABLE};
use graylane_wasm_tests::{
    EnvoyConfig, LOAN_HOST, Load, LoadSettings, Mood, Release, ReleaseSettings, Request, Testbed,
    TestbedSettings, wait,
};
use serde_json::{Value, json};

const ENVOYS: usize = 3;
/// For how long nothing may happen.
const LONG_ENOUGH: Duration = Duration::from_secs(8);
/// How long the routes of [`start_edited`] wait for an answer.
const ROUTE_TIMEOUT: &str = "0.3s";

/// A release behind several proxies, and its order.
fn start(health: Value) -> Release {
    let testbed = Testbed::start(&TestbedSettings { envoys: ENVOYS, ..TestbedSettings::default() }).unwrap();
    start_on(testbed, &ReleaseSettings { health, ..ReleaseSettings::default() })
}

fn start_on(testbed: Testbed, settings: &ReleaseSettings) -> Release {
    let mut release = Release::start(testbed, settings).unwrap();
    release.start_order().unwrap();
    release
}

/// Proxies whose file is changed so.
fn edited(envoys: usize, edit: fn(EnvoyConfig) -> EnvoyConfig) -> Testbed {
    let mut testbed = Testbed::start(&TestbedSettings { envoys: 0, ..TestbedSettings::default() }).unwrap();
    for _ in 0..envoys {
        testbed.add_envoy(edit).unwrap();
    }
    testbed
}

#[test]
fn a_gray_version_that_fails_is_taken_back_and_the_order_says_by_which_figures() {
    let release = start(release::errors("10s"));
    let healthy = release.until_found("verdict", "healthy").unwrap();
    assert!(healthy["gray"]["requests"].as_u64() >= Some(20), "{healthy}");
    assert!(healthy["stable"]["requests"].as_u64() >= Some(20), "{healthy}");
    assert_eq!(healthy["endpoints"], 1, "{healthy}");
    assert_eq!(release.order().unwrap()["services"][0]["health"], "Healthy");
    let begun = Instant::now();
    release.be(GRAY, Mood::Failing(100)).unwrap();
    release.check_taken_back("fail").unwrap();
    let took = begun.elapsed();
    eprintln!("from the first failing answer to stable everywhere: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_gray_version_that_is_gone_is_taken_back() {
    let mut release = start(release::errors("10s"));
    release.until_found("verdict", "healthy").unwrap();
    release.end(GRAY);
    release.check_taken_back("fail").unwrap();
}

#[test]
fn a_gray_version_that_closes_connections_without_an_answer_is_taken_back() {
    let release = start(release::errors("10s"));
    release.until_found("verdict", "healthy").unwrap();
    release.be(GRAY, Mood::Resets).unwrap();
    release.check_taken_back("fail").unwrap();
}

#[test]
fn a_gray_version_that_never_answers_is_taken_back_when_routes_have_a_time_out() {
    let testbed = edited(ENVOYS, |config| {
        config.edit_http(|http| {
            let routes = http.pointer_mut("/route_config/virtual_hosts/0/routes").unwrap();
            routes[0]["route"]["timeout"] = ROUTE_TIMEOUT.into();
        })
    });
    let release = start_on(testbed, &ReleaseSettings::default());
    release.until_found("verdict", "healthy").unwrap();
    release.be(GRAY, Mood::Hangs).unwrap();
    release.check_taken_back("fail").unwrap();
}

#[test]
fn a_gray_version_that_never_answers_is_taken_back_when_its_callers_give_up_before_routes_do() {
    let testbed = Testbed::start(&TestbedSettings::default()).unwrap();
    let release = start_on(testbed, &ReleaseSettings { threads: 0, ..ReleaseSettings::default() });
    let client = release.testbed.envoys[0].client();
    let requests = vec![("stable".to_owned(), Request::to(LOAN_HOST))];
    let settings = LoadSettings { requests, stable: "v1".to_owned(), threads: 2, rate: 20 };
    let _stable = Load::start(&client, &settings);
    release.be(GRAY, Mood::Hangs).unwrap();
    wait::until("the way back", || {
        client.send_and_give_up(&release::pilot(), Duration::from_millis(50))?;
        let order = release.order()?;
        ensure!(order["phase"] != "Running", "{order}");
        Ok(())
    })
    .unwrap();
    release.check_taken_back("none of").unwrap();
}

#[test]
fn where_everybody_is_let_in_gray_is_judged_with_no_stable_beside_it() {
    let release = start(release::errors("10s"));
    release.until_found("verdict", "healthy").unwrap();
    wait::until("the last stage", || {
        let advanced = release.advance()?;
        ensure!(advanced.code == Some(0), "{}", advanced.stderr);
        Ok(())
    })
    .unwrap();
    let found = release.until_found("cause", "within-own-limits").unwrap();
    assert!(found["gray"]["requests"].as_u64() >= Some(20), "{found}");
    release.until_phase("Retained").unwrap();
    release.be(GRAY, Mood::Failing(100)).unwrap();
    release.check_taken_back("fail").unwrap();
}

#[test]
fn a_gray_version_whose_health_check_fails_is_taken_back_though_nobody_calls_it() {
    let testbed = edited(1, |config| {
        config.edit(|root| {
            let clusters = root["static_resources"]["clusters"].as_array_mut().unwrap();
            let gray = clusters.iter_mut().find(|cluster| cluster["name"] == GRAY).unwrap();
            gray["health_checks"] = json!([{
                "timeout": "1s", "interval": "0.2s", "no_traffic_interval": "0.2s",
                "unhealthy_threshold": 2, "healthy_threshold": 1, "http_health_check": { "path": "/" },
            }]);
        })
    });
    let release = start_on(testbed, &ReleaseSettings { threads: 0, ..ReleaseSettings::default() });
    let found = release.until_found("endpoints", 1).unwrap();
    assert_eq!(found["cause"], "no-traffic", "{found}");
    release.be(GRAY, Mood::Failing(100)).unwrap();
    let order = release.until_back(wait::DEADLINE).unwrap();
    let judged = &order["services"][0]["judged"];
    assert_eq!(
        (&judged["cause"], &judged["gray"]["requests"]),
        (&"no-endpoints".into(), &0.into()),
        "{order}"
    );
    release.check_taken_back("endpoints").unwrap();
}

#[test]
fn what_fails_for_all_alike_is_not_taken_back() {
    let release = start(release::errors("10s"));
    release.until_found("verdict", "healthy").unwrap();
    for version in [STABLE, GRAY] {
        release.be(version, Mood::Failing(50)).unwrap();
    }
    let found = release.until_found("verdict", "undecided").unwrap();
    release.check_stays(LONG_ENOUGH).unwrap();
    assert!(found["reason"].as_str().unwrap().contains("stable"), "{found}");
}

#[test]
fn a_gray_version_that_gets_slow_is_taken_back() {
    let release = start(release::latency());
    release.until_found("verdict", "healthy").unwrap();
    release.be(GRAY, Mood::Slow(Duration::from_millis(200))).unwrap();
    release.check_taken_back("ms").unwrap();
}

#[test]
fn nobody_is_taken_back_for_nothing_and_nobody_is_called_healthy_for_nothing() {
    let testbed = Testbed::start(&TestbedSettings::default()).unwrap();
    let release = start_on(testbed, &ReleaseSettings { threads: 0, ..ReleaseSettings::default() });
    let found = release.until_found("cause", "no-traffic").unwrap();
    assert!(found["reason"].as_str().unwrap().contains("request"), "{found}");
    let order = release.order().unwrap();
    assert_eq!((&order["phase"], &order["services"][0]["health"]), (&"Running".into(), &"Unknown".into()));
    assert_eq!(order["waitsFor"]["kind"], "verdict", "{order}");
    let refused = release.advance().unwrap();
    assert!(refused.stderr.contains("nobody can say yet"), "{}", refused.stderr);
}

#[test]
fn with_five_requests_a_minute_nobody_can_say_and_one_or_two_that_fail_take_nobody_back() {
    let testbed = Testbed::start(&TestbedSettings::default()).unwrap();
    let few = ReleaseSettings { health: release::errors("60s"), threads: 1, rate: 4, gray_every: 48 };
    let release = start_on(testbed, &few);
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
        let advanced = release.advance().unwrap();
        assert!(advanced.stderr.contains("nobody can say yet"), "{}", advanced.stderr);
        judged["gray"]["errors"].as_u64()
    };
    release.check_stays(Duration::from_secs(26)).unwrap();
    assert_eq!(check_held(2), Some(0));
    release.be(GRAY, Mood::Failing(100)).unwrap();
    release.check_stays(Duration::from_secs(15)).unwrap();
    assert!((1..=2).contains(&check_held(3).unwrap()));
}
