//! What operators do, and what has to follow from it.

use crate::bank::{DIMENSIONS, IDS, Ids, LISTS, Pinned, SERVICES, Scope, TENANTS};
use crate::plan::{self, PLANS, Plan, some, spoil};
use crate::run::{Lags, Violation, broken, holds};
use crate::shadow::Shadow;
use fastrand::Rng;
use graylane::daemon::{self, ActionError, Daemon, Once, OrderAction, StartOrder, Terms};
use graylane_order::{Actor, Refused};
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

/// What came of an action.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// The number of the order that it started, if it started one.
    pub started: Option<u64>,
    /// Whether it was done before.
    pub is_repeat: bool,
}

// === impl Done ===

impl Done {
    fn of<T>(done: daemon::Done<T>) -> Self {
        Self { started: None, is_repeat: done.is_repeat }
    }
}

// === impl Action ===

impl Action {
    /// What somebody might do now.
    pub fn random(shadow: &Shadow, rng: &mut Rng) -> Self {
        let tenant = TENANTS[rng.usize(..TENANTS.len())];
        match rng.u8(..100) {
            0..11 => Self::apply_plan(tenant, shadow, rng),
            11..13 => Self::DeletePlan { tenant, name: PLANS[rng.usize(..PLANS.len())] },
            13..20 => Self::put_list(tenant, rng),
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

    /// A plan or a list.
    pub fn document(shadow: &Shadow, rng: &mut Rng) -> Self {
        let tenant = TENANTS[rng.usize(..TENANTS.len())];
        match rng.bool() {
            true => Self::apply_plan(tenant, shadow, rng),
            false => Self::put_list(tenant, rng),
        }
    }

    fn put_list(tenant: &'static str, rng: &mut Rng) -> Self {
        let level = rng.usize(..LISTS.len());
        Self::PutList { tenant, name: LISTS[level], ids: some(IDS[level], 3, rng) }
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

    /// Asks the daemon, with a key by which it knows the request again.
    pub fn ask(&self, daemon: &Daemon, once: Option<Once>) -> Result<Done, ActionError> {
        let actor = Actor { name: OPERATOR.to_owned(), reason: "simulated".to_owned() };
        let terms = |if_match| Terms { if_match, once, ..Terms::default() };
        match self.clone() {
            Self::ApplyPlan { text, .. } => daemon.apply_plan(&text, terms(None), actor).map(Done::of),
            Self::DeletePlan { tenant, name } => {
                daemon.delete_plan((tenant, name), terms(None), actor).map(Done::of)
            }
            Self::PutList { tenant, name, ids } => {
                let text = ids.into_iter().collect::<Vec<_>>().join("\n");
                daemon.put_list((tenant, name), text, terms(None), actor).map(Done::of)
            }
            Self::DeleteList { tenant, name } => {
                daemon.delete_list((tenant, name), terms(None), actor).map(Done::of)
            }
            Self::Start { tenant, plan } => {
                let (plan, tenant, reason) = (plan.to_owned(), Some(tenant.to_owned()), String::new());
                let started = daemon.start_order(StartOrder { plan, tenant, reason }, terms(None), actor)?;
                Ok(Done { started: Some(started.value.id), is_repeat: started.is_repeat })
            }
            Self::Order { id, what, if_match } => {
                daemon.act(id, what.into_action(), actor, terms(if_match)).map(Done::of)
            }
            Self::ClearBaseline { tenant, service } => {
                daemon.clear_baseline(tenant, service, terms(None), actor).map(Done::of)
            }
            Self::Observe => {
                daemon.observe_orders();
                Ok(Done::default())
            }
        }
    }

    /// Which promise an answer breaks on a disk that works, and how.
    pub fn judge(
        &self,
        answer: Result<(), &ActionError>,
        shadow: &Shadow,
        lags: &Lags,
    ) -> Result<(), Violation> {
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
            // Hold times go by the wall clock still, which is set back now and then.
            Err(ActionError::Refused(Refused::Hold { .. })) => Ok(()),
            Err(error)
                if matches!(what, What::Advance) && order.is_ready() && lags[order.tenant()].is_none() =>
            {
                broken("an order that may go on does", error.to_string())
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
    let kept_out: [Ids; DIMENSIONS.len()] = IDS.map(|ids| some(ids, 4, rng));
    let hundredths = rng.u16(1..=10_000);
    plan::scope(&kept_out, hundredths, rng)
}

/// A scope with the lists of a tenant as they are now.
pub fn pinned(scope: &Scope, tenant: &str, shadow: &Shadow) -> Pinned {
    scope.pinned(|list| shadow.list(tenant, list))
}
