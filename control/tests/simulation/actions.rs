//! What operators do, and what has to follow from it.

use crate::bank::{DIMENSIONS, Ids, LISTS, Pinned, SERVICES, Scope, TENANTS};
use crate::plan::{self, PLANS, Plan, some, spoil};
use crate::run::{Violation, broken, holds};
use crate::shadow::Shadow;
use fastrand::Rng;
use graylane::daemon::{ActionError, Daemon, OrderAction, StartOrder};
use graylane_order::Actor;
use std::fmt;

/// Who does everything.
const OPERATOR: &str = "lin";

/// Something that is asked of the daemon.
#[derive(Clone, Debug)]
pub enum Action {
    ApplyPlan {
        text: String,
        plan: Option<Plan>,
    },
    DeletePlan {
        tenant: &'static str,
        name: &'static str,
    },
    PutList {
        tenant: &'static str,
        name: &'static str,
        ids: Ids,
    },
    DeleteList {
        tenant: &'static str,
        name: &'static str,
    },
    Start {
        tenant: &'static str,
        plan: &'static str,
    },
    Order {
        id: u64,
        what: What,
        if_match: Option<u64>,
    },
    ClearBaseline {
        tenant: &'static str,
        service: &'static str,
    },
    /// The daemon looks at what the proxies did.
    Observe,
}

/// Something that is asked of an order.
#[derive(Clone, Debug)]
pub enum What {
    Advance,
    Adjust(Scope),
    Pause,
    Resume,
    Rollback { services: Vec<String>, keeps_dependents: bool },
    Finish,
}

// === impl Action ===

impl Action {
    /// What somebody might do now.
    pub fn random(shadow: &Shadow, rng: &mut Rng) -> Self {
        let tenant = TENANTS[rng.usize(..TENANTS.len())];
        match rng.u8(..100) {
            0..11 => Self::apply_plan(tenant, shadow, rng),
            11..13 => Self::DeletePlan { tenant, name: PLANS[rng.usize(..PLANS.len())] },
            13..20 => {
                let level = rng.usize(..LISTS.len());
                let ids = some(crate::bank::IDS[level], 3, rng);
                Self::PutList { tenant, name: LISTS[level], ids }
            }
            20..21 => Self::DeleteList { tenant, name: LISTS[rng.usize(..LISTS.len())] },
            21..36 => shadow.some_plan(rng).unwrap_or_else(|| Self::apply_plan(tenant, shadow, rng)),
            36..38 => Self::ClearBaseline { tenant, service: SERVICES[rng.usize(..SERVICES.len())].0 },
            _ => Self::order(shadow, rng).unwrap_or(Self::Observe),
        }
    }

    fn apply_plan(tenant: &'static str, shadow: &Shadow, rng: &mut Rng) -> Self {
        let plan = Plan::random(tenant, |service| shadow.baseline(tenant, service), rng);
        let text = plan.to_json().to_string();
        match rng.u8(..5) {
            0 => Self::ApplyPlan { text: spoil(&text, rng), plan: None },
            _ => Self::ApplyPlan { text, plan: Some(plan) },
        }
    }

    /// Something with an order: mostly with one that is active.
    fn order(shadow: &Shadow, rng: &mut Rng) -> Option<Self> {
        let active: Vec<u64> = shadow.active().map(|(id, _)| id).collect();
        let id = match rng.u8(..20) {
            0 => rng.u64(1..=shadow.orders.len() as u64 + 1),
            _ => *active.get(rng.usize(..active.len().max(1)))?,
        };
        let order = shadow.orders.get(&id);
        let what = match rng.u8(..40) {
            0..16 => What::Advance,
            16..22 => What::Adjust(adjusted(rng)),
            22..25 => What::Pause,
            25..30 => What::Resume,
            30..35 => What::rollback(order.map(|order| &order.plan), rng),
            _ => What::Finish,
        };
        let version = order.map_or(0, |order| order.told.version);
        let if_match = match rng.u8(..8) {
            0 => Some(version + 1),
            1 => Some(version.saturating_sub(1)),
            2..5 => Some(version),
            _ => None,
        };
        Some(Self::Order { id, what, if_match })
    }

