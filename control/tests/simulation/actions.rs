//! What operators do, and what has to follow from it.

use crate::bank::{DIMENSIONS, IDS, Ids, LISTS, Pinned, SERVICES, Scope, TENANTS};
use crate::operators::{Operator, ROLES};
use crate::plan::{self, PLANS, Plan, some, spoil};
use crate::shadow::{Shadow, ShadowOrder};
use fastrand::Rng;
use graylane::daemon::{self, ActionError, Daemon, Once, OrderAction, StartOrder, Terms};
use graylane_order::{Actor, Health};
use jiff::Timestamp;
use std::fmt;

/// Something that somebody asks of the daemon.
#[derive(Clone, Debug)]
pub struct Request {
    pub by: &'static Operator,
    pub action: Action,
}

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
    /// Stops a tenant's line, except for people with these roles.
    Freeze {
        tenant: &'static str,
        exempt: Vec<&'static str>,
    },
    Unfreeze {
        tenant: &'static str,
    },
    /// The daemon looks at what the proxies did.
    Observe,
}

/// Something that is asked of an order.
#[derive(Clone, Debug)]
pub enum What {
    /// Approve the stage of this name, in a role, by what was seen.
    Approve {
        stage: String,
        role: Option<&'static str>,
        hash: String,
    },
    Health {
        service: String,
        health: Health,
    },
    Advance,
    Adjust(Scope),
    Pause,
    Resume,
    Rollback {
        services: Vec<String>,
        keeps_dependents: bool,
    },
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

// === impl Request ===

impl Request {
    /// The daemon looks, and nobody asks.
    pub fn look() -> Self {
        Self { by: &crate::operators::OPERATORS[0], action: Action::Observe }
    }

    pub fn is_look(&self) -> bool {
        matches!(self.action, Action::Observe)
    }

    /// What somebody might ask for now.
    pub fn random(shadow: &Shadow, now: Timestamp, rng: &mut Rng) -> Self {
        let action = Action::random(shadow, now, rng);
        let roles = match &action {
            Action::Order { id, what: What::Approve { .. }, .. } => {
                shadow.orders.get(id).map(ShadowOrder::next_roles).unwrap_or_default()
            }
            action => action.tenant(shadow).and_then(|tenant| shadow.exempt(tenant)).unwrap_or_default(),
        };
        let by = if roles.is_empty() { Operator::random(rng) } else { Operator::with_some(&roles, rng) };
        Self { by, action }
    }

    /// A plan or a list.
    pub fn document(shadow: &Shadow, now: Timestamp, rng: &mut Rng) -> Self {
        let tenant = TENANTS[rng.usize(..TENANTS.len())];
        let action = match rng.bool() {
            true => Action::apply_plan(tenant, shadow, now, rng),
            false => Action::put_list(tenant, rng),
        };
        Self { by: Operator::random(rng), action }
    }

    /// Asks the daemon, with a key by which it knows the request again.
    pub fn ask(&self, daemon: &Daemon, once: Option<Once>) -> Result<Done, ActionError> {
        let actor = Actor { name: self.by.name.to_owned(), reason: "simulated".to_owned() };
        let roles = self.by.roles();
        self.action.ask(daemon, Terms { if_match: None, once, roles }, actor)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            Action::Observe => write!(f, "{}", self.action),
            _ => write!(f, "{}: {}", self.by.name, self.action),
        }
    }
}

// === impl Action ===

impl Action {
    /// What somebody might do now.
    fn random(shadow: &Shadow, now: Timestamp, rng: &mut Rng) -> Self {
        let tenant = TENANTS[rng.usize(..TENANTS.len())];
        match rng.u8(..100) {
            0..10 => Self::apply_plan(tenant, shadow, now, rng),
            10..12 => Self::DeletePlan { tenant, name: PLANS[rng.usize(..PLANS.len())] },
            12..17 => Self::put_list(tenant, rng),
            17..18 => Self::DeleteList { tenant, name: LISTS[rng.usize(..LISTS.len())] },
            18..31 => shadow.some_plan(rng).unwrap_or_else(|| Self::apply_plan(tenant, shadow, now, rng)),
            31..33 => Self::ClearBaseline { tenant, service: SERVICES[rng.usize(..SERVICES.len())].0 },
            33..34 => {
                let exempt = ROLES.into_iter().filter(|_| rng.u8(..3) == 0).collect();
                Self::Freeze { tenant, exempt }
            }
            34..39 => Self::Unfreeze { tenant },
            _ => Self::order(shadow, rng).unwrap_or(Self::Observe),
        }
    }

