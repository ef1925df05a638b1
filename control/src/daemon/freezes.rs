//! Stopping a tenant's line, and starting it again.

use crate::audit::{Deed, shown};
use crate::daemon::state::{Draft, freeze_key};
use crate::daemon::{ActionError, Daemon, Done, FreezeView, Terms};
use graylane_order::{Actor, Freeze, Refused};
use graylane_plan::Problem;
use graylane_rules::is_name;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Roles that one stopped line exempts.
const MAX_EXEMPT: usize = 16;

// === impl Daemon ===

impl Daemon {
    /// Stops the line of a tenant: nothing goes forward, by itself or by hand, but people with an exempt role may act, and
    /// everybody may roll back. A line that is stopped is stopped anew, with these exemptions.
    ///
    /// # Errors
    /// When there is no such tenant, or a role that cannot be.
    pub fn freeze(
        &self,
        tenant: &str,
        exempt: BTreeSet<String>,
        terms: impl Into<Terms>,
        actor: Actor,
    ) -> Result<Done<FreezeView>, ActionError> {
        check_exempt(&exempt)?;
        self.change_once(terms.into().once, |draft| {
            let freeze = Freeze { actor: actor.clone(), since: draft.now, exempt };
            let entry = draft.state.tenant_mut(tenant)?;
            let before = entry.freeze.replace(Arc::new(freeze.clone()));
            draft.put(freeze_key(tenant), &freeze)?;
            draft.record(Deed {
                actor,
                action: "freeze.on",
                object: format!("tenant {tenant}"),
                before: shown(&before.as_deref()),
                after: shown(&freeze),
            });
            Ok(FreezeView::new(tenant, &freeze))
        })
    }

    /// Starts the line of a tenant again. One that is not stopped stays so.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub fn unfreeze(
        &self,
        tenant: &str,
        terms: impl Into<Terms>,
        actor: Actor,
    ) -> Result<Done<()>, ActionError> {
        self.change_once(terms.into().once, |draft| {
            let Some(before) = draft.state.tenant_mut(tenant)?.freeze.take() else { return Ok(()) };
            draft.delete(freeze_key(tenant));
            draft.record(Deed {
                actor,
                action: "freeze.off",
                object: format!("tenant {tenant}"),
                before: shown(&*before),
                after: Value::Null,
            });
            Ok(())
        })
    }

    /// The lines that are stopped.
    #[must_use]
    pub fn freezes(&self) -> Vec<FreezeView> {
        let state = &self.known().state;
        let stopped =
            state.tenants.iter().filter_map(|(tenant, entry)| Some((tenant, entry.freeze.as_ref()?)));
        stopped.map(|(tenant, freeze)| FreezeView::new(tenant, freeze)).collect()
    }
}

// === impl Draft ===

impl Draft<'_> {
    /// Refuses somebody with these roles while the tenant's line is stopped.
    pub(crate) fn check_not_frozen(&self, tenant: &str, roles: &BTreeSet<String>) -> Result<(), Refused> {
        let freeze = self.state.tenants.get(tenant).and_then(|entry| entry.freeze.as_ref());
        freeze.map_or(Ok(()), |freeze| freeze.admit(tenant, roles))
    }
}

fn check_exempt(exempt: &BTreeSet<String>) -> Result<(), ActionError> {
    let invalid = |message| {
        Err(ActionError::Invalid { what: "freeze", problems: vec![Problem::error("exempt", message)] })
    };
    if exempt.len() > MAX_EXEMPT {
        return invalid(format!("{} roles are over the limit of {MAX_EXEMPT}; exempt fewer", exempt.len()));
    }
    match exempt.iter().find(|role| !is_name(role)) {
        Some(role) => {
            invalid(format!("{role:?} cannot name a role; use 1 to 63 letters, digits, '-', '_' or '.'"))
        }
        None => Ok(()),
    }
}
