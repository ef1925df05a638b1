//! The proxies, as the daemon needs them.

use graylane_xds::{ProxyStatus, Publication, PublishError, Xds};

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
}
