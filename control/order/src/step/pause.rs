//! Stopping for a while.

use super::{Stepped, check_reason};
use crate::order::{Order, Phase};
use crate::timeline::Actor;
use jiff::Timestamp;

// === impl Order ===

impl Order {
    pub(super) fn pause(&self, actor: Actor, now: Timestamp) -> Stepped {
        check_reason(&actor)?;
        match self.phase {
            Phase::Running | Phase::AwaitingApproval => {}
            // Whoever asks again because the answer was lost gets the same one.
            Phase::Paused => return Ok((self.clone(), Vec::new())),
            Phase::Retained => {
                return self.refuse("be paused", "all its stages are done; finish it or roll it back");
            }
            Phase::RollingBack | Phase::RolledBack | Phase::Finished => {
                return self.refuse("be paused", "it does not go forward any more");
            }
        }
        let mut next = self.clone();
        next.hold_back(actor, now);
        Ok((next, Vec::new()))
    }

    pub(super) fn hold_back(&mut self, actor: Actor, now: Timestamp) {
        self.paused_in = Some(self.phase);
        self.set_phase(Phase::Paused, now);
        self.note(now, actor, "paused".into());
    }

    /// Stops, where it goes forward: it cannot converge before other rules are published.
    pub(super) fn refused(&self, revision: u64, node: &str, message: &str, now: Timestamp) -> Self {
        let mut next = self.clone();
        let reason = format!("proxy {node:?} refused revision {revision}: {message}");
        match self.phase {
            Phase::Running | Phase::AwaitingApproval => {
                next.hold_back(Actor { reason, ..Actor::daemon() }, now);
            }
            Phase::Paused | Phase::Retained | Phase::RollingBack => next.note(now, Actor::daemon(), reason),
            Phase::RolledBack | Phase::Finished => {}
        }
        next
    }

    /// Stops, where it goes forward.
    pub(super) fn stop(&self, reason: String, now: Timestamp) -> Self {
        let mut next = self.clone();
        if matches!(self.phase, Phase::Running | Phase::AwaitingApproval) {
            next.hold_back(Actor { reason, ..Actor::daemon() }, now);
        }
        next
    }

    pub(super) fn resume(&self, actor: Actor, now: Timestamp) -> Stepped {
        check_reason(&actor)?;
        match self.phase {
            Phase::Paused => {}
            Phase::Running | Phase::AwaitingApproval | Phase::Retained => {
                return Ok((self.clone(), Vec::new()));
            }
            Phase::RollingBack | Phase::RolledBack | Phase::Finished => {
                return self.refuse("be resumed", "start a new order");
            }
        }
        let mut next = self.clone();
        let phase = next.paused_in.take().unwrap_or(Phase::Running);
        next.set_phase(phase, now);
        next.note(now, actor, "resumed".into());
        Ok((next, Vec::new()))
    }
}
