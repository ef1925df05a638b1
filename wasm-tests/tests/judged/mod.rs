//! A release that is judged, behind real Envoys.

#![allow(dead_code, reason = "each test file uses its part")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use graylane_wasm_tests::{
    Client, Envoy, LOAN_HOST, Load, LoadSettings, Mood, Request, Testbed, TestbedSettings, wait,
};
use serde_json::Value;

/// How many proxies carry the load.
const ENVOYS: usize = 3;
/// Threads that send through each proxy, and requests a second of each.
const THREADS: u32 = 2;
const RATE: u32 = 20;

/// A plan of one service, with what it says of health.
pub fn plan(health: &str) -> String {
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

/// Judged by errors, beside stable.
pub const ERRORS: &str = "{ window: 10s, minRequests: 20, errors: { max: 2%, overStable: 1% }, endpoints: { min: 1 }, onFault: rollback-order }";
/// Judged by latency.
pub const LATENCY: &str =
    "{ window: 10s, minRequests: 20, latency: { percentile: 99, maxRatio: 3 }, onFault: rollback-order }";

/// A release whose gray version is used through several proxies.
pub struct Release {
    pub testbed: Testbed,
    _load: Vec<Load>,
}

// === impl Release ===

impl Release {
    pub fn start(health: &str) -> Self {
        let settings = TestbedSettings { envoys: ENVOYS, ..TestbedSettings::default() };
        Self::start_on(Testbed::start(&settings).unwrap(), health)
    }

    /// Starts it on what runs already, with every other request gray.
    pub fn start_on(testbed: Testbed, health: &str) -> Self {
        Self::start_with(testbed, health, [THREADS, RATE, 2])
    }

    /// Starts it with so many threads for each proxy, so many requests a second of each, of which one in so many is gray.
    pub fn start_with(testbed: Testbed, health: &str, [threads, rate, gray_every]: [u32; 3]) -> Self {
        testbed.daemon.apply(&plan(health)).unwrap();
        testbed.daemon.cli(&["order", "start", "loan", "--wait", "30"]).unwrap();
        let named = |name: &str, request: Request| (name.to_owned(), request);
        let stable = (1..gray_every).map(|_| named("stable", Request::to(LOAN_HOST)));
        let pilot = named("gray", Request::to(LOAN_HOST).teller("T0000017"));
        let requests = [pilot].into_iter().chain(stable).collect();
        let settings = LoadSettings { requests, stable: "v1".to_owned(), threads: threads as usize, rate };
        let load = testbed.envoys.iter().map(|envoy| Load::start(&envoy.client(), &settings)).collect();
        Self { testbed, _load: load }
    }

    /// The order as it is.
    pub fn order(&self) -> Result<Value> {
        self.testbed.daemon.get("/api/v1/orders/1")
    }

    /// Waits until the service is found so, and gives what is said of it.
    pub fn until_found(&self, verdict: &str) -> Value {
        wait::until("the verdict", || {
            let found = self.order()?["services"][0].take();
            ensure!(found["judged"]["verdict"] == verdict, "{found}");
            Ok(found)
        })
        .unwrap()
    }

    /// Has a version of a service answer so, as `loan-v2`.
    pub fn be(&self, version: &str, mood: Mood) {
        self.testbed.upstreams.iter().find(|upstream| upstream.cluster() == version).unwrap().be(mood);
    }

    /// Waits until every proxy sends the pilot to stable again, and gives the order then.
    pub fn until_back(&self) -> Value {
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
    pub fn check_taken_back(&self, order: &Value, why: &str) {
        let phase = order["phase"].as_str().unwrap();
        assert!(["RollingBack", "RolledBack"].contains(&phase), "{order}");
        let timeline = order["timeline"].to_string();
        assert!(timeline.contains("is faulty") && timeline.contains(why), "{timeline}");
        let audit = self.testbed.daemon.get("/api/v1/audit?limit=50").unwrap().to_string();
        assert!(audit.contains("order.health") && audit.contains(why), "{audit}");
    }

    /// Checks that the release goes on for a while.
    pub fn check_it_stays(&self, how_long: Duration) {
        let until = Instant::now() + how_long;
        while Instant::now() < until {
            let order = self.order().unwrap();
            assert_eq!(order["phase"], "Running", "{order}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
