//! Everything the daemon knows, in memory as in the store.

mod load;
mod orders;

use crate::audit::{Deed, Head, shown};
use crate::daemon::ActionError;
use crate::daemon::once::{Answers, Kept};
use crate::daemon::tenant_record::TenantRecord;
use crate::fleet::Fleet;
use bytes::Bytes;
use graylane_order::{Actor, Freeze, Order};
use graylane_plan::{ReleasePlan, Tenant};
use graylane_rules::{IdSet, Rules};
use graylane_store::{Store, StoreError, Transaction};
use graylane_xds::ProxyStatus;
use jiff::Timestamp;
use orders::Orders;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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
    pub(crate) rules: Rules,
    pub(crate) bytes: Bytes,
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

/// The proxies as a change sees them.
pub(crate) struct Proxies<'a> {
    fleet: &'a dyn Fleet,
    list: OnceCell<Vec<ProxyStatus>>,
    /// How long one whose stream ended still counts.
    pub(crate) gone: Duration,
    /// Whether those that were there before the start do.
    pub(crate) is_awaiting: bool,
}

/// A state that is being changed, and the transaction that makes the change last.
pub(crate) struct Draft<'a> {
    pub(crate) state: State,
    /// The proxies.
    pub(crate) proxies: Proxies<'a>,
    /// When the change began.
    pub(crate) now: Timestamp,
    known: &'a Known,
    txn: Transaction,
    kept: Option<Kept>,
    /// Whether the rules of some tenant changed.
    pub(crate) has_new_rules: bool,
    /// Whether this is for going back: it may use the room that the store keeps for that.
    pub(crate) is_rescue: bool,
}

// === impl Proxies ===

impl<'a> Proxies<'a> {
    pub(crate) fn new(fleet: &'a dyn Fleet, gone: Duration, is_awaiting: bool) -> Self {
        Self { fleet, list: OnceCell::new(), gone, is_awaiting }
    }

    /// What they do, as of the first time that the change asks.
    pub(crate) fn list(&self) -> &[ProxyStatus] {
        self.list.get_or_init(|| self.fleet.proxies())
    }

    /// How many of a tenant count.
    pub(crate) fn count(&self, tenant: &str) -> usize {
        self.fleet.count(tenant, self.gone)
    }
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

// === impl Baseline ===

impl From<&Baseline> for graylane_plan::Baseline {
    fn from(baseline: &Baseline) -> Self {
        Self { version: baseline.version.clone(), hosts: baseline.hosts.clone() }
    }
}

/// What a draft changed.
pub(crate) struct Drafted {
    state: State,
    txn: Transaction,
    kept: Option<Kept>,
}

// === impl Draft ===

impl<'a> Draft<'a> {
    pub(crate) fn new(known: &'a Known, proxies: Proxies<'a>, now: Timestamp) -> Self {
        let state = known.state.clone();
        let txn = Transaction::default();
        Self { state, proxies, now, known, txn, kept: None, has_new_rules: false, is_rescue: false }
    }

    /// The version of a value before this change.
    pub(crate) fn version(&self, key: &str) -> u64 {
        self.known.version(key)
    }

    /// What was done before this change by a key that may come again.
    pub(crate) fn answers(&self) -> &'a Answers {
        &self.known.answers
    }

    /// Keeps what this change answers.
    pub(crate) fn keep(&mut self, kept: Kept) {
        self.txn.deletes.extend_from_slice(kept.forgotten());
        self.kept = Some(kept);
    }

    /// Writes a value.
    pub(crate) fn put(&mut self, key: String, value: &impl Serialize) -> Result<(), ActionError> {
        let unreadable = |error: serde_json::Error| ActionError::Unreadable {
            key: key.clone(),
            message: error.to_string(),
        };
        let bytes = serde_json::to_vec(value).map_err(unreadable)?;
        self.txn.puts.push((key, bytes));
        Ok(())
    }

    /// Makes a tenant exist, or have other headers.
    pub(crate) fn put_tenant(&mut self, tenant: Tenant, actor: Actor) -> Result<(), ActionError> {
        let before = self.state.tenants.get(&tenant.name).map(|entry| TenantRecord::of(&entry.tenant));
        self.record(Deed {
            actor,
            action: "tenant.set",
            object: format!("tenant {}", tenant.name),
            before: shown(&before),
            after: shown(&TenantRecord::of(&tenant)),
        });
        self.put(format!("tenant/{}", tenant.name), &TenantRecord::of(&tenant))?;
        match self.state.tenants.get_mut(&tenant.name) {
            Some(entry) => Arc::make_mut(entry).tenant = Arc::new(tenant),
            None => {
                self.state.tenants.insert(tenant.name.clone(), Arc::new(TenantState::new(tenant)));
            }
        }
        Ok(())
    }

    /// Deletes a value.
    pub(crate) fn delete(&mut self, key: String) {
        self.txn.deletes.push(key);
    }

    /// Forgets a content.
    pub(crate) fn delete_blob(&mut self, hash: String) {
        self.txn.blob_deletes.push(hash);
    }

    /// Keeps a content under its hash.
    pub(crate) fn put_blob(&mut self, hash: String, bytes: Vec<u8>) {
        self.txn.blobs.push((hash, bytes));
    }

    /// Writes down what was done, in the transaction that does it.
    pub(crate) fn record(&mut self, deed: Deed) {
        let record = self.state.audit.append(deed, self.now);
        self.txn.appends.push((record.number, record.line().into_bytes()));
    }

    /// Writes down that the wall clock does not show the time that it should.
    pub(crate) fn record_jump(&mut self, before: Timestamp) {
        self.record(Deed {
            actor: Actor::daemon(),
            action: "clock.jump",
            object: "the wall clock".to_owned(),
            before: shown(&before),
            after: shown(&self.now),
        });
    }

    /// The end of drafting.
    pub(crate) fn finish(mut self) -> Result<Drafted, ActionError> {
        if !self.txn.appends.is_empty() {
            let head = self.state.audit.clone();
            self.put(AUDIT_HEAD.to_owned(), &head)?;
        }
        self.txn.is_rescue = self.is_rescue;
        Ok(Drafted { state: self.state, txn: self.txn, kept: self.kept })
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

/// The key of what was published last for a tenant.
pub(crate) fn rules_key(tenant: &str) -> String {
    format!("rules/{tenant}")
}

/// The key of an order; keys sort as the numbers do.
pub(crate) fn order_key(id: u64) -> String {
    format!("order/{id:020}")
}
