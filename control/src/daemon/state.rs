//! Everything the daemon knows, in memory as in the store.

mod draft;
mod load;
mod orders;

pub(crate) use draft::{Draft, Drafted, Proxies};

use crate::audit::Head;
use crate::daemon::ActionError;
use crate::daemon::once::Answers;
use bytes::Bytes;
use graylane_order::{Freeze, Order};
use graylane_plan::{ReleasePlan, Tenant};
use graylane_rules::{IdSet, Rules};
use graylane_store::{Store, StoreError};
use jiff::Timestamp;
use orders::Orders;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state, and which commit wrote each value of it: that is the value's version.
pub(crate) struct Known {
    pub(crate) state: State,
    version_by_key: BTreeMap<String, u64>,
    /// The revision of the last commit.
    revision: u64,
    /// The epoch in which this daemon writes.
    epoch: u64,
    /// Whether a write failed, so that the store may hold what this does not say.
    is_uncertain: bool,
    /// What was done by a key that may come again.
    pub(crate) answers: Answers,
}

/// All that actions read and change. A clone shares tenants, orders, ids and rules.
#[derive(Clone, Default)]
pub(crate) struct State {
    /// A change copies the tenant that it touches.
    pub(crate) tenants: BTreeMap<String, Arc<TenantState>>,
    pub(crate) orders: Orders,
    /// The ids of every list that a tenant or an active order names, by content hash.
    pub(crate) ids_by_hash: BTreeMap<String, Arc<IdSet>>,
    /// The end of the audit log.
    pub(crate) audit: Head,
    /// The audit record up to which each webhook told everything, by its name.
    pub(crate) delivered: BTreeMap<String, u64>,
}

/// Where the end of the audit log is stored: apart from it, so that a log that was cut is found out.
const AUDIT_HEAD: &str = "audit/head";

/// What belongs to one tenant.
#[derive(Clone)]
pub(crate) struct TenantState {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) plans: BTreeMap<String, Arc<StoredPlan>>,
    pub(crate) lists: BTreeMap<String, StoredList>,
    pub(crate) baselines: BTreeMap<String, Baseline>,
    /// Whether its line is stopped.
    pub(crate) freeze: Option<Arc<Freeze>>,
    /// What its proxies refused, by the hash of the content.
    pub(crate) refusals: BTreeMap<u64, Arc<RefusalRecord>>,
    /// What proxies get while the rules that they should run are tried or held back.
    pub(crate) fallback: Option<Arc<FallbackRecord>>,
    /// The rules that proxies should run.
    pub(crate) published: Option<Arc<Published>>,
}

/// A plan as it was applied last.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredPlan {
    pub(crate) plan: Arc<ReleasePlan>,
    pub(crate) applied_at: Timestamp,
    /// By whom; none in plans that were stored before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) applied_by: Option<String>,
}

/// A named list: its ids are a blob.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredList {
    pub(crate) hash: String,
    pub(crate) ids: usize,
    /// Who uploaded it; none for lists that were stored before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) put_by: Option<String>,
}

/// The version of a service outside any order, where an order changed it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Baseline {
    pub(crate) hosts: Vec<String>,
    pub(crate) version: String,
    /// What routes choose with no header: the plan's stable version when the service's first order finished.
    pub(crate) route_default: String,
}

/// A published rule set.
pub(crate) struct Published {
    pub(crate) rules: Arc<Rules>,
    /// How many proxies were there when it was published: as many are waited for after a restart.
    pub(crate) proxies: usize,
    /// Whether it takes people back, so that it goes to everybody at once.
    pub(crate) is_firm: bool,
}

/// What the store keeps of a published rule set; the rest is compiled again.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublishedRecord {
    pub(crate) revision: u64,
    pub(crate) content_hash: u64,
    pub(crate) proxies: usize,
    #[serde(default, rename = "firm", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_firm: bool,
}

/// What proxies get while newer rules are tried or held back: it did well.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FallbackRecord {
    pub(crate) revision: u64,
    pub(crate) content_hash: u64,
    /// SHA-256 of its bytes, which are a blob.
    pub(crate) hash: String,
}

/// What a proxy refused, and nobody is sent since.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefusalRecord {
    /// Under which number.
    pub(crate) revision: u64,
    pub(crate) node: String,
    /// Why, in its words.
    pub(crate) message: String,
    pub(crate) at: Timestamp,
}

/// How far a webhook got.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryRecord {
    /// The audit record up to which it told everything.
    pub(crate) record: u64,
}

// === impl Known ===

impl Known {
    /// The version of a value: the revision of the commit that wrote it. 0 when there is no such value.
    pub(crate) fn version(&self, key: &str) -> u64 {
        self.version_by_key.get(key).copied().unwrap_or_default()
    }

