//! `control`: what the daemon's actions take until they are durable, and what many orders cost it.

pub(crate) mod daemon;
mod floor;
mod history;
mod plans;
mod scale;
mod sheet;
mod walk;

use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::control::daemon::Daemon;
use crate::control::floor::Floor;
use crate::control::plans::Plan;
use crate::control::scale::{Found, Size};
use crate::control::sheet::{Line, Sheet};
use crate::control::walk::Walker;
use crate::figures;
use crate::machine::Machine;
use crate::report::{Destinations, Report};
use crate::table::Table;

/// Clients that act at once, each on orders of its own.
const CLIENTS: u32 = 4;
/// Plans of each client. Walks of all of them take longer than the second after which a rollback has ended for sure.
const PLANS: usize = 48;
/// Walks that are not counted.
const WARM_UP_WALKS: u32 = 5;
/// Actions of a walk that write.
const ACTIONS_PER_WALK: u64 = 8;
/// Walks of each client between two looks at the floor.
const WALKS_PER_BURST: u32 = 5;
/// How often progress is shown.
const PROGRESS_EVERY: u32 = 50;
/// The tenant of the small store.
const TENANT: &str = "retail";

/// The arguments of `control`.
#[derive(Args)]
pub(crate) struct Control {
    /// How often each action is measured
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=10_000))]
    rounds: u32,
    /// Plans in the large store
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..=4_000))]
    plans: u32,
    /// Orders in the large store
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1_000..=30_000))]
    orders: u32,
    /// How often the daemon is started on the large store, after a stop and after kill -9 each
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    starts: u32,
    #[command(flatten)]
    destinations: Destinations,
}

/// What was measured in the small store.
struct Actions {
    alone: Sheet,
    at_once: Sheet,
    /// Of all clients together.
    actions_per_second: f64,
    /// What one action hands to the disk.
    bytes_per_action: u64,
}

// === impl Control ===

impl Control {
    /// Runs the benchmark and publishes its report.
    ///
    /// # Errors
    /// When the daemon does not start, an answer is wrong, or a report cannot be written.
    pub(crate) fn run(&self) -> Result<()> {
        let mut machine = Machine::here();
        let folder = TempDir::new()?;
        machine.add_file_system(folder.path());
        let (actions, mut floor) = self.actions(&folder)?;
        let size = Size {
            plans: self.plans as usize,
            orders: self.orders as usize,
            rounds: self.rounds,
            starts: self.starts,
        };
        let large = TempDir::new()?;
        let found = scale::measure(large.path(), &mut floor, size)?;
        self.report(&actions, &found, machine)?.publish(&self.destinations)
    }

    /// Every action in a store with little in it: by one client, and by several at once.
    fn actions(&self, folder: &TempDir) -> Result<(Actions, Floor)> {
        let mut daemon = Daemon::prepare(folder.path())?;
        daemon.start("/orders")?;
        let plans = |client: u32| {
            let first = client as usize * PLANS;
            (first..first + PLANS).map(|number| Plan::new(TENANT, number)).filter(names_no_list).collect()
        };
        let mut walker = Walker::new(daemon.api(), plans(0))?;
        let before = daemon.written_bytes()?;
        for _ in 0..WARM_UP_WALKS {
            walker.walk()?;
        }
        let written = daemon.written_bytes()?.saturating_sub(before);
        let bytes_per_action = written / (u64::from(WARM_UP_WALKS) * ACTIONS_PER_WALK);
        let mut floor = Floor::new(folder.path(), usize::try_from(bytes_per_action)?)?;
        walker.sheet = Sheet::default();
        for round in 1..=self.rounds {
            floor.measure(&mut walker.sheet)?;
            walker.walk()?;
            if round % PROGRESS_EVERY == 0 {
                eprintln!("  {round} of {} rounds", self.rounds);
            }
        }
        let walkers =
            (0..CLIENTS).map(|client| Walker::new(daemon.api(), plans(client))).collect::<Result<_>>()?;
        let rounds = self.rounds.div_ceil(CLIENTS);
        let (at_once, actions_per_second) = at_once(walkers, rounds, &mut floor)?;
        Ok((Actions { alone: walker.sheet, at_once, actions_per_second, bytes_per_action }, floor))
    }

    fn report(&self, actions: &Actions, found: &Found, machine: Machine) -> Result<Report> {
        let lines = [("alone", &actions.alone), ("at_once", &actions.at_once), ("scale", &found.sheet)];
        let lines = lines.map(|(setting, sheet)| sheet.lines(setting));
        let [alone, at_once, scale] = lines;
        let (alone, at_once, scale) = (alone?, at_once?, scale?);
        let values = values(actions, found);
        let note = "All times are in milliseconds. The floor is the median of a bare commit, measured between these.";
        let tables = vec![
            sheet::table("One client", note, &alone),
            sheet::table(&format!("{CLIENTS} clients at once, each on its own orders"), note, &at_once),
            sheet::table(&format!("{} plans and {} orders", self.plans, self.orders), note, &scale),
            figures::table("Starts and stops in that store, in milliseconds", &found.starts),
            values_table(&values),
        ];
        let mut rows: Vec<Value> = Vec::new();
        for line in alone.iter().chain(&at_once).chain(&scale) {
            rows.push(serde_json::to_value::<&Line>(line)?);
        }
        for row in &found.starts {
            rows.push(serde_json::to_value(row)?);
        }
        rows.extend(
            values.iter().map(|(what, value, unit, _)| json!({ "what": what, unit.to_owned(): value })),
        );
        let title = format!(
            "control: {} rounds of each action, and a store of {} plans and {} orders",
            self.rounds, self.plans, self.orders
        );
        let method = self.method(found);
        Ok(Report {
            name: "control",
            options: None,
            title,
            tables,
            rows,
            charts: Vec::new(),
            method,
            machine,
        })
    }

