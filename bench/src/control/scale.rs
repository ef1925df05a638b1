//! What ten thousand orders cost: at the start, in memory, on disk, and in every answer.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use graylane_wasm_tests::wait;
use serde_json::Value;

use crate::api::{Api, field};
use crate::control::daemon::{Daemon, Memory};
use crate::control::floor::Floor;
use crate::control::history::{self, History};
use crate::control::sheet::{Sheet, What};
use crate::control::walk::{Shown, Walker};
use crate::figures::{Row, Samples};

/// Actions that are acknowledged before a kill, so that it meets a daemon at work.
const ACTIONS_BEFORE_KILL: u64 = 20;
/// Starts that are not counted: they bring the files into the page cache.
const WARM_UP_STARTS: u32 = 1;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Plans in the store.
    pub(crate) plans: usize,
    /// Orders in the store.
    pub(crate) orders: usize,
    /// Questions and actions of each kind.
    pub(crate) rounds: u32,
    /// Starts of each kind.
    pub(crate) starts: u32,
}

/// What was found.
pub(crate) struct Found {
    /// Starts and stops.
    pub(crate) starts: Vec<Row>,
    /// Questions and actions.
    pub(crate) sheet: Sheet,
    /// Right after a start.
    pub(crate) memory_at_start: Memory,
    /// After all questions and actions.
    pub(crate) memory_at_end: Memory,
    /// Bytes of the store.
    pub(crate) store_bytes: u64,
    /// Orders that are active.
    pub(crate) active: usize,
}

/// Makes the store in `folder`, and measures.
///
/// # Errors
/// When an answer is wrong, or the daemon lost something.
pub(crate) fn measure(folder: &Path, floor: &mut Floor, size: Size) -> Result<Found> {
    let mut daemon = Daemon::prepare(folder)?;
    let history = history::write(daemon.data(), size.plans, size.orders)?;
    let store_bytes = daemon.store_bytes()?;
    let mut start = Samples::new("scale.start", "from exec to the first answer, after a stop");
    let mut stop = Samples::new("scale.stop", "from SIGTERM to its end");
    let mut recovery =
        Samples::new("scale.start.killed", "from exec to the first answer, after kill -9 under load");
    let first = format!("/orders/{}", history.finished.id);
    for number in 0..WARM_UP_STARTS + size.starts {
        let (started, stopped) = restart(&mut daemon, &first, &history)?;
        if number >= WARM_UP_STARTS {
            start.push(started);
            stop.push(stopped);
        }
    }
    daemon.start(&first)?;
    let memory_at_start = daemon.memory()?;
    let mut sheet = Sheet::default();
    ask(&daemon.api(), &history, floor, size.rounds, &mut sheet)?;
    let mut walker = Walker::new(daemon.api(), history.idle.clone())?;
    for _ in 0..size.rounds {
        floor.measure(&mut walker.sheet)?;
        walker.start_and_roll_back()?;
    }
    sheet.extend(walker.sheet);
    let memory_at_end = daemon.memory()?;
    for _ in 0..size.starts {
        recovery.push(kill_under_load(&mut daemon, &first, &history)?);
    }
    let starts = [start, recovery, stop].iter().map(Samples::row).collect::<Result<_>>()?;
    let active = history.active.len();
    Ok(Found { starts, sheet, memory_at_start, memory_at_end, store_bytes, active })
}

/// A start, a look at everything that is active, and a stop.
fn restart(daemon: &mut Daemon, first: &str, history: &History) -> Result<(Duration, Duration)> {
    let (started, view) = daemon.start(first)?;
    let shown = Shown::of(view)?;
    ensure!(shown.version == history.finished.version, "{}", shown.view);
    check_active(&daemon.api(), history)?;
    Ok((started, daemon.stop()?))
}

