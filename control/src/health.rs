//! How the gray versions do: what proxies count of them, judged tick after tick.
//!
//! Proxies report to [`Vitals`], or [`Prometheus`] is asked for what it knows of them, as the plans say. Whoever keeps time ends a tick
//! four times a second, and tells the orders what it gives.

mod doubts;
mod prometheus;
#[cfg(test)]
mod tests;

pub use prometheus::{
    MAX_QUERY_BYTES, Placeholder, Prometheus, PrometheusSettings, Queries, Query, QueryError,
};

use crate::config::Config;
use doubts::Doubts;
use graylane_health::limits::{PATIENCE, STALE};
use graylane_health::template::{Clusters, Match, Target};
use graylane_health::{
    Cumulative, EndpointLimit, ErrorLimits, Figures, Freshness, Heard, Judge, LatencyLimit, Meter, Observed,
    Policy, Reading, Series, Source, TICK, Times, Verdict, Why,
};
use graylane_order::{Health, Order};
use graylane_plan::{HealthSource, HealthSpec, ServiceSpec};
use graylane_xds::{ClusterReport, Reported, Reporter, Reports};
use prometheus::{QueryCounts, Question, Told};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The least time between two rings of the bell for those who watch: a version that has just enough requests is healthy in one tick and
/// undecided in the next.
const LEAST_BETWEEN_RINGS: Duration = Duration::from_secs(1);

/// How long an order stays healthy while figures raise doubts: a share of errors may lie beside its limit, now below and now above, and
/// each change of mind is written down.
const DOUBT_LASTS: Duration = Duration::from_secs(5);

/// The stream of whoever is sampled: it speaks on none.
const SAMPLED: u64 = 0;

/// The cluster of what is counted of all clusters of a version at once, and of what filters count.
const NO_CLUSTER: &str = "";

/// What is counted of the versions of all judged services, and who judges them.
#[derive(Debug)]
pub struct Vitals {
    config: Config,
    inner: Mutex<Inner>,
    /// Faults that orders were told.
    faults: Counter,
    /// Reports of a version that were not believed.
    doubted: Counter,
    /// How Prometheus answered.
    queries: QueryCounts,
    /// What orders were to be told in the last tick, and did not take.
    untold: Gauge,
    /// The bell for those who watch: it counts how often something else was found.
    bell: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By who counts, and by tenant. Nobody else's figures get there.
    wards: BTreeMap<HealthSource, BTreeMap<String, Ward>>,
    judged: BTreeMap<(u64, String), Judged>,
    doubts: Doubts,
    /// Whether something else was found since the bell rang.
    is_news: bool,
    /// When it rang last.
    rung: Option<Duration>,
}

/// The versions of a tenant's services that are judged by what one source counts.
#[derive(Debug)]
struct Ward {
    subjects: Subjects,
    clusters: Clusters,
    /// What Prometheus is to be asked, if it counts.
    questions: Vec<Arc<Question>>,
    meters: BTreeMap<Version, Meter>,
    /// What the meters counted in the last tick.
    figures: BTreeMap<Version, Figures>,
    news: BTreeMap<Version, News>,
    /// How old figures may be that speak of the present.
    stale: Duration,
}

/// Whom a ward looks after.
#[derive(Debug, Default, PartialEq, Eq)]
struct Subjects {
    targets: BTreeSet<Target>,
    /// Services that must not be slow.
    timed: BTreeSet<String>,
}

/// How new the figures of a version are.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    /// The age of the youngest that came since the last tick.
    age: Option<Duration>,
    /// Until when the youngest speak of the present.
    fresh_until: Option<Duration>,
}

/// A service and a version of it.
type Version = (String, String);

/// A judge, and what came of it.
#[derive(Clone, Debug)]
struct Judged {
    judge: Judge,
    source: HealthSource,
    verdict: Verdict,
    endpoints: Option<u64>,
    unheard: Vec<Unheard>,
    scene: Scene,
    /// What the order was told last of it.
    told: Option<Health>,
    /// For how many ticks nobody could say.
    undecided: u32,
    /// As many are no news while requests are too few: they come and go.
    quiet_max: u32,
}

/// Who gets the gray version: another scene is judged anew.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scene {
    /// How many stages the service entered.
    stages: usize,
    /// What stood of them.
    hash: String,
}

