//! Actions on orders.

use crate::daemon::compile::as_it_holds;
use crate::daemon::plans::check_version;
use crate::daemon::state::{State, StoredPlan};
use crate::daemon::{
    ActionError, Daemon, Done, JudgedView, OrderFilter, OrderSummary, OrderView, Terms, of_tenant,
};
use graylane_order::{Actor, Approve, Event, Health, Order, Phase, Start};
use graylane_plan::{Scope, StageSpec, World, check_scope, parse_scope, snapshot};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use utoipa::ToSchema;

/// Orders that the daemon keeps, ended ones among them.
const MAX_ORDERS: usize = 100_000;

/// What to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartOrder {
    /// The plan's name.
    pub plan: String,
    /// The plan's tenant; may be left out while only one tenant has a plan of this name.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Why, for the timeline.
    #[serde(default)]
    pub reason: String,
}

/// What to do with an order.
#[derive(Debug)]
pub enum OrderAction {
    /// Approve the stage that comes next.
    Approve {
        /// The stage's name: it has to be the one that comes next.
        stage: String,
        /// The role in which to approve; none takes one that is still needed.
        role: Option<String>,
        /// What is approved: the order's standing hash, as the caller saw it.
        hash: String,
    },
    /// Go to the next stage.
    Advance,
    /// Change the current stage's scope to this one, in YAML or JSON.
    Adjust {
        /// The scope's text.
        scope: String,
    },
    /// Advance no more; the published rules stay.
    Pause,
    /// End a pause.
    Resume,
    /// Put services back to their baseline; none given means all.
    Rollback {
        /// The services.
        services: Vec<String>,
        /// Whether those that depend on a chosen one stay.
        keep_dependents: bool,
    },
    /// End the gray period.
    Finish,
    /// Judge how the gray version of a service does.
    Health {
        /// The service.
        service: String,
        /// How it does.
        health: Health,
        /// The figures that say so, for people.
        figures: String,
        /// What was counted, where that is what says so.
        judged: Option<Box<JudgedView>>,
    },
}

// === impl Daemon ===

impl Daemon {
    /// Starts an order of a plan, as the plan and its lists are now.
    ///
    /// # Errors
    /// When there is no such plan, it no longer passes its check, or another active order holds one of its services.
    pub fn start_order(
        &self,
        start: StartOrder,
        terms: impl Into<Terms>,
        actor: Actor,
    ) -> Result<Done<OrderView>, ActionError> {
        let Terms { once, roles, .. } = terms.into();
        let started = self.change_once(once, |draft| {
            let tenant = draft.state.tenant_of_plan(&start)?;
            draft.check_not_frozen(&tenant, &roles)?;
            let stored = draft.state.plan(&tenant, &start.plan)?;
            let (plan, prometheus) = ((&*tenant, &*start.plan), self.config.prometheus_source());
            let taken = draft.state.with_world(plan, prometheus, |world| snapshot(&stored.plan, world))?;
            let taken = taken.map_err(|problems| ActionError::Invalid { what: "plan", problems })?;
            draft.state.check_not_held(taken.plan())?;
            if draft.state.orders.len() >= MAX_ORDERS {
                let cure = "start a new data directory, and keep the old one as the record";
                return Err(ActionError::TooMany { what: "orders", limit: MAX_ORDERS, cure });
            }
            let id = draft.state.orders.keys().next_back().map_or(1, |last| last + 1);
            // Most plans are taken as they are stored; then their orders share one.
            let plan = match *taken.plan() == *stored.plan {
                true => Arc::clone(&stored.plan),
                false => Arc::new(taken.plan().clone()),
            };
            let pinned = |stage: &StageSpec| draft.state.pinned(&tenant, &stage.scope);
            let (order, effects) = Order::start(
                Start {
                    id,
                    plan,
                    content_hash: taken.content_hash().to_owned(),
                    lists_by_stage: stored.plan.spec.stages.iter().map(pinned).collect(),
                    authors: draft.state.authors(&tenant, &stored),
                    actor,
                },
                draft.now,
            )?;
            draft.apply(None, order, &effects, "order.start")?;
            Ok(id)
        })?;
        started.try_map(|id| self.order(id))
    }