/// Every order that should be active is, as it was left.
fn check_active(api: &Api, history: &History) -> Result<()> {
    let active = api.get("/orders?active=true&limit=1000")?;
    let active = active.as_array().context("no list")?;
    ensure!(active.len() == history.active.len(), "{} orders are active", active.len());
    // Newest first, and they were made oldest first.
    for (found, left) in active.iter().rev().zip(&history.active) {
        let is_it = *field(found, "id") == left.id
            && *field(found, "phase") == left.phase
            && *field(found, "version") == left.version;
        ensure!(is_it, "{found}, and not {}", left.view);
    }
    Ok(())
}

/// Reads single orders and lists.
fn ask(api: &Api, history: &History, floor: &mut Floor, rounds: u32, sheet: &mut Sheet) -> Result<()> {
    let orders: usize = history.orders_by_tenant.values().sum();
    let active = history.active.len();
    let tenants: Vec<(&String, &usize)> = history.orders_by_tenant.iter().collect();
    for round in 0..rounds as usize {
        floor.measure(sheet)?;
        // Strides that have no divisor in common with the count reach all of them.
        let id = 1 + round * 7_919 % orders;
        let (took, view) = api.timed_get(&format!("/orders/{id}"))?;
        sheet.push(What::OrderGet, took);
        ensure!(Shown::of(view)?.id == id as u64, "not order {id}");
        let (tenant, of_tenant) = tenants.get(round % tenants.len()).context("no tenants")?;
        let lists = [
            (What::ListFirst, "/orders".to_owned(), 100),
            (What::ListTenant, format!("/orders?tenant={tenant}"), 100.min(**of_tenant)),
            (What::ListActive, "/orders?active=true".to_owned(), active.min(100)),
            (What::ListActiveAll, "/orders?active=true&limit=1000".to_owned(), active),
            (What::ListPlans, "/plans".to_owned(), history.idle.len() + active),
        ];
        for (what, path, expected) in lists {
            let (took, list) = api.timed_get(&path)?;
            sheet.push(what, took);
            let list = list.as_array().context("no list")?;
            ensure!(list.len() == expected, "{path}: {} rows, not {expected}", list.len());
            let is_of_tenant = |row: &Value| what != What::ListTenant || *field(row, "tenant") == **tenant;
            ensure!(list.iter().all(is_of_tenant), "{path} has orders of others");
        }
    }
    Ok(())
}

/// Kills the daemon while it is acting, starts it again, and gives how long that took. What was acknowledged must be there.
fn kill_under_load(daemon: &mut Daemon, first: &str, history: &History) -> Result<Duration> {
    let running = history.active.iter().find(|shown| shown.phase == "Running" && shown.stage != "bank");
    let id = running.context("no order is running")?.id;
    let (acknowledged, api) = (AtomicU64::new(0), daemon.api());
    let counted = AtomicU64::new(0);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            for action in ["pause", "resume"].iter().cycle() {
                // The end of the daemon is the end of this.
                let Ok(view) = api.post(&format!("/orders/{id}/{action}"), "application/json", "{}") else {
                    break;
                };
                acknowledged.store(field(&view, "version").as_u64().unwrap_or_default(), Ordering::Relaxed);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let is_enough = || {
            ensure!(!load.is_finished(), "the daemon refuses to pause or resume order {id}");
            ensure!(counted.load(Ordering::Relaxed) >= ACTIONS_BEFORE_KILL, "it has only begun");
            Ok(())
        };
        wait::until("the daemon is at work", is_enough)?;
        daemon.kill()?;
        load.join().map_err(|_| anyhow!("the load panicked"))
    })?;
    let (started, _) = daemon.start(first)?;
    let shown = Shown::of(daemon.api().get(&format!("/orders/{id}"))?)?;
    let acknowledged = acknowledged.into_inner();
    let is_kept = (acknowledged..=acknowledged + 1).contains(&shown.version);
    ensure!(is_kept, "version {acknowledged} of order {id} was acknowledged, {} is there", shown.version);
    Ok(started)
}
