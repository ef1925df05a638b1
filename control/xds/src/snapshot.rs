//! What is published: one immutable set of resources, and the bell that says there is a new one.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use envoy_types::pb::google::protobuf::Any;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::ecds::{self, FilterSettings};
use crate::limits::{MAX_RULES_BYTES, MAX_TENANT_BYTES, MAX_TENANTS};

/// One tenant's rule set as published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The tenant, whose resource is `graylane.v1.<tenant>`. 1 to 128 bytes without spaces or control characters.
    pub tenant: String,
    /// The number of the rule set. Other content needs another number.
    pub revision: u64,
    /// The rule set, opaque to this crate. At most 16 MiB.
    pub rules: Bytes,
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

/// The version of a resource: its revision, and the hash of its bytes. Equal content has an equal version on every replica and
/// after every restart, so a proxy that reconnects is not sent what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) revision: u64,
    pub(crate) digest: u64,
}

/// One resource, ready to send.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) body: Any,
    /// What the body was built from, so that a publish reuses what did not change.
    rules: Bytes,
}

/// All resources of one publish. Never changes; a publish makes another one.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    by_name: BTreeMap<String, Arc<Resource>>,
}

/// The current snapshot, and a bell that rings when it is replaced.
#[derive(Debug)]
pub(crate) struct Snapshots {
    settings: FilterSettings,
    current: ArcSwap<Snapshot>,
    bell: watch::Sender<()>,
}

// === impl Version ===

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.revision, self.digest)
    }
}

impl FromStr for Version {
    type Err = ();

    /// Reads what [`fmt::Display`] wrote. Proxies send it back to us, so anything may stand there.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (revision, digest) = text.split_once('-').ok_or(())?;
        let version = Self {
            revision: revision.parse().map_err(|_| ())?,
            digest: u64::from_str_radix(digest, 16).map_err(|_| ())?,
        };
        if version.to_string() == text { Ok(version) } else { Err(()) }
    }
}

// === impl Resource ===

impl Resource {
    fn new(publication: &Publication, settings: &FilterSettings) -> Self {
        let name = ecds::resource_name(&publication.tenant);
        let body = ecds::encode(&name, settings, &publication.rules);
        let version = Version { revision: publication.revision, digest: digest(&[&body.value]) };
        Self { name, version, body, rules: publication.rules.clone() }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The resource of that name, if it is published.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.by_name.get(name)
    }

    /// The snapshot after a publish, sharing with this one what stays the same.
    fn next(&self, publications: &[Publication], settings: &FilterSettings) -> Result<Self, PublishError> {
        if publications.len() > MAX_TENANTS {
            return Err(PublishError::TooMany(publications.len()));
        }
        let mut by_name = BTreeMap::new();
        for publication in publications {
            check(publication)?;
            let resource = self.reuse(publication)?;
            let resource = resource.unwrap_or_else(|| Arc::new(Resource::new(publication, settings)));
            match by_name.entry(resource.name.clone()) {
                btree_map::Entry::Occupied(_) => return Err(PublishError::Twice(publication.tenant.clone())),
                btree_map::Entry::Vacant(place) => place.insert(resource),
            };
        }
        Ok(Self { by_name })
    }

    fn reuse(&self, publication: &Publication) -> Result<Option<Arc<Resource>>, PublishError> {
        let known = self.get(&ecds::resource_name(&publication.tenant));
        match known.filter(|known| known.version.revision == publication.revision) {
            Some(known) if known.rules == publication.rules => Ok(Some(known.clone())),
            Some(_) => Err(PublishError::RevisionReused {
                tenant: publication.tenant.clone(),
                revision: publication.revision,
            }),
            None => Ok(None),
        }
    }
}

fn check(publication: &Publication) -> Result<(), PublishError> {
    let Publication { tenant, rules, .. } = publication;
    let odd = |c: char| c.is_control() || c.is_whitespace();
    if tenant.is_empty() || tenant.len() > MAX_TENANT_BYTES || tenant.contains(odd) {
        return Err(PublishError::BadTenant(tenant.clone()));
    }
    if rules.len() > MAX_RULES_BYTES {
        return Err(PublishError::TooLarge { tenant: tenant.clone(), bytes: rules.len() });
    }
    Ok(())
}

// === impl Snapshots ===

impl Snapshots {
    pub(crate) fn new(settings: FilterSettings) -> Self {
        Self { settings, current: ArcSwap::default(), bell: watch::Sender::new(()) }
    }

    /// The newest snapshot.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A receiver that wakes at every publish after this call.
    pub(crate) fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// The snapshot with exactly these publications. Nothing is published yet.
    pub(crate) fn prepare(&self, publications: &[Publication]) -> Result<Snapshot, PublishError> {
        self.current().next(publications, &self.settings)
    }

