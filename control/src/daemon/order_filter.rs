//! Which orders a list has.

use graylane_order::{Order, Phase};
use jiff::Timestamp;

/// Which orders to list: those of which all holds that is given.
#[derive(Clone, Debug)]
pub struct OrderFilter {
    /// Those of this tenant.
    pub tenant: Option<String>,
    /// Those of this plan.
    pub plan: Option<String>,
    /// Those that have this service.
    pub service: Option<String>,
    /// Those in one of these phases; none means any.
    pub phases: Vec<Phase>,
    /// Those that are not rolled back or finished.
    pub active: bool,
    /// Those that were started then or later.
    pub since: Option<Timestamp>,
    /// Those that were started before.
    pub until: Option<Timestamp>,
    /// Those with a lower number, which are older.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

// === impl OrderFilter ===

impl OrderFilter {
    /// Every order there is.
    pub const EVERY: Self = Self {
        tenant: None,
        plan: None,
        service: None,
        phases: Vec::new(),
        active: false,
        since: None,
        until: None,
        before: None,
        limit: usize::MAX,
    };

    /// Whether a list has this order.
    pub(crate) fn wants(&self, order: &Order) -> bool {
        fn is(wanted: Option<&String>, found: &str) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        // The first entry says how the order started, and stays.
        let started = order.timeline.first().map(|entry| entry.at);
        self.before.is_none_or(|before| order.id < before)
            && (!self.active || order.is_active())
            && (self.phases.is_empty() || self.phases.contains(&order.phase))
            && is(self.tenant.as_ref(), order.tenant())
            && is(self.plan.as_ref(), &order.plan.metadata.name)
            && self.service.as_ref().is_none_or(|service| order.services.contains_key(service))
            && self.since.is_none_or(|since| started.is_some_and(|started| started >= since))
            && self.until.is_none_or(|until| started.is_some_and(|started| started < until))
    }
}