    /// Does something with an order.
    ///
    /// # Errors
    /// When there is no such order, it is not at the version of `terms`, or its phase does not allow the action.
    pub fn act(
        &self,
        id: u64,
        action: OrderAction,
        actor: Actor,
        terms: impl Into<Terms>,
    ) -> Result<Done<OrderView>, ActionError> {
        let Terms { if_match, once, roles } = terms.into();
        let done = self.change_once(once, |draft| {
            let order = draft.state.order(id)?;
            check_version(&format!("order {id}"), order.version, if_match)?;
            draft.is_rescue = action.is_always_allowed();
            if !action.is_always_allowed() {
                draft.check_not_frozen(order.tenant(), &roles)?;
            }
            // Looking at all proxies takes a while, and few actions ask for it.
            let sight = || self.tenant_seen_now(&draft.state, order.tenant()).sight;
            let label = action.label();
            let event = match action {
                OrderAction::Approve { stage, role, hash } => {
                    Event::Approve(Box::new(Approve { actor, roles, role, stage, hash }), sight())
                }
                OrderAction::Advance => Event::Advance { actor, sight: sight() },
                OrderAction::Finish => Event::Finish { actor, seen: sight().seen },
                OrderAction::Health { service, health, figures, judged } => {
                    draft.judged = judged;
                    Event::Health { actor, service, health, figures }
                }
                OrderAction::Pause => Event::Pause { actor },
                OrderAction::Resume => Event::Resume { actor },
                OrderAction::Rollback { services, keep_dependents } => {
                    Event::Rollback { actor, services, keep_dependents }
                }
                OrderAction::Adjust { scope } => {
                    let (scope, lists) = draft.state.check_adjusted(&order, &scope)?;
                    let authors = draft.state.list_authors(order.tenant(), scope.list_names());
                    Event::Adjust { actor, scope: Box::new(scope), lists, authors }
                }
            };
            let (next, effects) = order.step(event, draft.now)?;
            if next != *order {
                draft.apply(Some(&order), next, &effects, label)?;
            }
            Ok(())
        })?;
        done.try_map(|()| self.order(id))
    }

    /// Orders, newest first.
    #[must_use]
    pub fn orders(&self, filter: &OrderFilter) -> Vec<OrderSummary> {
        let proxies = self.fleet.proxies();
        let known = self.known();
        let is_wanted = |order: &&Arc<Order>| filter.wants(order);
        let orders = known.state.orders.values().rev().filter(is_wanted).take(filter.limit);
        // Most of a list is of few tenants, and looking at one counts its proxies.
        let mut by_tenant = BTreeMap::new();
        let summary = |order: &Arc<Order>| {
            let look = || self.tenant_seen(&known.state, order.tenant(), of_tenant(&proxies, order.tenant()));
            OrderSummary::new(order, by_tenant.entry(order.tenant().to_owned()).or_insert_with(look))
        };
        orders.map(summary).collect()
    }

    /// One order.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn order(&self, id: u64) -> Result<OrderView, ActionError> {
        let state = &self.known().state;
        let order = state.order(id)?;
        let view = OrderView::new(&order, &self.tenant_seen_now(state, order.tenant()));
        Ok(self.judged(view))
    }

    /// Steps an order with what was observed, when that changes it.
    pub(crate) fn observe_order(&self, id: u64) -> Result<(), ActionError> {
        self.change(|draft| {
            let order = draft.state.order(id)?;
            let sight = self.tenant_seen_now(&draft.state, order.tenant()).sight;
            let Some((next, effects)) = order.observed(sight, draft.now) else { return Ok(()) };
            draft.is_rescue = [&*order, &next].iter().any(|order| order.phase == Phase::RollingBack);
            draft.apply(Some(&order), next, &effects, "order.follow")
        })
    }
}

// === impl OrderAction ===

