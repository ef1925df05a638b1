//! How the gray versions do: what proxies count of them, judged tick after tick.
//!
//! Proxies report to [`Vitals`], or [`Prometheus`] is asked for what it knows of them, as the plans say. Whoever keeps time ends a tick
//! four times a second, and tells the orders what it gives.

mod doubts;
mod judged;
mod prometheus;
#[cfg(test)]
mod tests;
mod ward;

pub use prometheus::{
    MAX_QUERY_BYTES, Placeholder, Prometheus, PrometheusSettings, Queries, Query, QueryError,
};
pub(crate) use ward::Unheard;

use crate::config::Config;
use doubts::Doubts;
use graylane_health::{Figures, Series, Source, Verdict};
use graylane_order::{Health, Order};
use graylane_plan::HealthSource;
use graylane_xds::{Reported, Reporter, Reports};
use judged::{Judged, Scene};
use prometheus::{QueryCounts, Question, Told};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use ward::{NO_CLUSTER, Subjects, Ward};

/// The least time between two rings of the bell for those who watch: a version that has just enough requests is healthy in one tick and
/// undecided in the next.
const LEAST_BETWEEN_RINGS: Duration = Duration::from_secs(1);

/// The stream of whoever is sampled: it speaks on none.
const SAMPLED: u64 = 0;

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
                subjects.add(service, health.latency.is_some());
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
