//! A contender in its Envoy, ready to be measured.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use graylane_wasm_tests::{Envoy, RulesFile, wait};

use crate::filter::contender::Contender;
use crate::filter::cores;
use crate::filter::ids::Ids;
use crate::filter::load::{ClosedLoop, Connection, Until, Waiting};
use crate::filter::process;
use crate::filter::requests::{Outcome, Requests};
use crate::filter::rounds::Cell;
use crate::filter::wiring::Modules;

/// How long a contender may take from its start to its first right answer.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Answers before the first figure of memory is taken, so that what a first request allocates is there.
const FIRST_ANSWERS: u64 = 500;

/// One contender with one number of ids.
pub(crate) struct Stand {
    /// Who.
    pub(crate) contender: Contender,
    /// How many tellers are gray; 0 where that cannot matter.
    pub(crate) ids: usize,
    /// Memory once it first answered, in KiB.
    pub(crate) rss_start_kb: u64,
    /// What its configuration is read from, if that can change.
    pub(crate) rules: Option<RulesFile>,
    /// The proxy.
    pub(crate) envoy: Envoy,
    waiting: Waiting,
}

/// Where and how contenders run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Workers of each Envoy.
    pub(crate) workers: u32,
    /// Whether Envoy has a core of its own, and the load another. If not, they share all cores.
    pub(crate) is_pinned: bool,
}

// === impl Place ===

impl Place {
    /// Starts a contender and waits until it answers all outcomes rightly.
    pub(crate) fn start(self, modules: &Modules, contender: Contender, ids: &Ids) -> Result<Stand> {
        let wired = modules.wire(contender, ids)?;
        let start = || Envoy::start_with_workers(wired.config, self.workers);
        let envoy = if self.is_pinned { cores::on(cores::ENVOY, start) } else { start() };
        let count = if contender.holds_ids() { ids.tellers.len() } else { 0 };
        let mut stand = Stand {
            contender,
            ids: count,
            rss_start_kb: 0,
            rules: wired.rules,
            envoy: envoy.with_context(|| format!("{} with {count} ids", contender.as_str()))?,
            waiting: if self.is_pinned { Waiting::Spinning } else { Waiting::Sleeping },
        };
        stand.until_right(ids)?;
        stand.check_filter(self.workers)?;
        stand.rss_start_kb = process::rss_kb(stand.envoy.process_id())?;
        Ok(stand)
    }
}

// === impl Stand ===

impl Stand {
    /// Who, and with how many ids.
    pub(crate) fn name(&self) -> String {
        Cell { contender: self.contender, ids: self.ids, outcome: Outcome::Gray }.name()
    }

    /// The requests of an outcome, as this contender needs them.
    pub(crate) fn requests(&self, ids: &Ids, outcome: Outcome) -> Requests {
        Requests::new(ids, outcome, !self.contender.steers())
    }

    /// Connections to it.
    pub(crate) fn load(&self) -> Result<ClosedLoop> {
        ClosedLoop::open(self.envoy.listener(), self.waiting)
    }

    /// The rules may come a moment after the listener, so the first answer may be that of no rules.
    fn until_right(&mut self, ids: &Ids) -> Result<()> {
        let (name, listener) = (self.name(), self.envoy.listener());
        let mut first = self.requests(ids, Outcome::Gray);
        if self.contender != Contender::Floor(Outcome::Gray) && matches!(self.contender, Contender::Floor(_))
        {
            first = self.requests(ids, Outcome::Stable);
        }
        wait::until_within(START_DEADLINE, &format!("{name} answers"), || {
            let mut connection = Connection::open(listener, Waiting::Sleeping)?;
            connection.send(first.next())?;
            let body = connection.answer()?;
            ensure!(body == first.body.as_bytes(), "{:?} answered", String::from_utf8_lossy(body));
            Ok(())
        })?;
        for outcome in self.contender.outcomes() {
            let mut requests = self.requests(ids, outcome);
            let answered = self.load()?.run(&mut requests, Until::Answers(FIRST_ANSWERS));
            answered.with_context(|| format!("{name}, {}", outcome.as_str()))?;
        }
        Ok(())
    }

    /// Right answers do not tell whether a filter that steers nothing is there at all; the proxy's own figures do.
    fn check_filter(&self, workers: u32) -> Result<()> {
        let name = self.name();
        let vms = self.envoy.stat("wasm.envoy.wasm.runtime.v8.active")?.unwrap_or(0);
        let is_wasm = self.contender.is_wasm();
        // One for each worker, and one for the main thread.
        ensure!(is_wasm == (vms > u64::from(workers)), "{name}: {vms} wasm VMs are there");
        match self.contender {
            Contender::Floor(Outcome::Gray | Outcome::Stable | Outcome::NoHeaders) => {
                let counted = self.envoy.stat("wasmcustom.floor_requests")?.unwrap_or(0);
                ensure!(counted >= FIRST_ANSWERS, "{name}: only {counted} requests were counted");
            }
            Contender::Graylane | Contender::OffByRoute | Contender::OffByMatcher => {
                let revision = self.envoy.stat("wasmcustom.graylane_revision")?;
                ensure!(revision == Some(1), "{name}: it runs revision {revision:?}");
            }
            _ => {}
        }
        Ok(())
    }
}
