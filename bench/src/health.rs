//! `health`: how seldom a judge is wrong, how soon it finds a fault, and what it costs the daemon to listen to its proxies.

mod cases;
mod load;
mod recovery;
mod report;
mod reporters;
mod simulation;
mod traffic;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::goals::{self, Goal};
use crate::machine::Machine;
use crate::report::{Chart, Destinations, Report};
use crate::table::Table;

/// Rounds with real Envoys, and proxies that report.
const ROUNDS: u32 = 40;
const QUICK_ROUNDS: u32 = 2;
const PROXIES: usize = 1_000;
const QUICK_PROXIES: usize = 20;

/// The arguments of `health`.
#[derive(Args)]
pub(crate) struct Bench {
    /// Measure a small part of it, to see whether everything works
    #[arg(long)]
    quick: bool,
    /// Measure this alone
    #[arg(long, value_enum, conflicts_with = "record")]
    only: Option<Part>,
    #[command(flatten)]
    destinations: Destinations,
}

/// A part of the benchmark.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// False alarms and the time until a fault is found, with no proxy
    Simulation,
    /// Each way to do badly, with real Envoys: what is found and when
    Cases,
    /// From a fault to the rollback, with real Envoys
    Recovery,
    /// What the reports of a thousand proxies cost the daemon
    Load,
}

/// What a part found.
#[derive(Default)]
struct Found {
    goals: Vec<Goal>,
    tables: Vec<Table>,
    /// Figures beside the goals, for programs.
    rows: Vec<Value>,
    charts: Vec<Chart>,
    method: Vec<String>,
}

// === impl Bench ===

impl Bench {
    /// Runs the benchmark and publishes its report.
    ///
    /// # Errors
    /// When a part does not start, something is judged wrong, or a report cannot be written.
    pub(crate) fn run(&self) -> Result<()> {
        let mut machine = Machine::here();
        machine.add_envoy();
        let mut found = Found::default();
        if self.includes(Part::Simulation) {
            eprintln!("  simulated releases");
            found.add(simulation::measure(self.quick)?);
        }
        if self.includes(Part::Cases) {
            eprintln!("  ways to do badly behind real Envoys");
            found.add(cases::measure(self.quick)?);
        }
        if self.includes(Part::Recovery) {
            eprintln!("  faults behind real Envoys");
            found.add(recovery::measure(if self.quick { QUICK_ROUNDS } else { ROUNDS })?);
        }
        if self.includes(Part::Load) {
            eprintln!("  reports of many proxies");
            let folder = tempfile::tempdir()?;
            found.add(load::measure(folder.path(), if self.quick { QUICK_PROXIES } else { PROXIES })?);
        }
        found.report(machine).publish(&self.destinations)
    }

    fn includes(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

// === impl Found ===

impl Found {
    fn add(&mut self, other: Self) {
        self.goals.extend(other.goals);
        self.tables.extend(other.tables);
        self.rows.extend(other.rows);
        self.charts.extend(other.charts);
        self.method.extend(other.method);
    }

    fn report(self, machine: Machine) -> Report {
        let Self { goals, mut tables, rows, charts, method } = self;
        if !goals.is_empty() {
            tables.insert(0, goals::table("", &goals));
        }
        let title = "health: gray versions that are judged by what proxies count".to_owned();
        let rows = goals.iter().map(Goal::row).chain(rows).collect();
        Report { name: "health", options: None, title, tables, rows, charts, method, machine }
    }
}
