//! Actions on orders.

use crate::clock;
use crate::daemon::plans::check_version;
use crate::daemon::state::{Baseline, Draft, State, baseline_key, order_key};
use crate::daemon::{ActionError, Convergence, Daemon, OrderView};
use graylane_order::{Actor, Effect, Event, Order, Start};
use graylane_plan::{Scope, World, check_scope, parse_scope, snapshot};
use graylane_xds::ProxyStatus;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
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
    /// Go to the next stage.
    Advance,
    /// Change the current stage's scope to this one, in YAML or JSON.
    Adjust {
        /// The scope's text.
        scope: String,
    },
    /// Put services back to their baseline; none given means all.
    Rollback {
        /// The services.
        services: Vec<String>,
        /// Whether those that depend on a chosen one stay.
        keep_dependents: bool,
    },
    /// End the gray period.
    Finish,
}

// === impl Daemon ===

impl Daemon {
    /// Starts an order of a plan, as the plan and its lists are now.
    ///
    /// # Errors
    /// When there is no such plan, it no longer passes its check, or another active order holds one of its services.
    pub fn start_order(&self, start: StartOrder, actor: &str) -> Result<OrderView, ActionError> {
        let now = clock::now();
        let id = self.change(|draft| {
            let tenant = draft.state.tenant_of_plan(&start)?;
            let stored = draft.state.plan(&tenant, &start.plan)?;
            let entry = draft.state.tenant(&tenant)?;
            let lists = draft.state.lists(&tenant);
            let mut world = World::new(&entry.tenant, &lists);
            world.hosts = entry.host_claims(&start.plan);
            world.baselines = entry.baseline_versions();
            let taken = snapshot(&stored.plan, &world)
                .map_err(|problems| ActionError::Invalid { what: "plan", problems })?;
            draft.state.check_not_held(taken.plan())?;
            if draft.state.orders.len() >= MAX_ORDERS {
                let cure = "start a new data directory, and keep the old one as the record";
                return Err(ActionError::TooMany { what: "orders", limit: MAX_ORDERS, cure });
            }
            let id = draft.state.orders.keys().next_back().map_or(1, |last| last + 1);
            let lists = taken.lists().iter().map(|(name, list)| (name.clone(), list.hash.clone()));
            let (order, effects) = Order::start(
                Start {
                    id,
                    plan: taken.plan().clone(),
                    content_hash: taken.content_hash().to_owned(),
                    lists: lists.collect(),
                    actor: Actor { name: actor.to_owned(), reason: start.reason },
                },
                now,
            )?;
            draft.apply(order, &effects)?;
            Ok(id)
        })?;
        self.order(id)
    }

    /// Does something with an order.
    ///
    /// # Errors
    /// When there is no such order, it is not at version `if_match`, or its phase does not allow the action.
    pub fn act(
        &self,
        id: u64,
        action: OrderAction,
        actor: Actor,
        if_match: Option<u64>,
    ) -> Result<OrderView, ActionError> {
        let now = clock::now();
        let proxies = self.xds.proxies();
        self.change(|draft| {
            let order = draft.state.order(id)?;
            check_version(&format!("order {id}"), order.version, if_match)?;
            let seen = draft.state.convergence(order.tenant(), &proxies).seen();
            let event = match action {
                OrderAction::Advance => Event::Advance { actor, seen },
                OrderAction::Finish => Event::Finish { actor, seen },
                OrderAction::Rollback { services, keep_dependents } => {
                    Event::Rollback { actor, services, keep_dependents }
                }
                OrderAction::Adjust { scope } => {
                    let (scope, lists) = draft.state.check_adjusted(&order, &scope)?;
                    Event::Adjust { actor, scope: Box::new(scope), lists }
                }
            };
            let (next, effects) = order.step(event, now)?;
            if next != *order {
                draft.apply(next, &effects)?;
            }
            Ok(())
        })?;
        self.order(id)
    }

    /// All orders, newest first.
    #[must_use]
    pub fn orders(&self, only_active: bool) -> Vec<OrderView> {
        let (proxies, now) = (self.xds.proxies(), clock::now());
        let state = self.state();
        let orders = state.orders.values().rev().filter(|order| !only_active || order.is_active());
        orders.map(|order| state.order_view(order, &proxies, now)).collect()
    }

