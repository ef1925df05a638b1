//! How the gray versions do: what proxies count of them, judged tick after tick.
//!
//! Proxies report to [`Vitals`]. Whoever keeps time ends a tick four times a second, and tells the orders what it gives.

#[cfg(test)]
mod tests;

use crate::config::Config;
use graylane_health::template::{Clusters, Match, Target};
use graylane_health::{
    EndpointLimit, ErrorLimits, Figures, Freshness, Histogram, Judge, LatencyLimit, Meter, Observed, Policy,
    Reading, TICK, Verdict,
};
use graylane_order::{Health, Order};
use graylane_plan::{HealthSpec, ServiceSpec};
use graylane_xds::{ClusterReport, Reports};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long figures speak of the present: three times as long as Envoy waits between two reports, if it is not told otherwise.
const FRESH: Duration = Duration::from_secs(15);

/// What is counted of the versions of all judged services, and who judges them.
#[derive(Debug)]
pub struct Vitals {
    config: Config,
    inner: Mutex<Inner>,
    /// Faults that orders were told.
    faults: Counter,
}

#[derive(Debug, Default)]
struct Inner {
    wards: BTreeMap<String, Ward>,
    judged: BTreeMap<(u64, String), Judged>,
}

/// The versions of a tenant's judged services.
#[derive(Debug)]
struct Ward {
    targets: BTreeSet<Target>,
    clusters: Clusters,
    meters: BTreeMap<Version, Meter>,
    /// What the meters counted in the last tick.
    figures: BTreeMap<Version, Figures>,
    /// Whether a proxy reported since the last tick, and when one did last.
    is_reported: bool,
    reported: Option<Duration>,
}

/// A service and a version of it.
type Version = (String, String);

/// A judge, and what came of it.
#[derive(Clone, Debug)]
struct Judged {
    judge: Judge,
    verdict: Verdict,
    endpoints: Option<u64>,
    /// What the order was told last.
    told: Option<Health>,
    /// For how many ticks nobody could say.
    undecided: u32,
    /// As many are no news: requests come and go.
    undecided_max: u32,
}

/// What an order is to be told of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) order: u64,
    pub(crate) service: String,
    pub(crate) health: Health,
    /// Why, in a sentence with its figures.
    pub(crate) figures: String,
}

/// What is known of a service now.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    pub(crate) gray: Figures,
    pub(crate) stable: Figures,
    pub(crate) endpoints: Option<u64>,
}

// === impl Vitals ===

