//! What each event does in each phase.

use crate::limits::MAX_REASON_BYTES;
use crate::order::{Order, Phase, Seen, ServiceState, Start};
use crate::refused::Refused;
use crate::timeline::{Actor, TimelineEntry, record};
use graylane_plan::{Batch, Scope, ServiceSpec};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What happens to an order.
#[derive(Clone, Debug)]
pub enum Event {
    /// Go to the next stage.
    Advance {
        /// Who says so.
        actor: Actor,
        /// How far the current stage got.
        seen: Seen,
    },
    /// Change the current stage's scope. The scope was checked.
    Adjust {
        /// Who says so.
        actor: Actor,
        /// The scope in place of the one that holds.
        scope: Box<Scope>,
        /// The content hash of each named list in the scope, by the list's name.
        lists: BTreeMap<String, String>,
    },
    /// Advance no more; the published rules stay.
    Pause {
        /// Who says so.
        actor: Actor,
    },
    /// End a pause.
    Resume {
        /// Who says so.
        actor: Actor,
    },
    /// Put services back to their baseline.
    Rollback {
        /// Who says so.
        actor: Actor,
        /// Which ones; none given means all.
        services: Vec<String>,
        /// Whether services that depend on a chosen one stay where they are.
        keep_dependents: bool,
    },
    /// End the gray period: the gray versions become the baselines.
    Finish {
        /// Who says so.
        actor: Actor,
        /// How far the last publish got.
        seen: Seen,
    },
    /// The proxies moved, or time passed.
    Observed(Seen),
}

/// What has to follow a step, in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The rules that the order stands for changed: compile and publish.
    Publish,
    /// A service has a new baseline.
    SetBaseline {
        /// The service's name.
        service: String,
        /// The version that requests get from now on.
        version: String,
    },
}

type Stepped = Result<(Order, Vec<Effect>), Refused>;

// === impl Order ===

impl Order {
    /// The first state of an order: its first stage, entered.
    ///
    /// # Errors
    /// When the reason is too long.
    pub fn start(start: Start, now: Timestamp) -> Stepped {
        let Start { id, plan, content_hash, lists_by_stage, actor } = start;
        check_reason(&actor)?;
        let services =
            plan.spec.services.iter().map(|service| (service.name.clone(), ServiceState::default()));
        let mut order = Self {
            id,
            content_hash,
            lists_by_stage,
            phase: Phase::Running,
            paused_in: None,
            stage: 0,
            stage_since: now,
            adjusted: BTreeMap::new(),
            services: services.collect(),
            timeline: Vec::new(),
            version: 0,
            plan,
        };
        order.note(now, actor, "started".into());
        order.enter_stage(now, 0);
        Ok((order, vec![Effect::Publish]))
    }

    /// The state after `event` at `now`, and what has to follow. An event that changes nothing gives an equal state.
    ///
    /// # Errors
    /// When the order's phase, its services or what was observed do not allow the event.
    pub fn step(&self, event: Event, now: Timestamp) -> Stepped {
        match event {
            Event::Advance { actor, seen } => self.advance(actor, seen, now),
            Event::Adjust { actor, scope, lists } => self.adjust(actor, *scope, lists, now),
            Event::Pause { actor } => self.pause(actor, now),
            Event::Resume { actor } => self.resume(actor, now),
            Event::Rollback { actor, services, keep_dependents } => {
                self.roll_back(actor, &services, keep_dependents, now)
            }
            Event::Finish { actor, seen } => self.finish(actor, seen, now),
            Event::Observed(seen) => Ok(self.observe(seen, now)),
        }
    }

    fn advance(&self, actor: Actor, seen: Seen, now: Timestamp) -> Stepped {
        check_reason(&actor)?;
        match self.phase {
            Phase::Running => {}
            Phase::AwaitingApproval => return self.refuse("advance", "approve its stage first"),
            Phase::Paused => return self.refuse("advance", "resume it first"),
            Phase::Retained => {
                return self.refuse("advance", "all its stages are done; finish it or roll it back");
            }
            Phase::RollingBack | Phase::RolledBack | Phase::Finished => {
                return self.refuse("advance", "start a new order");
            }
        }
        self.check_stage_done(seen, now)?;
        let mut next = self.clone();
        if self.is_at_last_stage() {
            next.retain(now, actor);
            return Ok((next, Vec::new()));
        }
        next.note(now, actor, format!("advanced to stage {:?}", self.stage_name(self.stage + 1)));
        next.enter_stage(now, self.stage + 1);
        Ok((next, vec![Effect::Publish]))
    }

    fn adjust(&self, actor: Actor, scope: Scope, lists: BTreeMap<String, String>, now: Timestamp) -> Stepped {
        check_reason(&actor)?;
        match self.phase {
            Phase::Running | Phase::Paused | Phase::Retained | Phase::AwaitingApproval => {}
            Phase::RollingBack | Phase::RolledBack | Phase::Finished => {
                return self.refuse("be adjusted", "start a new order");
            }
        }
        let mut next = self.clone();
        next.adjusted.insert(self.stage, scope);
        if let Some(pinned) = next.lists_by_stage.get_mut(self.stage) {
            *pinned = lists;
        }
        next.note(now, actor, format!("adjusted the scope of stage {:?}", self.stage_name(self.stage)));
        Ok((next, vec![Effect::Publish]))
    }

    fn pause(&self, actor: Actor, now: Timestamp) -> Stepped {
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
        next.paused_in = Some(self.phase);
        next.phase = Phase::Paused;
        next.note(now, actor, "paused".into());
        Ok((next, Vec::new()))
    }

