//! What the simulator itself remembers of everything that was acknowledged, and what has to be published then.

mod approvals;
mod hearing;
mod order;

pub use hearing::Heard;
pub use order::ShadowOrder;

use crate::actions::{Action, Request, What, pinned};
use crate::bank::{Ids, PEOPLE, Person, SERVICES};
use crate::moment::{Moment, Stopped};
use crate::operators::Operator;
use crate::plan::{Plan, Service};
use crate::run::Violation;
use fastrand::Rng;
use graylane::daemon::OrderView;
use graylane_rules::Rules;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

/// Everything that was acknowledged.
#[derive(Clone, Default)]
pub struct Shadow {
    /// Plans and lists, each with the person who wrote it last.
    plans: BTreeMap<(String, String), (Plan, &'static str)>,
    lists: BTreeMap<(String, String), (Ids, &'static str)>,
    baselines: BTreeMap<(String, String), Baseline>,
    pub stopped: Stopped,
    pub orders: BTreeMap<u64, ShadowOrder>,
}

#[derive(Clone, Debug)]
struct Baseline {
    hosts: &'static [&'static str],
    version: String,
    route_default: String,
}

// === impl Shadow ===

impl Shadow {
    pub fn baseline(&self, tenant: &str, service: &str) -> Option<String> {
        Some(self.baselines.get(&(tenant.to_owned(), service.to_owned()))?.version.clone())
    }

    pub fn list(&self, tenant: &str, name: &str) -> Ids {
        self.lists.get(&(tenant.to_owned(), name.to_owned())).map(|(ids, _)| ids.clone()).unwrap_or_default()
    }

    pub fn active(&self) -> impl Iterator<Item = (u64, &ShadowOrder)> {
        self.orders.iter().filter(|(_, order)| order.is_active()).map(|(id, order)| (*id, order))
    }

    /// The start of a plan that is there.
    pub fn some_plan(&self, rng: &mut Rng) -> Option<Action> {
        let (plan, _) = self.plans.values().nth(rng.usize(..self.plans.len().max(1)))?;
        Some(Action::Start { tenant: plan.tenant, plan: plan.name })
    }

    /// The roles that a tenant's stopped line exempts, while it is stopped.
    pub fn exempt(&self, tenant: &str) -> Option<Vec<&'static str>> {
        self.stopped.get(tenant).cloned()
    }

    /// Takes in something that was acknowledged; `started` is the number of the order that it started.
    pub fn take(&mut self, Request { by, action }: &Request, started: Option<u64>, time: Duration) {
        let key = |tenant: &&str, name: &&str| ((*tenant).to_owned(), (*name).to_owned());
        match action {
            Action::ApplyPlan { plan: Some(plan), .. } => {
                let entry = self.plans.entry(key(&plan.tenant, &plan.name));
                write(entry, plan.clone(), by.name);
            }
            Action::DeletePlan { tenant, name } => drop(self.plans.remove(&key(tenant, name))),
            Action::PutList { tenant, name, ids } => {
                write(self.lists.entry(key(tenant, name)), ids.clone(), by.name);
            }
            Action::DeleteList { tenant, name } => drop(self.lists.remove(&key(tenant, name))),
            Action::ClearBaseline { tenant, service } => drop(self.baselines.remove(&key(tenant, service))),
            Action::Start { tenant, plan } => {
                if let (Some(id), Some((plan, author))) = (started, self.plans.get(&key(tenant, plan))) {
                    let scopes = plan.stages.iter().map(|stage| pinned(&stage.scope, tenant, self)).collect();
                    let lists = plan.stages.iter().flat_map(|stage| stage.scope.lists());
                    let authors = self.list_authors(tenant, lists).chain([*author, by.name]).collect();
                    self.orders.insert(id, ShadowOrder::new(id, plan.clone(), scopes, authors));
                }
            }
            Action::Order { id, what, .. } => self.take_order(*id, what, by, time),
            Action::Freeze { tenant, exempt } => drop(self.stopped.insert(tenant, exempt.clone())),
            Action::Unfreeze { tenant } => drop(self.stopped.remove(tenant)),
            Action::ApplyPlan { plan: None, .. } | Action::Observe => {}
        }
    }

    fn take_order(&mut self, id: u64, what: &What, by: &'static Operator, time: Duration) {
        let Some(mut order) = self.orders.remove(&id) else { return };
        match what {
            What::Adjust(scope) => {
                let authors = self.list_authors(order.plan.tenant, scope.lists()).chain([by.name]);
                order.adjust(pinned(scope, order.plan.tenant, self), authors);
            }
            What::Rollback { services, keeps_dependents } => order.roll_back(services, *keeps_dependents),
            What::Approve { role, hash, .. } => order.approve(by, *role, hash),
            What::Health { service, health } => order.judge(service, *health, time),
            What::Advance | What::Pause | What::Resume | What::Finish => {}
        }
        self.orders.insert(id, order);
    }

    /// Who wrote some lists.
    fn list_authors(
        &self,
        tenant: &str,
        names: impl Iterator<Item = &'static str>,
    ) -> impl Iterator<Item = &'static str> {
        names.filter_map(move |name| Some(self.lists.get(&(tenant.to_owned(), name.to_owned()))?.1))
    }

    /// Takes in what the daemon tells of an order now.
    pub fn hear(&mut self, view: &OrderView, moment: &Moment) -> Result<Heard, Violation> {
        let Some(mut order) = self.orders.remove(&view.id) else { return Ok(Heard::default()) };
        let heard = order.hear(view, moment);
        if heard.as_ref().is_ok_and(|heard| heard.finishes) {
            self.finish(&order);
        }
        self.orders.insert(view.id, order);
        heard
    }

    /// Notes which windows are shut.
    pub fn watch_windows(&mut self, moment: &Moment) {
        self.orders.values_mut().for_each(|order| order.watch_window(moment));
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

/// Takes in what somebody wrote; who writes the same as is there is no author of it.
fn write<K: Ord, T: PartialEq>(entry: Entry<'_, K, (T, &'static str)>, new: T, by: &'static str) {
    match entry {
        Entry::Occupied(mut entry) if entry.get().0 != new => drop(entry.insert((new, by))),
        Entry::Occupied(_) => {}
        Entry::Vacant(entry) => drop(entry.insert((new, by))),
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
