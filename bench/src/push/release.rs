//! Orders, one after the other: each stage of their plan lets in one more teller.

use anyhow::{Context, Result, ensure};
use graylane_rules::limits::MAX_STAGES;
use graylane_wasm_tests::{LEDGER_HOST, LOAN_HOST, wait};
use serde_json::{Value, json};

use crate::api::{Api, field};

const PLAN: &str = "push";
/// The named list that makes the rules larger.
const FILLER: &str = "filler";

/// The order that is under way.
pub(crate) struct Release {
    order: u64,
    /// Stages that were entered, of [`MAX_STAGES`].
    entered: usize,
}

/// The stage that the next advance enters.
pub(crate) struct Stage {
    /// The order's number.
    pub(crate) order: u64,
    /// Who gets v2 by it.
    pub(crate) teller: String,
    /// Who does not, yet or at all.
    pub(crate) bystander: String,
    /// The revision that every proxy runs before it.
    pub(crate) revision_before: u64,
}

// === impl Release ===

impl Release {
    /// Applies the plan, with a list of tellers in its first stage if there is one, and starts the first order.
    pub(crate) fn begin(api: &Api, list: Option<&str>) -> Result<Self> {
        if let Some(list) = list {
            api.put(&format!("/tenants/retail/lists/{FILLER}"), "text/csv", list)?;
        }
        api.post("/plans", "application/json", &plan(list.is_some()).to_string())?;
        Self::start(api)
    }

    /// The stage to enter next; behind the last one a new order starts. Every proxy has converged when this returns.
    pub(crate) fn next(&mut self, api: &Api) -> Result<Stage> {
        if self.entered == MAX_STAGES {
            api.post(&format!("/orders/{}/rollback", self.order), "application/json", "{}")?;
            settled(api, self.order, "RolledBack")?;
            *self = Self::start(api)?;
        }
        let view = settled(api, self.order, "Running")?;
        let revision = field(field(&view, "convergence"), "wanted").as_u64().context("no revision")?;
        let stage = Stage {
            order: self.order,
            teller: teller(self.entered),
            bystander: teller(self.entered + 1),
            revision_before: revision,
        };
        self.entered += 1;
        Ok(stage)
    }

    /// The size of the published rules.
    pub(crate) fn rules_bytes(&self, api: &Api) -> Result<u64> {
        let rules = api.get("/tenants/retail/rules")?;
        field(&rules, "bytes").as_u64().with_context(|| format!("no size: {rules}"))
    }

    fn start(api: &Api) -> Result<Self> {
        let order = api.post("/orders", "application/json", &json!({ "plan": PLAN }).to_string())?;
        let order = field(&order, "id").as_u64().with_context(|| format!("no order: {order}"))?;
        Ok(Self { order, entered: 1 })
    }
}

/// Waits until an order is in a phase and every proxy runs its rules.
fn settled(api: &Api, order: u64, phase: &str) -> Result<Value> {
    wait::until("the order settles", || {
        let view = api.get(&format!("/orders/{order}"))?;
        let seen = field(&view, "convergence");
        ensure!(field(seen, "converged") == field(seen, "total") && field(&view, "phase") == phase, "{view}");
        Ok(view)
    })
}

fn plan(has_filler: bool) -> Value {
    let stages = (0..MAX_STAGES).map(|index| {
        let tellers = match index {
            0 if has_filler => json!({ "list": FILLER }),
            _ => json!([teller(index)]),
        };
        json!({ "name": format!("stage-{index}"), "scope": { "include": { "teller": tellers } } })
    });
    json!({
        "apiVersion": "graylane.dev/v1alpha1",
        "kind": "ReleasePlan",
        "metadata": { "name": PLAN, "tenant": "retail" },
        "spec": {
            "owner": "bench",
            "batch": "parallel",
            "services": [
                { "name": "loan", "hosts": [LOAN_HOST], "stable": "v1", "gray": "v2" },
                { "name": "ledger", "hosts": [LEDGER_HOST], "stable": "v1", "gray": "v2", "dependsOn": ["loan"] },
            ],
            "stages": stages.collect::<Vec<_>>(),
            "retention": "72h",
        },
    })
}

/// The teller of a stage; one behind the last stage is in no stage.
fn teller(stage: usize) -> String {
    format!("T{stage:07}")
}
