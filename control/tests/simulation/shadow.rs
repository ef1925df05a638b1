//! What the simulator itself remembers of everything that was acknowledged, and what has to be published then.

use crate::actions::{Action, What, pinned};
use crate::bank::{Ids, PEOPLE, Person, Pinned, SERVICES, TENANTS, is_gray};
use crate::plan::{Plan, Service};
use fastrand::Rng;
use graylane::daemon::{OrderView, ServiceView};
use graylane_order::Phase;
use graylane_rules::Rules;
use std::collections::BTreeMap;

/// Everything that was acknowledged.
#[derive(Clone, Default)]
pub struct Shadow {
    plans: BTreeMap<(String, String), Plan>,
    lists: BTreeMap<(String, String), Ids>,
    baselines: BTreeMap<(String, String), Baseline>,
    pub orders: BTreeMap<u64, ShadowOrder>,
}

#[derive(Clone, Debug)]
struct Baseline {
    hosts: &'static [&'static str],
    version: String,
    route_default: String,
}

/// An order as it was started and adjusted, and as the daemon told it last.
#[derive(Clone)]
pub struct ShadowOrder {
    pub plan: Plan,
    scopes: Vec<Pinned>,
    pub told: Told,
    /// Who was gray when we last looked, by service; forgotten where somebody narrowed on purpose.
    gray: BTreeMap<&'static str, Vec<bool>>,
}

/// What the daemon tells of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub version: u64,
    pub phase: Phase,
    /// The number of the stage, from 1.
    pub stage: usize,
    /// How many stages each service entered, and whether it went back.
    pub services: BTreeMap<String, (usize, bool)>,
}

// === impl Told ===

impl Told {
    fn of(view: &OrderView, plan: &Plan) -> Self {
        let entered = |service: &ServiceView| {
            let name = service.stage.as_ref();
            let at = plan.stages.iter().position(|stage| Some(&stage.name) == name);
            (service.name.clone(), (at.map_or(0, |at| at + 1), service.rolled_back))
        };
        let services = view.services.iter().map(entered).collect();
        Self { version: view.version, phase: view.phase, stage: view.stage.number, services }
    }

    fn new(plan: &Plan) -> Self {
        let services = plan.services.iter().map(|service| (service.name.to_owned(), (0, false))).collect();
        Self { version: 0, phase: Phase::Running, stage: 0, services }
    }
}

// === impl ShadowOrder ===

impl ShadowOrder {
    pub fn is_active(&self) -> bool {
        !matches!(self.told.phase, Phase::RolledBack | Phase::Finished)
    }

    /// The number of its tenant.
    pub fn tenant(&self) -> usize {
        TENANTS.iter().position(|tenant| *tenant == self.plan.tenant).unwrap_or_default()
    }

    /// Whether the order says anything of a service in the rules.
    fn rules(&self) -> bool {
        self.is_active() && self.told.phase != Phase::RollingBack
    }

    fn entered(&self, service: &str) -> (usize, bool) {
        self.told.services.get(service).copied().unwrap_or_default()
    }

    /// Who of the sample has to be gray on a service.
    fn is_gray(&self, service: &str, person: &Person) -> bool {
        match self.entered(service) {
            (0, _) | (_, true) => false,
            (entered, false) => is_gray(self.plan.name, &self.scopes[..entered], person),
        }
    }

    /// Takes in what the daemon tells now. Gives whether something went forward that needs converged proxies, whether the
    /// rules changed by it, and what is wrong with it, if anything is.
    pub fn hear(&mut self, view: &OrderView) -> Heard {
        let next = Told::of(view, &self.plan);
        let before = std::mem::replace(&mut self.told, next);
        let now = &self.told;
        let entered = |told: &Told| told.services.values().map(|(entered, _)| *entered).sum::<usize>();
        let is_new = before.version == 0;
        let enters = entered(now) > entered(&before) && !is_new;
        let ends = |phase| now.phase == phase && before.phase != phase;
        let advances = enters || ends(Phase::Retained) || ends(Phase::Finished) || ends(Phase::RolledBack);
        let wrong = self.wrong(&before);
        Heard { advances, publishes: enters || ends(Phase::Finished), wrong }
    }

