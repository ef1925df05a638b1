//! What one VM keeps over all its configurations. A proxy has a VM for each worker and one for its main thread; each new
//! configuration makes a new root context in them, and this is where it finds what came before.

use crate::configuration;
use crate::host::{self, MetricKind, Severity};
use crate::metrics::{self, Registry, RequestCounters};
use core::fmt::Display;
use graylane_rules::Rules;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Plugins whose last good rules a VM keeps. Only plugins with the same code and `vm_id` share a VM, so there are few.
const MAX_PLUGINS: usize = 64;

/// Bytes of the reason in a log line. A reason may quote what was configured, at any length.
const MAX_REASON_BYTES: usize = 1_024;

thread_local! {
    static VM: RefCell<Vm> = const { RefCell::new(Vm::new()) };
}

/// Rules that serve, with the counters of their requests.
pub struct Serving {
    /// The rules.
    pub rules: Rules,
    /// What their requests count in.
    pub counters: RequestCounters,
}

struct Vm {
    is_announced: bool,
    metrics: Option<Registry>,
    last_good_by_plugin: BTreeMap<Vec<u8>, Rc<Serving>>,
}

/// Says once which filter this is, so that a log tells what ran.
pub fn announce() {
    with(|vm| {
        if !std::mem::replace(&mut vm.is_announced, true) {
            host::log(Severity::Info, concat!("graylane filter ", env!("CARGO_PKG_VERSION")));
        }
    });
}

/// Reads a plugin's new configuration of so many bytes. What it gives shall serve: the rules that it holds; those
/// before it, if it cannot be read; or none.
pub fn configure(bytes: usize) -> Option<Rc<Serving>> {
    // A proxy that does not tell the name has one plugin, as far as this VM knows.
    let plugin = host::plugin_name().unwrap_or_default();
    let rules = match host::configuration(bytes) {
        _ if bytes == 0 => Ok(None),
        Ok(configuration) => configuration::read(configuration).map_err(|error| error.to_string()),
        Err(host::Refused(status)) => Err(format!("the proxy does not hand it over, status {status}")),
    };
    with(|vm| match rules {
        Ok(rules) => vm.accept(plugin, rules),
        Err(reason) => vm.reject(&plugin, &reason),
    })?
}

/// Adds one to the counter of this name.
pub fn count(name: &str) {
    if let Some(id) = counter(name) {
        increment(id);
    }
}

/// Adds one to the counter with this id.
pub fn increment(id: u32) {
    // The proxy knows the ids that it gave; if it counts no more, requests go on all the same.
    let _ = host::increment(id);
}

/// The id of the counter of this name. None where the proxy refused it.
pub fn counter(name: &str) -> Option<u32> {
    with(|vm| vm.metric(MetricKind::Counter, name))?
}

/// Host calls never come back in here, so the VM is always free; if it were not, nothing would be better than a trap.
fn with<T>(act: impl FnOnce(&mut Vm) -> T) -> Option<T> {
    VM.with(|vm| vm.try_borrow_mut().ok().map(|mut vm| act(&mut vm)))
}

// === impl Vm ===

impl Vm {
    const fn new() -> Self {
        Self { is_announced: false, metrics: None, last_good_by_plugin: BTreeMap::new() }
    }

    fn accept(&mut self, plugin: Vec<u8>, rules: Option<Rules>) -> Option<Rc<Serving>> {
        self.record(metrics::CONFIG_REJECTED, 0);
        self.record(metrics::REVISION, rules.as_ref().map_or(0, Rules::revision));
        let Some(rules) = rules else {
            self.last_good_by_plugin.remove(&plugin);
            host::log(Severity::Info, "no rules, all requests are stable");
            return None;
        };
        let (revision, services) = (rules.revision(), rules.services().len());
        let (tenant, content) = (rules.tenant(), rules.content_hash());
        let line =
            format!("rules of {tenant} at revision {revision}, content {content:016x}, services {services}");
        host::log(Severity::Info, &line);
        Some(self.keep(plugin, rules))
    }

    /// Makes `rules` the plugin's last good ones. The same bytes once more share the memory of those that serve.
    fn keep(&mut self, plugin: Vec<u8>, rules: Rules) -> Rc<Serving> {
        let last_good = self.last_good_by_plugin.get(&plugin);
        if let Some(same) = last_good.filter(|last_good| last_good.rules.bytes() == rules.bytes()) {
            return Rc::clone(same);
        }
        let serving = Rc::new(Serving { counters: RequestCounters::new(&rules), rules });
        if last_good.is_some() || self.last_good_by_plugin.len() < MAX_PLUGINS {
            self.last_good_by_plugin.insert(plugin, Rc::clone(&serving));
        }
        serving
    }

    fn reject(&mut self, plugin: &[u8], reason: &str) -> Option<Rc<Serving>> {
        self.record(metrics::CONFIG_REJECTED, 1);
        if let Some(id) = self.metric(MetricKind::Counter, metrics::CONFIG_REJECTIONS) {
            increment(id);
        }
        let last_good = self.last_good_by_plugin.get(plugin).cloned();
        let serves: &dyn Display = match &last_good {
            Some(last_good) => &format_args!("revision {} still serves", last_good.rules.revision()),
            None => &"no rules before it, all requests are stable",
        };
        let reason = reason.get(..reason.floor_char_boundary(MAX_REASON_BYTES)).unwrap_or(reason);
        host::log(Severity::Warn, &format!("configuration rejected, {serves}: {reason}"));
        last_good
    }

    fn record(&mut self, name: &str, value: u64) {
        if let Some(id) = self.metric(MetricKind::Gauge, name) {
            // As with counters: a proxy that refuses gets its requests served all the same.
            let _ = host::record(id, value);
        }
    }

    /// The id of a metric. With the first one all that have no labels come to be, so that alerts find a zero.
    fn metric(&mut self, kind: MetricKind, name: &str) -> Option<u32> {
        let define = |kind| move |name: &str| host::define_metric(kind, name).ok();
        let registry = self.metrics.get_or_insert_with(|| {
            let mut registry = Registry::default();
            for name in [metrics::AMBIGUOUS, metrics::OVERSIZE, metrics::CONFIG_REJECTIONS] {
                registry.id(name, define(MetricKind::Counter));
            }
            for name in [metrics::CONFIG_REJECTED, metrics::REVISION] {
                registry.id(name, define(MetricKind::Gauge));
            }
            registry
        });
        registry.id(name, define(kind))
    }
}
