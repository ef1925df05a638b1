//! The daemon, real Envoys, requests through them, and a gray version that may do badly.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use graylane_wasm_tests::{
    Client, Envoy, LOAN_HOST, Load, LoadSettings, Mood, Request, Testbed, TestbedSettings, wait,
};
use serde_json::{Value, json};

use crate::api::{Api, field};

/// Both versions, as their upstreams are named.
pub(crate) const GRAY: &str = "loan-v2";
pub(crate) const STABLE: &str = "loan-v1";

const PILOT: &str = "T0000017";
const PLAN: &str = "health";
const JSON: &str = "application/json";

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) envoys: usize,
    /// Threads that send through each Envoy, and requests a second of each.
    pub(crate) threads: usize,
    pub(crate) rate: u32,
    /// One request of so many is gray.
    pub(crate) gray_every: usize,
    /// What the plan says of health.
    pub(crate) health: Value,
}

/// The daemon, the Envoys, and the requests through them.
pub(crate) struct Bank {
    testbed: Testbed,
    clients: Vec<Client>,
    api: Api,
    _load: Vec<Load>,
}

// === impl Bank ===

impl Bank {
    /// Starts all parts, and applies the plan.
    ///
    /// # Errors
    /// When a part does not start.
    pub(crate) fn start(settings: &Settings) -> Result<Self> {
        let Settings { envoys, threads, rate, gray_every, ref health } = *settings;
        let testbed = Testbed::start(&TestbedSettings { envoys, ..TestbedSettings::default() })?;
        let api = Api::new(testbed.daemon.http());
        api.post("/plans", JSON, &plan(health).to_string())?;
        let clients: Vec<Client> = testbed.envoys.iter().map(Envoy::client).collect();
        let named = |name: &str, request: Request| (name.to_owned(), request);
        let stable = (1..gray_every).map(|_| named("stable", Request::to(LOAN_HOST)));
        let requests = [named("gray", pilot())].into_iter().chain(stable).collect();
        let settings = LoadSettings { requests, stable: "v1".to_owned(), threads, rate };
        let load = clients.iter().map(|client| Load::start(client, &settings)).collect();
        Ok(Self { testbed, clients, api, _load: load })
    }

    /// Starts an order, and gives its number.
    pub(crate) fn start_order(&self) -> Result<u64> {
        let order = self.api.post("/orders", JSON, &json!({ "plan": PLAN }).to_string())?;
        field(&order, "id").as_u64().with_context(|| format!("no order: {order}"))
    }

    /// The order as it is.
    pub(crate) fn order(&self, order: u64) -> Result<Value> {
        self.api.get(&format!("/orders/{order}"))
    }

    /// Tries to send an order to its next stage.
    pub(crate) fn advance(&self, order: u64) -> Result<Value> {
        self.api.post(&format!("/orders/{order}/advance"), JSON, "{}")
    }

    /// Has a version answer so from now on.
    pub(crate) fn be(&self, version: &str, mood: Mood) -> Result<()> {
        let upstream = self.testbed.upstreams.iter().find(|upstream| upstream.cluster() == version);
        upstream.with_context(|| format!("no upstream {version}"))?.be(mood);
        Ok(())
    }

    /// Ends a version.
    pub(crate) fn end(&mut self, version: &str) {
        self.testbed.upstreams.retain(|upstream| upstream.cluster() != version);
    }

    /// Waits until an order's service is found so, and gives what is found.
    pub(crate) fn until_found(&self, order: u64, verdict: &str) -> Result<Value> {
        wait::until("the verdict", || {
            let judged = judged(&self.order(order)?);
            ensure!(field(&judged, "verdict") == verdict, "{judged}");
            Ok(judged)
        })
    }

    /// Waits until an order is in one of these phases.
    pub(crate) fn until_phase(&self, order: u64, phases: &[&str]) -> Result<Value> {
        self.until_phase_within(wait::DEADLINE, order, phases)
    }

    /// [`Bank::until_phase`] with a deadline of its own.
    pub(crate) fn until_phase_within(
        &self,
        deadline: Duration,
        order: u64,
        phases: &[&str],
    ) -> Result<Value> {
        wait::until_within(deadline, "the phase", || {
            let view = self.order(order)?;
            ensure!(field(&view, "phase").as_str().is_some_and(|phase| phases.contains(&phase)), "{view}");
            Ok(view)
        })
    }

    /// Waits until every proxy sends the pilot to a version, one after the other: none goes back by itself.
    pub(crate) fn until_everywhere(&self, version: &str) -> Result<()> {
        self.clients.iter().try_for_each(|client| wait::until(version, || sends_to(client, version)))
    }

    /// Checks that every proxy sends the pilot to a version.
    pub(crate) fn check_everywhere(&self, version: &str) -> Result<()> {
        self.clients.iter().try_for_each(|client| sends_to(client, version))
    }
}

/// What is found of the only service of an order.
pub(crate) fn judged(order: &Value) -> Value {
    let service = field(order, "services").get(0);
    service.map(|service| field(service, "judged").clone()).unwrap_or_default()
}

fn sends_to(client: &Client, version: &str) -> Result<()> {
    let answer = client.send(&pilot())?;
    ensure!(
        answer.version == version && answer.status == 200,
        "{} answered with {}",
        answer.version,
        answer.status
    );
    Ok(())
}

fn pilot() -> Request {
    Request::to(LOAN_HOST).teller(PILOT)
}

fn plan(health: &Value) -> Value {
    json!({
        "apiVersion": "graylane.dev/v1alpha1",
        "kind": "ReleasePlan",
        "metadata": { "name": PLAN, "tenant": "retail" },
        "spec": {
            "owner": "bench",
            "services": [{ "name": "loan", "hosts": [LOAN_HOST], "stable": "v1", "gray": "v2" }],
            "stages": [
                { "name": "pilot", "scope": { "include": { "teller": [PILOT] } } },
                { "name": "whole-bank", "scope": { "all": true } },
            ],
            "health": health,
        },
    })
}
