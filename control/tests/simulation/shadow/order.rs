//! An order as it was started and changed, and as the daemon told it last.

use super::approvals::Given;
use crate::bank::{Person, Pinned, TENANTS, is_gray};
use crate::plan::{OnFault, Plan, Service};
use fastrand::Rng;
use graylane::daemon::{OrderView, ServiceView};
use graylane_order::{Health, Phase};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An order.
#[derive(Clone)]
pub struct ShadowOrder {
    pub(super) id: u64,
    pub plan: Plan,
    pub(super) scopes: Vec<Pinned>,
    pub told: Told,
    /// Whose work it is.
    pub authors: BTreeSet<&'static str>,
    pub(super) approvals: Vec<Given>,
    /// What stood before.
    pub(super) hashes: Vec<String>,
    /// Whether something else has to stand, because the scope was changed.
    pub(super) is_adjusted: bool,
    /// How gray versions do, and since when, where somebody said so.
    pub(super) health: BTreeMap<String, (Health, Duration)>,
    /// When the last service entered a stage, and when the last stage was done.
    pub(super) entered_at: Duration,
    pub(super) retained_at: Duration,
    /// What has to follow because a service is faulty.
    pub fault: Option<OnFault>,
    /// Whether the window that is waited for opened while no daemon ran, and this opening is let pass.
    pub(super) has_missed: bool,
    /// Who was gray when we last looked, by service; forgotten where somebody narrowed on purpose.
    pub(super) gray: BTreeMap<&'static str, Vec<bool>>,
}

/// What the daemon tells of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub version: u64,
    pub phase: Phase,
    /// The number of the stage, from 1.
    pub stage: usize,
    /// What stands, as approvals name it.
    pub hash: String,
    /// Whether its retention is over.
    pub is_over: bool,
    /// How many stages each service entered, and whether it went back.
    pub services: BTreeMap<String, (usize, bool)>,
}

// === impl Told ===

impl Told {
    pub(super) fn of(view: &OrderView, plan: &Plan) -> Self {
        let entered = |service: &ServiceView| {
            let name = service.stage.as_ref();
            let at = plan.stages.iter().position(|stage| Some(&stage.name) == name);
            (service.name.clone(), (at.map_or(0, |at| at + 1), service.rolled_back))
        };
        Self {
            version: view.version,
            phase: view.phase,
            stage: view.stage.number,
            hash: view.standing_hash.clone(),
            is_over: view.retention.as_ref().is_some_and(|retention| retention.over),
            services: view.services.iter().map(entered).collect(),
        }
    }

    fn new(plan: &Plan) -> Self {
        let services = plan.services.iter().map(|service| (service.name.to_owned(), (0, false))).collect();
        let (hash, phase) = (String::new(), Phase::Running);
        Self { version: 0, phase, stage: 0, hash, is_over: false, services }
    }

    /// The last stage that some service entered, from 1.
    pub(super) fn entered(&self) -> usize {
        self.services.values().map(|(entered, _)| *entered).max().unwrap_or_default()
    }

    pub(super) fn is_back(&self, service: &str) -> bool {
        self.services.get(service).is_some_and(|(_, is_back)| *is_back)
    }

    pub(super) fn is_gray(&self, service: &str) -> bool {
        self.services.get(service).is_some_and(|(entered, is_back)| *entered > 0 && !is_back)
    }
}

// === impl ShadowOrder ===

impl ShadowOrder {
    pub fn new(id: u64, plan: Plan, scopes: Vec<Pinned>, authors: BTreeSet<&'static str>) -> Self {
        Self {
            id,
            told: Told::new(&plan),
            plan,
            scopes,
            authors,
            approvals: Vec::new(),
            hashes: Vec::new(),
            is_adjusted: false,
            health: BTreeMap::new(),
            entered_at: Duration::ZERO,
            retained_at: Duration::ZERO,
            fault: None,
            has_missed: false,
            gray: BTreeMap::new(),
        }
    }

    pub fn is_active(&self) -> bool {
        !matches!(self.told.phase, Phase::RolledBack | Phase::Finished)
    }

    /// The number of its tenant.
    pub fn tenant(&self) -> usize {
        TENANTS.iter().position(|tenant| *tenant == self.plan.tenant).unwrap_or_default()
    }

