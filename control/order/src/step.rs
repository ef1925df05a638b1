//! What each event does in each phase.

mod adjust;
mod advance;
mod approve;
mod finish;
mod health;
mod observe;
mod pause;
mod rollback;

use self::advance::Asked;
use crate::gate::Approve;
use crate::health::Health;
use crate::limits::MAX_REASON_BYTES;
use crate::order::{Order, Phase, ServiceState, Start};
use crate::refused::Refused;
use crate::sight::{Seen, Sight};
use crate::timeline::{Actor, TimelineEntry, record};
use graylane_plan::Scope;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What happens to an order.
#[derive(Clone, Debug)]
pub enum Event {
    /// A person approves the stage that comes next.
    Approve(Box<Approve>, Sight),
    /// Go to the next stage, once its gate opens.
    Advance {
        /// Who says so.
        actor: Actor,
        /// How far the current stage got.
        sight: Sight,
    },
    /// Change the current stage's scope. The scope was checked.
    Adjust {
        /// Who says so.
        actor: Actor,
        /// The scope in place of the one that holds.
        scope: Box<Scope>,
        /// The content hash of each named list in the scope, by the list's name.
        lists: BTreeMap<String, String>,
        /// Who wrote those lists, where that is known.
        authors: BTreeSet<String>,
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
    /// Somebody judged how the gray version of a service does.
    Health {
        /// Who did.
        actor: Actor,
        /// The service.
        service: String,
        /// How it does.
        health: Health,
        /// The figures that say so, for people.
        figures: String,
    },
    /// A proxy refused the rules that were published, which are sent to nobody since.
    Refused {
        /// Under which revision.
        revision: u64,
        /// The proxy.
        node: String,
        /// Why, in its words.
        message: String,
    },
    /// Proxies do not run the wanted rules, though they had all the time that they may take.
    Lagging {
        /// The revision of the rules.
        revision: u64,
        /// How many.
        proxies: usize,
        /// The first of them.
        node: String,
        /// How long they had.
        after: SignedDuration,
    },
    /// The proxies moved, or time passed.
    Observed(Sight),
    /// The wall clock jumped, and no time passed.
    ClockJumped {
        /// By how much.
        by: SignedDuration,
    },
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
    /// The first state of an order: its first stage, entered, or waiting for its gate.
    ///
    /// # Errors
    /// When the reason is too long.
    pub fn start(start: Start, now: Timestamp) -> Stepped {
        let Start { id, plan, content_hash, lists_by_stage, mut authors, actor } = start;
        check_reason(&actor)?;
        authors.insert(actor.name.clone());
        let services =
            plan.spec.services.iter().map(|service| (service.name.clone(), ServiceState::default()));
        let mut order = Self {
            id,
            content_hash,
            adjusted_hash: String::new(),
            authors,
            lists_by_stage,
            phase: Phase::Running,
            phase_since: now,
            paused_in: None,
            stage: 0,
            stage_since: now,
            awaited: None,
            approvals: Vec::new(),
            retention: None,
            adjusted: BTreeMap::new(),
            services: services.collect(),
            faults: BTreeMap::new(),
            timeline: Vec::new(),
            version: 0,
            plan,
        };
        order.note(now, actor, "started".into());
        let effects = order.go_to(0, Asked::by_hand(now), now);
        Ok((order, effects))
    }

    /// The state after `event` at `now`, and what has to follow. An event that changes nothing gives an equal state.
    ///
    /// # Errors
    /// When the order's phase, its services or what was observed do not allow the event.
    pub fn step(&self, event: Event, now: Timestamp) -> Stepped {
        match event {
            Event::Approve(approve, sight) => self.approve(*approve, sight, now),
            Event::Advance { actor, sight } => self.advance(actor, sight, now),
            Event::Adjust { actor, scope, lists, authors } => self.adjust(actor, *scope, lists, authors, now),
            Event::Pause { actor } => self.pause(actor, now),
            Event::Resume { actor } => self.resume(actor, now),
            Event::Rollback { actor, services, keep_dependents } => {
                self.roll_back(actor, &services, keep_dependents, now)
            }
            Event::Finish { actor, seen } => self.finish(actor, seen, now),
            Event::Health { actor, service, health, figures } => {
                self.judge(actor, &service, health, figures, now)
            }
            Event::Refused { revision, node, message } => {
                Ok((self.refused(revision, &node, &message, now), Vec::new()))
            }
            Event::Lagging { revision, proxies, node, after } => {
                let reason = format!(
                    "{proxies} proxies do not run revision {revision} after {after:#}, {node:?} the first"
                );
                Ok((self.stop(reason, now), Vec::new()))
            }
            Event::Observed(sight) => {
                Ok(self.observed(sight, now).unwrap_or_else(|| (self.clone(), Vec::new())))
            }
            Event::ClockJumped { by } => Ok((self.shift(by, now), Vec::new())),
        }
    }

    /// The names of services, all or the chosen ones.
    ///
    /// # Errors
    /// When there is no such service.
    fn check_services(&self, chosen: &[String]) -> Result<(), Refused> {
        let known = || self.services.keys().cloned().collect::<Vec<_>>().join(", ");
        match chosen.iter().find(|name| !self.services.contains_key(*name)) {
            Some(name) => Err(Refused::UnknownService { name: name.clone(), known: known() }),
            None => Ok(()),
        }
    }

    fn set_phase(&mut self, phase: Phase, now: Timestamp) {
        self.phase = phase;
        self.phase_since = now;
    }

    fn note(&mut self, at: Timestamp, actor: Actor, what: String) {
        self.version += 1;
        record(&mut self.timeline, TimelineEntry { at, actor, what });
    }

    /// The name of a stage.
    pub(crate) fn stage_name(&self, stage: usize) -> String {
        self.plan.spec.stages.get(stage).map(|stage| stage.name.clone()).unwrap_or_default()
    }

    fn refuse<T>(&self, action: &'static str, cure: &'static str) -> Result<T, Refused> {
        Err(Refused::Phase { order: self.id, phase: self.phase, action, cure })
    }
}

/// The services that were chosen, or all of them.
type Names = BTreeSet<String>;

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
