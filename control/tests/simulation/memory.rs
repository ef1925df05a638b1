//! Everything that a daemon can be asked for, to compare it with what another one knows.

use graylane::audit::Head;
use graylane::daemon::{Daemon, OrderFilter};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Records of the audit log that are read at once.
const PAGE: usize = 64;

/// What a daemon knows, each thing as it tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(BTreeMap<String, String>);

/// All orders, however many.
pub const ALL_ORDERS: OrderFilter = OrderFilter::EVERY;

// === impl Memory ===

impl Memory {
    pub fn of(daemon: &Daemon) -> Self {
        let mut all = BTreeMap::new();
        for summary in daemon.orders(&ALL_ORDERS) {
            let mut order = json!(daemon.order(summary.id).unwrap());
            // What changes with the proxies and with time alone.
            order["convergence"] = Value::Null;
            order["waitsFor"] = Value::Null;
            order["stage"]["holdLeftSeconds"] = Value::Null;
            order["nextStage"]["window"] = Value::Null;
            for service in order["services"].as_array_mut().unwrap() {
                (service["converged"], service["total"]) = (Value::Null, Value::Null);
            }
            all.insert(format!("order {}", summary.id), order.to_string());
        }
        for plan in daemon.plans() {
            let view = daemon.plan(&plan.tenant, &plan.name).unwrap();
            all.insert(format!("plan {} of {}", plan.name, plan.tenant), json!(view).to_string());
            if let Ok(rules) = daemon.rules(&plan.tenant) {
                all.insert(format!("rules of {}", plan.tenant), json!(rules).to_string());
            }
        }
        for list in daemon.lists() {
            let text = daemon.list(&list.tenant, &list.name).unwrap();
            all.insert(format!("list {} of {}", list.name, list.tenant), json!([list, text]).to_string());
        }
        for baseline in daemon.baselines() {
            let key = format!("baseline {} of {}", baseline.service, baseline.tenant);
            all.insert(key, json!(baseline).to_string());
        }
        all.insert("stopped lines".to_owned(), json!(daemon.freezes()).to_string());
        all.insert("audit".to_owned(), json!(head(daemon)).to_string());
        Self(all)
    }

    /// The first thing that is not the same, with both sides.
    pub fn difference(&self, other: &Self) -> String {
        let keys = self.0.keys().chain(other.0.keys());
        let mut differ = keys.filter(|key| self.0.get(*key) != other.0.get(*key));
        let Some(key) = differ.next() else { return "nothing differs".to_owned() };
        format!("{key}\n    is  {:?}\n    not {:?}", self.0.get(key), other.0.get(key))
    }
}

/// The end of the audit log, as the daemon tells it.
pub fn head(daemon: &Daemon) -> Head {
    daemon.audit(u64::MAX - 1, 0).unwrap().head
}

/// A reader of the audit log, which remembers how far it came.
#[derive(Clone, Default)]
pub struct AuditReader {
    number: u64,
    hash: Option<String>,
}

// === impl AuditReader ===

impl AuditReader {
    /// Reads on to the end. Gives what is wrong, if anything is: a record that is missing, changed, or follows another
    /// than the one before it; or an end that is not the last record.
    pub fn read_on(&mut self, daemon: &Daemon) -> Option<String> {
        loop {
            let page = daemon.audit(self.number, PAGE).unwrap();
            for line in &page.records {
                if let Some(wrong) = self.follow(line) {
                    return Some(format!("audit record {}: {wrong}", self.number + 1));
                }
            }
            if page.records.len() < PAGE {
                let (number, hash) = (page.head.number, page.head.hash);
                let is_end = number == self.number && self.hash.as_ref().is_none_or(|last| *last == hash);
                return (!is_end)
                    .then(|| format!("the audit log ends at {}, its head says {number}", self.number));
            }
        }
    }

    /// By the words of the format alone: the hash is over the line with the hash itself left empty, which comes last.
    fn follow(&mut self, line: &str) -> Option<String> {
        let record: Value = serde_json::from_str(line).ok()?;
        let hash = record["hash"].as_str().unwrap_or_default().to_owned();
        let Some(unsigned) = line.strip_suffix(&format!("{hash}\"}}")) else {
            return Some("does not end with its hash".to_owned());
        };
        let digest = Sha256::digest(format!("{unsigned}\"}}"));
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if digest != hash {
            return Some("does not have its hash".to_owned());
        }
        let previous = self.hash.clone().unwrap_or_else(|| "0".repeat(64));
        if record["previous"] != json!(previous) || record["number"] != json!(self.number + 1) {
            return Some("does not follow the one before it".to_owned());
        }
        (self.number, self.hash) = (self.number + 1, Some(hash));
        None
    }
}
