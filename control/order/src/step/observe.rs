//! What follows by itself, when proxies moved or time passed.

use super::Effect;
use super::advance::Asked;
use crate::gate::{Awaited, Closed};
use crate::order::{Order, Phase, Retention, duration, left};
use crate::sight::Sight;
use crate::timeline::Actor;
use graylane_plan::{Advance, RetentionEnd};
use jiff::{SignedDuration, Timestamp};

/// The longest time before the end of a retention at which it is warned of.
const MAX_WARNING: SignedDuration = SignedDuration::from_hours(24);

/// The part of a retention that is left when its end is warned of: a tenth, if that is not longer than a day.
const WARNING_PART: i32 = 10;

// === impl Order ===

impl Order {
    /// The next service of a serial batch enters, a gate opens, a stage is left if the plan says so, a rollback ends, the
    /// last stage is retained, the retention ends. While the line is stopped nothing goes forward. None when nothing
    /// follows.
    #[must_use]
    pub fn observed(&self, sight: Sight, now: Timestamp) -> Option<(Self, Vec<Effect>)> {
        match self.phase {
            Phase::RollingBack if sight.seen.is_converged() => {
                let mut next = self.clone();
                next.set_phase(Phase::RolledBack, now);
                next.note(now, Actor::daemon(), "rolled back everywhere".into());
                Some((next, Vec::new()))
            }
            Phase::Retained => self.observe_retention(sight, now),
            Phase::Running if sight.frozen_since.is_none() => self.observe_stage(sight, now),
            Phase::AwaitingApproval if sight.frozen_since.is_none() => self.observe_gate(sight, now),
            Phase::AwaitingApproval | Phase::Paused => self.notice_opening(sight, now),
            Phase::Running | Phase::RollingBack | Phase::RolledBack | Phase::Finished => None,
        }
    }

    fn observe_stage(&self, sight: Sight, now: Timestamp) -> Option<(Self, Vec<Effect>)> {
        if self.next_service().is_some() {
            let may_enter = sight.seen.is_converged()
                && self.check_healthy().is_ok()
                && self.settle_left(sight, now).is_zero();
            return may_enter.then(|| {
                let mut next = self.clone();
                next.enter_next_service(now);
                (next, vec![Effect::Publish])
            });
        }
        let goes_on = self.is_at_last_stage() || self.plan.spec.advance == Advance::Auto;
        // It asks for the gate when the hold time is over, whether somebody looks then or not.
        let asked = Asked { at: self.hold_ends().min(now), watching_since: sight.watching_since };
        (goes_on && self.check_stage_done(sight.seen, now).is_ok())
            .then(|| self.go_on(Actor::daemon(), asked, now))
    }

    /// How long the services that entered have still to do well before the next one enters.
    pub(crate) fn settle_left(&self, sight: Sight, now: Timestamp) -> SignedDuration {
        // Those that were rolled back since count, too: what follows a fault is not to come at its heels.
        let entered = self.services.values().filter(|state| state.stages_entered > self.stage);
        let settle = duration(self.plan.spec.settle.as_ref());
        let since = entered.map(|state| state.health_since).chain([self.stage_since]).max();
        let by_time = left(settle, since.unwrap_or(self.stage_since), now);
        by_time.max(settle.saturating_sub(sight.converged_for))
    }

    /// Enters the stage that is waited for, once its gate is open and what stands before it does well.
    fn observe_gate(&self, sight: Sight, now: Timestamp) -> Option<(Self, Vec<Effect>)> {
        let awaited = self.awaited?;
        let closed = self.closed(awaited.stage, sight.watching_since, now);
        if closed.is_some() || !sight.seen.is_converged() || self.check_healthy().is_err() {
            return self.notice_opening(sight, now);
        }
        let mut next = self.clone();
        let what = format!("the gate of stage {:?} is open", self.stage_name(awaited.stage));
        next.note(now, Actor::daemon(), what);
        next.enter_stage(awaited.stage, now);
        Some((next, vec![Effect::Publish]))
    }

    /// Notices an opening once, also while nothing may be entered, so that a restart while it lasts does not make it one
    /// that nobody saw.
    fn notice_opening(&self, sight: Sight, now: Timestamp) -> Option<(Self, Vec<Effect>)> {
        let awaited = self.awaited?;
        let opening = self.new_opening(sight.watching_since, now)?;
        let mut next = self.clone();
        next.awaited = Some(Awaited { opening: Some(opening), ..awaited });
        let name = self.stage_name(awaited.stage);
        let what = match opening.skipped {
            true => format!("waits for {}", self.waits_at(awaited.stage, &Closed::Missed(opening.at), now)),
            false => format!("the window of stage {name:?} is open"),
        };
        next.note(now, Actor::daemon(), what);
        Some((next, Vec::new()))
    }

    fn observe_retention(&self, sight: Sight, now: Timestamp) -> Option<(Self, Vec<Effect>)> {
        let kept = self.retention.filter(|retention| !retention.over)?;
        let warning = (duration(self.plan.spec.retention.as_ref()) / WARNING_PART).min(MAX_WARNING);
        let finishes = self.plan.spec.at_retention_end == Some(RetentionEnd::Finish);
        let is_near = now >= kept.until - warning && !kept.warned;
        // Nobody may have been there to warn: the old version does not go before somebody could say no.
        let until = if is_near && finishes { kept.until.max(now + warning) } else { kept.until };
        let is_over = now >= until;
        if is_over && finishes {
            return self
                .finish(Actor::daemon(), sight.seen, now)
                .ok()
                .filter(|_| sight.frozen_since.is_none());
        }
        let what = match (is_over, is_near) {
            (true, _) => {
                "the retention is over; the old version is kept on; finish the order or roll it back"
                    .to_owned()
            }
            (false, true) => format!("the retention ends at {until}; then {}", self.then()),
            (false, false) => return None,
        };
        let mut next = self.clone();
        next.retention = Some(Retention { until, warned: kept.warned || !is_over, over: is_over });
        next.note(now, Actor::daemon(), what);
        Some((next, Vec::new()))
    }

    /// Moves the times of an order that runs along with a clock that jumped, so that what has to last lasts as long.
    pub(super) fn shift(&self, by: SignedDuration, now: Timestamp) -> Self {
        let mut next = self.clone();
        if !self.is_active() || by.is_zero() {
            return next;
        }
        let move_by = |at: &mut Timestamp| *at = at.saturating_add(by).unwrap_or(*at);
        move_by(&mut next.stage_since);
        move_by(&mut next.phase_since);
        // Windows go by the wall clock, and so does what of them was waited for.
        next.awaited.iter_mut().for_each(|awaited| awaited.since = awaited.since.min(now));
        next.retention.iter_mut().for_each(|retention| move_by(&mut retention.until));
        let judged = next.services.values_mut().map(|state| &mut state.health_since);
        judged.filter(|since| **since != Timestamp::UNIX_EPOCH).for_each(move_by);
        next.note(
            now,
            Actor::daemon(),
            format!("the clock jumped by {by:#}; what has to last lasts as long as before"),
        );
        next
    }
}
