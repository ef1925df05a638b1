//! One order from its plan to its rollback: every action is timed, and its answer checked.

use anyhow::{Context, Result, ensure};
use graylane_wasm_tests::wait;
use serde_json::{Value, json};

use crate::api::{Api, field};
use crate::control::plans::{Plan, STAGES};
use crate::control::sheet::{Sheet, What};

const JSON: &str = "application/json";

/// The phases of an order that was just rolled back. With no proxies it is so everywhere when the daemon looks next, which
/// may be before the order is read for the answer.
const ROLLED_BACK: &[&str] = &["RollingBack", "RolledBack"];

/// Someone who walks orders of some plans, one after the other.
pub(crate) struct Walker {
    api: Api,
    plans: Vec<Plan>,
    walks: usize,
    /// What was measured.
    pub(crate) sheet: Sheet,
}

/// An order as an answer showed it.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The whole answer.
    pub(crate) view: Value,
    /// Its number.
    pub(crate) id: u64,
    /// Its phase.
    pub(crate) phase: String,
    /// The name of its stage.
    pub(crate) stage: String,
    /// Its version.
    pub(crate) version: u64,
}

// === impl Walker ===

impl Walker {
    /// One with these plans, which are applied. There should be so many that an order's rollback is everywhere before its
    /// plan's turn comes again: the daemon looks once a second.
    pub(crate) fn new(api: Api, plans: Vec<Plan>) -> Result<Self> {
        for plan in &plans {
            api.post("/plans", JSON, &plan.text())?;
        }
        Ok(Self { api, plans, walks: 0, sheet: Sheet::default() })
    }

    /// Does every action once.
    ///
    /// # Errors
    /// When an answer is not what it should be.
    pub(crate) fn walk(&mut self) -> Result<()> {
        let Self { api, plans, walks, sheet } = self;
        let count = plans.len();
        let plan = plans.get_mut(*walks % count).context("no plans")?;
        *walks += 1;
        plan.owner = format!("bench-{walks}");
        wait::until("the plan's last order ends", || is_free(api, plan))?;
        apply(api, plan, sheet)?;
        let started = start(api, plan, sheet)?;
        let mut walk = Walk { api, sheet, last: started };
        walk.read(plan)?;
        walk.act(What::Pause, "pause", &json!({}), (&["Paused"], 0))?;
        walk.act(What::Resume, "resume", &json!({}), (&["Running"], 0))?;
        let scope = json!({ "include": { "teller": ["T0000001", "T0000002"] } });
        walk.act(What::Adjust, "adjust", &json!({ "scope": scope.to_string() }), (&["Running"], 0))?;
        ensure!(*field(field(&walk.last.view, "stage"), "scope") == scope, "{}", walk.last.view);
        walk.act(What::Advance, "advance", &json!({}), (&["Running"], 1))?;
        let services = plan.services();
        let last = services.last().context("no services")?;
        walk.act(What::RollbackOne, "rollback", &json!({ "services": [last] }), (&["Running"], 1))?;
        ensure!(rolled_back(&walk.last.view) == 1, "{}", walk.last.view);
        walk.act(What::RollbackAll, "rollback", &json!({}), (ROLLED_BACK, 1))?;
        ensure!(rolled_back(&walk.last.view) == services.len(), "{}", walk.last.view);
        Ok(())
    }

    /// Starts an order of the next plan that has none, and rolls it back.
    ///
    /// # Errors
    /// When an answer is not what it should be.
    pub(crate) fn start_and_roll_back(&mut self) -> Result<()> {
        let Self { api, plans, walks, sheet } = self;
        let plan = plans.get(*walks % plans.len()).context("no plans")?;
        *walks += 1;
        let started = start(api, plan, sheet)?;
        let mut walk = Walk { api, sheet, last: started };
        walk.act(What::Advance, "advance", &json!({}), (&["Running"], 1))?;
        walk.act(What::RollbackAll, "rollback", &json!({}), (ROLLED_BACK, 1))
    }
}