/// What a ward sees of a service in one tick.
#[derive(Debug)]
struct Sight {
    gray: Figures,
    stable: Figures,
    endpoints: Option<u64>,
    freshness: Freshness,
    unheard: Vec<Unheard>,
}

/// A version of which nobody told anything yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unheard {
    pub(crate) version: String,
    /// A name that a cluster of it would have, if it can be told.
    pub(crate) cluster: Option<String>,
}

/// What an order is to be told of a service.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) order: u64,
    /// The version of the order of which it is said.
    pub(crate) version: u64,
    pub(crate) service: String,
    pub(crate) health: Health,
    /// Why.
    pub(crate) finding: Finding,
}

/// What is known of a service now.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// Who counted.
    pub(crate) source: HealthSource,
    pub(crate) gray: Figures,
    pub(crate) stable: Figures,
    pub(crate) endpoints: Option<u64>,
    pub(crate) unheard: Vec<Unheard>,
    /// How far back the figures of both go.
    pub(crate) window: Duration,
    pub(crate) series: Series,
}

// === impl Vitals ===

impl Vitals {
    /// One who knows how each tenant's clusters are named.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let (inner, faults, doubted, queries, untold) = Default::default();
        Self { config, inner, faults, doubted, queries, untold, bell: watch::Sender::new(0) }
    }

    /// A receiver that wakes when something else is found of a service, within a second. More requests of the same are no news.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Adds what is counted of verdicts to what is scraped.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Faults of gray versions that were found, and told to their orders";
        registry.register("faults", help, self.faults.clone());
        let help = "Reports of a version that were not believed, because their proxies said the impossible";
        registry.register("reports_doubted", help, self.doubted.clone());
        self.queries.register(registry);
        let help = "Verdicts on gray versions that their orders did not take, and are told again";
        registry.register("untold_verdicts", help, self.untold.clone());
    }

    /// Ends a tick: judges the services of these orders, and gives what they are to be told. What is told is confirmed by
    /// [`Vitals::told`]; until then it is given again.
    pub(crate) fn tick(&self, orders: &[Arc<Order>], now: Duration) -> Vec<Word> {
        let mut inner = self.inner();
        self.doubted.inc_by(inner.doubts.settle(now));
        inner.attend(orders, &self.config);
        inner.wards.values_mut().flat_map(BTreeMap::values_mut).for_each(|ward| ward.tick(now));
        let Inner { wards, judged, is_news, .. } = &mut *inner;
        let mut words = Vec::new();
        for order in orders {
            let Some(health) = &order.plan.spec.health else { continue };
            let ward = wards.get(&health.source).and_then(|by_tenant| by_tenant.get(order.tenant()));
            let Some(ward) = ward else { continue };
            for (service, stages) in order.gray_services() {
                let standing =
                    order.services.get(&service.name).map(|state| state.health).unwrap_or_default();
                let anew = || Judged::new(health, &self.config, standing, Scene::of(order, stages));
                let judged = judged.entry((order.id, service.name.clone())).or_insert_with(anew);
                if judged.is_overruled(standing) {
                    *judged = anew();
                }
                if !judged.scene.is_of(order, stages) {
                    judged.begin_scene(Scene::of(order, stages));
                }
                let before = judged.outlook();
                judged.look(ward.observed(service, now), order.lets_in_everybody(stages));
                *is_news |= judged.outlook() != before;
                let word = |health| Word {
                    order: order.id,
                    version: order.version,
                    service: service.name.clone(),
                    health,
                    finding: judged.finding(),
                };
                words.extend(judged.news(standing).map(word));
            }
        }
        if inner.has_to_ring(now) {
            self.bell.send_modify(|rings| *rings += 1);
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

    /// Takes in how many words of the last tick their orders did not take.
    pub(crate) fn left_untold(&self, words: usize) {
        self.untold.set(i64::try_from(words).unwrap_or(i64::MAX));
    }

    /// What is known of a service of an order, if it is judged.
    pub(crate) fn finding(&self, order: u64, service: &str) -> Option<Finding> {
        self.inner().judged.get(&(order, service.to_owned())).map(Judged::finding)
    }

    /// What Prometheus is to be asked now.
    fn questions(&self) -> Vec<Arc<Question>> {
        let inner = self.inner();
        let wards = inner.wards.get(&HealthSource::Prometheus).into_iter().flat_map(BTreeMap::values);
        wards.flat_map(|ward| &ward.questions).cloned().collect()
    }

    /// Takes what Prometheus told of a service, to which it was asked so long ago.
    fn take_samples(&self, of: &Question, told: Vec<Told>, asked: Duration) {
        let mut inner = self.inner();
        let Inner { wards, doubts, .. } = &mut *inner;
        let by_tenant = wards.get_mut(&HealthSource::Prometheus);
        // The order may have ended meanwhile.
        let Some(ward) = by_tenant.and_then(|by_tenant| by_tenant.get_mut(&of.tenant)) else { return };
        for Told { version, instance, mut reading } in told {
            if let Some(sample) = &mut reading.sample {
                sample.age = sample.age.saturating_add(asked);
            }
            let source = Source { node: &instance, stream: SAMPLED, cluster: NO_CLUSTER };
            ward.report((of.service.clone(), version), source, reading, doubts);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Figures that a panic left half added are wrong for one tick.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reports for Vitals {
    fn take(&self, reporter: Reporter<'_>, reported: &Reported<'_>) {
        let mut inner = self.inner();
        let Inner { wards, doubts, .. } = &mut *inner;
        let Some(wards) = wards.get_mut(&HealthSource::Envoy) else { return };
        for tenant in reporter.tenants {
            if let Some(ward) = wards.get_mut(&**tenant) {
                ward.take(reporter, reported, doubts);
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
            Verdict::Healthy(_) => healthy,
            Verdict::Unhealthy(_) => unhealthy,
            Verdict::Undecided(_) => undecided,
        }
    }
}

// === impl Inner ===

impl Inner {
    /// Looks after the services of these orders, and of no others.
    fn attend(&mut self, orders: &[Arc<Order>], config: &Config) {
        let mut wanted = BTreeMap::<HealthSource, BTreeMap<&str, Subjects>>::new();
        for order in orders {
            let Some(health) = &order.plan.spec.health else { continue };
            let subjects = wanted.entry(health.source).or_default().entry(order.tenant()).or_default();
            for (service, _) in order.gray_services() {
                subjects.targets.extend(targets(service));
                subjects.timed.extend(health.latency.is_some().then(|| service.name.clone()));
            }
        }
        self.wards.retain(|source, _| wanted.contains_key(source));
        for (source, by_tenant) in wanted {
            let wards = self.wards.entry(source).or_default();
            wards.retain(|tenant, _| by_tenant.contains_key(tenant.as_str()));
            for (tenant, subjects) in by_tenant {
                let known = wards.remove(tenant);
                let ward = match known {
                    Some(known) if known.subjects == subjects => known,
                    known => Ward::new(subjects, known, (tenant, source), config),
                };
                wards.insert(tenant.to_owned(), ward);
            }
        }
        let is_gray =
            |order: &Arc<Order>, service: &str| order.gray_services().any(|(gray, _)| gray.name == *service);
        self.judged
            .retain(|(id, service), _| orders.iter().any(|order| order.id == *id && is_gray(order, service)));
    }

    /// Whether it is time to tell those who watch; they are taken to know then.
    fn has_to_ring(&mut self, now: Duration) -> bool {
        let is_due = self.rung.is_none_or(|rung| now.saturating_sub(rung) >= LEAST_BETWEEN_RINGS);
        let rings = self.is_news && is_due;
        if rings {
            (self.is_news, self.rung) = (false, Some(now));
        }
        rings
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
    /// Looks after these, some of which another one may have looked after before.
    fn new(
        subjects: Subjects,
        before: Option<Self>,
        (tenant, source): (&str, HealthSource),
        config: &Config,
    ) -> Self {
        let version = |target: &Target| (target.service.clone(), target.version.clone());
        let wanted: BTreeSet<Version> = subjects.targets.iter().map(version).collect();
        let stale = stale(source, config);
        let (mut meters, mut news) = before.map(|before| (before.meters, before.news)).unwrap_or_default();
        meters.retain(|version, _| wanted.contains(version));
        news.retain(|version, _| wanted.contains(version));
        for version in wanted {
            news.entry(version.clone()).or_default();
            meters.entry(version).or_insert_with(|| Meter::new(stale));
        }
        let clusters = config.clusters(tenant).clusters(subjects.targets.iter().cloned());
        let questions = match (source, config.prometheus()) {
            (HealthSource::Prometheus, Some(settings)) => {
                settings.queries.questions(tenant, &subjects.targets, &subjects.timed, &clusters)
            }
            _ => Vec::new(),
        };
        Self { subjects, clusters, questions, meters, figures: BTreeMap::new(), news, stale }
    }

    fn take(&mut self, reporter: Reporter<'_>, reported: &Reported<'_>, doubts: &mut Doubts) {
        let node: Arc<str> = reporter.node.into();
        let source = |cluster| Source { node: &node, stream: reporter.stream, cluster };
        for (cluster, report) in &reported.clusters {
            let Match::Target(Target { service, version, .. }) = self.clusters.find(cluster) else {
                continue;
            };
            let version = (service.clone(), version.clone());
            let ClusterReport { completed, errors, healthy: endpoints, latency } = report.clone();
            let times = latency.map(|(bounds, requests)| Times::Since(Cumulative::new(bounds, requests)));
            let reading = Reading { completed, errors, times, endpoints, ..Reading::default() };
            self.report(version, source(cluster), reading, doubts);
        }
        // The filters of several tenants count services of one name together.
        if reporter.tenants.len() > 1 {
            return;
        }
        let steered = |(service, version): &Version| reported.steered.get(&(&**service, &**version)).copied();
        let judged = self.meters.keys().filter_map(|version| Some((version.clone(), steered(version)?)));
        for (version, steered) in judged.collect::<Vec<_>>() {
            let reading = Reading { steered: Some(steered), ..Reading::default() };
            self.report(version, source(NO_CLUSTER), reading, doubts);
        }
    }

    fn report(&mut self, version: Version, source: Source<'_>, reading: Reading, doubts: &mut Doubts) {
        let age = reading.sample.map_or(Duration::ZERO, |sample| sample.age);
        let Some(meter) = self.meters.get_mut(&version) else { return };
        let heard = meter.report(source, reading);
        if heard == Heard::News
            && let Some(news) = self.news.get_mut(&version)
        {
            news.age = Some(news.age.map_or(age, |youngest| youngest.min(age)));
        }
        doubts.take(heard, source.node, version);
    }

    fn tick(&mut self, now: Duration) {
        for news in self.news.values_mut() {
            let fresh_until = news.age.take().map(|age| now.saturating_add(self.stale.saturating_sub(age)));
            news.fresh_until = news.fresh_until.max(fresh_until);
        }
        let counted = self.meters.iter_mut().map(|(version, meter)| (version.clone(), meter.tick()));
        self.figures = counted.collect();
    }

    fn observed(&self, service: &ServiceSpec, now: Duration) -> Sight {
        let of = |version: &String| (service.name.clone(), version.clone());
        let figures = |version| self.figures.get(&of(version)).cloned().unwrap_or_default();
        let endpoints = self.meters.get(&of(&service.gray)).and_then(Meter::endpoints);
        // Of one version alone it would look as if the other had no requests to be compared with. One that nobody ever told of has none.
        let versions = [&service.gray, &service.stable].map(of);
        let fresh_until = |version| self.news.get(version).and_then(|news| news.fresh_until);
        let unheard = versions.iter().filter(|version| fresh_until(version).is_none()).map(|version| {
            Unheard { version: version.1.clone(), cluster: self.clusters.example(&version.0, &version.1) }
        });
        let fresh_until = versions.iter().filter_map(fresh_until).min();
        let freshness = match fresh_until {
            None => Freshness::Missing,
            Some(until) if now > until => {
                Freshness::Stale(self.stale.saturating_add(now.saturating_sub(until)))
            }
            Some(_) => Freshness::Fresh,
        };
        let (gray, stable) = (figures(&service.gray), figures(&service.stable));
        Sight { gray, stable, endpoints, freshness, unheard: unheard.collect() }
    }
}

/// How old what a source counts may be to speak of the present.
fn stale(source: HealthSource, config: &Config) -> Duration {
    match (source, config.prometheus()) {
        (HealthSource::Prometheus, Some(settings)) => settings.stale,
        _ => STALE,
    }
}

// === impl Scene ===

impl Scene {
    fn of(order: &Order, stages: usize) -> Self {
        Self { stages, hash: order.standing_hash().to_owned() }
    }

    fn is_of(&self, order: &Order, stages: usize) -> bool {
        self.stages == stages && self.hash == order.standing_hash()
    }
}

// === impl Judged ===

impl Judged {
    /// One who has seen nothing. What the order was told before, as before a restart, is known no longer than nobody can say for a
    /// whole window.
    fn new(health: &HealthSpec, config: &Config, standing: Health, scene: Scene) -> Self {
        let policy = policy(health, config);
        let quiet_max = ticks(policy.window);
        let mut judge = Judge::new(policy);
        let nothing = Figures::default();
        let (gray, stable) = (&nothing, &nothing);
        let freshness = Freshness::Missing;
        let verdict = judge.tick(&Observed { gray, stable, endpoints: None, freshness, is_alone: false });
        let told = Some(standing).filter(|standing| *standing == Health::Healthy);
        let source = health.source;
        let (endpoints, unheard) = Default::default();
        Self { judge, source, verdict, endpoints, unheard, scene, told, undecided: 0, quiet_max }
    }

    /// Looks at another scene: the order forgot what it was told of the one before.
    fn begin_scene(&mut self, scene: Scene) {
        (self.scene, self.told) = (scene, None);
        self.judge.begin_stage();
    }

    fn look(&mut self, sight: Sight, is_alone: bool) {
        let Sight { gray, stable, endpoints, freshness, unheard } = sight;
        (self.endpoints, self.unheard) = (endpoints, unheard);
        let observed = Observed { gray: &gray, stable: &stable, endpoints, freshness, is_alone };
        self.verdict = self.judge.tick(&observed);
        let is_undecided = matches!(self.verdict, Verdict::Undecided(_));
        self.undecided = if is_undecided { self.undecided.saturating_add(1) } else { 0 };
    }

    fn finding(&self) -> Finding {
        let (gray, stable) = self.judge.seen();
        Finding {
            verdict: self.verdict.clone(),
            gray,
            stable,
            endpoints: self.endpoints,
            unheard: self.unheard.clone(),
            window: self.judge.length(),
            series: self.judge.series(),
            source: self.source,
        }
    }

    /// What those who watch are told of at once.
    const fn outlook(&self) -> (Discriminant<Verdict>, &'static str, Option<u64>, usize) {
        (discriminant(&self.verdict), self.verdict.cause(), self.endpoints, self.unheard.len())
    }

    /// Whether somebody said something else of what was found faulty: then it is looked at anew.
    fn is_overruled(&self, standing: Health) -> bool {
        self.told == Some(Health::Faulty) && standing != Health::Faulty
    }

    /// What the order does not know yet. What a person said stays, unless it is found faulty.
    fn news(&self, standing: Health) -> Option<Health> {
        match (&self.verdict, standing) {
            (Verdict::Unhealthy(_), Health::Unknown | Health::Healthy) => Some(Health::Faulty),
            (Verdict::Healthy(_), Health::Unknown) => Some(Health::Healthy),
            (Verdict::Undecided(why), Health::Healthy)
                if self.told == Some(Health::Healthy) && self.undecided >= self.undecided_max(why) =>
            {
                Some(Health::Unknown)
            }
            _ => None,
        }
    }

    /// For how many ticks nobody has to be able to say before it is news. Few requests are as usual for a while, and after a start of the
    /// daemon proxies come back one by one; figures that speak against gray, or that came and come no more, are not.
    fn undecided_max(&self, why: &Why) -> u32 {
        match why {
            Why::NoData | Why::NoTraffic | Why::TooFewRequests { .. } | Why::StableTooFewRequests { .. } => {
                self.quiet_max
            }
            _ => ticks(DOUBT_LASTS).min(self.quiet_max),
        }
    }
}

/// How many ticks are in a time, rounded up.
fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX)
}

/// What a plan says of health, as a judge takes it. The plan was checked, so what it says are numbers.
fn policy(health: &HealthSpec, config: &Config) -> Policy {
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
        patience: match health.source {
            HealthSource::Envoy => PATIENCE,
            // Instances are sampled each at its own time.
            HealthSource::Prometheus => stale(health.source, config),
        },
    }
}
