//! How far webhooks got in the audit log.

use crate::daemon::state::{DeliveryRecord, webhook_key};
use crate::daemon::{ActionError, Daemon};
use std::collections::BTreeSet;

// === impl Daemon ===

impl Daemon {
    /// Lets webhooks that were not there before begin behind what happened so far, and forgets those that are not there any more:
    /// one that comes back later begins anew. A store that cannot keep that stops nobody.
    pub(crate) fn begin_deliveries(&self, names: &BTreeSet<String>) {
        let begun = self.change(|draft| {
            let known: BTreeSet<String> = draft.state.delivered.keys().cloned().collect();
            for name in known.difference(names) {
                draft.state.delivered.remove(name);
                draft.delete(webhook_key(name));
            }
            let record = draft.state.audit.number;
            for name in names.difference(&known) {
                draft.state.delivered.insert(name.clone(), record);
                draft.put(webhook_key(name), &DeliveryRecord { record })?;
            }
            Ok(())
        });
        if let Err(error) = begun {
            tracing::error!(%error, "where webhooks begin is not remembered");
        }
    }

    /// The record up to which a webhook told everything.
    pub(crate) fn delivered_up_to(&self, name: &str) -> u64 {
        let state = &self.known().state;
        let end = state.audit.number;
        state.delivered.get(name).map_or(end, |record| end.min(*record))
    }

    /// Remembers that a webhook told everything up to a record.
    ///
    /// # Errors
    /// When the store cannot keep it.
    pub(crate) fn delivered(&self, name: &str, record: u64) -> Result<(), ActionError> {
        self.change(|draft| {
            draft.state.delivered.insert(name.to_owned(), record);
            draft.put(webhook_key(name), &DeliveryRecord { record })
        })
    }
}
