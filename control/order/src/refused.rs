//! What an order answers when it does not do what it was asked.

use crate::limits::MAX_REASON_BYTES;
use crate::order::Phase;
use jiff::SignedDuration;
use thiserror::Error;

/// Why an order does not do what it was asked. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The action makes no sense in this phase.
    #[error("order {order} is {phase}: it cannot {action}; {cure}")]
    Phase {
        /// The order's number.
        order: u64,
        /// Its phase.
        phase: Phase,
        /// What was asked.
        action: &'static str,
        /// What to do instead.
        cure: &'static str,
    },
    /// Not every proxy runs the wanted rules yet.
    #[error("{converged} of {total} proxies run the wanted rules; wait, or see `graylane proxies`")]
    NotConverged {
        /// Proxies that do.
        converged: usize,
        /// Proxies that should.
        total: usize,
    },
    /// Not every service of a serial batch entered the stage yet.
    #[error(
        "service {service:?} has not entered stage {stage:?} yet; it follows when the one before it converged"
    )]
    NotEntered {
        /// The service that comes next.
        service: String,
        /// The stage.
        stage: String,
    },
    /// The stage's hold time is not over.
    #[error("stage {stage:?} has to be held for {left:#} more; wait, or roll back")]
    Hold {
        /// The stage.
        stage: String,
        /// How much longer.
        left: SignedDuration,
    },
    /// The plan has no such service.
    #[error("service {name:?} is not in the order; its services are {known}")]
    UnknownService {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The reason is too long.
    #[error("reason: {bytes} bytes are over the limit of {MAX_REASON_BYTES}; shorten it")]
    Reason {
        /// How long it is.
        bytes: usize,
    },
}
