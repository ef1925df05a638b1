//! What proxies refused: it is sent to nobody any more, orders stop because of it, and somebody may say to try again.

use crate::audit::{Deed, shown};
use crate::daemon::state::{Draft, RefusalRecord, State, refusal_key};
use crate::daemon::{ActionError, Daemon, Done, Terms};
use graylane_order::{Actor, Event, Order, Phase};
use graylane_xds::Refusal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Contents of one tenant that are kept as refused. The one of the lowest revision is forgotten first, and would be refused
/// again.
const MAX_REFUSALS: usize = 64;

// === impl Daemon ===

impl Daemon {
    /// Tells the fleet what was refused before this daemon began.
    pub(crate) fn recall_refusals(&self) {
        let tenants = self.known().state.tenants.clone();
        for (tenant, entry) in &tenants {
            self.recall_refusals_of(tenant, &entry.refusals);
        }
    }

    fn recall_refusals_of(&self, tenant: &str, refusals: &BTreeMap<u64, Arc<RefusalRecord>>) {
        for (content, record) in refusals {
            let RefusalRecord { revision, node, message, .. } = &**record;
            self.fleet.recall(Refusal {
                tenant: tenant.to_owned(),
                revision: *revision,
                content: *content,
                node: node.clone(),
                message: message.clone(),
            });
        }
    }

    /// Writes down what is held back, and stops the orders of the tenant that would go forward.
    pub(crate) fn follow_refusals(&self) {
        for refusal in self.fleet.held_back() {
            if !self.known().state.is_behind(&refusal) {
                continue;
            }
            let done = self.change(|draft| {
                // Somebody may have tried again meanwhile.
                let is_held_back = self.fleet.held_back().contains(&refusal);
                if is_held_back { draft.take_refusal(&refusal) } else { Ok(()) }
            });
            if let Err(error) = done {
                tracing::error!(tenant = refusal.tenant, %error, "a refusal cannot be written down");
            }
        }
    }

    /// Forgets what proxies of a tenant refused, because what was wrong with them is mended, and publishes anew what is held
    /// back. Where nothing was refused nothing happens.
    ///
    /// # Errors
    /// When there is no such tenant, or its line is stopped.
    pub fn retry_rules(
        &self,
        tenant: &str,
        terms: impl Into<Terms>,
        actor: Actor,
    ) -> Result<Done<()>, ActionError> {
        let Terms { once, roles, .. } = terms.into();
        let done = self.change_once(once, |draft| {
            draft.check_not_frozen(tenant, &roles)?;
            let is_held_back = self.fleet.held_back().iter().any(|refusal| refusal.tenant == tenant);
            let refusals = std::mem::take(&mut draft.state.tenant_mut(tenant)?.refusals);
            if refusals.is_empty() && !is_held_back {
                return Ok(());
            }
            refusals.keys().for_each(|content| draft.delete(refusal_key(tenant, *content)));
            draft.record(Deed {
                actor,
                action: "rules.retry",
                object: format!("rules of tenant {tenant}"),
                before: shown(&refusals.values().map(|record| &**record).collect::<Vec<_>>()),
                after: Value::Null,
            });
            // Before it is published, or it would be held back again.
            self.fleet.forgive(tenant);
            if is_held_back { draft.publish_anew(tenant) } else { Ok(()) }
        });
        if done.is_err() {
            let entry = self.known().state.tenants.get(tenant).cloned();
            entry.iter().for_each(|entry| self.recall_refusals_of(tenant, &entry.refusals));
        }
        done
    }
}

// === impl Draft ===

impl Draft<'_> {
    fn take_refusal(&mut self, refusal: &Refusal) -> Result<(), ActionError> {
        let Refusal { tenant, revision, content, node, message } = refusal.clone();
        self.is_rescue = true;
        let is_new = !self.state.tenant(&tenant)?.refusals.contains_key(&content);
        if is_new {
            self.write_down(refusal)?;
        }
        // All are told once; those that somebody lets go forward are stopped again.
        let is_told = |order: &&Arc<Order>| is_new || goes_forward(order);
        let orders: Vec<_> = self.state.active_orders(&tenant).filter(is_told).cloned().collect();
        for order in orders {
            let (node, message) = (node.clone(), message.clone());
            let (next, effects) = order.step(Event::Refused { revision, node, message }, self.now)?;
            self.apply(Some(&order), next, &effects, "order.follow")?;
        }
        Ok(())
    }

    fn write_down(&mut self, refusal: &Refusal) -> Result<(), ActionError> {
        let Refusal { tenant, revision, content, node, message } = refusal.clone();
        let record =
            Arc::new(RefusalRecord { revision, node: node.clone(), message: message.clone(), at: self.now });
        self.put(refusal_key(&tenant, content), &*record)?;
        let refusals = &mut self.state.tenant_mut(&tenant)?.refusals;
        let oldest = refusals.iter().min_by_key(|(_, record)| record.revision).map(|(content, _)| *content);
        let oldest = oldest.filter(|_| refusals.len() >= MAX_REFUSALS);
        oldest.and_then(|oldest| refusals.remove(&oldest));
        refusals.insert(content, Arc::clone(&record));
        if let Some(oldest) = oldest {
            self.delete(refusal_key(&tenant, oldest));
        }
        let reason = format!("proxy {node:?} refused it: {message}");
        self.record(Deed {
            actor: Actor { reason, ..Actor::daemon() },
            action: "rules.refuse",
            object: format!("revision {revision} of tenant {tenant}"),
            before: Value::Null,
            after: shown(&*record),
        });
        Ok(())
    }
}

// === impl State ===

impl State {
    /// Whether something has to be done because of what is held back.
    fn is_behind(&self, refusal: &Refusal) -> bool {
        let Some(entry) = self.tenants.get(&refusal.tenant) else { return false };
        let is_new = !entry.refusals.contains_key(&refusal.content);
        is_new || self.active_orders(&refusal.tenant).any(|order| goes_forward(order))
    }
}

/// Whether an order would go forward, which it cannot while the rules are held back that it stands for.
pub(crate) fn goes_forward(order: &Order) -> bool {
    matches!(order.phase, Phase::Running | Phase::AwaitingApproval)
}
