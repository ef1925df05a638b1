//! The world as somebody who acts in it finds it.

use crate::actions::{Action, Request, What};
use crate::bank::TENANTS;
use crate::operators::Operator;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Stopped lines by tenant, each with the roles that it exempts.
pub type Stopped = BTreeMap<&'static str, Vec<&'static str>>;

/// What is true as something is asked of the daemon.
pub struct Moment {
    pub asked: Request,
    /// What keeps each tenant's orders from going on, if anything does.
    pub lags: [Option<String>; TENANTS.len()],
    /// What the wall clock shows.
    pub wall: Timestamp,
    /// The time that passed at least, whatever the wall clock shows.
    pub time: Duration,
    /// How long the looks of the daemon have found each tenant's proxies converged.
    pub converged_for: [Duration; TENANTS.len()],
    pub stopped: Stopped,
    /// Whether the wall clock jumped since the daemon looked.
    pub has_jumped: bool,
}

// === impl Moment ===

impl Moment {
    /// Whether somebody may move orders of a tenant.
    pub fn admits(&self, by: &Operator, tenant: &str) -> bool {
        let is_exempt = |exempt: &Vec<&str>| exempt.iter().any(|role| by.roles.contains(role));
        self.stopped.get(tenant).is_none_or(is_exempt)
    }

    /// Whether the line of an order's tenant moves, or somebody moves the order who may.
    pub fn moves(&self, id: u64, tenant: &str) -> bool {
        !self.stopped.contains_key(tenant)
            || (self.acts_on(id).is_some() && self.admits(self.asked.by, tenant))
    }

    /// Whether somebody asks to finish an order.
    pub fn finishes(&self, id: u64) -> bool {
        matches!(self.acts_on(id), Some(What::Finish))
    }

    fn acts_on(&self, id: u64) -> Option<&What> {
        match &self.asked.action {
            Action::Order { id: other, what, .. } if *other == id => Some(what),
            _ => None,
        }
    }
}