    /// Puts a prepared snapshot in place.
    pub(crate) fn swap(&self, next: Snapshot) {
        self.current.store(Arc::new(next));
        self.bell.send_replace(());
    }

    /// Replaces the snapshot by exactly these publications, or changes nothing.
    #[cfg(test)]
    pub(crate) fn publish(&self, publications: &[Publication]) -> Result<(), PublishError> {
        self.prepare(publications).map(|next| self.swap(next))
    }
}

/// The first 64 bits of SHA-256 over the parts. A fixed function, because versions outlive the process.
pub(crate) fn digest(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let bytes = hasher.finalize();
    bytes.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(tenant: &str, revision: u64, rules: &'static [u8]) -> Publication {
        Publication { tenant: tenant.to_owned(), revision, rules: Bytes::from_static(rules) }
    }

    fn published(publications: &[Publication]) -> Arc<Snapshot> {
        let snapshots = Snapshots::new(FilterSettings::default());
        snapshots.publish(publications).unwrap();
        snapshots.current()
    }

    #[test]
    fn the_version_is_the_same_in_every_process() {
        // The literal is the point: a hash that differs from run to run would push to every proxy after every restart.
        let snapshot = published(&[publication("retail", 7, b"rules")]);
        let version = snapshot.get("graylane.v1.retail").unwrap().version.to_string();
        assert_eq!(version, "7-56d4a0034a5c2e5d");
    }

    #[test]
    fn other_rules_have_another_version() {
        let one = published(&[publication("retail", 7, b"rules")]);
        let two = published(&[publication("retail", 7, b"other")]);
        let version = |s: &Snapshot| s.get("graylane.v1.retail").unwrap().version;
        assert_ne!(version(&one), version(&two));
    }

    #[test]
    fn a_version_is_read_back_and_nothing_else_is() {
        let version = Version { revision: 12, digest: 0xab };
        assert_eq!(version.to_string().parse(), Ok(version));
        for odd in
            ["", "12", "-", "12-ab", "+12-00000000000000ab", "12-00000000000000AB", "x-00000000000000ab"]
        {
            assert_eq!(odd.parse::<Version>(), Err(()), "{odd}");
        }
    }

    #[test]
    fn what_did_not_change_is_shared_with_the_snapshot_before() {
        let snapshots = Snapshots::new(FilterSettings::default());
        snapshots.publish(&[publication("a", 1, b"a"), publication("b", 1, b"b")]).unwrap();
        let before = snapshots.current();
        snapshots.publish(&[publication("a", 1, b"a"), publication("b", 2, b"c")]).unwrap();
        let after = snapshots.current();
        let same = |name: &str| Arc::ptr_eq(before.get(name).unwrap(), after.get(name).unwrap());
        assert!(same("graylane.v1.a"));
        assert!(!same("graylane.v1.b"));
    }

    #[test]
    fn a_refused_publish_changes_nothing() {
        let snapshots = Snapshots::new(FilterSettings::default());
        snapshots.publish(&[publication("a", 1, b"a")]).unwrap();
        let before = snapshots.current();
        let large = Publication {
            tenant: "b".to_owned(),
            revision: 1,
            rules: Bytes::from(vec![0; MAX_RULES_BYTES + 1]),
        };
        let refused = [
            (large, PublishError::TooLarge { tenant: "b".to_owned(), bytes: MAX_RULES_BYTES + 1 }),
            (publication("", 1, b""), PublishError::BadTenant(String::new())),
            (publication("x y", 1, b""), PublishError::BadTenant("x y".to_owned())),
            (publication("a", 2, b"z"), PublishError::Twice("a".to_owned())),
        ];
        for (second, error) in refused {
            assert_eq!(snapshots.publish(&[publication("a", 2, b"z"), second]), Err(error));
            assert!(Arc::ptr_eq(&before, &snapshots.current()));
        }
    }

    #[test]
    fn a_revision_names_one_content() {
        let snapshots = Snapshots::new(FilterSettings::default());
        snapshots.publish(&[publication("a", 1, b"a")]).unwrap();
        let error = PublishError::RevisionReused { tenant: "a".to_owned(), revision: 1 };
        assert_eq!(snapshots.publish(&[publication("a", 1, b"b")]), Err(error));
        assert_eq!(snapshots.publish(&[publication("a", 1, b"a")]), Ok(()));
    }

    #[test]
    fn the_largest_rules_are_published() {
        let rules = Bytes::from(vec![7; MAX_RULES_BYTES]);
        let snapshots = Snapshots::new(FilterSettings::default());
        let publication = Publication { tenant: "a".to_owned(), revision: 1, rules };
        assert_eq!(snapshots.publish(&[publication]), Ok(()));
    }
}
