//! Which metrics there are, what they are called, and which one a request counts in.
//!
//! No name holds an id of a teller, branch or region: those are personal data, and without bound.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::hash::{BuildHasherDefault, Hasher};
use graylane_rules::{Decision, Level, Reason, Rules, xxh64};
use hashbrown::HashMap;

/// Counter: requests whose decision is stable because a dimension's header occurred more than once.
pub const AMBIGUOUS: &str = "graylane_ambiguous";

/// Counter: requests with a value over the limit, whose dimension then counts as absent.
pub const OVERSIZE: &str = "graylane_oversize";

/// Counter: configurations that could not be read. Every VM of a proxy counts for itself.
pub const CONFIG_REJECTIONS: &str = "graylane_config_rejections";

/// Gauge: 1 while the newest configuration could not be read and earlier rules (or none) serve, else 0.
pub const CONFIG_REJECTED: &str = "graylane_config_rejected";

/// Gauge: the revision of the rules that serve.
pub const REVISION: &str = "graylane_revision";

/// Series of one VM. A proxy never forgets a metric, so one that sees ever new services must stop somewhere; 4,096 are
/// several hundred services with two versions and the levels that they meet.
pub const MAX_SERIES: usize = 4_096;

/// The counter of the requests whose own series would be over [`MAX_SERIES`].
pub const OTHER: &str = "graylane_requests.service.other.version.other.level.other";

/// The ids that the proxy gave to metric names, for the life of a VM: so a reload defines nothing anew.
#[derive(Debug, Default)]
pub struct Registry {
    /// The id of each name, none where the proxy refused, which is not asked again.
    id_by_name: HashMap<String, Option<u32>, BuildHasherDefault<Xxh64>>,
}

/// The hash that the module has anyway: the map's own would be 3 KB more.
#[derive(Debug, Default)]
struct Xxh64(u64);

/// The request counters of one rule set, by service, version and level.
#[derive(Debug)]
pub struct RequestCounters {
    /// The number of levels: the dimensions, `all`, `none` and `ambiguous`.
    levels: usize,
    /// What is known of each counter's id: nothing before its first request. For each service the levels of the stable
    /// version, then those of the gray one.
    ids: Vec<Cell<Option<Option<u32>>>>,
}

// === impl Registry ===

impl Registry {
    /// The id of `name`, by way of `define` when it is new. Past [`MAX_SERIES`] every new name is [`OTHER`].
    pub fn id(&mut self, name: &str, define: &dyn Fn(&str) -> Option<u32>) -> Option<u32> {
        let name = match self.id_by_name.get(name) {
            Some(id) => return *id,
            None if self.id_by_name.len() < MAX_SERIES => name,
            None => OTHER,
        };
        *self.id_by_name.entry_ref(name).or_insert_with(|| define(name))
    }
}

// === impl Xxh64 ===

impl Hasher for Xxh64 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh64(self.0, bytes);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

// === impl RequestCounters ===

impl RequestCounters {
    /// The counters of `rules`, none of them defined yet.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        let levels = rules.dimensions().len() + 3;
        Self { levels, ids: vec![Cell::new(None); rules.services().len() * 2 * levels] }
    }

    /// The id of the counter of a request with this decision by `rules`, the ones of [`RequestCounters::new`]. `define`
    /// is asked once for each counter. None for an unknown host, or where the proxy refused the metric.
    #[inline]
    pub fn id(
        &self,
        rules: &Rules,
        decision: &Decision<'_>,
        define: impl FnOnce(&str) -> Option<u32>,
    ) -> Option<u32> {
        let at = (decision.service? * 2 + usize::from(decision.reason.is_gray())) * self.levels;
        let slot = self.ids.get(at + self.level(decision.reason))?;
        match slot.get() {
            Some(id) => id,
            None => {
                let id = define(&series(rules, decision)?);
                slot.set(Some(id));
                id
            }
        }
    }

    /// The place of a reason's level among the levels of a version.
    fn level(&self, reason: Reason) -> usize {
        match reason {
            Reason::Entry(Level::Dimension(dimension), _) => usize::from(dimension),
            Reason::Entry(Level::All, _) => self.levels - 3,
            Reason::NoEntry | Reason::NoService => self.levels - 2,
            Reason::Ambiguous => self.levels - 1,
        }
    }
}

/// The name of a request counter.
#[cold]
fn series(rules: &Rules, decision: &Decision<'_>) -> Option<String> {
    let service = rules.services().get(decision.service?)?.name();
    let level = match decision.reason {
        Reason::Entry(Level::Dimension(dimension), _) => {
            &rules.dimensions().get(usize::from(dimension))?.name
        }
        Reason::Entry(Level::All, _) => "all",
        Reason::NoEntry | Reason::NoService => "none",
        Reason::Ambiguous => "ambiguous",
    };
    let version = decision.version?;
    Some(["graylane_requests.service.", service, ".version.", version, ".level.", level].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use core::cell::RefCell;
    use graylane_rules::{cases, encode};

    fn rules() -> Rules {
        Rules::load(encode(&cases::load().rules, 1).unwrap()).unwrap()
    }

    #[test]
    fn each_case_counts_by_service_version_and_level() {
        let rules = rules();
        let counters = RequestCounters::new(&rules);
        for case in cases::load().cases {
            let headers = case.headers();
            let values = rules.values(headers.iter().map(|(name, value)| (&name[..], &value[..])));
            let decision = rules.decide(case.host.as_bytes(), &values);
            let service = decision.service.map(|service| rules.services()[service].name());
            let expected = service.map(|service| {
                let level = match case.verdict.as_str() {
                    "ambiguous" => "ambiguous",
                    _ => case.level.as_deref().unwrap_or("none"),
                };
                let version = case.version.as_deref().unwrap();
                format!("graylane_requests.service.{service}.version.{version}.level.{level}")
            });
            assert_eq!(series(&rules, &decision), expected, "{}", case.name);
            // A counter's place tells its name: whoever comes second gets the id that the first one's name gave.
            let id = counters.id(&rules, &decision, |name| Some(name.len() as u32));
            assert_eq!(id, expected.map(|name| name.len() as u32), "{}", case.name);
        }
    }

    #[test]
    fn a_counter_is_defined_once_and_a_refused_one_is_not_asked_for_again() {
        let rules = rules();
        let counters = RequestCounters::new(&rules);
        let decision = rules.decide(b"loan", &rules.values([]));
        assert_eq!(counters.id(&rules, &decision, |_| Some(7)), Some(7));
        assert_eq!(counters.id(&rules, &decision, |name| panic!("{name} again")), Some(7));
        let decision = rules.decide(b"ledger.retail.svc.cluster.local", &rules.values([]));
        assert_eq!(counters.id(&rules, &decision, |_| None), None);
        assert_eq!(counters.id(&rules, &decision, |name| panic!("{name} again")), None);
    }

    #[test]
    fn the_registry_defines_a_name_once_and_is_bounded() {
        let mut registry = Registry::default();
        let defined = RefCell::new(Vec::new());
        for round in 0..2 {
            for number in 0..2 * MAX_SERIES {
                let id = registry.id(&format!("series{number}"), &|name| {
                    defined.borrow_mut().push(name.to_owned());
                    Some(defined.borrow().len() as u32)
                });
                assert_eq!(id, Some((number + 1).min(MAX_SERIES + 1) as u32), "round {round}");
            }
        }
        assert_eq!(defined.borrow().len(), MAX_SERIES + 1);
        assert_eq!(defined.borrow().last().unwrap(), OTHER);
    }
}
