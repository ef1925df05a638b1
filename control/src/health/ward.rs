//! The versions of a tenant's services, by what is reported of them.

use super::doubts::Doubts;
use super::prometheus::Question;
use crate::config::Config;
use graylane_health::limits::STALE;
use graylane_health::template::{Clusters, Match, Target};
use graylane_health::{Cumulative, Figures, Freshness, Heard, Meter, Reading, Source, Times};
use graylane_plan::{HealthSource, ServiceSpec};
use graylane_xds::{ClusterReport, Reported, Reporter};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The cluster of what is counted of all clusters of a version at once, and of what filters count.
pub(super) const NO_CLUSTER: &str = "";

/// The versions of a tenant's services that are judged by what one source counts.
#[derive(Debug)]
pub(super) struct Ward {
    pub(super) subjects: Subjects,
    clusters: Clusters,
    /// What Prometheus is to be asked, if it counts.
    pub(super) questions: Vec<Arc<Question>>,
    meters: BTreeMap<Version, Meter>,
    /// What the meters counted in the last tick.
    figures: BTreeMap<Version, Figures>,
    news: BTreeMap<Version, News>,
    /// How old figures may be that speak of the present.
    stale: Duration,
}

/// Whom a ward looks after.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Subjects {
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

/// What a ward sees of a service in one tick.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) gray: Figures,
    pub(super) stable: Figures,
    pub(super) endpoints: Option<u64>,
    pub(super) freshness: Freshness,
    pub(super) unheard: Vec<Unheard>,
}

/// A version of which nobody told anything yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unheard {
    pub(crate) version: String,
    /// A name that a cluster of it would have, if it can be told.
    pub(crate) cluster: Option<String>,
}

/// A service and a version of it.
pub(super) type Version = (String, String);

// === impl Subjects ===

impl Subjects {
    /// Adds both versions of a service, under each of its hosts.
    pub(super) fn add(&mut self, service: &ServiceSpec, is_timed: bool) {
        let ServiceSpec { name, hosts, stable, gray, .. } = service;
        for version in [stable, gray] {
            let target = |host: &String| Target {
                service: name.clone(),
                version: version.clone(),
                host: host.clone(),
            };
            self.targets.extend(hosts.iter().map(target));
        }
        self.timed.extend(is_timed.then(|| name.clone()));
    }
}

// === impl Ward ===

impl Ward {
    /// Looks after these, some of which another one may have looked after before.
    pub(super) fn new(
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

    pub(super) fn take(&mut self, reporter: Reporter<'_>, reported: &Reported<'_>, doubts: &mut Doubts) {
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

    pub(super) fn report(
        &mut self,
        version: Version,
        source: Source<'_>,
        reading: Reading,
        doubts: &mut Doubts,
    ) {
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

    pub(super) fn tick(&mut self, now: Duration) {
        for news in self.news.values_mut() {
            let fresh_until = news.age.take().map(|age| now.saturating_add(self.stale.saturating_sub(age)));
            news.fresh_until = news.fresh_until.max(fresh_until);
        }
        let counted = self.meters.iter_mut().map(|(version, meter)| (version.clone(), meter.tick()));
        self.figures = counted.collect();
    }

    pub(super) fn observed(&self, service: &ServiceSpec, now: Duration) -> Sight {
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
pub(super) fn stale(source: HealthSource, config: &Config) -> Duration {
    match (source, config.prometheus()) {
        (HealthSource::Prometheus, Some(settings)) => settings.stale,
        _ => STALE,
    }
}