    /// What of the order's state cannot follow what was told before.
    fn wrong(&self, before: &Told) -> Option<String> {
        let now = &self.told;
        if now.version < before.version || (now.version == before.version && now != before) {
            return Some(format!("{now:?} was told after {before:?}"));
        }
        if now.stage < before.stage || now.stage > before.stage + 1 {
            return Some(format!("stage {} follows stage {}", now.stage, before.stage));
        }
        let is_back =
            |told: &Told, service: &Service| told.services.get(service.name).is_some_and(|state| state.1);
        for service in &self.plan.services {
            let (entered, _) = self.entered(service.name);
            if is_back(now, service) != is_back(before, service) {
                return Some(format!("{} went back, or forth, with no rollback of it", service.name));
            }
            let is_here = entered == now.stage;
            let waits = self.plan.is_serial && entered + 1 == now.stage;
            if !is_here && !waits && !is_back(now, service) {
                return Some(format!("{} is at stage {entered} of {}", service.name, now.stage));
            }
            let hurries = |on: &&&str| !now.services[**on].1 && now.services[**on].0 < entered;
            if let Some(on) = service.depends_on.iter().find(hurries).filter(|_| !is_back(now, service)) {
                return Some(format!(
                    "{} entered stage {entered} before {on}, on which it depends",
                    service.name
                ));
            }
        }
        None
    }

    /// Whether an order that runs has nothing to wait for but its proxies.
    pub fn is_ready(&self) -> bool {
        let is_here = |service: &Service| match self.entered(service.name) {
            (_, true) => true,
            (entered, _) => entered == self.told.stage,
        };
        let holds = self.plan.stages[self.told.stage - 1].hold_seconds > 0;
        self.told.phase == Phase::Running && !holds && self.plan.services.iter().all(is_here)
    }
}

/// What follows from what the daemon told of an order.
pub struct Heard {
    pub advances: bool,
    pub publishes: bool,
    pub wrong: Option<String>,
}

// === impl Shadow ===

impl Shadow {
    pub fn baseline(&self, tenant: &str, service: &str) -> Option<String> {
        Some(self.baselines.get(&(tenant.to_owned(), service.to_owned()))?.version.clone())
    }

    pub fn list(&self, tenant: &str, name: &str) -> Ids {
        self.lists.get(&(tenant.to_owned(), name.to_owned())).cloned().unwrap_or_default()
    }

    pub fn active(&self) -> impl Iterator<Item = (u64, &ShadowOrder)> {
        self.orders.iter().filter(|(_, order)| order.is_active()).map(|(id, order)| (*id, order))
    }

    /// The start of a plan that is there.
    pub fn some_plan(&self, rng: &mut Rng) -> Option<Action> {
        let plan = self.plans.values().nth(rng.usize(..self.plans.len().max(1)))?;
        Some(Action::Start { tenant: plan.tenant, plan: plan.name })
    }

    /// Takes in an action that was acknowledged; `started` is the number of the order that it started.
    pub fn take(&mut self, action: &Action, started: Option<u64>) {
        let key = |tenant: &&str, name: &&str| ((*tenant).to_owned(), (*name).to_owned());
        match action {
            Action::ApplyPlan { plan: Some(plan), .. } => {
                drop(self.plans.insert(key(&plan.tenant, &plan.name), plan.clone()));
            }
            Action::DeletePlan { tenant, name } => drop(self.plans.remove(&key(tenant, name))),
            Action::PutList { tenant, name, ids } => drop(self.lists.insert(key(tenant, name), ids.clone())),
            Action::DeleteList { tenant, name } => drop(self.lists.remove(&key(tenant, name))),
            Action::ClearBaseline { tenant, service } => drop(self.baselines.remove(&key(tenant, service))),
            Action::Start { tenant, plan } => {
                if let (Some(id), Some(plan)) = (started, self.plans.get(&key(tenant, plan))) {
                    let scopes = plan.stages.iter().map(|stage| pinned(&stage.scope, tenant, self)).collect();
                    let (told, gray) = (Told::new(plan), BTreeMap::new());
                    let order = ShadowOrder { plan: plan.clone(), scopes, told, gray };
                    self.orders.insert(id, order);
                }
            }
            Action::Order { id, what, .. } => self.take_order(*id, what),
            Action::ApplyPlan { plan: None, .. } | Action::Observe => {}
        }
    }

    fn take_order(&mut self, id: u64, what: &What) {
        let Some(mut order) = self.orders.remove(&id) else { return };
        match what {
            What::Adjust(scope) => {
                order.scopes[order.told.stage - 1] = pinned(scope, order.plan.tenant, self);
                order.gray.clear();
            }
            What::Rollback { services, keeps_dependents } => {
                for service in order.plan.rolled_back(services, *keeps_dependents) {
                    order.gray.retain(|gray, _| *gray != service);
                    // The daemon has to tell the same; where it does not, its rules are not what we expect.
                    if let Some((_, rolled_back)) = order.told.services.get_mut(&service) {
                        *rolled_back = true;
                    }
                }
            }
            What::Finish => self.finish(&order),
            What::Advance | What::Pause | What::Resume => {}
        }
        self.orders.insert(id, order);
    }

