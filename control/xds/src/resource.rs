//! One tenant's rules as a resource, ready to send.

use bytes::Bytes;

use crate::ecds::{self, FilterSettings};
use crate::limits::{MAX_RULES_BYTES, MAX_TENANT_BYTES, MAX_TENANTS};
use crate::pieces::Pieces;
use crate::version::{Version, digest};

/// One tenant's rule set as published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The tenant, whose resource is `graylane.v1.<tenant>`. 1 to 128 bytes without spaces or control characters.
    pub tenant: String,
    /// The number of the rule set. Other content needs another number.
    pub revision: u64,
    /// The rule set, opaque to this crate. At most 16 MiB.
    pub rules: Bytes,
    /// The hash of what the rules say, without their revision: by it they are known again under another one.
    pub content_hash: u64,
    /// Whether they go to everybody at once, whoever refuses them: they take people back.
    pub is_firm: bool,
}

/// Why a publish was refused. Nothing of it was published then.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublishError {
    /// The rules of one tenant are too large to send.
    #[error(
        "rules of tenant {tenant:?} are {bytes} bytes, the limit is {MAX_RULES_BYTES}; use fewer ids or broader scopes"
    )]
    TooLarge {
        /// Whose rules.
        tenant: String,
        /// How many bytes they have.
        bytes: usize,
    },
    /// A tenant's name cannot be part of a resource name.
    #[error(
        "tenant {0:?} is no name for a resource; use 1 to {MAX_TENANT_BYTES} bytes without spaces or control characters"
    )]
    BadTenant(String),
    /// A tenant occurs more than once.
    #[error("tenant {0:?} is published twice; publish one rule set for each tenant")]
    Twice(String),
    /// The revision is already out with other rules, so an acknowledgement of it would say nothing.
    #[error(
        "revision {revision} of tenant {tenant:?} is published with other rules; give new rules a new revision"
    )]
    RevisionReused {
        /// Whose rules.
        tenant: String,
        /// The revision that is taken.
        revision: u64,
    },
    /// More tenants than a snapshot may hold.
    #[error("{0} tenants are published, the limit is {MAX_TENANTS}; run another daemon for the rest")]
    TooMany(usize),
}

/// One resource, ready to send.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) name: String,
    pub(crate) version: Version,
    /// The `Any` as it travels. Its rules are in memory once for all streams.
    pub(crate) body: Pieces,
    /// The hash of all but the revision.
    pub(crate) content: u64,
    /// Whether it goes to everybody at once, whoever refuses it.
    pub(crate) is_firm: bool,
}

// === impl Resource ===

impl Resource {
    pub(crate) fn new(publication: &Publication, settings: &FilterSettings) -> Self {
        let name = ecds::resource_name(&publication.tenant);
        let resource = ecds::encode(&name, settings, publication.rules.clone());
        let version = Version { revision: publication.revision, digest: digest(&resource.in_order()) };
        let content = content(&name, settings, publication);
        let body = ecds::packed(&resource);
        Self { name, version, body, content, is_firm: publication.is_firm }
    }

    pub(crate) fn tenant(&self) -> &str {
        ecds::tenant_of(&self.name)
    }
}

/// The hash of all that is sent but the revision.
pub(crate) fn content(name: &str, settings: &FilterSettings, publication: &Publication) -> u64 {
    let without_rules = ecds::encode(name, settings, Bytes::new());
    digest(&[&without_rules.head, &publication.content_hash.to_le_bytes()])
}

// === impl Publication ===

impl Publication {
    /// Whether it can be sent.
    pub(crate) fn check(&self) -> Result<(), PublishError> {
        let Self { tenant, rules, .. } = self;
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if tenant.is_empty() || tenant.len() > MAX_TENANT_BYTES || tenant.contains(odd) {
            return Err(PublishError::BadTenant(tenant.clone()));
        }
        if rules.len() > MAX_RULES_BYTES {
            return Err(PublishError::TooLarge { tenant: tenant.clone(), bytes: rules.len() });
        }
        Ok(())
    }
}
