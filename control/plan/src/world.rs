//! What a check may look at beside the plan.

use graylane_rules::{Dimension, IdSet};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The dimensions of a tenant with no configuration, most specific first.
const DEFAULT_DIMENSIONS: [&str; 3] = ["teller", "branch", "region"];

/// The output header of a tenant with no configuration.
const DEFAULT_OUTPUT_HEADER: &str = "x-gray-version";

/// A tenant: how its requests say where in the bank they come from, and how they are told their version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its dimensions, most specific first, at most [`graylane_rules::limits::MAX_DIMENSIONS`].
    pub dimensions: Vec<Dimension>,
    /// The request header that carries the version, in lower case.
    pub output_header: String,
}

/// The named id lists of a tenant.
pub trait Lists {
    /// The list of that name.
    fn get(&self, name: &str) -> Option<Arc<IdSet>>;

    /// All names, for the nearest one to a slip of the hand.
    fn names(&self) -> Vec<String>;
}

/// What a check may look at beside the plan.
#[derive(Clone)]
pub struct World<'a> {
    /// The tenant whose plan it is.
    pub tenant: &'a Tenant,
    /// The named lists; none when nobody knows them, as in an offline check.
    pub lists: Option<&'a dyn Lists>,
    /// Hosts that plans of the tenant claim, by host. Claims of the checked plan itself do no harm.
    pub hosts: BTreeMap<String, HostClaim>,
    /// What services run outside any release, by service.
    pub baselines: BTreeMap<String, Baseline>,
    /// Whether figures can come from Prometheus.
    pub prometheus: PrometheusSource,
}

/// Whether a daemon reads figures from Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrometheusSource {
    /// Nobody knows, as in an offline check.
    #[default]
    Unknown,
    /// Its configuration names none.
    Missing,
    /// It does, and they speak of the present while they are at most so old.
    Stale(Duration),
}

/// What a service runs outside any release, as the last finished order left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// The version. It is the stable one of the next release.
    pub version: String,
    /// The hosts on which it runs. The next release must keep them all: one that it left out would fall back to what
    /// the routes choose with no header.
    pub hosts: Vec<String>,
}

/// Who claims a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostClaim {
    /// The plan that says so.
    pub plan: String,
    /// The service that is called by it.
    pub service: String,
}

// === impl Tenant ===

impl Tenant {
    /// A tenant with the default dimensions and output header.
    #[must_use]
    pub fn with_defaults(name: impl Into<String>) -> Self {
        let dimension = |name: &str| Dimension { name: name.to_owned(), header: format!("x-{name}") };
        Self {
            name: name.into(),
            dimensions: DEFAULT_DIMENSIONS.map(dimension).into(),
            output_header: DEFAULT_OUTPUT_HEADER.to_owned(),
        }
    }

    /// The place of a dimension in the order of asking.
    #[must_use]
    pub fn level(&self, dimension: &str) -> Option<usize> {
        self.dimensions.iter().position(|known| known.name == dimension)
    }
}

// === impl World ===

impl<'a> World<'a> {
    /// What an offline check knows: the tenant. Named lists are warned of, not refused.
    #[must_use]
    pub fn offline(tenant: &'a Tenant) -> Self {
        Self {
            tenant,
            lists: None,
            hosts: BTreeMap::new(),
            baselines: BTreeMap::new(),
            prometheus: PrometheusSource::Unknown,
        }
    }

    /// The tenant and its lists, and so far no hosts, no baselines and nothing of Prometheus.
    #[must_use]
    pub fn new(tenant: &'a Tenant, lists: &'a dyn Lists) -> Self {
        Self { lists: Some(lists), ..Self::offline(tenant) }
    }
}

/// Lists by name.
impl Lists for BTreeMap<String, Arc<IdSet>> {
    fn get(&self, name: &str) -> Option<Arc<IdSet>> {
        self.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}