    /// One order.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn order(&self, id: u64) -> Result<OrderView, ActionError> {
        let (proxies, now) = (self.xds.proxies(), clock::now());
        let state = self.state();
        Ok(state.order_view(&*state.order(id)?, &proxies, now))
    }

    /// Steps an order with what was observed, when that changes it.
    pub(crate) fn observe_order(
        &self,
        id: u64,
        proxies: &[ProxyStatus],
        now: Timestamp,
    ) -> Result<(), ActionError> {
        self.change(|draft| {
            let order = draft.state.order(id)?;
            let seen = draft.state.convergence(order.tenant(), proxies).seen();
            let (next, effects) = order.step(Event::Observed(seen), now)?;
            if next != *order {
                draft.apply(next, &effects)?;
            }
            Ok(())
        })
    }
}

// === impl Draft ===

impl Draft {
    /// Puts an order's next state in place, with everything that follows from it.
    fn apply(&mut self, order: Order, effects: &[Effect]) -> Result<(), ActionError> {
        let tenant = order.tenant().to_owned();
        self.put(order_key(order.id), &order)?;
        let order = Arc::new(order);
        self.state.orders.insert(order.id, Arc::clone(&order));
        for effect in effects {
            match effect {
                Effect::SetBaseline { service, version } => self.set_baseline(&order, service, version)?,
                Effect::Publish => self.publish(&tenant)?,
            }
        }
        Ok(())
    }

    fn set_baseline(&mut self, order: &Order, service: &str, version: &str) -> Result<(), ActionError> {
        let Some(spec) = order.plan.spec.services.iter().find(|spec| spec.name == service) else {
            return Ok(());
        };
        let entry = self.state.tenant_mut(order.tenant())?;
        let before = entry.baselines.get(service);
        let baseline = Baseline {
            hosts: spec.hosts.clone(),
            version: version.to_owned(),
            route_default: before.map_or_else(|| spec.stable.clone(), |before| before.route_default.clone()),
        };
        entry.baselines.insert(service.to_owned(), baseline.clone());
        self.put(baseline_key(order.tenant(), service), &baseline)
    }
}

// === impl State ===

impl State {
    pub(crate) fn order(&self, id: u64) -> Result<Arc<Order>, ActionError> {
        let not_found =
            || ActionError::NotFound { what: "order", name: id.to_string(), nearest: String::new() };
        self.orders.get(&id).cloned().ok_or_else(not_found)
    }

    /// How far the tenant's published rules got.
    pub(crate) fn convergence(&self, tenant: &str, proxies: &[ProxyStatus]) -> Convergence {
        let published = self.tenants.get(tenant).and_then(|entry| entry.published.as_ref());
        Convergence::of(tenant, published.map_or(0, |published| published.rules.revision()), proxies)
    }

    fn order_view(&self, order: &Order, proxies: &[ProxyStatus], now: Timestamp) -> OrderView {
        OrderView::new(order, self.convergence(order.tenant(), proxies), now)
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

    /// Reads a scope that an order is to be adjusted to, and the lists in it that the order does not hold yet.
    fn check_adjusted(
        &self,
        order: &Order,
        text: &str,
    ) -> Result<(Scope, BTreeMap<String, String>), ActionError> {
        let invalid = |problems| ActionError::Invalid { what: "scope", problems };
        let scope = parse_scope(text).map_err(invalid)?;
        let entry = self.tenant(order.tenant())?;
        let lists = self.lists_of(order);
        let world = World::new(&entry.tenant, &lists);
        let problems = check_scope(&order.plan, order.stage, &scope, &world);
        if problems.iter().any(graylane_plan::Problem::is_error) {
            return Err(invalid(problems));
        }
        let new = scope.list_names().filter(|name| !order.lists.contains_key(*name));
        let pinned = new.filter_map(|name| Some((name.to_owned(), lists.hash(name)?.to_owned())));
        let pinned = pinned.collect();
        Ok((scope, pinned))
    }
}
