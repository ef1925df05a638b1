//! What serves in one VM. A proxy has a VM for each worker and one for its main thread, and all plugins with the same
//! code and `vm_id` share it: with an empty `vm_id`, as Istio has it, all plugins with the same code.
//!
//! A plugin is known by its name. A new configuration of a name takes the place of the one before in all requests
//! whose headers come later, and what it replaces is freed: no request holds rules. So two plugins of one proxy that
//! shall have different rules need different names.
//!
//! Known flaw: a proxy does not configure again what it still holds. If it goes back to the very bytes of an earlier
//! configuration while a stream or a draining listener holds that one, the later rules go on serving. Rules of the daemon
//! have their revision in them, so their bytes never come back; hand-written ones need another `revision`.

use crate::abi::{MetricKind, Severity};
use crate::configuration::{self, MAX_CONFIGURATION_BYTES};
use crate::header_map::NameLengths;
use crate::host::{self, Alone};
use crate::metrics::{self, Registry, RequestCounters};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::mem;
use graylane_rules::Rules;

/// Plugins of one VM: the tenants, or Istio's plugins, that meet in one proxy. The requests of one over the limit are
/// stable.
const MAX_PLUGINS: usize = 64;

/// Bytes of the reason in a log line. A reason may quote what was configured, at any length.
const MAX_REASON_BYTES: usize = 1_024;

static VM: Alone<RefCell<Vm>> = Alone(RefCell::new(Vm::new()));

/// Rules that serve, and what their requests need beside them.
pub struct Serving {
    /// The rules.
    pub rules: Rules,
    /// What their requests count in.
    pub counters: RequestCounters,
    /// The lengths of the names of the headers that matter.
    pub lengths: NameLengths,
}

/// A VM.
pub struct Vm {
    /// The plugins in the order in which they came.
    plugins: Vec<Plugin>,
    /// What the proxy counts for this VM.
    pub metrics: Metrics,
    is_announced: bool,
}

/// A plugin, and the last rules of it that were good.
struct Plugin {
    name: Vec<u8>,
    serving: Option<Serving>,
}

/// The metrics of a VM.
pub struct Metrics(Option<Registry>);

/// Reads the new configuration, of so many bytes, of the plugin that is being configured. From then on its requests
/// have the rules that it holds; those before it, if it cannot be read; or none.
#[cold]
pub fn configure(bytes: usize) {
    // A proxy that does not tell the name has one plugin, as far as this VM knows.
    let name = host::plugin_name().map(|name| name.to_vec()).unwrap_or_default();
    let rules = read(bytes);
    with(|vm| {
        vm.announce();
        match rules {
            Ok(rules) => vm.accept(&name, rules),
            Err(reason) => vm.reject(&name, &reason),
        }
    });
}

/// Gives the VM to `act`. Host calls never come back in here, so it is always free; if it were not, nothing would be
/// better than a trap.
#[inline]
pub fn with(act: impl FnOnce(&mut Vm)) {
    if let Ok(mut vm) = VM.0.try_borrow_mut() {
        act(&mut vm);
    }
}

fn read(bytes: usize) -> Result<Option<Rules>, String> {
    if bytes == 0 {
        return Ok(None);
    }
    // What is too long is not even copied: a VM never gives memory back to the proxy.
    configuration::within("bytes of the configuration", bytes, MAX_CONFIGURATION_BYTES)
        .map_err(|error| error.to_string())?;
    let configuration = host::configuration(bytes)
        .map_err(|host::Refused(status)| format!("the proxy does not hand it over, status {status}"))?;
    configuration::read(configuration).map_err(|error| error.to_string())
}

// === impl Vm ===

impl Vm {
    const fn new() -> Self {
        Self { plugins: Vec::new(), metrics: Metrics(None), is_announced: false }
    }

    /// What serves the plugin whose request this is. To ask for its name costs as much as to read all headers, so it
    /// is only done where there is a choice.
    #[inline]
    pub fn of_this_request(&mut self) -> (Option<&Serving>, &mut Metrics) {
        let plugin = match self.plugins.as_slice() {
            [plugin] => Some(plugin),
            plugins => named(plugins),
        };
        (plugin.and_then(|plugin| plugin.serving.as_ref()), &mut self.metrics)
    }

    /// Says once which filter this is, so that a log tells what ran.
    fn announce(&mut self) {
        if !mem::replace(&mut self.is_announced, true) {
            host::log(Severity::Info, concat!("graylane filter ", env!("CARGO_PKG_VERSION")));
        }
    }