impl Vitals {
    /// One who knows how each tenant's clusters are named.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, inner: Mutex::default(), faults: Counter::default() }
    }

    /// Adds what is counted of faults to what is scraped.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Faults of gray versions that were found, and told to their orders";
        registry.register("faults", help, self.faults.clone());
    }

    /// Ends a tick: judges the services of these orders, and gives what they are to be told. What is told is confirmed by
    /// [`Vitals::told`]; until then it is given again.
    pub(crate) fn tick(&self, orders: &[Arc<Order>], now: Duration) -> Vec<Word> {
        let mut inner = self.inner();
        inner.attend(orders, &self.config);
        inner.wards.values_mut().for_each(|ward| ward.tick(now));
        let Inner { wards, judged } = &mut *inner;
        let mut words = Vec::new();
        for order in orders {
            let Some((ward, health)) = wards.get(order.tenant()).zip(order.plan.spec.health.as_ref()) else {
                continue;
            };
            for (service, _) in order.gray_services() {
                let standing =
                    order.services.get(&service.name).map(|state| state.health).unwrap_or_default();
                let anew = || Judged::new(health, standing);
                let judged = judged.entry((order.id, service.name.clone())).or_insert_with(anew);
                if judged.is_overruled(standing) {
                    *judged = anew();
                }
                judged.look(&ward.observed(service, now));
                let word = |health| Word {
                    order: order.id,
                    service: service.name.clone(),
                    health,
                    figures: judged.verdict.to_string(),
                };
                words.extend(judged.news(standing).map(word));
            }
        }
        words
    }

    /// Takes in that an order was told.
    pub(crate) fn told(&self, word: &Word) {
        if word.health == Health::Faulty {
            self.faults.inc();
        }
        if let Some(judged) = self.inner().judged.get_mut(&(word.order, word.service.clone())) {
            judged.told = Some(word.health);
        }
    }

    /// What is known of a service of an order, if it is judged.
    pub(crate) fn finding(&self, order: u64, service: &str) -> Option<Finding> {
        let inner = self.inner();
        let Judged { judge, verdict, endpoints, .. } = inner.judged.get(&(order, service.to_owned()))?;
        let (gray, stable) = judge.seen();
        Some(Finding { verdict: verdict.clone(), gray, stable, endpoints: *endpoints })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Figures that a panic left half added are wrong for one tick.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reports for Vitals {
    fn take(&self, node: &str, tenants: &[Arc<str>], by_cluster: &BTreeMap<&str, ClusterReport>) {
        let mut inner = self.inner();
        for tenant in tenants {
            if let Some(ward) = inner.wards.get_mut(&**tenant) {
                ward.take(node, by_cluster);
            }
        }
    }
}

// === impl Finding ===

impl Finding {
    /// The words for verdicts.
    pub(crate) const WORDS: [&'static str; 3] = ["healthy", "unhealthy", "undecided"];

    /// The one of [`Self::WORDS`] that holds.
    pub(crate) const fn word(&self) -> &'static str {
        let [healthy, unhealthy, undecided] = Self::WORDS;
        match self.verdict {
            Verdict::Healthy => healthy,
            Verdict::Unhealthy(_) => unhealthy,
            Verdict::Undecided(_) => undecided,
        }
    }
}

// === impl Inner ===

impl Inner {
    /// Looks after the services of these orders, and of no others.
    fn attend(&mut self, orders: &[Arc<Order>], config: &Config) {
        let mut by_tenant = BTreeMap::<&str, BTreeSet<Target>>::new();
        for order in orders {
            let targets = order.gray_services().flat_map(|(service, _)| targets(service));
            by_tenant.entry(order.tenant()).or_default().extend(targets);
        }
        self.wards.retain(|tenant, _| by_tenant.contains_key(tenant.as_str()));
        for (tenant, targets) in by_tenant {
            let known = self.wards.get_mut(tenant);
            if known.as_ref().is_some_and(|ward| ward.targets == targets) {
                continue;
            }
            let meters = known.map(|ward| std::mem::take(&mut ward.meters)).unwrap_or_default();
            self.wards.insert(tenant.to_owned(), Ward::new(targets, meters, tenant, config));
        }
        let is_gray =
            |order: &Arc<Order>, service: &str| order.gray_services().any(|(gray, _)| gray.name == *service);
        self.judged
            .retain(|(id, service), _| orders.iter().any(|order| order.id == *id && is_gray(order, service)));
    }
}

/// Both versions of a service, under each of its hosts.
fn targets(service: &ServiceSpec) -> impl Iterator<Item = Target> {
    let versions = [&service.stable, &service.gray];
    versions.into_iter().flat_map(|version| {
        service.hosts.iter().map(|host| Target {
            service: service.name.clone(),
            version: version.clone(),
            host: host.clone(),
        })
    })
}

// === impl Ward ===

impl Ward {
    /// Looks after these, some of which others may have looked after before.
    fn new(
        targets: BTreeSet<Target>,
        mut meters: BTreeMap<Version, Meter>,
        tenant: &str,
        config: &Config,
    ) -> Self {
        let version = |target: &Target| (target.service.clone(), target.version.clone());
        let wanted: BTreeSet<Version> = targets.iter().map(version).collect();
        meters.retain(|version, _| wanted.contains(version));
        for version in wanted {
            meters.entry(version).or_default();
        }
        let clusters = config.clusters(tenant).clusters(targets.iter().cloned());
        Self { targets, clusters, meters, figures: BTreeMap::new(), is_reported: false, reported: None }
    }

    fn take(&mut self, node: &str, by_cluster: &BTreeMap<&str, ClusterReport>) {
        let node: Arc<str> = node.into();
        for (cluster, report) in by_cluster {
            let Match::Target(Target { service, version, .. }) = self.clusters.find(cluster) else {
                continue;
            };
            let Some(meter) = self.meters.get_mut(&(service.clone(), version.clone())) else { continue };
            let latency =
                report.latency.clone().map(|(bounds, requests)| Histogram::from_cumulative(bounds, requests));
            let ClusterReport { completed, errors, healthy, .. } = *report;
            let latency = latency.unwrap_or_default();
            meter.report(&node, Reading { completed, errors, latency, endpoints: healthy });
            self.is_reported = true;
        }
    }

    fn tick(&mut self, now: Duration) {
        if std::mem::take(&mut self.is_reported) {
            self.reported = Some(now);
        }
        let counted = self.meters.iter_mut().map(|(version, meter)| (version.clone(), meter.tick()));
        self.figures = counted.collect();
    }

    fn observed(&self, service: &ServiceSpec, now: Duration) -> (Figures, Figures, Option<u64>, Freshness) {
        let of = |version: &String| (service.name.clone(), version.clone());
        let figures = |version| self.figures.get(&of(version)).cloned().unwrap_or_default();
        let endpoints = self.meters.get(&of(&service.gray)).and_then(Meter::endpoints);
        let freshness = match self.reported.map(|at| now.saturating_sub(at)) {
            None => Freshness::Missing,
            Some(age) if age > FRESH => Freshness::Stale(age),
            Some(_) => Freshness::Fresh,
        };
        (figures(&service.gray), figures(&service.stable), endpoints, freshness)
    }
}

// === impl Judged ===

impl Judged {
    /// One who has seen nothing. What the order was told before, as before a restart, is known no longer than nobody can say for a
    /// whole window.
    fn new(health: &HealthSpec, standing: Health) -> Self {
        let policy = policy(health);
        let undecided_max = policy.window.as_millis().div_ceil(TICK.as_millis());
        let mut judge = Judge::new(policy);
        let nothing = Figures::default();
        let (gray, stable) = (&nothing, &nothing);
        let observed = Observed { gray, stable, endpoints: None, freshness: Freshness::Missing };
        let verdict = judge.tick(&observed);
        let undecided_max = u32::try_from(undecided_max).unwrap_or(u32::MAX);
        let told = Some(standing).filter(|standing| *standing == Health::Healthy);
        Self { judge, verdict, endpoints: None, told, undecided: 0, undecided_max }
    }

    fn look(&mut self, (gray, stable, endpoints, freshness): &(Figures, Figures, Option<u64>, Freshness)) {
        self.endpoints = *endpoints;
        let observed = Observed { gray, stable, endpoints: *endpoints, freshness: *freshness };
        self.verdict = self.judge.tick(&observed);
        let is_undecided = matches!(self.verdict, Verdict::Undecided(_));
        self.undecided = if is_undecided { self.undecided.saturating_add(1) } else { 0 };
    }

    /// Whether somebody said something else of what was found faulty: then it is looked at anew.
    fn is_overruled(&self, standing: Health) -> bool {
        self.told == Some(Health::Faulty) && standing != Health::Faulty
    }

    /// What the order does not know yet. What a person said stays, unless it is found faulty.
    fn news(&self, standing: Health) -> Option<Health> {
        match (&self.verdict, standing) {
            (Verdict::Unhealthy(_), Health::Unknown | Health::Healthy) => Some(Health::Faulty),
            (Verdict::Healthy, Health::Unknown) => Some(Health::Healthy),
            (Verdict::Undecided(_), Health::Healthy)
                if self.told == Some(Health::Healthy) && self.undecided >= self.undecided_max =>
            {
                Some(Health::Unknown)
            }
            _ => None,
        }
    }
}

/// What a plan says of health, as a judge takes it. The plan was checked, so what it says are numbers.
fn policy(health: &HealthSpec) -> Policy {
    let default = Policy::default();
    let share = |share: &graylane_plan::Share| share.percent().ok().map(|percent| percent / 100.0);
    let seconds = health.window.as_ref().and_then(|window| window.seconds().ok());
    let errors = health.errors.as_ref().map(|errors| ErrorLimits {
        max: errors.max.as_ref().and_then(share),
        over_stable: errors.over_stable.as_ref().and_then(share),
    });
    let latency = health.latency.as_ref().and_then(|latency| {
        let percentile = latency.percentile.percent().ok()?;
        Some(LatencyLimit { percentile, max_ratio: latency.max_ratio.get().ok()? })
    });
    Policy {
        window: seconds.map_or(default.window, Duration::from_secs),
        min_requests: health.min_requests.unwrap_or(default.min_requests),
        errors,
        latency,
        endpoints: health.endpoints.as_ref().map(|endpoints| EndpointLimit { min: endpoints.min }),
    }
}
