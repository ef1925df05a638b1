//! What proxies get while newer rules are tried by a few, or held back: it outlives the daemon.

use crate::daemon::state::{Draft, FallbackRecord, Published, State, fallback_key};
use crate::daemon::{ActionError, Daemon};
use bytes::Bytes;
use graylane_xds::Publication;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

// === impl Daemon ===

impl Daemon {
    /// Tells the fleet what did well before this daemon began. One that is not to be had stops nothing: newcomers wait then until a
    /// canary group did.
    pub(crate) fn recall_fallbacks(&self) {
        let tenants = self.known().state.tenants.clone();
        for (tenant, entry) in &tenants {
            let Some(record) = &entry.fallback else { continue };
            let rules = match self.store.blob(&record.hash) {
                Ok(rules) => Bytes::from(rules),
                Err(error) => {
                    tracing::warn!(tenant, %error, "what proxies fall back on cannot be read");
                    continue;
                }
            };
            self.fleet.recall_fallback(&Publication {
                tenant: tenant.clone(),
                revision: record.revision,
                rules,
                content_hash: record.content_hash,
                is_firm: false,
            });
        }
    }

    /// Keeps what a change replaces and what did well, so that it is there while its successor is tried or held back.
    pub(crate) fn keep_fallbacks(&self, draft: &mut Draft<'_>, before: &State) -> Result<(), ActionError> {
        for (tenant, last) in before.replaced_by(&draft.state) {
            let did_well = self.fleet.is_fallback(&tenant, last.rules.revision());
            match draft.is_rescue {
                // Nobody may fall back behind it.
                true => draft.forget_fallback(&tenant)?,
                false if did_well => draft.keep_fallback(&tenant, &last)?,
                false => {}
            }
        }
        Ok(())
    }
}

// === impl Draft ===

impl Draft<'_> {
    fn keep_fallback(&mut self, tenant: &str, last: &Published) -> Result<(), ActionError> {
        let hash =
            Sha256::digest(last.rules.bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (revision, content_hash) = (last.rules.revision(), last.rules.content_hash());
        let record = Arc::new(FallbackRecord { revision, content_hash, hash: hash.clone() });
        self.put(fallback_key(tenant), &*record)?;
        let before = self.state.tenant_mut(tenant)?.fallback.replace(record);
        self.forget_bytes(before.as_deref());
        self.put_blob(hash, last.rules.bytes().to_vec());
        Ok(())
    }

    fn forget_fallback(&mut self, tenant: &str) -> Result<(), ActionError> {
        let before = self.state.tenant_mut(tenant)?.fallback.take();
        if before.is_some() {
            self.delete(fallback_key(tenant));
        }
        self.forget_bytes(before.as_deref());
        Ok(())
    }

    /// Forgets bytes that no tenant falls back on any more: those with the same rules share them.
    fn forget_bytes(&mut self, record: Option<&FallbackRecord>) {
        let is_named = |hash: &str| {
            let mut named = self.state.tenants.values().filter_map(|entry| entry.fallback.as_ref());
            named.any(|record| record.hash == hash)
        };
        if let Some(record) = record.filter(|record| !is_named(&record.hash)) {
            self.delete_blob(record.hash.clone());
        }
    }
}

// === impl State ===

impl State {
    /// What another state publishes something else for.
    pub(crate) fn replaced_by(&self, after: &Self) -> Vec<(String, Arc<Published>)> {
        let replaced = self.tenants.iter().filter_map(|(tenant, entry)| {
            let last = entry.published.as_ref()?;
            let next = after.tenants.get(tenant)?.published.as_ref()?;
            (!Arc::ptr_eq(last, next)).then(|| (tenant.clone(), Arc::clone(last)))
        });
        replaced.collect()
    }
}