    /// The revision of the last commit.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether a write failed, so that only a new start can tell what is on disk.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.is_uncertain
    }

    /// The revision of the commit that wrote an order.
    pub(crate) fn order_revision(&self, id: u64) -> u64 {
        self.version(&order_key(id))
    }

    /// Writes what a draft changed, and makes it the state.
    pub(crate) fn commit(&mut self, draft: Drafted, store: &dyn Store) -> Result<(), ActionError> {
        if self.is_uncertain {
            // Also what would change nothing: that it is so already is what nobody knows.
            return Err(StoreError::Uncertain.into());
        }
        let Drafted { mut state, mut txn, kept } = draft;
        if txn.puts.is_empty() && txn.deletes.is_empty() {
            self.state = state;
            return Ok(());
        }
        txn.blob_deletes.extend(state.forget_ids());
        txn.epoch = self.epoch;
        let keys = txn.puts.iter().map(|(key, _)| key).chain(&txn.deletes);
        txn.expects = keys.map(|key| (key.clone(), self.version_by_key.get(key).copied())).collect();
        let committed = store.commit(&txn);
        self.is_uncertain = matches!(committed, Err(StoreError::Failed(_)));
        let revision = committed?;
        self.revision = revision;
        for (key, _) in txn.puts {
            self.version_by_key.insert(key, revision);
        }
        for key in &txn.deletes {
            self.version_by_key.remove(key);
        }
        if let Some(kept) = kept {
            self.answers.keep(kept);
        }
        self.state = state;
        Ok(())
    }
}

// === impl State ===

impl State {
    /// Forgets the ids of lists that nothing names any more, and gives their hashes.
    fn forget_ids(&mut self) -> Vec<String> {
        let hashes = self.hashes();
        self.ids_by_hash.extract_if(.., |hash, _| !hashes.contains(hash)).map(|(hash, _)| hash).collect()
    }

    fn hashes(&self) -> std::collections::BTreeSet<String> {
        let of_tenants =
            self.tenants.values().flat_map(|tenant| tenant.lists.values().map(|list| &list.hash));
        of_tenants
            .chain(
                self.orders.active().flat_map(|order| order.lists_by_stage.iter().flat_map(BTreeMap::values)),
            )
            .cloned()
            .collect()
    }

    /// The active orders of a tenant, oldest first.
    pub(crate) fn active_orders<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = &'a Arc<Order>> {
        self.orders.active().filter(move |order| order.tenant() == tenant)
    }
}

// === impl TenantState ===

impl TenantState {
    pub(crate) fn new(tenant: Tenant) -> Self {
        Self {
            tenant: Arc::new(tenant),
            plans: BTreeMap::new(),
            lists: BTreeMap::new(),
            baselines: BTreeMap::new(),
            freeze: None,
            refusals: BTreeMap::new(),
            fallback: None,
            published: None,
        }
    }
}

// === impl Published ===

impl Published {
    /// The rules as proxies get them: the bytes that are loaded, not a copy.
    pub(crate) fn bytes(&self) -> Bytes {
        struct Loaded(Arc<Rules>);
        impl AsRef<[u8]> for Loaded {
            fn as_ref(&self) -> &[u8] {
                self.0.bytes()
            }
        }
        Bytes::from_owner(Loaded(Arc::clone(&self.rules)))
    }
}

// === impl Baseline ===

impl From<&Baseline> for graylane_plan::Baseline {
    fn from(baseline: &Baseline) -> Self {
        Self { version: baseline.version.clone(), hosts: baseline.hosts.clone() }
    }
}

pub(crate) fn read<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, ActionError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ActionError::Unreadable { key: key.to_owned(), message: error.to_string() })
}

/// The key of a plan.
pub(crate) fn plan_key(tenant: &str, name: &str) -> String {
    format!("plan/{tenant}/{name}")
}

/// The key of a named list.
pub(crate) fn list_key(tenant: &str, name: &str) -> String {
    format!("list/{tenant}/{name}")
}

/// The key of a service's baseline.
pub(crate) fn baseline_key(tenant: &str, service: &str) -> String {
    format!("baseline/{tenant}/{service}")
}

/// The key of a tenant's stopped line.
pub(crate) fn freeze_key(tenant: &str) -> String {
    format!("freeze/{tenant}")
}

/// The key of a content that a proxy refused.
pub(crate) fn refusal_key(tenant: &str, content: u64) -> String {
    format!("refusal/{tenant}/{content:016x}")
}

/// The key of what a tenant's proxies fall back on.
pub(crate) fn fallback_key(tenant: &str) -> String {
    format!("fallback/{tenant}")
}

/// The key of how far a webhook got.
pub(crate) fn webhook_key(name: &str) -> String {
    format!("webhook/{name}")
}

/// The key of what was published last for a tenant.
pub(crate) fn rules_key(tenant: &str) -> String {
    format!("rules/{tenant}")
}

/// The key of an order; keys sort as the numbers do.
pub(crate) fn order_key(id: u64) -> String {
    format!("order/{id:020}")
}
