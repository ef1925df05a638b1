//! Everything the daemon knows, in memory as in the store.

use crate::daemon::ActionError;
use crate::store::{Store, Transaction};
use bytes::Bytes;
use graylane_order::Order;
use graylane_plan::{Lists, ReleasePlan, Tenant};
use graylane_rules::{IdSet, Rules};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All of it. A clone is cheap: what is large is shared.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) tenants: BTreeMap<String, TenantState>,
    pub(crate) orders: BTreeMap<u64, Arc<Order>>,
    /// The ids of every list that a tenant or an active order names, by content hash.
    pub(crate) ids_by_hash: BTreeMap<String, Arc<IdSet>>,
    /// The store's revision of each value.
    revision_by_key: BTreeMap<String, u64>,
}

/// What belongs to one tenant.
#[derive(Clone)]
pub(crate) struct TenantState {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) plans: BTreeMap<String, Arc<StoredPlan>>,
    pub(crate) lists: BTreeMap<String, StoredList>,
    pub(crate) baselines: BTreeMap<String, Baseline>,
    /// The rules that proxies should run.
    pub(crate) published: Option<Arc<Published>>,
}

/// A plan as it was applied last.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredPlan {
    pub(crate) plan: ReleasePlan,
    pub(crate) version: u64,
    pub(crate) applied_at: Timestamp,
}

/// A named list: its ids are a blob.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredList {
    pub(crate) hash: String,
    pub(crate) ids: usize,
    pub(crate) version: u64,
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
    pub(crate) rules: Rules,
    pub(crate) bytes: Bytes,
}

/// What the store keeps of a published rule set; the rest is compiled again.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublishedRecord {
    pub(crate) revision: u64,
    pub(crate) content_hash: u64,
}

/// A state that is being changed, and the transaction that makes the change last.
pub(crate) struct Draft {
    pub(crate) state: State,
    txn: Transaction,
    /// Whether the rules of some tenant changed.
    pub(crate) has_new_rules: bool,
}

// === impl State ===

impl State {
    /// Reads everything from the store.
    pub(crate) fn load(store: &Store, tenant: impl Fn(&str) -> Tenant) -> Result<Self, ActionError> {
        let mut state = Self::default();
        for (key, stored) in store.list("")? {
            state.revision_by_key.insert(key.clone(), stored.revision);
            let mut parts = key.splitn(3, '/');
            let kind = parts.next().unwrap_or_default();
            let (name, rest) =
                (parts.next().unwrap_or_default(), parts.next().unwrap_or_default().to_owned());
            if kind == "order" {
                let order: Order = read(&key, &stored.bytes)?;
                state.orders.insert(order.id, Arc::new(order));
                continue;
            }
            let entry =
                state.tenants.entry(name.to_owned()).or_insert_with(|| TenantState::new(tenant(name)));
            match kind {
                "plan" => drop(entry.plans.insert(rest, Arc::new(read(&key, &stored.bytes)?))),
                "list" => drop(entry.lists.insert(rest, read(&key, &stored.bytes)?)),
                "baseline" => drop(entry.baselines.insert(rest, read(&key, &stored.bytes)?)),
                "rules" => {}
                _ => return Err(ActionError::Unreadable { key, message: "its kind is unknown".into() }),
            }
        }
        state.load_ids(store)?;
        Ok(state)
    }

    /// Brings the ids of every list that is named into memory.
    fn load_ids(&mut self, store: &Store) -> Result<(), ActionError> {
        for hash in self.hashes() {
            let ids = graylane_plan::parse_list(&String::from_utf8_lossy(&store.blob(&hash)?));
            let ids = ids.map_err(|problems| ActionError::Invalid { what: "stored list", problems })?;
            self.ids_by_hash.insert(hash, Arc::new(ids));
        }
        Ok(())
    }

    /// Forgets the ids of lists that nothing names any more, and gives their hashes.
    fn forget_ids(&mut self) -> Vec<String> {
        let hashes = self.hashes();
        self.ids_by_hash.extract_if(.., |hash, _| !hashes.contains(hash)).map(|(hash, _)| hash).collect()
    }

