//! What is observed from outside an order.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How far the wanted revision got, as it was observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Proxies that run the wanted revision.
    pub converged: usize,
    /// Proxies that should.
    pub total: usize,
}

/// What an order can see when it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// How far the wanted revision got.
    pub seen: Seen,
    /// How long every proxy runs it, without a break that was noticed.
    pub converged_for: SignedDuration,
    /// Since when the tenant's line is stopped, if it is: then nothing goes forward by itself.
    pub frozen_since: Option<Timestamp>,
    /// Since when somebody watches without a break: what came before may have been missed.
    pub watching_since: Timestamp,
}

// === impl Seen ===

impl Seen {
    /// Whether every proxy that should run the wanted revision does.
    #[must_use]
    pub fn is_converged(self) -> bool {
        self.converged >= self.total
    }
}
