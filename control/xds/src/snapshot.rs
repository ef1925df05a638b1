//! What is published: one immutable set of resources, and the bell that says there is a new one.

use std::collections::btree_map;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::ecds::{self, FilterSettings};
use crate::limits::{MAX_REFUSALS, MAX_RULES_BYTES, MAX_TENANT_BYTES, MAX_TENANTS};

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
}

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
    /// The `Any` as it travels, in memory once for all streams.
    pub(crate) body: Bytes,
    /// The hash of all but the revision.
    content: u64,
    /// What the body was built from, so that a publish reuses what did not change.
    rules: Bytes,
}

/// What is there for one name.
#[derive(Clone, Debug)]
struct Offer {
    wanted: Arc<Resource>,
    /// What all proxies accepted last, which may be what is wanted.
    accepted: Option<Arc<Resource>>,
    /// Whether what is wanted goes to everybody, whoever refuses it: it takes people back.
    is_firm: bool,
    /// Why what is wanted is held back.
    refusal: Option<Arc<Refusal>>,
}

/// All resources of one publish. Never changes; a publish makes another one.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    by_name: BTreeMap<String, Offer>,
}

/// Resources that are ready to be published.
#[derive(Debug)]
pub(crate) struct Encoded {
    by_name: BTreeMap<String, Arc<Resource>>,
    /// Whether what is new among them goes to everybody, whoever refuses it.
    is_firm: bool,
}

/// The current snapshot, and a bell that rings when it is replaced.
#[derive(Debug)]
pub(crate) struct Snapshots {
    settings: FilterSettings,
    current: ArcSwap<Snapshot>,
    /// What proxies refused, oldest first. Whoever replaces the snapshot holds it.
    refusals: Mutex<VecDeque<Arc<Refusal>>>,
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

    /// Reads what [`fmt::Display`] wrote, with or without a mark behind it. Proxies send it back to us, so anything may stand
    /// there.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = unmarked(text);
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
        let without_rules = ecds::encode(&name, settings, &Bytes::new());
        let content = digest(&[&without_rules.value, &publication.content_hash.to_le_bytes()]);
        let body = Bytes::from(body.encode_to_vec());
        Self { name, version, body, content, rules: publication.rules.clone() }
    }

    fn tenant(&self) -> &str {
        ecds::tenant_of(&self.name)
    }

    fn is_refused_by(&self, refusal: &Refusal) -> bool {
        self.tenant() == refusal.tenant && self.content == refusal.content
    }
}

// === impl Offer ===

