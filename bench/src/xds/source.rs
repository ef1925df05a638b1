//! The daemon, and an order of which each adjustment publishes other rules of a wanted size.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use graylane_wasm_tests::wait;
use serde_json::{Value, json};

use crate::api::{Api, field};
use crate::control::daemon::{Daemon, Memory};

pub(crate) const TENANT: &str = "retail";
const JSON: &str = "application/json";
const LIST: &str = "many";
/// What the daemon answers when it is ready.
const READY: &str = "/orders";

/// A running daemon with one order.
pub(crate) struct Source {
    daemon: Daemon,
    api: Api,
    order: u64,
    edits: u64,
}

// === impl Source ===

impl Source {
    /// A daemon in `folder` with an order whose stage has a list of so many tellers.
    ///
    /// # Errors
    /// When it does not start, or refuses something.
    pub(crate) fn start(folder: &Path, ids: usize) -> Result<Self> {
        let mut daemon = Daemon::prepare(folder)?;
        daemon.start(READY)?;
        let api = daemon.api();
        api.put(&format!("/tenants/{TENANT}/lists/{LIST}"), "text/csv", &tellers(ids))?;
        api.post("/plans", JSON, &plan().to_string())?;
        let order = api.post("/orders", JSON, &json!({ "plan": "xds", "tenant": TENANT }).to_string())?;
        let order = field(&order, "id").as_u64().with_context(|| format!("no order: {order}"))?;
        Ok(Self { daemon, api, order, edits: 0 })
    }

    /// Publishes other rules of the same size. Gives their revision, and when it was asked for.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub(crate) fn publish(&mut self) -> Result<(u64, Instant)> {
        self.edits += 1;
        let include = json!({ "teller": { "list": LIST }, "branch": [format!("B{:07}", self.edits)] });
        let body = json!({ "scope": json!({ "include": include }).to_string() }).to_string();
        let begun = Instant::now();
        let view = self.api.post(&format!("/orders/{}/adjust", self.order), JSON, &body)?;
        let wanted = field(field(&view, "convergence"), "wanted").as_u64();
        Ok((wanted.with_context(|| format!("no revision: {view}"))?, begun))
    }

    /// The rules that are published, as proxies have to get them.
    pub(crate) fn rules(&self) -> Result<Vec<u8>> {
        self.api.bytes(&format!("/tenants/{TENANT}/rules/bytes"))
    }

    /// Waits until the daemon itself counts so many proxies that acknowledged what is wanted, and no other one.
    ///
    /// # Errors
    /// When it takes too long.
    pub(crate) fn until_counted(&self, proxies: usize) -> Result<()> {
        wait::until("the daemon's count of proxies", || {
            let page = self.api.get(&format!("/proxies?tenant={TENANT}&limit=1"))?;
            let counts = field(&page, "counts");
            let count = |state: &str| field(counts, state).as_u64().unwrap_or(0) as usize;
            let acknowledged = count("NOT-REPORTING") + count("SYNCED");
            let others = count("STALE") + count("NACKED") + count("NO-RULES");
            ensure!((acknowledged, others) == (proxies, 0), "{counts}");
            Ok(())
        })
    }

    /// Kills the daemon as `kill -9` does, and starts it again on the same data.
    pub(crate) fn crash(&mut self) -> Result<Instant> {
        self.daemon.kill()?;
        let begun = Instant::now();
        self.daemon.start(READY)?;
        Ok(begun)
    }

    pub(crate) fn xds(&self) -> SocketAddr {
        self.daemon.xds()
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        self.daemon.memory()
    }

    pub(crate) fn forget_peak(&self) -> Result<()> {
        self.daemon.forget_peak()
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.daemon.cpu()
    }
}

/// So many tellers, no two of them alike and as far apart as a bank's are, over eleven digits: about two bytes each.
fn tellers(ids: usize) -> String {
    // A full cycle over 2^36, so that none comes twice.
    let numbers = (0..ids as u64).map(|at| at.wrapping_mul(0x9_E377_79B1) % (1 << 36));
    let distinct: BTreeSet<u64> = numbers.collect();
    distinct.iter().map(|number| format!("{number:011}\n")).collect()
}

fn plan() -> Value {
    json!({
        "apiVersion": "graylane.dev/v1alpha1",
        "kind": "ReleasePlan",
        "metadata": { "name": "xds", "tenant": TENANT },
        "spec": {
            "owner": "bench",
            "batch": "parallel",
            "services": [{ "name": "loan", "hosts": ["loan.bank"], "stable": "v1", "gray": "v2" }],
            "stages": [{ "name": "tellers", "scope": { "include": { "teller": { "list": LIST } } } }],
            "retention": "72h",
        },
    })
}
