//! Why the daemon does not do what it was asked.

use graylane_order::Refused;
use graylane_plan::Problem;
use graylane_rules::EncodeError;
use graylane_store::StoreError;
use graylane_xds::PublishError;
use thiserror::Error;

/// Why an action was refused or failed. Nothing changed.
#[derive(Debug, Error)]
pub enum ActionError {
    /// There is no such thing.
    #[error("there is no {what} {name:?}{nearest}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// A question after the nearest name that there is, or nothing.
        nearest: String,
    },
    /// A document has errors, each with its place.
    #[error("the {what} has {} {}", problems.len(), if problems.len() == 1 { "problem" } else { "problems" })]
    Invalid {
        /// What kind of document.
        what: &'static str,
        /// The errors, and the warnings beside them.
        problems: Vec<Problem>,
    },
    /// A service belongs to at most one active order.
    #[error(
        "service {service:?} is held by order {order} of plan {plan:?}, which is active; finish it or roll it back first"
    )]
    Held {
        /// The service.
        service: String,
        /// The order that holds it.
        order: u64,
        /// That order's plan.
        plan: String,
    },
    /// Something refers to what should go.
    #[error("{what} {name:?} is used by {user}; {cure}")]
    InUse {
        /// What kind of thing should go.
        what: &'static str,
        /// Its name.
        name: String,
        /// What refers to it.
        user: String,
        /// What to do first.
        cure: &'static str,
    },
    /// The caller saw an older version.
    #[error("{what} is at version {found}, not {expected}; read it again and repeat")]
    Stale {
        /// What was to be changed.
        what: String,
        /// The version that the caller saw.
        expected: u64,
        /// The version that it has.
        found: u64,
    },
    /// A caller used an idempotency key for two requests.
    #[error(
        "idempotency-key: it came with another request within the last 24 hours; take a fresh one for each action"
    )]
    KeyReused,
    /// There would be too many.
    #[error("{what}: {limit} are there, which is the limit; {cure}")]
    TooMany {
        /// What there would be too many of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
        /// What to do.
        cure: &'static str,
    },
    /// The order does not allow it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A tenant in use would have other headers.
    #[error(
        "tenant {tenant:?} has rules for {stored}, but the configuration says {configured}; start with the configuration that it had, or finish or roll back its orders and clear its baselines first"
    )]
    TenantChanged {
        /// The tenant.
        tenant: String,
        /// The headers that its rules go by.
        stored: String,
        /// The headers of the configuration.
        configured: String,
    },
    /// The rules that would follow cannot be.
    #[error("the rules of tenant {tenant:?} cannot be compiled: {source}{}", cure(source))]
    Rules {
        /// The tenant.
        tenant: String,
        /// Why.
        source: EncodeError,
    },
    /// The filter's own loader refuses the rules that would follow. This is a bug, and it reaches no proxy.
    #[error(
        "the compiled rules of tenant {tenant:?} do not load: {message}; nothing was published, please report this"
    )]
    Unloadable {
        /// The tenant.
        tenant: String,
        /// What the loader says.
        message: String,
    },
    /// The xDS server refuses the rules.
    #[error("the rules cannot be published: {0}")]
    Publish(#[from] PublishError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value of the store cannot be read.
    #[error("the stored {key} cannot be read: {message}; restore a backup")]
    Unreadable {
        /// Its key.
        key: String,
        /// Why.
        message: String,
    },
}

/// What to do about rules that cannot be. Each plan alone fits, or it would not have been taken.
fn cure(error: &EncodeError) -> &'static str {
    match error {
        EncodeError::OverLimit { .. } => {
            "; all orders of a tenant share it: finish or roll back another one first, or use shorter or fewer ids, or \
             branches or a percentage in their place"
        }
        _ => "",
    }
}

// === impl ActionError ===

impl ActionError {
    /// There is no such thing; `known` gives the names that there are.
    pub(crate) fn not_found<'a, S: AsRef<str> + ?Sized + 'a>(
        what: &'static str,
        name: impl Into<String>,
        known: impl Iterator<Item = &'a S>,
    ) -> Self {
        let name = name.into();
        let nearest = graylane_plan::did_you_mean(&name, known.map(S::as_ref));
        Self::NotFound { what, name, nearest }
    }
}
