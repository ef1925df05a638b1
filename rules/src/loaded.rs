//! A rule set that was loaded: what it holds, and the way back to plain data.

use crate::host_index::HostIndex;
use crate::id_set::IdSet;
use crate::model::{Dimension, Entry, Group, Release, RuleSet, Service, Table};
use crate::sets::Set;
use crate::values::HeaderNames;
use crate::words::is_same_caseless;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// A rule set that was loaded and can decide.
pub struct Rules {
    /// The bytes it was loaded from. The ids stay in here.
    pub(crate) bytes: Vec<u8>,
    pub(crate) revision: u64,
    pub(crate) content_hash: u64,
    pub(crate) tenant: String,
    pub(crate) dimensions: Vec<Dimension>,
    pub(crate) output_header: String,
    pub(crate) header_names: HeaderNames,
    pub(crate) sets: Vec<Set>,
    pub(crate) tables: Vec<LoadedTable>,
    pub(crate) services: Vec<LoadedService>,
    /// The hosts in ascending order, each with its service's place in `services`.
    pub(crate) service_by_host: Vec<(String, u32)>,
    pub(crate) host_index: HostIndex,
}

/// A service of a loaded rule set.
pub struct LoadedService {
    pub(crate) name: String,
    pub(crate) stable: String,
    pub(crate) route_default: String,
    /// The gray version, and its table's place in [`Rules::tables`].
    pub(crate) release: Option<(String, usize)>,
    /// Whether requests that are not gray need the output header, because the routes without it lead elsewhere.
    pub(crate) stable_is_told: bool,
    /// The same of gray requests.
    pub(crate) gray_is_told: bool,
}

/// A table whose ids stay in the rule set's bytes.
pub(crate) struct LoadedTable {
    pub(crate) plan: String,
    pub(crate) stages: Vec<String>,
    /// The groups of each dimension, strongest first; each with its set's place in [`Rules::sets`].
    pub(crate) levels: Vec<Vec<(Entry, usize)>>,
    pub(crate) all: Option<Entry>,
}

// === impl Rules ===

impl Rules {
    /// The number under which this rule set was published.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// XXH64 of the content: equal for equal rules, whatever their revision.
    #[must_use]
    pub fn content_hash(&self) -> u64 {
        self.content_hash
    }

    /// Whose rules these are.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The request header that carries the version, in lower case.
    #[must_use]
    pub fn output_header(&self) -> &str {
        &self.output_header
    }

    /// The dimensions, most specific first.
    #[must_use]
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// The services in the order of their names.
    #[must_use]
    pub fn services(&self) -> &[LoadedService] {
        &self.services
    }

    /// The bytes that these rules were loaded from.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The rules as plain data again.
    #[must_use]
    pub fn to_rule_set(&self) -> RuleSet {
        let sets: Vec<Arc<IdSet>> =
            self.sets.iter().map(|set| Arc::new(set.to_id_set(&self.bytes))).collect();
        let ids = |set: usize| sets.get(set).cloned().unwrap_or_default();
        let tables: Vec<Arc<Table>> = self.tables.iter().map(|table| Arc::new(table.to_table(ids))).collect();
        let services = self.services.iter().enumerate().map(|(number, service)| Service {
            name: service.name.clone(),
            hosts: self.hosts_of(number).map(Into::into).collect(),
            stable: service.stable.clone(),
            route_default: service.route_default.clone(),
            release: service.release.as_ref().map(|(gray, table)| Release {
                gray: gray.clone(),
                table: tables.get(*table).cloned().unwrap_or_default(),
            }),
        });
        RuleSet {
            tenant: self.tenant.clone(),
            dimensions: self.dimensions.clone(),
            output_header: self.output_header.clone(),
            services: services.collect(),
        }
    }

    /// The service that is called by `host`, in any case but without port.
    #[inline]
    pub(crate) fn service_of(&self, host: &[u8]) -> Option<usize> {
        let mut places = self.host_index.places(host).filter_map(|place| self.service_by_host.get(place));
        let found = places.find(|(known, _)| is_same_caseless(known.as_bytes(), host));
        found.map(|(_, service)| *service as usize)
    }

    /// The hosts of the `number`-th service in ascending order.
    pub(crate) fn hosts_of(&self, number: usize) -> impl Iterator<Item = &str> {
        let hosts = self.service_by_host.iter().filter(move |(_, service)| *service as usize == number);
        hosts.map(|(host, _)| host.as_str())
    }

    /// Whether the `set`-th set holds `id`.
    #[inline]
    pub(crate) fn set_contains(&self, set: usize, id: &[u8]) -> bool {
        self.sets.get(set).is_some_and(|set| set.contains(&self.bytes, id))
    }

    /// How many ids the `set`-th set holds.
    pub(crate) fn set_len(&self, set: usize) -> usize {
        self.sets.get(set).map_or(0, Set::len)
    }

    /// The ids of the `set`-th set.
    pub(crate) fn ids(&self, set: usize) -> IdSet {
        self.sets.get(set).map(|set| set.to_id_set(&self.bytes)).unwrap_or_default()
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rules({:?}, revision {}, {} services)", self.tenant, self.revision, self.services.len())
    }
}

// === impl LoadedService ===

impl LoadedService {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of requests that are not gray.
    #[must_use]
    pub fn stable(&self) -> &str {
        &self.stable
    }

    /// The version of gray requests, where there is one.
    #[must_use]
    pub fn gray(&self) -> Option<&str> {
        self.release.as_ref().map(|(gray, _)| gray.as_str())
    }
}

// === impl LoadedTable ===

impl LoadedTable {
    fn to_table(&self, ids: impl Fn(usize) -> Arc<IdSet>) -> Table {
        let group = |(entry, set): &(Entry, usize)| Group { entry: *entry, ids: ids(*set) };
        Table {
            plan: self.plan.clone(),
            stages: self.stages.clone(),
            levels: self.levels.iter().map(|groups| groups.iter().map(group).collect()).collect(),
            all: self.all,
        }
    }
}