    /// The gray versions become what services run.
    fn finish(&mut self, order: &ShadowOrder) {
        for service in order.plan.services.iter().filter(|service| !order.entered(service.name).1) {
            let key = (order.plan.tenant.to_owned(), service.name.to_owned());
            let before = self.baselines.remove(&key).map(|before| before.route_default);
            let route_default = before.unwrap_or_else(|| service.stable.clone());
            if route_default != service.gray {
                let (hosts, version) = (service.hosts, service.gray.clone());
                self.baselines.insert(key, Baseline { hosts, version, route_default });
            }
        }
    }

    /// What of the published rules is not what the orders say, for the sample of people.
    pub fn check_rules(&self, tenant: &str, rules: &Rules) -> Option<String> {
        for (service, hosts) in SERVICES {
            let holder = self.orders.values().filter(|order| order.plan.tenant == tenant && order.rules());
            let spec =
                |order: &'_ ShadowOrder| order.plan.services.iter().position(|spec| spec.name == service);
            let mut held = holder.filter_map(|order| Some((order, &order.plan.services[spec(order)?])));
            let held = held.next_back();
            let baseline = self.baselines.get(&(tenant.to_owned(), service.to_owned()));
            for host in hosts {
                for person in &PEOPLE {
                    let expected = header(held, baseline, host, person);
                    let found = decided(rules, host, person);
                    if found != expected {
                        return Some(format!(
                            "{person:?} at {host} of {tenant} is told {found:?}, not {expected:?}, by revision {}",
                            rules.revision()
                        ));
                    }
                }
            }
        }
        None
    }

    /// Who went back from gray though nobody narrowed on purpose.
    pub fn check_flips(&mut self, tenant: &str, rules: &Rules) -> Option<String> {
        let orders = self.orders.iter_mut().filter(|(_, order)| order.plan.tenant == tenant && order.rules());
        for (id, order) in orders {
            for service in &order.plan.services {
                let now: Vec<bool> = PEOPLE.iter().map(|person| is_on(rules, service, person)).collect();
                let before = order.gray.insert(service.name, now.clone()).unwrap_or_default();
                let mut back = before.into_iter().zip(now).zip(&PEOPLE).filter(|((was, is), _)| *was && !*is);
                // Who is named by an exclusion was told to be excluded: the check warns where it cannot know more.
                let is_excluded = |person: &Person| order.scopes.iter().any(|scope| scope.excludes(person));
                if let Some((_, person)) = back.find(|(_, person)| !is_excluded(person)) {
                    return Some(format!("{person:?} went back from gray on {} of order {id}", service.name));
                }
            }
        }
        None
    }

    /// Two active orders that hold one service.
    pub fn check_holders(&self) -> Option<String> {
        let mut order_by_service = BTreeMap::new();
        for (id, order) in self.active() {
            for service in &order.plan.services {
                if let Some(other) = order_by_service.insert((order.plan.tenant, service.name), id) {
                    return Some(format!("orders {other} and {id} both hold {}", service.name));
                }
            }
        }
        None
    }
}

/// The header that a request has to carry.
fn header(
    held: Option<(&ShadowOrder, &Service)>,
    baseline: Option<&Baseline>,
    host: &str,
    person: &Person,
) -> Option<String> {
    let (version, route_default) = match (held, baseline) {
        (Some((order, service)), baseline) => {
            let is_gray = order.is_gray(service.name, person);
            let version = if is_gray { &service.gray } else { &service.stable };
            (version, baseline.map_or(&service.stable, |baseline| &baseline.route_default))
        }
        (None, Some(baseline)) if baseline.hosts.contains(&host) => {
            (&baseline.version, &baseline.route_default)
        }
        (None, _) => return None,
    };
    (version != route_default).then(|| version.clone())
}

fn decided(rules: &Rules, host: &str, person: &Person) -> Option<String> {
    let headers = [&b"x-teller"[..], b"x-branch", b"x-region"].into_iter().zip(person);
    let headers = headers.filter_map(|(header, id)| Some((header, id.as_ref()?.as_bytes())));
    rules.decide(host.as_bytes(), &rules.values(headers)).header.map(str::to_owned)
}

/// Whether a person gets the gray version of a service, on its first host.
fn is_on(rules: &Rules, service: &Service, person: &Person) -> bool {
    let headers = [&b"x-teller"[..], b"x-branch", b"x-region"].into_iter().zip(person);
    let headers = headers.filter_map(|(header, id)| Some((header, id.as_ref()?.as_bytes())));
    rules.decide(service.hosts[0].as_bytes(), &rules.values(headers)).version == Some(service.gray.as_str())
}
