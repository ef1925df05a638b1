//! From one stage to the next, through its gate, by hand or by itself.

use super::{Effect, Stepped, check_converged, check_reason};
use crate::gate::Awaited;
use crate::order::{Order, Phase, Retention, duration};
use crate::refused::Refused;
use crate::sight::{Seen, Sight};
use crate::timeline::Actor;
use graylane_plan::{Batch, RetentionEnd, ServiceSpec};
use jiff::Timestamp;

/// How a stage is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// Since when it could be entered, but for its gate.
    pub(super) at: Timestamp,
    /// Since when somebody watches its window.
    pub(super) watching_since: Timestamp,
}

// === impl Asked ===

impl Asked {
    /// Who asks at this moment misses no opening.
    pub(super) fn by_hand(now: Timestamp) -> Self {
        Self { at: now, watching_since: now }
    }
}

// === impl Order ===

impl Order {
    pub(super) fn advance(&self, actor: Actor, sight: Sight, now: Timestamp) -> Stepped {
        check_reason(&actor)?;
        match self.phase {
            Phase::Running => {}
            Phase::AwaitingApproval => return Err(self.waits_at_gate(sight, now)),
            Phase::Paused => return self.refuse("advance", "resume it first"),
            Phase::Retained => {
                return self.refuse("advance", "all its stages are done; finish it or roll it back");
            }
            Phase::RollingBack | Phase::RolledBack | Phase::Finished => {
                return self.refuse("advance", "start a new order");
            }
        }
        self.check_stage_done(sight.seen, now)?;
        Ok(self.go_on(actor, Asked::by_hand(now), now))
    }

    /// Goes on behind a stage that is done.
    pub(super) fn go_on(&self, actor: Actor, asked: Asked, now: Timestamp) -> (Self, Vec<Effect>) {
        let mut next = self.clone();
        if self.is_at_last_stage() {
            next.retain(now, actor);
            return (next, Vec::new());
        }
        next.note(now, actor, format!("advanced to stage {:?}", self.stage_name(self.stage + 1)));
        let effects = next.go_to(self.stage + 1, asked, now);
        (next, effects)
    }

    /// Enters a stage, or waits for its gate.
    pub(super) fn go_to(&mut self, stage: usize, asked: Asked, now: Timestamp) -> Vec<Effect> {
        self.awaited = Some(Awaited { stage, since: asked.at, opening: None });
        let Some(closed) = self.closed(stage, asked.watching_since, now) else {
            self.enter_stage(stage, now);
            return vec![Effect::Publish];
        };
        self.set_phase(Phase::AwaitingApproval, now);
        self.note(now, Actor::daemon(), format!("waits for {}", self.waits_at(stage, &closed, now)));
        Vec::new()
    }

    pub(super) fn enter_stage(&mut self, stage: usize, now: Timestamp) {
        self.stage = stage;
        self.stage_since = now;
        self.awaited = None;
        if self.phase != Phase::Running {
            self.set_phase(Phase::Running, now);
        }
        match self.plan.spec.batch {
            Batch::Parallel => {
                let is_judged = self.plan.spec.is_judged();
                let services = self.services.values_mut().filter(|state| !state.rolled_back);
                services.for_each(|state| state.enter(stage, is_judged));
            }
            Batch::Serial => self.enter_next_service(now),
        }
    }

    pub(super) fn enter_next_service(&mut self, now: Timestamp) {
        let Some(name) = self.next_service() else { return };
        let what = format!("service {name:?} entered stage {:?}", self.stage_name(self.stage));
        if let Some(state) = self.services.get_mut(&name) {
            state.enter(self.stage, self.plan.spec.is_judged());
        }
        self.stage_since = now;
        self.note(now, Actor::daemon(), what);
    }

    /// The first service, in the plan's order, that has not entered the stage and depends on none that has not.
    pub(crate) fn next_service(&self) -> Option<String> {
        let waits = |name: &String| {
            self.services
                .get(name)
                .is_some_and(|state| !state.rolled_back && state.stages_entered <= self.stage)
        };
        let is_next = |service: &&ServiceSpec| waits(&service.name) && !service.depends_on.iter().any(waits);
        self.plan.spec.services.iter().find(is_next).map(|service| service.name.clone())
    }

    /// Whether the current stage is entered by all, converged, healthy and held.
    pub(super) fn check_stage_done(&self, seen: Seen, now: Timestamp) -> Result<(), Refused> {
        let stage = || self.stage_name(self.stage);
        self.check_healthy()?;
        if let Some(service) = self.next_service() {
            return Err(Refused::NotEntered { service, stage: stage() });
        }
        check_converged(seen)?;
        match self.hold_left(now) {
            left if left.is_zero() => Ok(()),
            left => Err(Refused::Hold { stage: stage(), left }),
        }
    }

    pub(super) fn check_healthy(&self) -> Result<(), Refused> {
        match (self.faulty_service(), self.unjudged_service()) {
            (Some(service), _) => Err(Refused::Faulty { service: service.to_owned() }),
            (None, Some(service)) => Err(Refused::Unjudged { service: service.to_owned() }),
            (None, None) => Ok(()),
        }
    }

    pub(super) fn retain(&mut self, now: Timestamp, actor: Actor) {
        self.set_phase(Phase::Retained, now);
        let mut what = "all stages done; the old version is kept".to_owned();
        if let Some(span) = &self.plan.spec.retention {
            let until = now + duration(Some(span));
            self.retention = Some(Retention { until, warned: false, over: false });
            what = format!("{what} until {until}, then {}", self.then());
        }
        self.note(now, actor, what);
    }

    /// What follows the retention, for people.
    pub(crate) fn then(&self) -> &'static str {
        match self.plan.spec.at_retention_end {
            Some(RetentionEnd::Finish) => "the order finishes by itself",
            Some(RetentionEnd::Stay) | None => "on, until somebody finishes the order or rolls it back",
        }
    }

    /// Why an order that waits at a gate does not advance.
    fn waits_at_gate(&self, sight: Sight, now: Timestamp) -> Refused {
        let stage = self.awaited.map_or(self.stage, |awaited| awaited.stage);
        let what = match self.closed(stage, sight.watching_since, now) {
            Some(closed) => self.waits_at(stage, &closed, now).to_string(),
            None => "what comes before it".to_owned(),
        };
        Refused::Gate { order: self.id, stage: self.stage_name(stage), what }
    }
}
