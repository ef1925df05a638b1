//! A release that is judged by what proxies count, and requests through them that are counted.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::client::{Client, Request};
use crate::daemon::CliOutcome;
use crate::envoy::Envoy;
use crate::load::{Load, LoadSettings};
use crate::testbed::{LOAN_HOST, Testbed};
use crate::upstream::Mood;
use crate::wait;

/// The cluster of the gray version.
pub const GRAY: &str = "loan-v2";
/// The cluster of the stable version.
pub const STABLE: &str = "loan-v1";

const PILOT: &str = "T0000017";
const PLAN: &str = "loan";
/// The phases of an order that is taken back.
const BACK: [&str; 2] = ["RollingBack", "RolledBack"];
/// How often an order that has to stay is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How a release is judged, and what is sent meanwhile.
#[derive(Debug, Clone)]
pub struct ReleaseSettings {
    /// What the plan says of health, as [`errors`].
    pub health: Value,
    /// Threads that send through each proxy. With none of them nothing is sent.
    pub threads: usize,
    /// Requests a second of each thread.
    pub rate: u32,
    /// One request of so many is gray.
    pub gray_every: usize,
}

/// A release of `loan` from v1 to v2, and the load; all of it ends when dropped.
pub struct Release {
    /// All parts. Whoever takes one away sees how the release gets on without it.
    pub testbed: Testbed,
    /// The number of the last order; 0 before the first one.
    order: u64,
    _load: Vec<Load>,
}

/// Judged by errors, at most 2 % and 1 % more than stable, over a window as `10s`, and by endpoints.
pub fn errors(window: &str) -> Value {
    json!({
        "window": window,
        "minRequests": 20,
        "errors": { "max": "2%", "overStable": "1%" },
        "endpoints": { "min": 1 },
        "onFault": "rollback-order",
    })
}

/// Judged by latency: percentile 99 is at most three times stable's.
pub fn latency() -> Value {
    json!({
        "window": "10s",
        "minRequests": 20,
        "latency": { "percentile": 99, "maxRatio": 3 },
        "onFault": "rollback-order",
    })
}

// === impl ReleaseSettings ===

impl Default for ReleaseSettings {
    fn default() -> Self {
        Self { health: errors("10s"), threads: 2, rate: 20, gray_every: 2 }
    }
}

impl ReleaseSettings {
    /// Gray requests a minute through each proxy.
    pub fn gray_per_minute(&self) -> u32 {
        60 * self.rate * self.threads as u32 / self.gray_every as u32
    }
}

// === impl Release ===

impl Release {
    /// Applies the plan and begins to send through every proxy of the testbed. There is no order yet.
    pub fn start(testbed: Testbed, settings: &ReleaseSettings) -> Result<Self> {
        let ReleaseSettings { ref health, threads, rate, gray_every } = *settings;
        testbed.daemon.apply(&plan(health).to_string())?;
        let stable = (1..gray_every).map(|_| ("stable".to_owned(), Request::to(LOAN_HOST)));
        let requests = [("gray".to_owned(), pilot())].into_iter().chain(stable).collect();
        let settings = LoadSettings { requests, stable: "v1".to_owned(), threads, rate };
        let load = testbed.envoys.iter().map(|envoy| Load::start(&envoy.client(), &settings)).collect();
        Ok(Self { testbed, order: 0, _load: load })
    }

    /// Starts an order, of which everything below is said from now on.
    pub fn start_order(&mut self) -> Result<()> {
        let order = self.testbed.daemon.post("/api/v1/orders", &json!({ "plan": PLAN }))?;
        self.order = order["id"].as_u64().with_context(|| format!("no order: {order}"))?;
        Ok(())
    }

    /// The order as it is.
    pub fn order(&self) -> Result<Value> {
        self.testbed.daemon.get(&format!("/api/v1/orders/{}", self.order))
    }

    /// What is found of its service.
    pub fn judged(&self) -> Result<Value> {
        Ok(self.order()?["services"][0]["judged"].take())
    }

    /// Has somebody ask that the order goes to its next stage.
    pub fn advance(&self) -> Result<CliOutcome> {
        self.testbed.daemon.try_cli(&["order", "advance", &self.order.to_string()])
    }