    /// The number of the stage that is entered next, from 1. There may be none of it.
    pub fn next(&self) -> usize {
        self.told.entered() + 1
    }

    /// What stands, or stood.
    pub fn some_hash(&self, rng: &mut Rng) -> String {
        self.hashes.get(rng.usize(..=self.hashes.len())).unwrap_or(&self.told.hash).clone()
    }

    /// How a service's gray version does, as far as anybody said.
    pub fn health(&self, service: &str) -> Health {
        self.health.get(service).map_or(Health::Unknown, |(health, _)| *health)
    }

    /// Whether the order says anything of a service in the rules.
    pub(super) fn rules(&self) -> bool {
        self.is_active() && self.told.phase != Phase::RollingBack && self.told.entered() > 0
    }

    pub(super) fn entered(&self, service: &str) -> (usize, bool) {
        self.told.services.get(service).copied().unwrap_or_default()
    }

    /// Who of the sample has to be gray on a service.
    pub(super) fn is_gray(&self, service: &str, person: &Person) -> bool {
        match self.entered(service) {
            (0, _) | (_, true) => false,
            (entered, false) => is_gray(self.plan.name, &self.scopes[..entered], person),
        }
    }

    /// A gray service that is faulty, with what was told of the order at some time.
    pub(super) fn faulty(&self, told: &Told) -> Option<&'static str> {
        let is_faulty =
            |service: &&Service| told.is_gray(service.name) && self.health(service.name) == Health::Faulty;
        self.plan.services.iter().find(is_faulty).map(|service| service.name)
    }

    /// A gray service of which nobody can say how it does and somebody has to, with what was told of the order at some time.
    pub(super) fn unjudged(&self, told: &Told) -> Option<&'static str> {
        let is_unjudged =
            |service: &&Service| told.is_gray(service.name) && self.health(service.name) == Health::Unknown;
        self.plan
            .services
            .iter()
            .filter(|_| self.plan.is_judged)
            .find(is_unjudged)
            .map(|service| service.name)
    }

    /// Whether an order that runs has nothing to wait for but its proxies.
    pub fn is_ready(&self) -> bool {
        let is_here = |service: &Service| match self.entered(service.name) {
            (_, true) => true,
            (entered, _) => entered == self.told.stage,
        };
        let holds = self.plan.stages[self.told.stage - 1].hold_seconds > 0;
        let is_well = self.faulty(&self.told).is_none() && self.unjudged(&self.told).is_none();
        self.told.phase == Phase::Running && !holds && is_well && self.plan.services.iter().all(is_here)
    }

    /// Whether the stage that is next, if one is, can be approved.
    pub fn is_open_to_approvals(&self) -> bool {
        matches!(self.told.phase, Phase::Running | Phase::Paused | Phase::AwaitingApproval)
    }

    pub(super) fn adjust(&mut self, scope: Pinned, authors: impl Iterator<Item = &'static str>) {
        self.scopes[self.told.stage - 1] = scope;
        self.gray.clear();
        self.authors.extend(authors);
        self.is_adjusted = true;
    }

    pub(super) fn roll_back(&mut self, services: &[String], keeps_dependents: bool) {
        for service in self.plan.rolled_back(services, keeps_dependents) {
            self.gray.retain(|gray, _| *gray != service);
            // The daemon has to tell the same; where it does not, its rules are not what we expect.
            if let Some((_, rolled_back)) = self.told.services.get_mut(&service) {
                *rolled_back = true;
            }
        }
    }

    /// Takes in a judgement, and what the plan says of it.
    pub(super) fn judge(&mut self, service: &str, health: Health, time: Duration) {
        if self.health(service) == health {
            return;
        }
        self.health.insert(service.to_owned(), (health, time));
        if health != Health::Faulty || !self.told.is_gray(service) {
            return;
        }
        let is_moving = matches!(self.told.phase, Phase::Running | Phase::AwaitingApproval);
        self.fault = self.plan.on_fault.filter(|fault| *fault != OnFault::Pause || is_moving);
        match self.fault {
            Some(OnFault::RollbackService) => self.roll_back(&[service.to_owned()], false),
            Some(OnFault::RollbackOrder) => self.roll_back(&[], false),
            Some(OnFault::Pause) | None => {}
        }
    }
}
