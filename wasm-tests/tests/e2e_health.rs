//! Gray versions that do badly behind real Envoys: found by what these count, and taken back with nobody at hand.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use graylane_wasm_tests::{
    Client, Envoy, LOAN_HOST, Load, LoadSettings, Mood, Request, Testbed, TestbedSettings, wait,
};
use serde_json::Value;

/// How many proxies carry the load.
const ENVOYS: usize = 3;
/// Requests a second of each thread; there are two for each proxy, and half of the requests are gray.
const RATE: u32 = 20;
/// For how long nothing may happen.
const LONG_ENOUGH: Duration = Duration::from_secs(8);

fn plan(health: &str) -> String {
    format!(
        "
apiVersion: graylane.dev/v1alpha1
kind: ReleasePlan
metadata: {{ name: loan, tenant: retail }}
spec:
  owner: release-manager
  services: [{{ name: loan, hosts: [{LOAN_HOST}], stable: v1, gray: v2 }}]
  stages:
    - {{ name: pilot, scope: {{ include: {{ teller: [T0000017] }} }} }}
    - {{ name: whole-bank, scope: {{ all: true }} }}
  health: {health}
"
    )
}

const ERRORS: &str = "{ window: 10s, minRequests: 20, errors: { max: 2%, overStable: 1% }, endpoints: { min: 1 }, onFault: rollback-order }";
const LATENCY: &str =
    "{ window: 10s, minRequests: 20, latency: { percentile: 99, maxRatio: 3 }, onFault: rollback-order }";

/// A release whose gray version is used through several proxies.
struct Release {
    testbed: Testbed,
    _load: Vec<Load>,
}

// === impl Release ===

impl Release {
    fn start(health: &str) -> Self {
        let settings = TestbedSettings { envoys: ENVOYS, ..TestbedSettings::default() };
        let testbed = Testbed::start(&settings).unwrap();
        testbed.daemon.apply(&plan(health)).unwrap();
        testbed.daemon.cli(&["order", "start", "loan", "--wait", "30"]).unwrap();
        let named = |name: &str, request: Request| (name.to_owned(), request);
        let pilot = Request::to(LOAN_HOST).teller("T0000017");
        let requests = vec![named("gray", pilot), named("stable", Request::to(LOAN_HOST))];
        let settings = LoadSettings { requests, stable: "v1".to_owned(), threads: 2, rate: RATE };
        let load = testbed.envoys.iter().map(|envoy| Load::start(&envoy.client(), &settings)).collect();
        Self { testbed, _load: load }
    }

    fn order(&self) -> Result<Value> {
        self.testbed.daemon.get("/api/v1/orders/1")
    }

    /// Waits until the service is found so, and gives what is said of it.
    fn until_found(&self, verdict: &str) -> Value {
        wait::until("the verdict", || {
            let found = self.order()?["services"][0].take();
            ensure!(found["judged"]["verdict"] == verdict, "{found}");
            Ok(found)
        })
        .unwrap()
    }

    fn be(&self, version: &str, mood: Mood) {
        self.testbed.upstreams.iter().find(|upstream| upstream.cluster() == version).unwrap().be(mood);
    }

    /// Waits until every proxy sends the pilot to stable again, and gives the order then.
    fn until_back(&self) -> Value {
        let pilot = Request::to(LOAN_HOST).teller("T0000017");
        let clients: Vec<Client> = self.testbed.envoys.iter().map(Envoy::client).collect();
        wait::until("the way back", || {
            for client in &clients {
                let version = client.version_for(&pilot)?;
                ensure!(version == "v1", "{version}");
            }
            Ok(())
        })
        .unwrap();
        self.order().unwrap()
    }

    /// What the order's timeline says of the fault.
    fn check_taken_back(&self, order: &Value, why: &str) {
        let phase = order["phase"].as_str().unwrap();
        assert!(["RollingBack", "RolledBack"].contains(&phase), "{order}");
        let timeline = order["timeline"].to_string();
        assert!(timeline.contains("is faulty") && timeline.contains(why), "{timeline}");
        let audit = self.testbed.daemon.get("/api/v1/audit?limit=50").unwrap().to_string();
        assert!(audit.contains("order.health") && audit.contains(why), "{audit}");
    }

    /// Checks that the release goes on for a while.
    fn check_it_stays(&self) {
        let until = Instant::now() + LONG_ENOUGH;
        while Instant::now() < until {
            let order = self.order().unwrap();
            assert_eq!(order["phase"], "Running", "{order}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

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
    release.check_it_stays();
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
