//! What follows by itself, when proxies moved or time passed.

use super::Effect;
use crate::gate::{Awaited, Closed};
use crate::order::{Order, Phase, duration, left};
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
    /// last stage is retained, the retention ends. While the line is stopped nothing goes forward.
    pub(super) fn observe(&self, sight: Sight, now: Timestamp) -> (Self, Vec<Effect>) {
        let unchanged = || (self.clone(), Vec::new());
        match self.phase {
            Phase::RollingBack if sight.seen.is_converged() => {
                let mut next = self.clone();
                next.set_phase(Phase::RolledBack, now);
                next.note(now, Actor::daemon(), "rolled back everywhere".into());
                (next, Vec::new())
            }
            Phase::Retained => self.observe_retention(sight, now),
            _ if sight.is_frozen => unchanged(),
            Phase::Running => self.observe_stage(sight, now).unwrap_or_else(unchanged),
            Phase::AwaitingApproval => self.observe_gate(sight, now).unwrap_or_else(unchanged),
            _ => unchanged(),
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
        (goes_on && self.check_stage_done(sight.seen, now).is_ok()).then(|| self.go_on(Actor::daemon(), now))
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
        let may_enter = closed.is_none() && sight.seen.is_converged() && self.check_healthy().is_ok();
        let mut next = self.clone();
        let name = self.stage_name(awaited.stage);
        if may_enter {
            next.note(now, Actor::daemon(), format!("the gate of stage {name:?} is open"));
            next.enter_stage(awaited.stage, now);
            return Some((next, vec![Effect::Publish]));
        }
        // An opening is noticed once, so that a restart while it lasts does not make it one that nobody saw.
        let opening = self.new_opening(sight.watching_since, now)?;
        next.awaited = Some(Awaited { opening: Some(opening), ..awaited });
        let what = match opening.skipped {
            true => format!("waits for {}", self.waits_at(awaited.stage, &Closed::Missed(opening.at), now)),
            false => format!("the window of stage {name:?} is open"),
        };
        next.note(now, Actor::daemon(), what);
        Some((next, Vec::new()))
    }

    fn observe_retention(&self, sight: Sight, now: Timestamp) -> (Self, Vec<Effect>) {
        let mut next = self.clone();
        let Some(retention) = next.retention.as_mut().filter(|retention| !retention.over) else {
            return (next, Vec::new());
        };
        let warning = (duration(self.plan.spec.retention.as_ref()) / WARNING_PART).min(MAX_WARNING);
        let finishes = self.plan.spec.at_retention_end == Some(RetentionEnd::Finish);
        if now >= retention.until - warning && finishes && !retention.warned {
            // Nobody may have been there to warn: the old version does not go before somebody could say no.
            retention.until = retention.until.max(now + warning);
        }
        if now >= retention.until && finishes {
            let finished = self.finish(Actor::daemon(), sight.seen, now).ok().filter(|_| !sight.is_frozen);
            return finished.unwrap_or((next, Vec::new()));
        }
        if now >= retention.until {
            retention.over = true;
            let what = "the retention is over; the old version is kept on; finish the order or roll it back";
            next.note(now, Actor::daemon(), what.into());
        } else if now >= retention.until - warning && !retention.warned {
            retention.warned = true;
            let what = format!("the retention ends at {}; then {}", retention.until, self.then());
            next.note(now, Actor::daemon(), what);
        }
        (next, Vec::new())
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
