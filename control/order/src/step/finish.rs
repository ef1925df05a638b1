//! The end of the gray period.

use super::{Effect, Stepped, check_converged, check_reason};
use crate::order::{Order, Phase};
use crate::sight::Seen;
use crate::timeline::Actor;
use jiff::Timestamp;

// === impl Order ===

impl Order {
    pub(super) fn finish(&self, actor: Actor, seen: Seen, now: Timestamp) -> Stepped {
        check_reason(&actor)?;
        match self.phase {
            Phase::Retained => {}
            Phase::Running | Phase::Paused | Phase::AwaitingApproval => {
                return self.refuse("finish", "advance it through all its stages first");
            }
            Phase::RollingBack | Phase::RolledBack | Phase::Finished => {
                return self.refuse("finish", "start a new order");
            }
        }
        self.check_healthy()?;
        check_converged(seen)?;
        let mut next = self.clone();
        next.set_phase(Phase::Finished, now);
        next.note(now, actor, "finished".into());
        let kept = self.gray_services().map(|(service, _)| Effect::SetBaseline {
            service: service.name.clone(),
            version: service.gray.clone(),
        });
        Ok((next, kept.chain([Effect::Publish]).collect()))
    }
}