    fn apply_plan(tenant: &'static str, shadow: &Shadow, now: Timestamp, rng: &mut Rng) -> Self {
        let plan = Plan::random(tenant, |service| shadow.baseline(tenant, service), now, rng);
        let text = plan.to_json().to_string();
        match rng.u8(..5) {
            0 => Self::ApplyPlan { text: spoil(&text, rng), plan: None },
            _ => Self::ApplyPlan { text, plan: Some(plan) },
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
        let what = match rng.u8(..60) {
            0..16 => What::Advance,
            16..36 => What::approve(order?, rng),
            36..40 => What::health(order?, rng),
            40..43 => What::Adjust(adjusted(rng)),
            43..45 => What::Pause,
            45..52 => What::Resume,
            52..55 => What::rollback(order.map(|order| &order.plan), rng),
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

    /// The tenant whose line it belongs to, if it is something that a stopped line stops.
    pub fn tenant(&self, shadow: &Shadow) -> Option<&'static str> {
        match self {
            Self::Start { tenant, .. } | Self::ClearBaseline { tenant, .. } => Some(tenant),
            Self::Order { what: What::Rollback { .. } | What::Health { .. }, .. } => None,
            Self::Order { id, .. } => shadow.orders.get(id).map(|order| order.plan.tenant),
            _ => None,
        }
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
            Self::Freeze { .. } => "lines stopped",
            Self::Unfreeze { .. } => "lines started again",
            Self::Observe => "looks at the proxies",
            Self::Order { what, .. } => match what {
                What::Approve { .. } => "approved",
                What::Health { health: Health::Faulty, .. } => "judged faulty",
                What::Health { .. } => "judged otherwise",
                What::Advance => "advanced",
                What::Adjust(_) => "adjusted",
                What::Pause => "paused",
                What::Resume => "resumed",
                What::Rollback { .. } => "rolled back",
                What::Finish => "finished",
            },
        }
    }

    fn ask(&self, daemon: &Daemon, terms: Terms, actor: Actor) -> Result<Done, ActionError> {
        match self.clone() {
            Self::ApplyPlan { text, .. } => daemon.apply_plan(&text, terms, actor).map(Done::of),
            Self::DeletePlan { tenant, name } => {
                daemon.delete_plan((tenant, name), terms, actor).map(Done::of)
            }
            Self::PutList { tenant, name, ids } => {
                let text = ids.into_iter().collect::<Vec<_>>().join("\n");
                daemon.put_list((tenant, name), text, terms, actor).map(Done::of)
            }
            Self::DeleteList { tenant, name } => {
                daemon.delete_list((tenant, name), terms, actor).map(Done::of)
            }
            Self::Start { tenant, plan } => {
                let (plan, tenant, reason) = (plan.to_owned(), Some(tenant.to_owned()), String::new());
                let started = daemon.start_order(StartOrder { plan, tenant, reason }, terms, actor)?;
                Ok(Done { started: Some(started.value.id), is_repeat: started.is_repeat })
            }
            Self::Order { id, what, if_match } => {
                daemon.act(id, what.into_action(), actor, Terms { if_match, ..terms }).map(Done::of)
            }
            Self::ClearBaseline { tenant, service } => {
                daemon.clear_baseline(tenant, service, terms, actor).map(Done::of)
            }
            Self::Freeze { tenant, exempt } => {
                let exempt = exempt.into_iter().map(str::to_owned).collect();
                daemon.freeze(tenant, exempt, terms, actor).map(Done::of)
            }
            Self::Unfreeze { tenant } => daemon.unfreeze(tenant, terms, actor).map(Done::of),
            Self::Observe => {
                daemon.observe_orders();
                Ok(Done::default())
            }
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
            Self::Freeze { tenant, exempt } => write!(f, "stop the line of {tenant}, except for {exempt:?}"),
            Self::Unfreeze { tenant } => write!(f, "start the line of {tenant} again"),
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
    /// Mostly what stands, of the stage that is next.
    fn approve(order: &ShadowOrder, rng: &mut Rng) -> Self {
        let hash = match rng.u8(..8) {
            0 => order.some_hash(rng),
            _ => order.told.hash.clone(),
        };
        let stage = match rng.u8(..8) {
            0 => format!("stage-{}", rng.usize(..order.plan.stages.len())),
            _ => format!("stage-{}", order.next() - 1),
        };
        Self::Approve { stage, role: ROLES.get(rng.usize(..9)).copied(), hash }
    }

    /// What was faulty does well again soon.
    fn health(order: &ShadowOrder, rng: &mut Rng) -> Self {
        let faulty = order.plan.services.iter().find(|service| order.health(service.name) == Health::Faulty);
        let some = &order.plan.services[rng.usize(..order.plan.services.len())];
        // A daemon that judges finds most versions healthy.
        let health = match faulty {
            None if order.plan.is_judged && rng.bool() => Health::Healthy,
            Some(_) => [Health::Healthy, Health::Healthy, Health::Faulty][rng.usize(..3)],
            None => [Health::Faulty, Health::Faulty, Health::Healthy, Health::Unknown][rng.usize(..4)],
        };
        Self::Health { service: faulty.unwrap_or(some).name.to_owned(), health }
    }

    fn rollback(plan: Option<&Plan>, rng: &mut Rng) -> Self {
        let services = plan.map(|plan| plan.services.clone()).unwrap_or_default();
        let chosen = services.iter().filter(|_| rng.u8(..3) == 0).map(|service| service.name.to_owned());
        Self::Rollback { services: chosen.collect(), keeps_dependents: rng.u8(..3) == 0 }
    }

    fn into_action(self) -> OrderAction {
        match self {
            Self::Approve { stage, role, hash } => {
                OrderAction::Approve { stage, role: role.map(str::to_owned), hash }
            }
            Self::Health { service, health } => {
                OrderAction::Health { service, health, figures: "5 of 100 fail".to_owned(), judged: None }
            }
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
