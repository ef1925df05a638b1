//! A change: the state as it will be, and the transaction that makes it last.

use super::{AUDIT_HEAD, Known, State, TenantState};
use crate::audit::{Deed, shown};
use crate::config::Laggards;
use crate::daemon::once::{Answers, Kept};
use crate::daemon::tenant_record::TenantRecord;
use crate::daemon::{ActionError, JudgedView};
use crate::fleet::Fleet;
use graylane_order::Actor;
use graylane_plan::Tenant;
use graylane_store::Transaction;
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// The proxies as a change sees them.
pub(crate) struct Proxies<'a> {
    fleet: &'a dyn Fleet,
    /// Which of them count.
    laggards: Laggards,
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
    /// What was counted of a service, where the change follows from that.
    pub(crate) judged: Option<Box<JudgedView>>,
}

/// What a draft changed.
pub(crate) struct Drafted {
    pub(super) state: State,
    pub(super) txn: Transaction,
    pub(super) kept: Option<Kept>,
}

// === impl Proxies ===

impl<'a> Proxies<'a> {
    pub(crate) fn new(fleet: &'a dyn Fleet, laggards: Laggards, is_awaiting: bool) -> Self {
        Self { fleet, laggards, is_awaiting }
    }

    /// How many of a tenant count.
    pub(crate) fn count(&self, tenant: &str) -> usize {
        self.fleet.standings(tenant).iter().filter(|proxy| self.laggards.counts(proxy)).count()
    }
}

// === impl Draft ===

impl<'a> Draft<'a> {
    pub(crate) fn new(known: &'a Known, proxies: Proxies<'a>, now: Timestamp) -> Self {
        let state = known.state.clone();
        let txn = Transaction::default();
        Self {
            state,
            proxies,
            now,
            known,
            txn,
            kept: None,
            has_new_rules: false,
            is_rescue: false,
            judged: None,
        }
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
