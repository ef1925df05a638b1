//! A tenant's named lists, as a plan that is checked sees them.

use crate::daemon::state::State;
use graylane_plan::Lists;
use graylane_rules::IdSet;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Named lists whose ids are in memory.
pub(crate) struct NamedLists<'a> {
    hash_by_name: BTreeMap<&'a str, &'a str>,
    ids_by_hash: &'a BTreeMap<String, Arc<IdSet>>,
}

// === impl State ===

impl State {
    /// The tenant's current lists, as a plan that is checked sees them.
    pub(crate) fn lists<'a>(&'a self, tenant: &str) -> NamedLists<'a> {
        let lists = self.tenants.get(tenant).into_iter().flat_map(|tenant| &tenant.lists);
        NamedLists {
            hash_by_name: lists.map(|(name, list)| (name.as_str(), list.hash.as_str())).collect(),
            ids_by_hash: &self.ids_by_hash,
        }
    }
}

// === impl NamedLists ===

impl NamedLists<'_> {
    /// The content hash of a list.
    pub(crate) fn hash(&self, name: &str) -> Option<&str> {
        self.hash_by_name.get(name).copied()
    }
}

/// A list is found by its name, and by the hash of its content, which is how orders name theirs.
impl Lists for NamedLists<'_> {
    fn get(&self, name: &str) -> Option<Arc<IdSet>> {
        let hash = self.hash_by_name.get(name).copied().unwrap_or(name);
        self.ids_by_hash.get(hash).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.hash_by_name.keys().map(|name| (*name).to_owned()).collect()
    }
}
