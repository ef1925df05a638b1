//! A store as a bank has it after some years: many plans, each run again and again; most orders ended, some active.
//!
//! The real daemon makes it through its own API, so that every value, record and revision is what it would be. It does so on
//! a file system in memory, where a commit waits for no disk, and the file is then copied to where it is measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use graylane_wasm_tests::wait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{Api, field};
use crate::control::daemon::Daemon;
use crate::control::plans::{self, LISTS, Plan};
use crate::control::walk::Shown;

/// A file system in memory that Linux always has.
const MEMORY: &str = "/dev/shm";
/// Tenants that share the plans.
const TENANTS: usize = 10;
/// Of so many orders, one stays active.
const ORDERS_PER_ACTIVE: usize = 33;
/// Of so many orders, one is finished, if it does not stay active; all others are rolled back.
const ORDERS_PER_FINISHED: usize = 10;
/// How often progress is shown.
const PROGRESS_EVERY: usize = 1_000;

const JSON: &str = "application/json";

/// What was made.
pub(crate) struct History {
    /// The plans that no active order runs.
    pub(crate) idle: Vec<Plan>,
    /// The active orders, as they were left.
    pub(crate) active: Vec<Shown>,
    /// The last order that was finished.
    pub(crate) finished: Shown,
    /// How many orders each tenant has.
    pub(crate) orders_by_tenant: BTreeMap<String, usize>,
}

/// Makes it.
struct Writer {
    api: Api,
    plans: Vec<Plan>,
    is_busy: Vec<bool>,
    active: Vec<Shown>,
    finished: Option<Shown>,
    orders_by_tenant: BTreeMap<String, usize>,
}

/// Makes a history in a data folder that does not exist yet.
///
/// # Errors
/// When the daemon refuses something, or a file cannot be copied.
pub(crate) fn write(data: &Path, plans: usize, orders: usize) -> Result<History> {
    let folder = TempDir::new_in(MEMORY).or_else(|_| TempDir::new())?;
    let mut daemon = Daemon::prepare(folder.path())?;
    daemon.start("/orders")?;
    let mut writer = Writer::begin(daemon.api(), plans)?;
    for number in 0..orders {
        if number % PROGRESS_EVERY == 0 {
            eprintln!("  {number} of {orders} orders");
        }
        writer.write(number)?;
    }
    let history = writer.end()?;
    daemon.stop()?;
    fs::create_dir_all(data)?;
    for file in fs::read_dir(daemon.data())? {
        let file = file?;
        let copy = data.join(file.file_name());
        fs::copy(file.path(), &copy)?;
        fs::File::open(copy)?.sync_all()?;
    }
    Ok(history)
}

// === impl Writer ===

impl Writer {
    fn begin(api: Api, plans: usize) -> Result<Self> {
        let tenant = |number: usize| format!("tenant-{}", number % TENANTS);
        for (tenant, list) in (0..TENANTS).flat_map(|at| (0..LISTS).map(move |list| (tenant(at), list))) {
            let path = format!("/tenants/{tenant}/lists/{}", plans::list_name(list));
            api.put(&path, "text/csv", &plans::list(list))?;
        }
        let plans: Vec<Plan> = (0..plans).map(|number| Plan::new(tenant(number), number)).collect();
        for plan in &plans {
            api.post("/plans", JSON, &plan.text())?;
        }
        let is_busy = vec![false; plans.len()];
        Ok(Self {
            api,
            plans,
            is_busy,
            active: Vec::new(),
            finished: None,
            orders_by_tenant: BTreeMap::new(),
        })
    }

    /// Runs the order of this number, of the next plan that has none.
    fn write(&mut self, number: usize) -> Result<()> {
        let at = self.is_busy.iter().position(|is_busy| !is_busy);
        let at = match at {
            Some(at) => at,
            None => self.next_turn()?,
        };
        let is_busy = self.is_busy.get_mut(at).context("no such plan")?;
        *is_busy = true;
        let plan = self.plans.get_mut(at).context("no such plan")?;
        *self.orders_by_tenant.entry(plan.tenant.clone()).or_default() += 1;
        let body = json!({ "plan": plan.name(), "tenant": plan.tenant }).to_string();
        let shown = Shown::of(self.api.post("/orders", JSON, &body)?)?;
        match number {
            _ if number.is_multiple_of(ORDERS_PER_ACTIVE) => {
                let shown = self.leave(shown, number / ORDERS_PER_ACTIVE)?;
                self.active.push(shown);
            }
            _ if number.is_multiple_of(ORDERS_PER_FINISHED) => {
                plan.generation += 1;
                let plan = plan.text();
                let shown = self.leave(shown, plans::STAGES.len())?;
                let finished = self.act(&shown, "finish")?;
                finished.check(&["Finished"], plans::STAGES.len() - 1)?;
                self.finished = Some(finished);
                self.api.post("/plans", JSON, &plan)?;
            }
            _ => drop(self.act(&shown, "rollback")?),
        }
        Ok(())
    }

    /// Leaves an order somewhere on its way: at one of its stages, or retained behind the last.
    fn leave(&self, mut shown: Shown, advances: usize) -> Result<Shown> {
        for _ in 0..advances % (plans::STAGES.len() + 1) {
            // Behind its last stage it goes on by itself, too; then there is nothing to advance.
            shown = self.act(&shown, "advance").or_else(|refused| {
                let shown = Shown::of(self.api.get(&format!("/orders/{}", shown.id))?)?;
                ensure!(shown.phase == "Retained", refused);
                Ok(shown)
            })?;
        }
        Ok(shown)
    }

    fn act(&self, shown: &Shown, action: &str) -> Result<Shown> {
        Shown::of(self.api.post(&format!("/orders/{}/{action}", shown.id), JSON, "{}")?)
    }

    /// All plans had their turn. Waits until what was rolled back is so everywhere, and gives the first plan that is free.
    fn next_turn(&mut self) -> Result<usize> {
        let held = self.held_plans()?;
        for (plan, is_busy) in self.plans.iter().zip(&mut self.is_busy) {
            *is_busy = held.contains(&plan.name());
        }
        self.is_busy.iter().position(|is_busy| !is_busy).context("every plan has an active order")
    }

    /// The plans of the active orders, once there is none but those that stay.
    fn held_plans(&self) -> Result<Vec<String>> {
        wait::until("the rollbacks end", || {
            let active = self.api.get("/orders?active=true&limit=1000")?;
            let active: &[Value] = active.as_array().context("no list")?;
            ensure!(active.len() == self.active.len(), "{} orders are active", active.len());
            Ok(active.iter().filter_map(|order| Some(field(order, "plan").as_str()?.to_owned())).collect())
        })
    }

    fn end(mut self) -> Result<History> {
        self.next_turn()?;
        // An order at the last stage goes on by itself, so they are read again.
        for shown in &mut self.active {
            *shown = Shown::of(self.api.get(&format!("/orders/{}", shown.id))?)?;
        }
        let idle = self.plans.into_iter().zip(self.is_busy).filter(|(_, is_busy)| !is_busy);
        let idle = idle.map(|(plan, _)| plan).collect();
        let Self { active, finished, orders_by_tenant, .. } = self;
        Ok(History { idle, active, finished: finished.context("none finished")?, orders_by_tenant })
    }
}
