//! What proxies refused: it is sent to nobody any more, orders stop because of it, and somebody may say to try again.

use crate::audit::{Deed, shown};
use crate::daemon::state::{Draft, RefusalRecord, refusal_key};
use crate::daemon::{ActionError, Daemon, Done, Terms};
use graylane_order::{Actor, Event};
use graylane_xds::Refusal;
use serde_json::Value;
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

    fn recall_refusals_of(
        &self,
        tenant: &str,
        refusals: &std::collections::BTreeMap<u64, Arc<RefusalRecord>>,
    ) {
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

    /// Writes down what was refused since the last look, and stops the orders of the tenant.
    pub(crate) fn follow_refusals(&self) {
        for refusal in self.fleet.held_back() {
            let is_known = {
                let known = self.known();
                let entry = known.state.tenants.get(&refusal.tenant);
                entry.is_none_or(|entry| entry.refusals.contains_key(&refusal.content))
            };
            if is_known {
                continue;
            }
            if let Err(error) = self.change(|draft| draft.take_refusal(&refusal)) {
                tracing::error!(tenant = refusal.tenant, %error, "a refusal cannot be written down");
            }
        }
    }

    /// Publishes a tenant's rules anew that a proxy refused, because what was wrong with the proxy is mended. Where nothing
    /// was refused nothing happens.
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
            let refusals = std::mem::take(&mut draft.state.tenant_mut(tenant)?.refusals);
            if refusals.is_empty() {
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
            draft.publish_anew(tenant)
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
        let record =
            Arc::new(RefusalRecord { revision, node: node.clone(), message: message.clone(), at: self.now });
        self.put(refusal_key(&tenant, content), &*record)?;
        let refusals = &mut self.state.tenant_mut(&tenant)?.refusals;
        refusals.insert(content, Arc::clone(&record));
        let oldest = refusals.iter().min_by_key(|(_, record)| record.revision).map(|(content, _)| *content);
        if let Some(oldest) = oldest.filter(|_| refusals.len() > MAX_REFUSALS) {
            refusals.remove(&oldest);
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
        let orders: Vec<_> = self.state.active_orders(&tenant).cloned().collect();
        for order in orders {
            let (node, message) = (node.clone(), message.clone());
            let (next, effects) = order.step(Event::Refused { revision, node, message }, self.now)?;
            self.apply(Some(&order), next, &effects, "order.follow")?;
        }
        Ok(())
    }
}