    /// What was done when it is.
    pub fn label(&self) -> &'static str {
        match self {
            Self::ApplyPlan { .. } => "plans applied",
            Self::DeletePlan { .. } => "plans deleted",
            Self::PutList { .. } => "lists put",
            Self::DeleteList { .. } => "lists deleted",
            Self::Start { .. } => "orders started",
            Self::ClearBaseline { .. } => "baselines cleared",
            Self::Observe => "looks at the proxies",
            Self::Order { what, .. } => match what {
                What::Advance => "advanced",
                What::Adjust(_) => "adjusted",
                What::Pause => "paused",
                What::Resume => "resumed",
                What::Rollback { .. } => "rolled back",
                What::Finish => "finished",
            },
        }
    }

    /// Asks the daemon. Gives the number of the order that was started, if one was.
    pub fn ask(&self, daemon: &Daemon) -> Result<Option<u64>, ActionError> {
        let actor = || Actor { name: OPERATOR.to_owned(), reason: "simulated".to_owned() };
        match self.clone() {
            Self::ApplyPlan { text, .. } => daemon.apply_plan(&text, None, actor()).map(|_| None),
            Self::DeletePlan { tenant, name } => {
                daemon.delete_plan((tenant, name), None, actor()).map(|_| None)
            }
            Self::PutList { tenant, name, ids } => {
                let text = ids.into_iter().collect::<Vec<_>>().join("\n");
                daemon.put_list((tenant, name), text, None, actor()).map(|_| None)
            }
            Self::DeleteList { tenant, name } => {
                daemon.delete_list((tenant, name), None, actor()).map(|_| None)
            }
            Self::Start { tenant, plan } => {
                let start = StartOrder {
                    plan: plan.to_owned(),
                    tenant: Some(tenant.to_owned()),
                    reason: String::new(),
                };
                daemon.start_order(start, None, actor()).map(|order| Some(order.value.id))
            }
            Self::Order { id, what, if_match } => {
                daemon.act(id, what.into_action(), actor(), if_match).map(|_| None)
            }
            Self::ClearBaseline { tenant, service } => {
                daemon.clear_baseline(tenant, service, None, actor()).map(|_| None)
            }
            Self::Observe => {
                daemon.observe_orders();
                Ok(None)
            }
        }
    }

    /// Which promise an answer breaks on a disk that works, and how.
    pub fn judge(&self, answer: Result<(), &ActionError>, shadow: &Shadow) -> Result<(), Violation> {
        let Self::Order { id, what, if_match } = self else {
            let is_spoiled = matches!(self, Self::ApplyPlan { plan: None, .. });
            let taken = (is_spoiled && answer.is_ok()).then(|| "a plan that is none was taken".to_owned());
            return holds("bad input is refused", taken);
        };
        let Some(order) = shadow.orders.get(id) else { return Ok(()) };
        let is_stale = if_match.is_some_and(|version| version != order.told.version);
        match answer {
            Ok(()) if is_stale => broken("who saw another version is refused", "it was done"),
            Err(error) if is_stale => {
                let other = (!matches!(error, ActionError::Stale { .. })).then(|| error.to_string());
                holds("who saw another version is refused, and told so", other)
            }
            Err(error) if matches!(what, What::Rollback { .. }) && order.is_active() => {
                broken("a rollback of an active order is accepted", error.to_string())
            }
            Ok(()) if !order.is_active() => {
                broken("what ended stays", format!("an order that is {} was changed", order.told.phase))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApplyPlan { text, .. } => write!(f, "apply {text}"),
            Self::DeletePlan { tenant, name } => write!(f, "delete plan {name} of {tenant}"),
            Self::PutList { tenant, name, ids } => write!(f, "put list {name} of {tenant}: {ids:?}"),
            Self::DeleteList { tenant, name } => write!(f, "delete list {name} of {tenant}"),
            Self::Start { tenant, plan } => write!(f, "start plan {plan} of {tenant}"),
            Self::ClearBaseline { tenant, service } => write!(f, "clear baseline {service} of {tenant}"),
            Self::Observe => f.write_str("the daemon looks at its proxies"),
            Self::Order { id, what: What::Adjust(scope), .. } => {
                write!(f, "adjust order {id} to {}", scope.to_json())
            }
            Self::Order { id, what, if_match } => write!(f, "order {id}: {what:?}, seen at {if_match:?}"),
        }
    }
}

// === impl What ===

impl What {
    fn rollback(plan: Option<&Plan>, rng: &mut Rng) -> Self {
        let services = plan.map(|plan| plan.services.clone()).unwrap_or_default();
        let chosen = services.iter().filter(|_| rng.u8(..3) == 0).map(|service| service.name.to_owned());
        Self::Rollback { services: chosen.collect(), keeps_dependents: rng.u8(..3) == 0 }
    }

    fn into_action(self) -> OrderAction {
        match self {
            Self::Advance => OrderAction::Advance,
            Self::Adjust(scope) => OrderAction::Adjust { scope: scope.to_json().to_string() },
            Self::Pause => OrderAction::Pause,
            Self::Resume => OrderAction::Resume,
            Self::Rollback { services, keeps_dependents } => {
                OrderAction::Rollback { services, keep_dependents: keeps_dependents }
            }
            Self::Finish => OrderAction::Finish,
        }
    }
}

/// A scope for a stage that runs: it may take people back.
fn adjusted(rng: &mut Rng) -> Scope {
    let kept_out: [Ids; DIMENSIONS.len()] = crate::bank::IDS.map(|ids| some(ids, 4, rng));
    let hundredths = rng.u16(1..=10_000);
    plan::scope(&kept_out, hundredths, rng)
}

/// A scope with the lists of a tenant as they are now.
pub fn pinned(scope: &Scope, tenant: &str, shadow: &Shadow) -> Pinned {
    scope.pinned(|list| shadow.list(tenant, list))
}
