//! What proxies refused, known again by its content.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::limits::MAX_REFUSALS;
use crate::resource::Resource;

/// Rules that a proxy refused, and that are sent to nobody since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose rules.
    pub tenant: String,
    /// Under which number.
    pub revision: u64,
    /// The hash of all that was sent but the revision: the rules, and the settings of the filter.
    pub content: u64,
    /// The proxy's `node.id`.
    pub node: String,
    /// Why, in the proxy's words, cut off at 1 KiB.
    pub message: String,
}

/// What proxies refused, of all tenants, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Refusals(VecDeque<Arc<Refusal>>);

// === impl Refusals ===

impl Refusals {
    /// Remembers one more. The oldest gives way.
    pub(crate) fn add(&mut self, refusal: Arc<Refusal>) {
        if self.0.len() == MAX_REFUSALS {
            self.0.pop_front();
        }
        self.0.push_back(refusal);
    }

    /// Remembers what was refused before this process began, which is older than all that it saw itself.
    pub(crate) fn recall(&mut self, refusal: Refusal) {
        if self.0.len() < MAX_REFUSALS && self.of(&refusal.tenant, refusal.content).is_none() {
            self.0.push_back(Arc::new(refusal));
        }
    }

    /// Why this content of a tenant was refused, if it was.
    pub(crate) fn of(&self, tenant: &str, content: u64) -> Option<&Arc<Refusal>> {
        self.0.iter().find(|refusal| (refusal.tenant.as_str(), refusal.content) == (tenant, content))
    }

    /// Why what would be published is not sent, under its own number.
    pub(crate) fn against(&self, resource: &Resource) -> Option<Arc<Refusal>> {
        let refusal = self.of(resource.tenant(), resource.content)?;
        Some(Arc::new(Refusal { revision: resource.version.revision, ..(**refusal).clone() }))
    }

    /// Forgets all of a tenant.
    pub(crate) fn forgive(&mut self, tenant: &str) {
        self.0.retain(|refusal| refusal.tenant != tenant);
    }
}
