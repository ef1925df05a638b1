//! A person approves.

use super::{Stepped, check_reason};
use crate::gate::{Approval, Approve};
use crate::order::{Order, Phase};
use crate::sight::Sight;
use jiff::Timestamp;

// === impl Order ===

impl Order {
    /// Takes an approval, and goes on if the gate is open with it.
    pub(super) fn approve(&self, approve: Approve, sight: Sight, now: Timestamp) -> Stepped {
        check_reason(&approve.actor)?;
        match self.phase {
            Phase::AwaitingApproval | Phase::Running | Phase::Paused => {}
            Phase::Retained => {
                return self.refuse("be approved", "all its stages are done; finish it or roll it back");
            }
            Phase::RollingBack | Phase::RolledBack | Phase::Finished => {
                return self.refuse("be approved", "start a new order");
            }
        }
        let Some(approval) = self.check_approval(&approve)? else { return Ok((self.clone(), Vec::new())) };
        let mut next = self.clone();
        let Approval { stage, role, .. } = &approval;
        let what =
            format!("approved stage {:?} as {role}, content {}", self.stage_name(*stage), approval.hash);
        next.approvals.push(Approval { at: now, ..approval });
        next.note(now, approve.actor, what);
        Ok(next.observed(sight, now).unwrap_or((next, Vec::new())))
    }
}
