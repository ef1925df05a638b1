//! What proxies get while newer rules are tried by a few, or held back: it outlives the daemon.

use crate::daemon::state::{Draft, FallbackRecord, Published, State, fallback_key};
use crate::daemon::{ActionError, Daemon};
use bytes::Bytes;
use graylane_store::StoreError;
use graylane_xds::Publication;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

// === impl Daemon ===

impl Daemon {
    /// Tells the fleet what did well before this daemon began.
    pub(crate) fn recall_fallbacks(&self) -> Result<(), StoreError> {
        let tenants = self.known().state.tenants.clone();
        for (tenant, entry) in &tenants {
            let Some(record) = &entry.fallback else { continue };
            self.fleet.recall_fallback(&Publication {
                tenant: tenant.clone(),
                revision: record.revision,
                rules: Bytes::from(self.store.blob(&record.hash)?),
                content_hash: record.content_hash,
                is_firm: false,
            });
        }
        Ok(())
    }

    /// Keeps what a change replaces and what did well, so that it is there while its successor is tried or held back.
    pub(crate) fn keep_fallbacks(
        &self,
        draft: &mut Draft<'_>,
        before: &State,
        accepted: &[(String, u64)],
    ) -> Result<(), ActionError> {
        for (tenant, last) in before.replaced_by(&draft.state) {
            let revision = last.rules.revision();
            let did_well = accepted.iter().any(|(of, accepted)| *of == tenant && *accepted == revision)
                || self.fleet.is_fallback(&tenant, revision);
            // What takes people back is tried by nobody.
            if did_well && !draft.is_rescue {
                draft.keep_fallback(&tenant, &last)?;
            }
        }
        Ok(())
    }
}

// === impl Draft ===

impl Draft<'_> {
    fn keep_fallback(&mut self, tenant: &str, last: &Published) -> Result<(), ActionError> {
        let hash = Sha256::digest(&last.bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (revision, content_hash) = (last.rules.revision(), last.rules.content_hash());
        let record = Arc::new(FallbackRecord { revision, content_hash, hash: hash.clone() });
        self.put(fallback_key(tenant), &*record)?;
        let before = self.state.tenant_mut(tenant)?.fallback.replace(record);
        // Tenants with the same rules share them.
        let is_named = |hash: &str| {
            let named = self.state.tenants.values().filter_map(|entry| entry.fallback.as_ref());
            named.into_iter().any(|record| record.hash == hash)
        };
        if let Some(before) = before.filter(|before| !is_named(&before.hash)) {
            self.delete_blob(before.hash.clone());
        }
        self.put_blob(hash, last.bytes.to_vec());
        Ok(())
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