impl OrderAction {
    /// Its name in the audit log.
    const fn label(&self) -> &'static str {
        match self {
            Self::Approve { .. } => "order.approve",
            Self::Advance => "order.advance",
            Self::Adjust { .. } => "order.adjust",
            Self::Pause => "order.pause",
            Self::Resume => "order.resume",
            Self::Rollback { .. } => "order.rollback",
            Self::Finish => "order.finish",
            Self::Health { .. } => "order.health",
        }
    }

    /// Whether it is possible while the tenant's line is stopped, and on a full disk: going back is, and saying what is seen.
    const fn is_always_allowed(&self) -> bool {
        matches!(self, Self::Rollback { .. } | Self::Health { .. })
    }
}

// === impl State ===

impl State {
    pub(crate) fn order(&self, id: u64) -> Result<Arc<Order>, ActionError> {
        let not_found =
            || ActionError::NotFound { what: "order", name: id.to_string(), nearest: String::new() };
        self.orders.get(&id).cloned().ok_or_else(not_found)
    }

    /// The people who wrote a plan and the lists that it names, as far as that is known.
    fn authors(&self, tenant: &str, stored: &StoredPlan) -> BTreeSet<String> {
        let mut authors = self.list_authors(tenant, stored.plan.list_names());
        authors.extend(stored.applied_by.clone());
        authors
    }

    /// The people who wrote some lists, as far as that is known.
    fn list_authors<'a>(&self, tenant: &str, names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let lists = self.tenants.get(tenant).map(|entry| &entry.lists);
        names.filter_map(|name| lists?.get(name)?.put_by.clone()).collect()
    }

    /// The tenant that was given, or the only one that has a plan of this name.
    fn tenant_of_plan(&self, start: &StartOrder) -> Result<String, ActionError> {
        if let Some(tenant) = &start.tenant {
            return Ok(tenant.clone());
        }
        let mut found = self.tenants.iter().filter(|(_, entry)| entry.plans.contains_key(&start.plan));
        match (found.next(), found.next()) {
            (Some((tenant, _)), None) => Ok(tenant.clone()),
            (Some((one, _)), Some((two, _))) => {
                let message =
                    format!("tenants {one:?} and {two:?} both have a plan {:?}; say which", start.plan);
                let problems = vec![graylane_plan::Problem::error("tenant", message)];
                Err(ActionError::Invalid { what: "request", problems })
            }
            (None, _) => {
                let known = self.tenants.values().flat_map(|entry| entry.plans.keys());
                Err(ActionError::not_found("plan", &start.plan, known))
            }
        }
    }

    /// Refuses a plan with a service that an active order of its tenant holds.
    fn check_not_held(&self, plan: &graylane_plan::ReleasePlan) -> Result<(), ActionError> {
        for service in &plan.spec.services {
            let holds = |order: &&Arc<Order>| order.services.contains_key(&service.name);
            if let Some(order) = self.active_orders(&plan.metadata.tenant).find(holds) {
                return Err(ActionError::Held {
                    service: service.name.clone(),
                    order: order.id,
                    plan: order.plan.metadata.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// Reads a scope that an order is to be adjusted to, with the lists as they are now.
    fn check_adjusted(
        &self,
        order: &Order,
        text: &str,
    ) -> Result<(Scope, BTreeMap<String, String>), ActionError> {
        let invalid = |problems| ActionError::Invalid { what: "scope", problems };
        let scope = parse_scope(text).map_err(invalid)?;
        let pinned = self.pinned(order.tenant(), &scope);
        let entry = self.tenant(order.tenant())?;
        let lists = self.lists(order.tenant());
        let problems =
            check_scope(&as_it_holds(order), order.stage, &scope, &World::new(&entry.tenant, &lists));
        if problems.iter().any(graylane_plan::Problem::is_error) {
            return Err(invalid(problems));
        }
        Ok((scope, pinned))
    }

    /// The content hash of each named list in a scope as it is now, by the list's name.
    fn pinned(&self, tenant: &str, scope: &Scope) -> BTreeMap<String, String> {
        let lists = self.lists(tenant);
        let hash = |name: &str| Some((name.to_owned(), lists.hash(name)?.to_owned()));
        scope.list_names().filter_map(hash).collect()
    }
}