    /// Has a version answer so from now on, as [`GRAY`].
    pub fn be(&self, version: &str, mood: Mood) -> Result<()> {
        let upstream = self.testbed.upstreams.iter().find(|upstream| upstream.cluster() == version);
        upstream.with_context(|| format!("no upstream {version}"))?.be(mood);
        Ok(())
    }

    /// Ends a version.
    pub fn end(&mut self, version: &str) {
        self.testbed.upstreams.retain(|upstream| upstream.cluster() != version);
    }

    /// Waits until a field of what is found has this value, as `verdict` `healthy`, and gives all that is found.
    pub fn until_found(&self, field: &str, value: impl Into<Value>) -> Result<Value> {
        let value = value.into();
        wait::until(field, || {
            let judged = self.judged()?;
            ensure!(judged[field] == value, "{judged}");
            Ok(judged)
        })
    }

    /// Waits until the order is taken back, and gives it. No gray request is sent for it, which would help to find a fault.
    pub fn until_back(&self, deadline: Duration) -> Result<Value> {
        wait::until_within(deadline, "the way back", || {
            let order = self.order()?;
            ensure!(order["phase"].as_str().is_some_and(|phase| BACK.contains(&phase)), "{order}");
            Ok(order)
        })
    }

    /// Waits until the order is in a phase.
    pub fn until_phase(&self, phase: &str) -> Result<()> {
        wait::until(phase, || {
            let order = self.order()?;
            ensure!(order["phase"] == phase, "{order}");
            Ok(())
        })
    }

    /// Waits until every proxy sends the pilot to a version, one after the other: none goes back by itself.
    pub fn until_everywhere(&self, version: &str) -> Result<()> {
        self.clients().try_for_each(|client| wait::until(version, || check_sends_to(&client, version)))
    }

    /// Checks that every proxy sends the pilot to a version.
    pub fn check_everywhere(&self, version: &str) -> Result<()> {
        self.clients().try_for_each(|client| check_sends_to(&client, version))
    }

    /// Waits until the order is taken back and every proxy sends to stable. The order and the audit log have to say why.
    pub fn check_taken_back(&self, why: &str) -> Result<()> {
        let order = self.until_back(wait::DEADLINE)?;
        self.until_everywhere("v1")?;
        ensure!(fault(&order)?.contains(why), "{order}");
        let audit = self.testbed.daemon.get("/api/v1/audit?limit=50")?.to_string();
        ensure!(audit.contains("order.health") && audit.contains(why), "{audit}");
        Ok(())
    }

    /// Checks that the order stays where it is for a while.
    pub fn check_stays(&self, how_long: Duration) -> Result<()> {
        let until = Instant::now() + how_long;
        while Instant::now() < until {
            let order = self.order()?;
            ensure!(order["phase"] == "Running", "{order}");
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn clients(&self) -> impl Iterator<Item = Client> {
        self.testbed.envoys.iter().map(Envoy::client)
    }
}

/// What an order says of the fault by which it was taken back.
pub fn fault(order: &Value) -> Result<String> {
    let entries = order["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut said = entries.iter().filter_map(|entry| entry["what"].as_str()?.split_once(" is faulty: "));
    let (_, why) = said.next_back().with_context(|| format!("no fault in {order}"))?;
    Ok(why.to_owned())
}

fn check_sends_to(client: &Client, version: &str) -> Result<()> {
    let answered = client.version_for(&pilot())?;
    ensure!(answered == version, "{answered} answered");
    Ok(())
}

/// A request that is gray from the first stage on.
pub fn pilot() -> Request {
    Request::to(LOAN_HOST).teller(PILOT)
}

fn plan(health: &Value) -> Value {
    json!({
        "apiVersion": "graylane.dev/v1alpha1",
        "kind": "ReleasePlan",
        "metadata": { "name": PLAN, "tenant": "retail" },
        "spec": {
            "owner": "release-manager",
            "services": [{ "name": "loan", "hosts": [LOAN_HOST], "stable": "v1", "gray": "v2" }],
            "stages": [
                { "name": "pilot", "scope": { "include": { "teller": [PILOT] } } },
                { "name": "whole-bank", "scope": { "all": true } },
            ],
            "health": health,
        },
    })
}
