//! Stop-the-line: for one tenant, everything but rolling back.

use crate::refused::Refused;
use crate::timeline::Actor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A stopped line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    /// Who stopped it, and why.
    pub actor: Actor,
    /// Since when.
    pub since: Timestamp,
    /// People with one of these roles may act all the same.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exempt: BTreeSet<String>,
}

// === impl Freeze ===

impl Freeze {
    /// Lets somebody with these roles act, or not.
    ///
    /// # Errors
    /// When none of the roles is exempt.
    pub fn admit(&self, tenant: &str, roles: &BTreeSet<String>) -> Result<(), Refused> {
        if !self.exempt.is_disjoint(roles) {
            return Ok(());
        }
        Err(Refused::Frozen {
            tenant: tenant.to_owned(),
            by: self.actor.name.clone(),
            since: self.since,
            reason: self.actor.reason.clone(),
        })
    }
}
