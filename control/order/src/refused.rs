//! What an order answers when it does not do what it was asked.

use crate::limits::{MAX_FIGURES_BYTES, MAX_REASON_BYTES};
use crate::order::Phase;
use jiff::{SignedDuration, Timestamp};
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
    /// The plan wants to know how a service does, and nobody can say yet.
    #[error(
        "nobody can say yet whether service {service:?} does well; see `order get` for why, or say `order health` yourself"
    )]
    Unjudged {
        /// The service.
        service: String,
    },
    /// A service is faulty.
    #[error("service {service:?} is faulty; roll it back, or say `order health` when it is not any more")]
    Faulty {
        /// The service.
        service: String,
    },
    /// The stage's gate is closed, and it is waited for already.
    #[error("order {order} enters stage {stage:?} by itself; it waits for {what}")]
    Gate {
        /// The order's number.
        order: u64,
        /// The stage.
        stage: String,
        /// What is missing.
        what: String,
    },
    /// There is nothing to approve.
    #[error("order {order} has no stage to approve: {stage:?} needs no approval, or comes later")]
    NoGate {
        /// The order's number.
        order: u64,
        /// The stage that was meant, if one was.
        stage: String,
    },
    /// Another stage comes next.
    #[error("stage {next:?} comes next, not {asked:?}; a stage is approved when it is the next one")]
    OtherStage {
        /// The stage that was meant.
        asked: String,
        /// The stage that comes next.
        next: String,
    },
    /// The approver saw something else.
    #[error("content {found} stands now, not {seen}; look at the order again, and approve what it says")]
    OtherContent {
        /// What the approver saw.
        seen: String,
        /// What stands.
        found: String,
    },
    /// Nobody approves his own work.
    #[error("{person} wrote the plan, started or adjusted order {order}; somebody else has to approve it")]
    Author {
        /// The person.
        person: String,
        /// The order's number.
        order: u64,
    },
    /// The person lacks the role.
    #[error("{person} has no role that stage {stage:?} still needs an approval of; it needs {needed}")]
    Role {
        /// The person.
        person: String,
        /// The stage.
        stage: String,
        /// The roles that would do.
        needed: String,
    },
    /// The person approved already, in another role.
    #[error("{person} approved stage {stage:?} as {role}, and counts once; somebody else has to")]
    Twice {
        /// The person.
        person: String,
        /// The stage.
        stage: String,
        /// The role in which the person approved.
        role: String,
    },
    /// As many as needed have approved.
    #[error("stage {stage:?} has the approvals of this role already")]
    Enough {
        /// The stage.
        stage: String,
    },
    /// The tenant's line is stopped.
    #[error(
        "the line of tenant {tenant:?} is stopped by {by} since {since}{}; rolling back is possible, and `freeze off` ends it",
        because(reason)
    )]
    Frozen {
        /// The tenant.
        tenant: String,
        /// Who stopped it.
        by: String,
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: String,
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
    /// The figures are too long.
    #[error("figures: {bytes} bytes are over the limit of {MAX_FIGURES_BYTES}; shorten them")]
    Figures {
        /// How long they are.
        bytes: usize,
    },
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}