/// An order that is being walked.
struct Walk<'a> {
    api: &'a Api,
    sheet: &'a mut Sheet,
    last: Shown,
}

// === impl Walk ===

impl Walk<'_> {
    fn act(
        &mut self,
        what: What,
        action: &str,
        body: &Value,
        (phases, stage): (&[&str], usize),
    ) -> Result<()> {
        let path = format!("/orders/{}/{action}", self.last.id);
        let (took, view) = self.api.timed_post(&path, JSON, &body.to_string())?;
        self.sheet.push(what, took);
        let shown = Shown::of(view)?;
        shown.check(phases, stage)?;
        let (before, after) = (self.last.version, shown.version);
        ensure!(after > before, "{action}: version {before}, and then {after}");
        self.last = shown;
        Ok(())
    }

    /// Reads the order, alone and in the list of the newest.
    fn read(&mut self, plan: &Plan) -> Result<()> {
        let Shown { id, version, .. } = self.last;
        let (took, view) = self.api.timed_get(&format!("/orders/{id}"))?;
        self.sheet.push(What::OrderGet, took);
        ensure!(Shown::of(view)?.version == version, "order {id} is not at version {version}");
        let (took, list) = self.api.timed_get("/orders")?;
        self.sheet.push(What::ListFirst, took);
        let mut orders = list.as_array().into_iter().flatten();
        let order = orders.find(|order| *field(order, "id") == id).context("the order is not in the list")?;
        ensure!(*field(order, "plan") == plan.name(), "{order}");
        Ok(())
    }
}

// === impl Shown ===

impl Shown {
    /// The order in an answer.
    pub(crate) fn of(view: Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let shown = || {
            Some((
                field(&view, "id").as_u64()?,
                text(field(&view, "phase"))?,
                text(field(field(&view, "stage"), "name"))?,
                field(&view, "version").as_u64()?,
            ))
        };
        let (id, phase, stage, version) = shown().with_context(|| format!("no order: {view}"))?;
        Ok(Self { view, id, phase, stage, version })
    }

    /// An error unless it is in one of these phases, at the stage of this index.
    pub(crate) fn check(&self, phases: &[&str], stage: usize) -> Result<()> {
        let stage = STAGES.get(stage).copied().unwrap_or_default();
        let is_it = phases.contains(&self.phase.as_str()) && self.stage == stage;
        ensure!(is_it, "not {} at {stage}: {}", phases.join(" or "), self.view);
        Ok(())
    }
}

fn is_free(api: &Api, plan: &Plan) -> Result<()> {
    let path = format!("/orders?tenant={}&active=true&limit=1000", plan.tenant);
    let active = api.get(&path)?;
    let held = active.as_array().into_iter().flatten().find(|order| *field(order, "plan") == plan.name());
    held.map_or(Ok(()), |order| anyhow::bail!("{order}"))
}

fn apply(api: &Api, plan: &Plan, sheet: &mut Sheet) -> Result<()> {
    let (took, applied) = api.timed_post("/plans", JSON, &plan.text())?;
    sheet.push(What::PlanApply, took);
    let is_it = *field(&applied, "changed") == true && *field(&applied, "name") == plan.name();
    ensure!(is_it && field(&applied, "version").as_u64() > Some(0), "{applied}");
    Ok(())
}

fn start(api: &Api, plan: &Plan, sheet: &mut Sheet) -> Result<Shown> {
    let body = json!({ "plan": plan.name(), "tenant": plan.tenant }).to_string();
    let (took, view) = api.timed_post("/orders", JSON, &body)?;
    sheet.push(What::OrderStart, took);
    let shown = Shown::of(view)?;
    shown.check(&["Running"], 0)?;
    Ok(shown)
}

fn rolled_back(view: &Value) -> usize {
    let services = field(view, "services").as_array().into_iter().flatten();
    services.filter(|service| *field(service, "rolledBack") == true).count()
}
