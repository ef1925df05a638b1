//! Back to the baseline.

use super::{Effect, Names, Stepped, check_reason};
use crate::order::{Order, Phase};
use crate::timeline::Actor;
use jiff::Timestamp;

// === impl Order ===

impl Order {
    pub(super) fn roll_back(
        &self,
        actor: Actor,
        chosen: &[String],
        keep_dependents: bool,
        now: Timestamp,
    ) -> Stepped {
        check_reason(&actor)?;
        match self.phase {
            Phase::AwaitingApproval
            | Phase::Running
            | Phase::Paused
            | Phase::Retained
            | Phase::RollingBack => {}
            Phase::RolledBack => return self.refuse("be rolled back", "it already was"),
            Phase::Finished => {
                return self.refuse("be rolled back", "start an order of a plan that goes back");
            }
        }
        self.check_services(chosen)?;
        let names: Names = match chosen {
            [] => self.services.keys().cloned().collect(),
            _ => self.with_dependents(chosen, keep_dependents),
        };
        let mut next = self.clone();
        let effects = next.take_back(actor, &names, now);
        Ok((next, effects))
    }

    /// Puts services back; nothing follows when all of them are.
    pub(super) fn take_back(&mut self, actor: Actor, names: &Names, now: Timestamp) -> Vec<Effect> {
        let mut moved = Vec::new();
        let forward =
            self.services.iter_mut().filter(|(name, state)| names.contains(*name) && !state.rolled_back);
        for (name, state) in forward {
            state.rolled_back = true;
            moved.push(name.clone());
        }
        if moved.is_empty() {
            return Vec::new();
        }
        self.note(now, actor, format!("rolled back {}", moved.join(", ")));
        if self.services.values().all(|state| state.rolled_back) {
            self.set_phase(Phase::RollingBack, now);
            self.paused_in = None;
            self.awaited = None;
        }
        vec![Effect::Publish]
    }
}