    fn accept(&mut self, name: &[u8], rules: Option<Rules>) {
        self.metrics.record(metrics::CONFIG_REJECTED, 0);
        self.metrics.record(metrics::REVISION, rules.as_ref().map_or(0, Rules::revision));
        match &rules {
            None => host::log(Severity::Info, "no rules, all requests are stable"),
            Some(rules) => host::log(Severity::Info, &described(rules)),
        }
        let Some(plugin) = self.plugin(name) else { return };
        let serves = plugin.serving.as_ref().map(|serving| serving.rules.bytes());
        // The same bytes once more would only move.
        if rules.is_none() || serves != rules.as_ref().map(Rules::bytes) {
            plugin.serving = rules.map(Serving::new);
        }
    }

    fn reject(&mut self, name: &[u8], reason: &str) {
        self.metrics.record(metrics::CONFIG_REJECTED, 1);
        self.metrics.count(metrics::CONFIG_REJECTIONS);
        let serving = self.plugin(name).and_then(|plugin| plugin.serving.as_ref());
        let serves = match serving {
            Some(Serving { rules, .. }) => format!("revision {} still serves", rules.revision()),
            None => "no rules before it, all requests are stable".to_string(),
        };
        let reason = reason.get(..reason.floor_char_boundary(MAX_REASON_BYTES)).unwrap_or(reason);
        // It may quote what was configured, and is one line all the same.
        let reason = reason.replace(char::is_control, " ");
        host::log(Severity::Warn, &format!("configuration rejected, {serves}: {reason}"));
    }

    /// The plugin of this name, which is known from now on. None where there are too many.
    fn plugin(&mut self, name: &[u8]) -> Option<&mut Plugin> {
        let known = self.plugins.iter().position(|plugin| plugin.name == name);
        if known.is_none() && self.plugins.len() == MAX_PLUGINS {
            // One that has no rules is treated as one that is not known.
            let idle = self.plugins.iter().position(|plugin| plugin.serving.is_none());
            let Some(idle) = idle else {
                let line =
                    format!("over the limit of {MAX_PLUGINS} plugins of one VM, its requests are stable");
                host::log(Severity::Warn, &line);
                return None;
            };
            self.plugins.swap_remove(idle);
        }
        let at = known.unwrap_or(self.plugins.len());
        if known.is_none() {
            self.plugins.push(Plugin { name: name.to_vec(), serving: None });
        }
        self.plugins.get_mut(at)
    }
}

/// The plugin that the proxy names.
#[cold]
fn named(plugins: &[Plugin]) -> Option<&Plugin> {
    if plugins.is_empty() {
        return None;
    }
    let name = host::plugin_name().ok();
    let name = name.as_deref().unwrap_or_default();
    plugins.iter().find(|plugin| plugin.name == name)
}

fn described(rules: &Rules) -> String {
    let (revision, services) = (rules.revision(), rules.services().len());
    let (tenant, content) = (rules.tenant(), rules.content_hash());
    format!("rules of {tenant} at revision {revision}, content {content:016x}, services {services}")
}

// === impl Serving ===

impl Serving {
    fn new(rules: Rules) -> Self {
        Self { counters: RequestCounters::new(&rules), lengths: NameLengths::of(&rules), rules }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Adds one to the counter of this name.
    #[cold]
    pub fn count(&mut self, name: &str) {
        if let Some(id) = self.counter(name) {
            increment(id);
        }
    }

    /// The id of the counter of this name. None where the proxy refused it.
    #[cold]
    pub fn counter(&mut self, name: &str) -> Option<u32> {
        self.id(MetricKind::Counter, name)
    }

    fn record(&mut self, name: &str, value: u64) {
        if let Some(id) = self.id(MetricKind::Gauge, name) {
            // As with counters: a proxy that refuses gets its requests served all the same.
            let _ = host::record(id, value);
        }
    }

    /// The id of a metric. With the first one all that have no labels come to be, so that alerts find a zero.
    fn id(&mut self, kind: MetricKind, name: &str) -> Option<u32> {
        let registry = self.0.get_or_insert_with(|| {
            let mut registry = Registry::default();
            for name in [metrics::AMBIGUOUS, metrics::OVERSIZE, metrics::CONFIG_REJECTIONS] {
                registry.id(name, &|name| define(MetricKind::Counter, name));
            }
            for name in [metrics::CONFIG_REJECTED, metrics::REVISION] {
                registry.id(name, &|name| define(MetricKind::Gauge, name));
            }
            registry
        });
        registry.id(name, &|name| define(kind, name))
    }
}

/// Adds one to the counter with this id.
#[inline]
pub fn increment(id: u32) {
    // The proxy knows the ids that it gave; if it counts no more, requests go on all the same.
    let _ = host::increment(id);
}

fn define(kind: MetricKind, name: &str) -> Option<u32> {
    host::define_metric(kind, name).ok()
}