impl Offer {
    /// What is sent to whoever lacks it.
    fn served(&self) -> Option<&Arc<Resource>> {
        match self.refusal {
            Some(_) => self.accepted.as_ref(),
            None => Some(&self.wanted),
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The resource that is sent for that name, if there is one: what is wanted, or what all proxies accepted last while that
    /// is held back.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.by_name.get(name)?.served()
    }

    /// The resource that proxies should have under that name, if it is published.
    pub(crate) fn wanted(&self, name: &str) -> Option<&Arc<Resource>> {
        Some(&self.by_name.get(name)?.wanted)
    }

    /// What a publish puts in place, sharing with this snapshot what stays the same.
    fn encode(
        &self,
        publications: &[Publication],
        is_firm: bool,
        settings: &FilterSettings,
    ) -> Result<Encoded, PublishError> {
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
        Ok(Encoded { by_name, is_firm })
    }

    fn reuse(&self, publication: &Publication) -> Result<Option<Arc<Resource>>, PublishError> {
        let known = self.wanted(&ecds::resource_name(&publication.tenant));
        match known.filter(|known| known.version.revision == publication.revision) {
            Some(known) if known.rules == publication.rules => Ok(Some(known.clone())),
            Some(_) => Err(PublishError::RevisionReused {
                tenant: publication.tenant.clone(),
                revision: publication.revision,
            }),
            None => Ok(None),
        }
    }

    /// The snapshot after a publish.
    fn next(&self, encoded: Encoded, refusals: &VecDeque<Arc<Refusal>>) -> Self {
        let Encoded { by_name, is_firm } = encoded;
        let offer = |(name, wanted): (String, Arc<Resource>)| {
            let before = self.by_name.get(&name);
            if let Some(same) = before.filter(|before| before.wanted.version == wanted.version) {
                return (name, same.clone());
            }
            let accepted = before.and_then(|offer| offer.accepted.clone());
            let known = refusals.iter().find(|refusal| !is_firm && wanted.is_refused_by(refusal));
            let under =
                |refusal: &Arc<Refusal>| Refusal { revision: wanted.version.revision, ..(**refusal).clone() };
            let refusal = known.map(|refusal| Arc::new(under(refusal)));
            (name, Offer { wanted, accepted, is_firm, refusal })
        };
        Self { by_name: by_name.into_iter().map(offer).collect() }
    }

    /// The snapshot with another offer for a name.
    fn with(&self, name: &str, offer: Offer) -> Self {
        let mut by_name = self.by_name.clone();
        by_name.insert(name.to_owned(), offer);
        Self { by_name }
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
        Self {
            settings,
            current: ArcSwap::default(),
            refusals: Mutex::default(),
            bell: watch::Sender::new(()),
        }
    }

    /// The newest snapshot.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A receiver that wakes at every publish after this call.
    pub(crate) fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// Makes exactly these publications ready. Nothing is published yet.
    pub(crate) fn prepare(
        &self,
        publications: &[Publication],
        is_firm: bool,
    ) -> Result<Encoded, PublishError> {
        self.current().encode(publications, is_firm, &self.settings)
    }

    /// Puts what was prepared in place of everything.
    pub(crate) fn swap(&self, encoded: Encoded) {
        let refusals = self.refusals();
        self.replace(self.current().next(encoded, &refusals));
    }

    /// Takes in that all proxies accepted what is wanted of a tenant, if that is this revision.
    pub(crate) fn accept(&self, tenant: &str, revision: u64) {
        let _turn = self.refusals();
        let (current, name) = (self.current(), ecds::resource_name(tenant));
        let offer = current.by_name.get(&name);
        if let Some(offer @ Offer { wanted, accepted, refusal: None, .. }) = offer
            && wanted.version.revision == revision
            && accepted.as_ref().is_none_or(|accepted| accepted.version != wanted.version)
        {
            // Nobody is sent anything else by it, so nobody is woken.
            let accepted = Some(Arc::clone(wanted));
            self.current.store(Arc::new(current.with(&name, Offer { accepted, ..offer.clone() })));
        }
    }

    /// Holds back what a proxy refused. What all proxies accepted before stays: then something is wrong with the one that
    /// refused, which is not sent it again.
    pub(crate) fn refuse(&self, name: &str, version: Version, node: &str, message: &str) {
        let mut refusals = self.refusals();
        let current = self.current();
        let Some(offer) = current.by_name.get(name) else { return };
        let Offer { wanted, accepted, is_firm, refusal } = offer;
        let is_accepted = accepted.as_ref().is_some_and(|accepted| accepted.content == wanted.content);
        if wanted.version != version || *is_firm || is_accepted || refusal.is_some() {
            return;
        }
        let refusal = Arc::new(Refusal {
            tenant: wanted.tenant().to_owned(),
            revision: version.revision,
            content: wanted.content,
            node: node.to_owned(),
            message: message.to_owned(),
        });
        if refusals.len() == MAX_REFUSALS {
            refusals.pop_front();
        }
        refusals.push_back(Arc::clone(&refusal));
        self.replace(current.with(name, Offer { refusal: Some(refusal), ..offer.clone() }));
    }

    /// What is held back now.
    pub(crate) fn held_back(&self) -> Vec<Refusal> {
        let current = self.current();
        current.by_name.values().filter_map(|offer| offer.refusal.as_deref().cloned()).collect()
    }

    /// Forgets what was refused of a tenant. What is held back now stays so until it is published under another revision.
    pub(crate) fn forgive(&self, tenant: &str) {
        self.refusals().retain(|refusal| refusal.tenant != tenant);
    }

    /// Remembers what was refused before this process began.
    pub(crate) fn recall(&self, refusal: Refusal) {
        let mut refusals = self.refusals();
        let is_known =
            refusals.iter().any(|known| (&known.tenant, known.content) == (&refusal.tenant, refusal.content));
        if refusals.len() < MAX_REFUSALS && !is_known {
            refusals.push_back(Arc::new(refusal));
        }
    }

    fn replace(&self, next: Snapshot) {
        self.current.store(Arc::new(next));
        self.bell.send_replace(());
    }

    fn refusals(&self) -> MutexGuard<'_, VecDeque<Arc<Refusal>>> {
        // Each change of it is complete in itself.
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the snapshot by exactly these publications, or changes nothing.
    #[cfg(test)]
    pub(crate) fn publish(&self, publications: &[Publication]) -> Result<(), PublishError> {
        self.prepare(publications, false).map(|next| self.swap(next))
    }
}

/// A version as text without the mark that [`marked`] puts behind it.
pub(crate) fn unmarked(text: &str) -> &str {
    text.split_once('+').map_or(text, |(text, _)| text)
}

/// A version as text that no text before on the same stream was. After a rejection Envoy has to be sent what it had before, and
/// its version has to be another.
pub(crate) fn marked(text: &str, nonce: &str) -> String {
    format!("{text}+{nonce}")
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
        let content_hash = digest(&[rules]);
        Publication { tenant: tenant.to_owned(), revision, rules: Bytes::from_static(rules), content_hash }
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
        assert_eq!(marked(&version.to_string(), "3").parse(), Ok(version));
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
            content_hash: 0,
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
    fn what_one_refuses_is_sent_to_nobody_under_any_revision_until_it_is_forgiven() {
        const NAME: &str = "graylane.v1.a";
        let snapshots = Snapshots::new(FilterSettings::default());
        let served = || snapshots.current().get(NAME).map(|resource| resource.version.revision);
        let publish = |revision, rules| {
            snapshots.publish(&[publication("a", revision, rules)]).unwrap();
            snapshots.current().wanted(NAME).unwrap().version
        };
        let first = publish(1, b"good");
        snapshots.accept("a", 1);
        snapshots.refuse(NAME, first, "n", "no");
        assert_eq!(served(), Some(1), "all accepted it, so it is the proxy that is odd");
        let again = publish(11, b"good");
        snapshots.refuse(NAME, again, "n", "no");
        assert_eq!(served(), Some(11), "under any revision");
        snapshots.accept("a", 11);
        let second = publish(12, b"bad");
        snapshots.accept("a", 11);
        snapshots.refuse(NAME, first, "n", "no");
        assert_eq!(served(), Some(12), "an older version says nothing of this one");
        snapshots.refuse(NAME, second, "n", "no");
        snapshots.refuse(NAME, second, "m", "neither do I");
        assert_eq!(served(), Some(11));
        let held_back = snapshots.held_back();
        let [Refusal { tenant, revision: 12, node, message, content }] = &held_back[..] else {
            panic!("{held_back:?}")
        };
        assert_eq!((tenant.as_str(), node.as_str(), message.as_str()), ("a", "n", "no"));
        snapshots.accept("a", 12);
        assert_eq!((publish(13, b"better").revision, served()), (13, Some(13)));
        publish(14, b"bad");
        assert_eq!((served(), snapshots.held_back()[0].revision), (Some(11), 14), "what all accepted last");
        snapshots.forgive("a");
        publish(14, b"bad");
        assert_eq!(served(), Some(11), "not under the same revision, when others publish");
        assert_eq!((publish(15, b"bad").revision, served()), (15, Some(15)));

        let firm = snapshots.prepare(&[publication("a", 16, b"back")], true).unwrap();
        snapshots.swap(firm);
        let firm = snapshots.current().wanted(NAME).unwrap().version;
        snapshots.refuse(NAME, firm, "n", "no");
        assert_eq!(served(), Some(16), "nobody stops what takes people back");

        let next = Snapshots::new(FilterSettings::default());
        next.recall(Refusal { content: *content, ..held_back[0].clone() });
        next.publish(&[publication("a", 6, b"bad"), publication("b", 6, b"bad")]).unwrap();
        assert!(next.current().get(NAME).is_none(), "another process knows it, too");
        assert!(next.current().get("graylane.v1.b").is_some(), "another tenant's proxies were not asked");
    }

    #[test]
    fn the_largest_rules_are_published() {
        let rules = Bytes::from(vec![7; MAX_RULES_BYTES]);
        let snapshots = Snapshots::new(FilterSettings::default());
        let publication = Publication { tenant: "a".to_owned(), revision: 1, rules, content_hash: 0 };
        assert_eq!(snapshots.publish(&[publication]), Ok(()));
    }
}
