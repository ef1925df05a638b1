//! Actions on orders.

use crate::audit::{Deed, shown};
use crate::daemon::compile::as_it_holds;
use crate::daemon::plans::check_version;
use crate::daemon::state::{Baseline, Draft, State, baseline_key, order_key};
use crate::daemon::{ActionError, Daemon, Done, OrderFilter, OrderSummary, OrderView, Terms};
use graylane_order::{Actor, Effect, Event, Order, Start, TimelineEntry};
use graylane_plan::{Scope, StageSpec, World, check_scope, parse_scope, snapshot};
use serde::Deserialize;
use serde_json::{Value, json};
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
        let started = self.change_once(terms.into().once, |draft| {
            let tenant = draft.state.tenant_of_plan(&start)?;
            let stored = draft.state.plan(&tenant, &start.plan)?;
            let taken =
                draft.state.with_world(&tenant, &start.plan, |world| snapshot(&stored.plan, world))?;
            let taken = taken.map_err(|problems| ActionError::Invalid { what: "plan", problems })?;
            draft.state.check_not_held(taken.plan())?;
            if draft.state.orders.len() >= MAX_ORDERS {
                let cure = "start a new data directory, and keep the old one as the record";
                return Err(ActionError::TooMany { what: "orders", limit: MAX_ORDERS, cure });
            }
            let id = draft.state.orders.keys().next_back().map_or(1, |last| last + 1);
            let pinned = |stage: &StageSpec| draft.state.pinned(&tenant, &stage.scope);
            let (order, effects) = Order::start(
                Start {
                    id,
                    plan: taken.plan().clone(),
                    content_hash: taken.content_hash().to_owned(),
                    lists_by_stage: stored.plan.spec.stages.iter().map(pinned).collect(),
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
        let Terms { if_match, once } = terms.into();
        let done = self.change_once(once, |draft| {
            let order = draft.state.order(id)?;
            check_version(&format!("order {id}"), order.version, if_match)?;
            let seen = self.convergence(&draft.state, order.tenant(), draft.proxies).seen();
            let label = action.label();
            let event = match action {
                OrderAction::Advance => Event::Advance { actor, seen },
                OrderAction::Finish => Event::Finish { actor, seen },
                OrderAction::Pause => Event::Pause { actor },
                OrderAction::Resume => Event::Resume { actor },
                OrderAction::Rollback { services, keep_dependents } => {
                    Event::Rollback { actor, services, keep_dependents }
                }
                OrderAction::Adjust { scope } => {
                    let (scope, lists) = draft.state.check_adjusted(&order, &scope)?;
                    Event::Adjust { actor, scope: Box::new(scope), lists }
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
        let summary = |order: &Arc<Order>| {
            OrderSummary::new(order, self.convergence(&known.state, order.tenant(), &proxies))
        };
        orders.map(summary).collect()
    }

    /// One order.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn order(&self, id: u64) -> Result<OrderView, ActionError> {
        let (proxies, now) = (self.fleet.proxies(), self.clock.now());
        let state = &self.known().state;
        let order = state.order(id)?;
        Ok(OrderView::new(&order, self.convergence(state, order.tenant(), &proxies), now))
    }

    /// Steps an order with what was observed, when that changes it.
    pub(crate) fn observe_order(&self, id: u64) -> Result<(), ActionError> {
        self.change(|draft| {
            let order = draft.state.order(id)?;
            let seen = self.convergence(&draft.state, order.tenant(), draft.proxies).seen();
            let (next, effects) = order.step(Event::Observed(seen), draft.now)?;
            if next != *order {
                draft.apply(Some(&order), next, &effects, "order.follow")?;
            }
            Ok(())
        })
    }

    /// Forgets a service's baseline, because its routes choose that version by themselves now.
    ///
    /// # Errors
    /// When there is none, or an active order holds the service.
    pub fn clear_baseline(
        &self,
        tenant: &str,
        service: &str,
        terms: impl Into<Terms>,
        actor: Actor,
    ) -> Result<Done<()>, ActionError> {
        self.change_once(terms.into().once, |draft| {
            let baselines = &draft.state.tenant(tenant)?.baselines;
            if !baselines.contains_key(service) {
                return Err(ActionError::not_found("baseline of service", service, baselines.keys()));
            }
            let holds = |order: &&Arc<Order>| order.services.contains_key(service);
            if let Some(order) = draft.state.active_orders(tenant).find(holds) {
                let (user, cure) =
                    (format!("active order {}", order.id), "finish the order or roll it back first");
                return Err(ActionError::InUse {
                    what: "baseline of service",
                    name: service.into(),
                    user,
                    cure,
                });
            }
            let before = draft.state.tenant_mut(tenant)?.baselines.remove(service);
            draft.delete(baseline_key(tenant, service));
            draft.record(Deed {
                actor,
                action: "baseline.clear",
                object: format!("baseline {service} of {tenant}"),
                before: shown(&before),
                after: Value::Null,
            });
            draft.publish(tenant)
        })
    }
}

// === impl OrderAction ===

impl OrderAction {
    /// Its name in the audit log.
    const fn label(&self) -> &'static str {
        match self {
            Self::Advance => "order.advance",
            Self::Adjust { .. } => "order.adjust",
            Self::Pause => "order.pause",
            Self::Resume => "order.resume",
            Self::Rollback { .. } => "order.rollback",
            Self::Finish => "order.finish",
        }
    }
}

// === impl Draft ===

impl Draft<'_> {
    /// Puts an order's next state in place, with everything that follows from it, and writes down that it was done.
    fn apply(
        &mut self,
        before: Option<&Order>,
        order: Order,
        effects: &[Effect],
        action: &'static str,
    ) -> Result<(), ActionError> {
        let tenant = order.tenant().to_owned();
        let shown_before = before.map(|before| self.state.audited(before)).unwrap_or_default();
        let news = news(&order, before.map_or(0, |before| before.version)).to_vec();
        self.put(order_key(order.id), &order)?;
        let order = Arc::new(order);
        self.state.orders.insert(order.id, Arc::clone(&order));
        for effect in effects {
            match effect {
                Effect::SetBaseline { service, version } => self.set_baseline(&order, service, version)?,
                Effect::Publish => self.publish(&tenant)?,
            }
        }
        let mut shown_after = self.state.audited(&order);
        let what: Vec<&str> = news.iter().map(|entry| entry.what.as_str()).collect();
        if let Some(fields) = shown_after.as_object_mut() {
            fields.insert("what".to_owned(), shown(&what));
        }
        self.record(Deed {
            actor: news.first().map_or_else(Actor::daemon, |first| first.actor.clone()),
            action,
            object: format!("order {} of plan {}, tenant {tenant}", order.id, order.plan.metadata.name),
            before: shown_before,
            after: shown_after,
        });
        Ok(())
    }

    fn set_baseline(&mut self, order: &Order, service: &str, version: &str) -> Result<(), ActionError> {
        let Some(spec) = order.plan.spec.services.iter().find(|spec| spec.name == service) else {
            return Ok(());
        };
        let key = baseline_key(order.tenant(), service);
        let baselines = &mut self.state.tenant_mut(order.tenant())?.baselines;
        let before = baselines.get(service).map(|before| before.route_default.clone());
        let route_default = before.unwrap_or_else(|| spec.stable.clone());
        if route_default == version {
            // Requests get it with no word of ours.
            if baselines.remove(service).is_some() {
                self.delete(key);
            }
            return Ok(());
        }
        let baseline = Baseline { hosts: spec.hosts.clone(), version: version.to_owned(), route_default };
        baselines.insert(service.to_owned(), baseline.clone());
        self.put(key, &baseline)
    }
}

// === impl State ===

impl State {
    pub(crate) fn order(&self, id: u64) -> Result<Arc<Order>, ActionError> {
        let not_found =
            || ActionError::NotFound { what: "order", name: id.to_string(), nearest: String::new() };
        self.orders.get(&id).cloned().ok_or_else(not_found)
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

    /// What actions change of an order, as the audit log shows it.
    fn audited(&self, order: &Order) -> Value {
        let baselines = self.tenants.get(order.tenant()).into_iter().flat_map(|entry| &entry.baselines);
        let baselines = baselines.filter(|(service, _)| order.services.contains_key(*service));
        let version_by_service: BTreeMap<_, _> =
            baselines.map(|(service, baseline)| (service, &baseline.version)).collect();
        json!({
            "version": order.version,
            "contentHash": order.content_hash,
            "phase": order.phase,
            "stage": order.current_stage().map(|stage| &stage.name),
            "scope": shown(&order.scope(order.stage)),
            "lists": shown(&order.lists_by_stage.get(order.stage)),
            "services": shown(&order.services),
            "baselines": shown(&version_by_service),
        })
    }

    /// The content hash of each named list in a scope as it is now, by the list's name.
    fn pinned(&self, tenant: &str, scope: &Scope) -> BTreeMap<String, String> {
        let lists = self.lists(tenant);
        let hash = |name: &str| Some((name.to_owned(), lists.hash(name)?.to_owned()));
        scope.list_names().filter_map(hash).collect()
    }
}

/// What happened to an order since a version.
fn news(order: &Order, since: u64) -> &[TimelineEntry] {
    let count = order.version.saturating_sub(since) as usize;
    order.timeline.get(order.timeline.len().saturating_sub(count)..).unwrap_or_default()
}
