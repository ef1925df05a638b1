//! The state of an order.

use crate::gate::{Approval, Awaited};
use crate::health::{Fault, Health};
use crate::timeline::{Actor, TimelineEntry};
use graylane_plan::{ReleasePlan, Scope, ServiceSpec, Span, StageSpec};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// One numbered run of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its number, counted from 1 over all tenants.
    pub id: u64,
    /// The plan as it was when the order started. Orders of the same plan may share it.
    pub plan: Arc<ReleasePlan>,
    /// What was started: the hash of plan and lists.
    pub content_hash: String,
    /// What stands now: the hash of what was started, and of every scope that it was adjusted to since. Empty while that is
    /// none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub adjusted_hash: String,
    /// The people whose work this is: who wrote the plan or one of its lists last, started the order or adjusted it. They do
    /// not approve.
    #[serde(default)]
    pub authors: BTreeSet<String>,
    /// For each stage, the content hash of each named list in its scope, by the list's name: as it was when the order
    /// started or the stage was adjusted.
    pub lists_by_stage: Vec<BTreeMap<String, String>>,
    /// Where the order is in its life.
    pub phase: Phase,
    /// Since when; the epoch in an order that was stored before this was kept.
    #[serde(default)]
    pub phase_since: Timestamp,
    /// The phase that a pause interrupts, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_in: Option<Phase>,
    /// The current stage: an index into the plan's stages.
    pub stage: usize,
    /// Since when it is the current stage, or in a serial batch since when its last service entered.
    pub stage_since: Timestamp,
    /// The stage that is entered next, once its gate opens, while the order waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<Awaited>,
    /// The approvals that were given and not made void.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// How long the old version is kept, once all stages are done and if the plan says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// The scopes that hold in place of the plan's, by the stage that was adjusted.
    pub adjusted: BTreeMap<usize, Scope>,
    /// The state of each service, by its name.
    pub services: BTreeMap<String, ServiceState>,
    /// The last fault of each service that had one, by its name. It stays when the service was rolled back, and says why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub faults: BTreeMap<String, Fault>,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// Grows with each change; a caller that saw an older one is refused.
    pub version: u64,
}

/// What an order is started with.
#[derive(Clone, Debug)]
pub struct Start {
    /// The number that it gets.
    pub id: u64,
    /// The checked plan.
    pub plan: Arc<ReleasePlan>,
    /// The hash of plan and lists.
    pub content_hash: String,
    /// For each stage, the content hash of each named list in its scope, by the list's name.
    pub lists_by_stage: Vec<BTreeMap<String, String>>,
    /// Who wrote the plan and its lists, where that is known.
    pub authors: BTreeSet<String>,
    /// Who starts it.
    pub actor: Actor,
}

/// How long the old version is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Until when.
    pub until: Timestamp,
    /// Whether it was said that the end is near.
    pub warned: bool,
    /// Whether it was said that the end is there, and that the version is kept on.
    pub over: bool,
}

/// Where an order is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// The gate of the next stage is closed, or was a moment ago.
    AwaitingApproval,
    /// A stage is published.
    Running,
    /// Nothing advances; the published rules stay.
    Paused,
    /// All stages are done; the old version is kept for a rollback.
    Retained,
    /// The rollback is published and not yet everywhere.
    RollingBack,
    /// Every service is back at its baseline. An end.
    RolledBack,
    /// The gray versions are the baselines now. An end.
    Finished,
}

/// The state of one service of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceState {
    /// How many stages it entered; the last of them is its current one.
    pub stages_entered: usize,
    /// Whether it was rolled back to its baseline.
    pub rolled_back: bool,
    /// How its gray version does.
    #[serde(default)]
    pub health: Health,
    /// Since when; the epoch while nobody said anything of it.
    #[serde(default)]
    pub health_since: Timestamp,
}

// === impl Order ===