    fn hashes(&self) -> std::collections::BTreeSet<String> {
        let of_tenants =
            self.tenants.values().flat_map(|tenant| tenant.lists.values().map(|list| &list.hash));
        let active = self.orders.values().filter(|order| order.is_active());
        of_tenants.chain(active.flat_map(|order| order.lists.values())).cloned().collect()
    }

    /// The active orders of a tenant, oldest first.
    pub(crate) fn active_orders<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = &'a Arc<Order>> {
        self.orders.values().filter(move |order| order.is_active() && order.tenant() == tenant)
    }

    /// The tenant's current lists, as a plan that is checked sees them.
    pub(crate) fn lists<'a>(&'a self, tenant: &str) -> NamedLists<'a> {
        let lists = self.tenants.get(tenant).into_iter().flat_map(|tenant| &tenant.lists);
        NamedLists {
            hash_by_name: lists.map(|(name, list)| (name.as_str(), list.hash.as_str())).collect(),
            ids_by_hash: &self.ids_by_hash,
        }
    }

    /// The lists of an order as they were when it started, and the tenant's others as they are now.
    pub(crate) fn lists_of<'a>(&'a self, order: &'a Order) -> NamedLists<'a> {
        let mut lists = self.lists(order.tenant());
        lists.hash_by_name.extend(order.lists.iter().map(|(name, hash)| (name.as_str(), hash.as_str())));
        lists
    }
}

/// Named lists whose ids are in memory.
pub(crate) struct NamedLists<'a> {
    hash_by_name: BTreeMap<&'a str, &'a str>,
    ids_by_hash: &'a BTreeMap<String, Arc<IdSet>>,
}

// === impl NamedLists ===

impl NamedLists<'_> {
    /// The content hash of a list.
    pub(crate) fn hash(&self, name: &str) -> Option<&str> {
        self.hash_by_name.get(name).copied()
    }
}

impl Lists for NamedLists<'_> {
    fn get(&self, name: &str) -> Option<Arc<IdSet>> {
        self.ids_by_hash.get(*self.hash_by_name.get(name)?).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.hash_by_name.keys().map(|name| (*name).to_owned()).collect()
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
            published: None,
        }
    }
}

// === impl Draft ===

impl Draft {
    pub(crate) fn new(state: &State) -> Self {
        Self { state: state.clone(), txn: Transaction::default(), has_new_rules: false }
    }

    /// Writes a value, unless it changed in the store since it was read.
    pub(crate) fn put(&mut self, key: String, value: &impl Serialize) -> Result<(), ActionError> {
        let unreadable = |error: serde_json::Error| ActionError::Unreadable {
            key: key.clone(),
            message: error.to_string(),
        };
        let bytes = serde_json::to_vec(value).map_err(unreadable)?;
        self.expect(&key);
        self.txn.puts.push((key, bytes));
        Ok(())
    }

    /// Deletes a value, unless it changed in the store since it was read.
    pub(crate) fn delete(&mut self, key: String) {
        self.expect(&key);
        self.txn.deletes.push(key);
    }

    /// Keeps a content under its hash.
    pub(crate) fn put_blob(&mut self, hash: String, bytes: Vec<u8>) {
        self.txn.blobs.push((hash, bytes));
    }

    fn expect(&mut self, key: &str) {
        let known = self.state.revision_by_key.get(key).copied();
        self.txn.expects.push((key.to_owned(), known));
    }

    /// Makes the change last, and gives the state with it.
    pub(crate) fn commit(self, store: &Store) -> Result<State, ActionError> {
        let Self { mut state, mut txn, .. } = self;
        if txn.puts.is_empty() && txn.deletes.is_empty() {
            return Ok(state);
        }
        txn.blob_deletes = state.forget_ids();
        let revision = store.commit(&txn)?;
        for (key, _) in txn.puts {
            state.revision_by_key.insert(key, revision);
        }
        for key in &txn.deletes {
            state.revision_by_key.remove(key);
        }
        Ok(state)
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

/// The key of what was published last for a tenant.
pub(crate) fn rules_key(tenant: &str) -> String {
    format!("rules/{tenant}")
}

/// The key of an order; keys sort as the numbers do.
pub(crate) fn order_key(id: u64) -> String {
    format!("order/{id:020}")
}
