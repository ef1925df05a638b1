//! The proxies, as the daemon needs them.

use graylane_xds::{ProxyStatus, Publication, PublishError, Refusal, Standing, Xds};

/// Publishes what was prepared, which cannot fail.
pub type Publish<'a> = Box<dyn FnOnce() + Send + 'a>;

/// All proxies that fetch their rules here.
pub trait Fleet: Send + Sync {
    /// Makes the rules of all tenants ready. What it gives puts them in place of everything that was published before.
    ///
    /// # Errors
    /// Any publication that cannot be sent.
    fn prepare(&self, publications: &[Publication]) -> Result<Publish<'_>, PublishError>;

    /// What each proxy does.
    fn proxies(&self) -> Vec<ProxyStatus>;

    /// How each proxy of a tenant stands.
    fn standings(&self, tenant: &str) -> Vec<Standing>;

    /// Takes in that every proxy of a tenant runs this revision: it is what they get when one of them refuses a later one.
    fn accept(&self, tenant: &str, revision: u64);

    /// Whether later rules of a tenant fall back on this revision: proxies get it while those are tried or held back.
    fn is_fallback(&self, tenant: &str, revision: u64) -> bool;

    /// Remembers what later rules fall back on from before this process began.
    fn recall_fallback(&self, publication: &Publication);

    /// The published rules that are held back, because a proxy refused them.
    fn held_back(&self) -> Vec<Refusal>;

    /// Remembers what a proxy refused before this process began.
    fn recall(&self, refusal: Refusal);

    /// Forgets what was refused of a tenant, so that it is sent when it is published anew.
    fn forgive(&self, tenant: &str);
}

// === impl Xds ===

impl Fleet for Xds {
    fn prepare(&self, publications: &[Publication]) -> Result<Publish<'_>, PublishError> {
        let prepared = Self::prepare(self, publications)?;
        Ok(Box::new(move || self.publish(prepared)))
    }

    fn proxies(&self) -> Vec<ProxyStatus> {
        Self::proxies(self)
    }

    fn standings(&self, tenant: &str) -> Vec<Standing> {
        Self::standings(self, tenant)
    }

    fn accept(&self, tenant: &str, revision: u64) {
        Self::accept(self, tenant, revision);
    }

    fn is_fallback(&self, tenant: &str, revision: u64) -> bool {
        Self::is_fallback(self, tenant, revision)
    }

    fn recall_fallback(&self, publication: &Publication) {
        Self::recall_fallback(self, publication);
    }

    fn held_back(&self) -> Vec<Refusal> {
        Self::held_back(self)
    }

    fn recall(&self, refusal: Refusal) {
        Self::recall(self, refusal);
    }

    fn forgive(&self, tenant: &str) {
        Self::forgive(self, tenant);
    }
}