impl Order {
    /// The plan's tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.plan.metadata.tenant
    }

    /// Whether the order holds its services, so that no other order may have them.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::RolledBack | Phase::Finished)
    }

    /// Whether the current stage is the plan's last.
    #[must_use]
    pub fn is_at_last_stage(&self) -> bool {
        self.stage + 1 >= self.plan.spec.stages.len()
    }

    /// The current stage.
    #[must_use]
    pub fn current_stage(&self) -> Option<&StageSpec> {
        self.plan.spec.stages.get(self.stage)
    }

    /// The scope of a stage as it holds now.
    #[must_use]
    pub fn scope(&self, stage: usize) -> Option<&Scope> {
        let planned = || self.plan.spec.stages.get(stage).map(|stage| &stage.scope);
        self.adjusted.get(&stage).or_else(planned)
    }

    /// How long the current stage has still to be held at `now`; zero when it need not.
    #[must_use]
    pub fn hold_left(&self, now: Timestamp) -> SignedDuration {
        let hold = duration(self.current_stage().and_then(|stage| stage.hold.as_ref()));
        left(hold, self.stage_since, now)
    }

    /// When the current stage was held long enough.
    pub(crate) fn hold_ends(&self) -> Timestamp {
        let hold = duration(self.current_stage().and_then(|stage| stage.hold.as_ref()));
        self.stage_since.saturating_add(hold).unwrap_or(self.stage_since)
    }

    /// What stands now, as approvals name it: the hash of what was started and of what it was adjusted to since.
    #[must_use]
    pub fn standing_hash(&self) -> &str {
        if self.adjusted_hash.is_empty() { &self.content_hash } else { &self.adjusted_hash }
    }

    /// Whether so many stages let everybody in, as they were adjusted.
    #[must_use]
    pub fn lets_in_everybody(&self, stages: usize) -> bool {
        Scope::let_in_everybody((0..stages).filter_map(|stage| self.scope(stage)))
    }

    /// The first service that is faulty where it is gray.
    #[must_use]
    pub fn faulty_service(&self) -> Option<&str> {
        self.gray_service(Health::Faulty)
    }

    /// The first service of which nobody can say how it does where it is gray, if the plan wants to know.
    #[must_use]
    pub fn unjudged_service(&self) -> Option<&str> {
        self.gray_service(Health::Unknown).filter(|_| self.plan.spec.is_judged())
    }

    fn gray_service(&self, health: Health) -> Option<&str> {
        let is_so = |(service, _): (&ServiceSpec, usize)| {
            self.services.get(&service.name).is_some_and(|state| state.health == health)
        };
        self.gray_services().find(|gray| is_so(*gray)).map(|(service, _)| service.name.as_str())
    }

    /// The services that let requests onto their gray version now, each with the number of stages it entered.
    pub fn gray_services(&self) -> impl Iterator<Item = (&ServiceSpec, usize)> {
        self.plan.spec.services.iter().filter_map(|service| {
            let state = self.services.get(&service.name)?;
            let is_gray = self.is_active() && !state.rolled_back && state.stages_entered > 0;
            is_gray.then_some((service, state.stages_entered))
        })
    }

    /// The chosen services and, unless they are kept, all that depend on one of them, directly or not.
    pub(crate) fn with_dependents(&self, chosen: &[String], keep_dependents: bool) -> BTreeSet<String> {
        let mut found: BTreeSet<String> = chosen.iter().cloned().collect();
        let mut before = 0;
        while !keep_dependents && found.len() > before {
            before = found.len();
            let depends = |service: &&ServiceSpec| service.depends_on.iter().any(|on| found.contains(on));
            let more: Vec<String> =
                self.plan.spec.services.iter().filter(depends).map(|service| service.name.clone()).collect();
            found.extend(more);
        }
        found
    }
}

/// The length of a span that a check let through; none has none.
pub(crate) fn duration(span: Option<&Span>) -> SignedDuration {
    let seconds = span.and_then(|span| span.seconds().ok()).unwrap_or_default();
    SignedDuration::from_secs(seconds.cast_signed())
}

/// What is left at `now` of a time that began at `since`. A clock that was put back makes it no longer than it is.
pub(crate) fn left(duration: SignedDuration, since: Timestamp, now: Timestamp) -> SignedDuration {
    let passed = now.duration_since(since).max(SignedDuration::ZERO);
    duration.saturating_sub(passed).max(SignedDuration::ZERO)
}

// === impl ServiceState ===

impl ServiceState {
    /// Enters a stage. What was said of the gray version before it got any requests is no judgement of it.
    pub(crate) fn enter(&mut self, stage: usize, is_judged: bool) {
        if self.stages_entered == 0 {
            (self.health, self.health_since) = (Health::Unknown, Timestamp::UNIX_EPOCH);
        }
        self.forget_praise(is_judged);
        self.stages_entered = stage + 1;
    }

    /// The gray version gets to other people: where it is judged, what those say who had it before is no praise for these.
    pub(crate) fn forget_praise(&mut self, is_judged: bool) {
        if is_judged && self.health == Health::Healthy {
            (self.health, self.health_since) = (Health::Unknown, Timestamp::UNIX_EPOCH);
        }
    }
}

// === impl Phase ===

impl Phase {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 7] = [
        Self::AwaitingApproval,
        Self::Running,
        Self::Paused,
        Self::Retained,
        Self::RollingBack,
        Self::RolledBack,
        Self::Finished,
    ];

    /// The phase's name, as the API writes it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Retained => "Retained",
            Self::RollingBack => "RollingBack",
            Self::RolledBack => "RolledBack",
            Self::Finished => "Finished",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