    fn method(&self, found: &Found) -> Vec<String> {
        vec![
            "The real `graylane serve` as a process of its own, on loopback, with the benchmark on the same machine. No proxies \
             are connected, so every publish has converged at once; `bench push` has the way to the proxies."
                .to_owned(),
            "A time goes from just before a request is sent on a kept connection until the last byte of its answer is there. An \
             action is answered when it is on disk (a two-phase commit of redb, with its audit record) and handed to the xDS \
             server. Every answer is checked: status, phase, stage, scope or services, and a version greater than the last."
                .to_owned(),
            format!(
                "A walk applies a changed plan, starts it, reads, pauses, resumes, adjusts, advances, rolls back one service and \
                 then all. {WARM_UP_WALKS} walks are not counted. Between two walks the floor is measured on the same file \
                 system: one write and fdatasync of as many bytes as the daemon hands to the disk for an action (mean, from \
                 `write_bytes` of the kernel), and a two-phase commit of one small value in a bare redb. Ratios are of the \
                 medians of the same setting."
            ),
            format!(
                "{CLIENTS} clients walk orders of one tenant at the same time, so its rules hold up to {CLIENTS} releases; the \
                 floor is measured every {WALKS_PER_BURST} walks, while they rest. Actions are done one after the other in the \
                 daemon, so their latency is mostly the wait for those before."
            ),
            format!(
                "The large store is made by the real daemon through its API, on a file system in memory, then stopped and copied \
                 to the disk: 10 tenants with 4 lists of 2,000 ids each, plans of 2 or 3 services and 4 stages, with 60 tellers \
                 or a list, 200 branches and 20 exclusions. {} orders are active, spread over all stages; a tenth of the rest is \
                 finished, all others are rolled back.",
                found.active
            ),
            "A start goes from exec to the first answer of `GET /orders/{id}` with the right version, asked every millisecond, \
             with a warm page cache: the first start is not counted. After each start every active order is compared with what \
             it was before. For `killed`, a client pauses and resumes an order until the daemon is killed with -9; the last \
             version that was acknowledged must be there. Quantiles are by nearest rank, so few starts have their longest as p99."
                .to_owned(),
            "Memory is `VmRSS` and `VmHWM` of the kernel. The load before the start may hold the build.".to_owned(),
        ]
    }
}

/// The small store has no lists.
fn names_no_list(plan: &Plan) -> bool {
    !plan.text().contains("\"list\"")
}

/// All walk at the same time, with the floor before each burst. Gives what they measured, and their actions per second.
fn at_once(mut walkers: Vec<Walker>, rounds: u32, floor: &mut Floor) -> Result<(Sheet, f64)> {
    let (mut sheet, mut acting) = (Sheet::default(), Duration::ZERO);
    let bursts = rounds.div_ceil(WALKS_PER_BURST);
    for _ in 0..bursts {
        (0..WALKS_PER_BURST).try_for_each(|_| floor.measure(&mut sheet))?;
        let begun = Instant::now();
        thread::scope(|scope| {
            let threads: Vec<_> = walkers
                .iter_mut()
                .map(|walker| scope.spawn(|| (0..WALKS_PER_BURST).try_for_each(|_| walker.walk())))
                .collect();
            let join = |thread: ScopedJoinHandle<'_, Result<()>>| {
                thread.join().map_err(|_| anyhow!("a client panicked"))?
            };
            threads.into_iter().try_for_each(join)
        })?;
        acting += begun.elapsed();
    }
    let actions = f64::from(bursts * WALKS_PER_BURST) * walkers.len() as f64 * ACTIONS_PER_WALK as f64;
    walkers.into_iter().for_each(|walker| sheet.extend(walker.sheet));
    Ok((sheet, actions / acting.as_secs_f64()))
}

/// Figures that are no times: name, value, unit and meaning.
fn values(actions: &Actions, found: &Found) -> Vec<(&'static str, f64, &'static str, &'static str)> {
    let mib = |kib: u64| round(kib as f64 / 1024.0);
    let Found { memory_at_start, memory_at_end, store_bytes, .. } = found;
    vec![
        (
            "alone.written",
            round(actions.bytes_per_action as f64 / 1024.0),
            "KiB",
            "handed to the disk for one action",
        ),
        (
            "at_once.rate",
            round(actions.actions_per_second),
            "per_second",
            "durable actions of all clients together",
        ),
        ("scale.store", mib(store_bytes / 1024), "MiB", "the store's file"),
        ("scale.rss.start", mib(memory_at_start.rss_kib), "MiB", "memory right after a start"),
        ("scale.peak.start", mib(memory_at_start.peak_kib), "MiB", "the most until then"),
        ("scale.rss.end", mib(memory_at_end.rss_kib), "MiB", "memory after all reads and actions"),
        ("scale.peak.end", mib(memory_at_end.peak_kib), "MiB", "the most until then"),
    ]
}

fn values_table(values: &[(&'static str, f64, &'static str, &'static str)]) -> Table {
    let mut table = Table::new("Sizes and rates", "", &["what", "value", "unit", "meaning"]);
    for (what, value, unit, meaning) in values {
        let cells = [format!("`{what}`"), format!("{value:.1}"), unit.replace('_', " ")];
        table.push(cells.into_iter().chain([(*meaning).to_owned()]));
    }
    table
}

/// To tenths: more would be noise.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
