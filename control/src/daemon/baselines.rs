//! Actions on what finished orders left.

use crate::audit::{Deed, shown};
use crate::daemon::state::baseline_key;
use crate::daemon::{ActionError, Daemon, Done, Terms};
use graylane_order::{Actor, Order};
use serde_json::Value;
use std::sync::Arc;

// === impl Daemon ===

impl Daemon {
    /// Forgets a service's baseline, because its routes choose that version by themselves now.
    ///
    /// # Errors
    /// When there is none, an active order holds the service, or the line is stopped.
    pub fn clear_baseline(
        &self,
        tenant: &str,
        service: &str,
        terms: impl Into<Terms>,
        actor: Actor,
    ) -> Result<Done<()>, ActionError> {
        let Terms { once, roles, .. } = terms.into();
        self.change_once(once, |draft| {
            draft.check_not_frozen(tenant, &roles)?;
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