    fn resume(&self, actor: Actor, now: Timestamp) -> Stepped {
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
        next.phase = next.paused_in.take().unwrap_or(Phase::Running);
        next.note(now, actor, "resumed".into());
        Ok((next, Vec::new()))
    }

    fn roll_back(&self, actor: Actor, chosen: &[String], keep_dependents: bool, now: Timestamp) -> Stepped {
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
        let known = || self.services.keys().cloned().collect::<Vec<_>>().join(", ");
        if let Some(name) = chosen.iter().find(|name| !self.services.contains_key(*name)) {
            return Err(Refused::UnknownService { name: name.clone(), known: known() });
        }
        let names: BTreeSet<String> = match chosen {
            [] => self.services.keys().cloned().collect(),
            _ => self.with_dependents(chosen, keep_dependents),
        };
        let mut next = self.clone();
        let mut moved = Vec::new();
        for (name, state) in
            next.services.iter_mut().filter(|(name, state)| names.contains(*name) && !state.rolled_back)
        {
            state.rolled_back = true;
            moved.push(name.clone());
        }
        if moved.is_empty() {
            return Ok((next, Vec::new()));
        }
        next.note(now, actor, format!("rolled back {}", moved.join(", ")));
        if next.services.values().all(|state| state.rolled_back) {
            next.phase = Phase::RollingBack;
            next.paused_in = None;
        }
        Ok((next, vec![Effect::Publish]))
    }

    fn finish(&self, actor: Actor, seen: Seen, now: Timestamp) -> Stepped {
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
        check_converged(seen)?;
        let mut next = self.clone();
        next.phase = Phase::Finished;
        next.note(now, actor, "finished".into());
        let kept = self.gray_services().map(|(service, _)| Effect::SetBaseline {
            service: service.name.clone(),
            version: service.gray.clone(),
        });
        Ok((next, kept.chain([Effect::Publish]).collect()))
    }

    /// What follows by itself: the next service of a serial batch enters, a rollback ends, the last stage is retained.
    fn observe(&self, seen: Seen, now: Timestamp) -> (Self, Vec<Effect>) {
        let mut next = self.clone();
        let mut effects = Vec::new();
        match self.phase {
            Phase::RollingBack if seen.is_converged() => {
                next.phase = Phase::RolledBack;
                next.note(now, Actor::daemon(), "rolled back everywhere".into());
            }
            Phase::Running if seen.is_converged() && self.next_service().is_some() => {
                next.enter_next_service(now);
                effects.push(Effect::Publish);
            }
            Phase::Running if self.is_at_last_stage() && self.check_stage_done(seen, now).is_ok() => {
                next.retain(now, Actor::daemon());
            }
            _ => {}
        }
        (next, effects)
    }

    /// Whether the current stage is entered by all, converged and held.
    fn check_stage_done(&self, seen: Seen, now: Timestamp) -> Result<(), Refused> {
        let stage = || self.stage_name(self.stage);
        if let Some(service) = self.next_service() {
            return Err(Refused::NotEntered { service, stage: stage() });
        }
        check_converged(seen)?;
        match self.hold_left(now) {
            left if left.is_zero() => Ok(()),
            left => Err(Refused::Hold { stage: stage(), left }),
        }
    }

    fn enter_stage(&mut self, now: Timestamp, stage: usize) {
        self.stage = stage;
        self.stage_since = now;
        match self.plan.spec.batch {
            Batch::Parallel => {
                let services = self.services.values_mut().filter(|state| !state.rolled_back);
                services.for_each(|state| state.stages_entered = stage + 1);
            }
            Batch::Serial => self.enter_next_service(now),
        }
    }

    fn enter_next_service(&mut self, now: Timestamp) {
        let Some(name) = self.next_service() else { return };
        let what = format!("service {name:?} entered stage {:?}", self.stage_name(self.stage));
        if let Some(state) = self.services.get_mut(&name) {
            state.stages_entered = self.stage + 1;
        }
        self.stage_since = now;
        self.note(now, Actor::daemon(), what);
    }

    /// The first service, in the plan's order, that has not entered the stage and depends on none that has not.
    fn next_service(&self) -> Option<String> {
        let waits = |name: &String| {
            self.services
                .get(name)
                .is_some_and(|state| !state.rolled_back && state.stages_entered <= self.stage)
        };
        let is_next = |service: &&ServiceSpec| waits(&service.name) && !service.depends_on.iter().any(waits);
        self.plan.spec.services.iter().find(is_next).map(|service| service.name.clone())
    }

    fn retain(&mut self, now: Timestamp, actor: Actor) {
        self.phase = Phase::Retained;
        self.note(now, actor, "all stages done; the old version is kept".into());
    }

    fn note(&mut self, at: Timestamp, actor: Actor, what: String) {
        self.version += 1;
        record(&mut self.timeline, TimelineEntry { at, actor, what });
    }

    fn stage_name(&self, stage: usize) -> String {
        self.plan.spec.stages.get(stage).map(|stage| stage.name.clone()).unwrap_or_default()
    }

    fn refuse<T>(&self, action: &'static str, cure: &'static str) -> Result<T, Refused> {
        Err(Refused::Phase { order: self.id, phase: self.phase, action, cure })
    }
}

fn check_converged(seen: Seen) -> Result<(), Refused> {
    match seen {
        _ if seen.is_converged() => Ok(()),
        Seen { converged, total } => Err(Refused::NotConverged { converged, total }),
    }
}

fn check_reason(actor: &Actor) -> Result<(), Refused> {
    match actor.reason.len() {
        bytes if bytes > MAX_REASON_BYTES => Err(Refused::Reason { bytes }),
        _ => Ok(()),
    }
}
