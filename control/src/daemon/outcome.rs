//! What follows from an order's step: its state, baselines, rules, and the record of it.

use crate::audit::{Deed, shown};
use crate::daemon::ActionError;
use crate::daemon::state::{Baseline, Draft, State, baseline_key, order_key};
use crate::order_event::OrderEvent;
use graylane_order::{Actor, Effect, Order, TimelineEntry};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

// === impl Draft ===

impl Draft<'_> {
    /// Puts an order's next state in place, with everything that follows from it, and writes down that it was done.
    pub(crate) fn apply(
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
            fields.insert("events".to_owned(), shown(&OrderEvent::between(before, &order)));
            if let Some(judged) = self.judged.take() {
                fields.insert("judged".to_owned(), shown(&judged));
            }
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
    /// What actions change of an order, as the audit log shows it.
    fn audited(&self, order: &Order) -> Value {
        let baselines = self.tenants.get(order.tenant()).into_iter().flat_map(|entry| &entry.baselines);
        let baselines = baselines.filter(|(service, _)| order.services.contains_key(*service));
        let version_by_service: BTreeMap<_, _> =
            baselines.map(|(service, baseline)| (service, &baseline.version)).collect();
        json!({
            "order": order.id,
            "plan": order.plan.metadata.name,
            "tenant": order.tenant(),
            "version": order.version,
            "contentHash": order.content_hash,
            "standingHash": order.standing_hash(),
            "authors": shown(&order.authors),
            "approvals": shown(&order.approvals),
            "phase": order.phase,
            "pausedIn": order.paused_in,
            "awaited": order.awaited,
            "retention": order.retention,
            "stage": order.current_stage().map(|stage| &stage.name),
            "scope": shown(&order.scope(order.stage)),
            "lists": shown(&order.lists_by_stage.get(order.stage)),
            "services": shown(&order.services),
            "baselines": shown(&version_by_service),
        })
    }
}

/// What happened to an order since a version.
fn news(order: &Order, since: u64) -> &[TimelineEntry] {
    let count = order.version.saturating_sub(since) as usize;
    order.timeline.get(order.timeline.len().saturating_sub(count)..).unwrap_or_default()
}
