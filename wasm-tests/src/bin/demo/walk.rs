//! The walk: through all stages of the plan and back, while load runs in the background.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use graylane_wasm_tests::{Client, Daemon, Load, LoadReport, LoadSettings, Testbed, wait};
use serde_json::Value;

use crate::callers::{self, Caller, Service};
use crate::command::{self, PLAN, PLAN_FILE};
use crate::expected::Step;
use crate::interrupt::Interrupt;
use crate::observe::{Observation, observe};
use crate::print::{Printer, shown};

/// Connections of the background load through one proxy.
const LOAD_THREADS: usize = 2;
/// Requests a second on each of them.
const LOAD_RATE: u32 = 50;

/// The walk of one order.
pub(crate) struct Walk<'a> {
    testbed: &'a Testbed,
    printer: &'a Printer,
    interrupt: &'a Interrupt,
    callers: Vec<Caller>,
    proxies: Vec<Client>,
    outcome: Outcome,
}

/// What came of the walk.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Steps that were looked at.
    pub(crate) steps: usize,
    /// Requests whose version was compared with the expectation.
    pub(crate) checked: usize,
    /// Those that differ from it.
    pub(crate) differences: usize,
    /// Requests of the background load.
    pub(crate) requests: u64,
    /// Those with no answer, or with another status than 200.
    pub(crate) failures: u64,
    /// Those that another version answered than their decision says.
    pub(crate) mixed: u64,
    /// The longest that one of them took.
    pub(crate) slowest: Duration,
    /// The first failures in words.
    pub(crate) complaints: Vec<String>,
}

// === impl Walk ===

impl<'a> Walk<'a> {
    /// A walk on parts that run.
    pub(crate) fn new(testbed: &'a Testbed, printer: &'a Printer, interrupt: &'a Interrupt) -> Self {
        let proxies = testbed.envoys.iter().map(|envoy| envoy.client()).collect();
        Self {
            testbed,
            printer,
            interrupt,
            callers: callers::everybody(),
            proxies,
            outcome: Outcome::default(),
        }
    }

    /// Takes all steps. A difference does not end the walk: what follows may explain it.
    pub(crate) fn run(mut self) -> Result<Outcome> {
        until_connected(&self.testbed.daemon, self.proxies.len())?;
        let load = self.start_load();
        self.printer.heading("Before the release");
        self.look(Step::Before)?;
        let order = self.go_through_the_stages()?;
        let rollback = format!("order rollback {order} --service ledger --wait");
        self.take(Step::LedgerBack, "Roll back one service", &rollback)?;
        let ended =
            self.take(Step::AllBack, "Roll back everything", &format!("order rollback {order} --wait"))?;
        ensure!(ended["phase"] == "RolledBack", "the order is not at its end: {}", ended["phase"]);
        load.into_iter().map(Load::stop).for_each(|report| self.outcome.add(report));
        Ok(self.outcome)
    }

    fn start_load(&self) -> Vec<Load> {
        let calls = self.callers.iter().flat_map(|caller| Service::ALL.map(|service| (caller, service)));
        let named = |(caller, service): (&Caller, Service)| {
            (format!("{} to {}", caller.name(), service.name()), caller.request(service))
        };
        let requests = calls.map(named).collect();
        let settings = LoadSettings { requests, stable: "v1".into(), threads: LOAD_THREADS, rate: LOAD_RATE };
        self.proxies.iter().map(|proxy| Load::start(proxy, &settings)).collect()
    }

    fn go_through_the_stages(&mut self) -> Result<u64> {
        self.printer.heading("The plan");
        let run = |arguments: &str| command::run(&self.testbed.daemon, self.printer, arguments);
        run(&format!("plan check -f {PLAN_FILE}"))?;
        run(&format!("plan apply -f {PLAN_FILE}"))?;
        self.printer.line("Two services, four stages. It is good, and the daemon has it.");
        let mut order = 0;
        for (index, stage) in Step::STAGES.into_iter().enumerate() {
            let title = format!("Stage {} of {}: {}", index + 1, Step::STAGES.len(), stage.name());
            let arguments = match index {
                0 => format!("order start {PLAN} --wait"),
                _ => format!("order advance {order} --wait"),
            };
            let view = self.take(stage, &title, &arguments)?;
            ensure!(
                view["stage"]["name"] == stage.name(),
                "the order is at another stage: {}",
                view["stage"]
            );
            order = command::order_id(&view)?;
        }
        Ok(order)
    }

    /// One step: a command, its way to every proxy, and a look at everybody.
    fn take(&mut self, step: Step, title: &str, arguments: &str) -> Result<Value> {
        self.interrupt.check()?;
        self.printer.heading(title);
        self.printer.line(step.meaning());
        let begun = Instant::now();
        let daemon = &self.testbed.daemon;
        let order = command::order_id(&command::run(daemon, self.printer, arguments)?)?;
        let view = command::applied(daemon, order, self.proxies.len())?;
        let (seen, total) = (&view["convergence"], self.proxies.len());
        self.printer.line(&format!(
            "After {} revision {} is acknowledged by {} of {total} proxies, and {} of {total} report to run it.",
            shown(begun.elapsed()),
            seen["wanted"],
            seen["acknowledged"],
            seen["applied"]
        ));
        self.look(step)?;
        Ok(view)
    }

    fn look(&mut self, step: Step) -> Result<()> {
        let observations = observe(step, &self.callers, &self.proxies);
        // What was seen while everything ended says nothing.
        self.interrupt.check()?;
        self.printer.table(&observations);
        let requests = observations.len() * self.proxies.len();
        let differences: Vec<String> = observations.iter().flat_map(Observation::differences).collect();
        self.printer.verdict(requests, self.proxies.len(), &differences);
        self.outcome.steps += 1;
        self.outcome.checked += requests;
        self.outcome.differences += differences.len();
        Ok(())
    }
}

// === impl Outcome ===

impl Outcome {
    /// Whether everything was as expected, and the load noticed nothing.
    pub(crate) fn is_as_expected(&self) -> bool {
        self.differences == 0 && self.failures == 0 && self.mixed == 0 && self.requests > 0
    }

    fn add(&mut self, report: LoadReport) {
        self.requests += report.requests;
        self.failures += report.failures;
        self.mixed += report.mixed;
        self.slowest = self.slowest.max(report.latency(1.0));
        self.complaints.extend(report.complaints);
    }
}

/// An order counts the proxies that are connected, so all must be before it starts.
fn until_connected(daemon: &Daemon, proxies: usize) -> Result<()> {
    wait::until("every proxy is connected to the daemon", || {
        let connected = daemon.get("/api/v1/proxies")?;
        let connected =
            connected["proxies"].as_array().into_iter().flatten().filter(|proxy| proxy["connected"] == true);
        let count = connected.count();
        ensure!(count == proxies, "{count} of {proxies} are");
        Ok(())
    })
}
