//! Another scope for the current stage.

use super::{Effect, Stepped, check_reason};
use crate::order::{Order, Phase};
use crate::timeline::Actor;
use graylane_plan::Scope;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

// === impl Order ===

impl Order {
    pub(super) fn adjust(
        &self,
        actor: Actor,
        scope: Scope,
        lists: BTreeMap<String, String>,
        authors: BTreeSet<String>,
        now: Timestamp,
    ) -> Stepped {
        check_reason(&actor)?;
        match self.phase {
            Phase::Running | Phase::Paused | Phase::Retained | Phase::AwaitingApproval => {}
            Phase::RollingBack | Phase::RolledBack | Phase::Finished => {
                return self.refuse("be adjusted", "start a new order");
            }
        }
        let mut next = self.clone();
        next.adjusted_hash = adjusted_hash(self.standing_hash(), self.stage, &scope, &lists);
        next.adjusted.insert(self.stage, scope);
        if let Some(pinned) = next.lists_by_stage.get_mut(self.stage) {
            *pinned = lists;
        }
        next.authors.extend(authors);
        next.authors.insert(actor.name.clone());
        next.note(now, actor, format!("adjusted the scope of stage {:?}", self.stage_name(self.stage)));
        next.void_approvals(now);
        let is_judged = next.plan.spec.is_judged();
        next.services.values_mut().for_each(|state| state.forget_praise(is_judged));
        Ok((next, vec![Effect::Publish]))
    }

    /// Takes back the approvals of stages that were not entered: what was approved is no more.
    fn void_approvals(&mut self, now: Timestamp) {
        let Some(stage) = self.next_stage() else { return };
        let void: Vec<String> = self
            .approvals
            .extract_if(.., |approval| approval.stage >= stage)
            .map(|approval| approval.name)
            .collect();
        if !void.is_empty() {
            let what = format!(
                "the approvals of {} are void, because the scope changed; they have to be given again",
                void.join(", ")
            );
            self.note(now, crate::timeline::Actor::daemon(), what);
        }
    }
}

/// What stands after an adjustment: SHA-256, in hexadecimal, over the JSON of what stood before, the stage, the scope and
/// its lists.
fn adjusted_hash(standing: &str, stage: usize, scope: &Scope, lists: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    // A scope is texts and numbers in maps with texts for keys, which is all that JSON can write.
    hash.update(serde_json::to_vec(&(standing, stage, scope, lists)).unwrap_or_default());
    format!("{:x}", hash.finalize())
}
