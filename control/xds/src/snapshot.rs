//! What is published: the current snapshot, what replaces it, and the bell that says there is something new.

mod published;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::canary::{self, CanaryShare, Candidate, Group, Verdict};
use crate::ecds::{self, FilterSettings};
use crate::limits::MAX_REFUSALS;
use crate::offer::{Fallback, Offer, Standing};
use crate::refusals::{Refusal, Refusals};
use crate::resource::{Publication, PublishError, Resource};
use crate::version::Version;
pub(crate) use published::{Encoded, Snapshot};

/// What a proxy refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rejection<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: Version,
    /// The hash of all but the revision.
    pub(crate) content: u64,
    pub(crate) node: &'a str,
    pub(crate) message: &'a str,
}

/// The current snapshot, and a bell that rings when it is replaced.
#[derive(Debug)]
pub(crate) struct Snapshots {
    settings: FilterSettings,
    share: CanaryShare,
    current: ArcSwap<Snapshot>,
    /// Whoever replaces the snapshot holds it.
    past: Mutex<Past>,
    bell: watch::Sender<()>,
}

/// What is known beside the snapshot.
#[derive(Debug, Default)]
struct Past {
    refusals: Refusals,
    /// What proxies get while the first rules that this process publishes are on trial or held back, by resource name.
    fallbacks: BTreeMap<String, Fallback>,
    /// Who of those that never accepted anything refused which content of a tenant on trial.
    doubts: VecDeque<(String, u64, String)>,
}

/// What a trial may know of the proxies.
pub(crate) trait Fleet {
    /// Those that are connected and ask for one of these resources, by resource.
    fn candidates(&self, resources: &BTreeSet<&str>, now: Instant) -> BTreeMap<Arc<str>, Vec<Candidate>>;

    /// Lets the streams of these look at what they are sent, and no others: of ten thousand, a hundred.
    fn call(&self, group: &Group);
}

// === impl Snapshots ===

impl Snapshots {
    pub(crate) fn new(settings: FilterSettings, share: CanaryShare) -> Self {
        Self {
            settings,
            share,
            current: ArcSwap::default(),
            past: Mutex::default(),
            bell: watch::Sender::new(()),
        }
    }

    /// The newest snapshot.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A receiver that wakes when somebody may be sent something else.
    pub(crate) fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// Makes exactly these publications ready. Nothing is published yet.
    pub(crate) fn prepare(&self, publications: &[Publication]) -> Result<Encoded, PublishError> {
        self.current().encode(publications, &self.settings)
    }

    /// Puts what was prepared in place of everything.
    pub(crate) fn swap(&self, encoded: Encoded, fleet: &impl Fleet, now: Instant) {
        let trial = |wanted: &Resource, before: Group| {
            if self.share == CanaryShare::ALL {
                return None;
            }
            let group = before.anew(now);
            // A group that is there goes on, and whoever is missing in it is found at the next look.
            Some(if group.is_empty() { self.first_group(wanted, fleet, now) } else { group })
        };
        let mut past = self.past();
        let current = self.current();
        let next = Arc::new(current.next(encoded, &mut past, now, trial));
        self.current.store(Arc::clone(&next));
        match next.called_after(&current, now) {
            Some(groups) => groups.into_iter().for_each(|group| fleet.call(group)),
            None => self.ring(),
        }
    }

    /// Lets the first node that comes try what nobody tries yet, so that it need not wait for the next look.
    pub(crate) fn volunteer(&self, name: &str, node: &str, now: Instant) {
        let is_untried = |snapshot: &Snapshot| snapshot.by_name.get(name).is_some_and(Offer::is_untried);
        if !is_untried(&self.current()) {
            return;
        }
        let _turn = self.past();
        let current = self.current();
        if let Some(offer) = current.by_name.get(name).filter(|offer| offer.is_untried()) {
            let group = Group::default().with(std::iter::once(node), now);
            let offer = Offer { standing: Standing::Trial(group), ..offer.clone() };
            // Only the node itself is sent anything else by it, and it is asking.
            self.current.store(Arc::new(current.with(name, offer)));
        }
    }

    /// Looks at what is on trial: sends it to more proxies, or to all.
    pub(crate) fn follow_trials(&self, fleet: &impl Fleet, now: Instant) {
        let current = self.current();
        let calm = || current.trials().filter(|(offer, _)| offer.pace.is_calm(now));
        let names: BTreeSet<&str> = calm().map(|(offer, _)| offer.wanted.name.as_str()).collect();
        if names.is_empty() {
            return;
        }
        let candidates = fleet.candidates(&names, now);
        for (Offer { wanted, pace, .. }, group) in calm() {
            let candidates = candidates.get(wanted.name.as_str()).map_or(&[][..], Vec::as_slice);
            match canary::judge(wanted.version, group, candidates, self.share, now) {
                Verdict::Wait if pace.is_row() => fleet.call(group),
                Verdict::Wait => {}
                Verdict::Enlist(more) => self.enlist(wanted, &more, fleet),
                Verdict::Release => self.release(wanted, candidates.len(), now),
            }
        }
    }

    /// Lets all of so many proxies have what was on trial.
    fn release(&self, wanted: &Resource, proxies: usize, now: Instant) {
        let released = |offer: &Offer| match offer.standing {
            Standing::Trial(_) => {
                let pace = offer.pace.spread(proxies, now);
                Some(Offer { standing: Standing::Proven, pace, ..offer.clone() })
            }
            _ => None,
        };
        if self.move_on(wanted, released) {
            self.ring();
        }
    }

    /// Lets more nodes try what is on trial, beside those that came meanwhile.
    fn enlist(&self, wanted: &Resource, more: &Group, fleet: &impl Fleet) {
        let joined = |offer: &Offer| match &offer.standing {
            Standing::Trial(group) => {
                Some(Offer { standing: Standing::Trial(group.joined(more)), ..offer.clone() })
            }
            _ => None,
        };
        if self.move_on(wanted, joined) {
            fleet.call(more);
        }
    }

    /// Who tries what is new first.
    fn first_group(&self, wanted: &Resource, fleet: &impl Fleet, now: Instant) -> Group {
        let candidates = fleet.candidates(&BTreeSet::from([wanted.name.as_str()]), now);
        let candidates = candidates.values().next().map_or(&[][..], Vec::as_slice);
        match canary::judge(wanted.version, &Group::default(), candidates, self.share, now) {
            Verdict::Enlist(group) => group,
            Verdict::Wait | Verdict::Release => Group::default(),
        }
    }

    /// Takes in that all proxies accepted what is wanted of a tenant, if that is this revision.
    pub(crate) fn accept(&self, tenant: &str, revision: u64) {
        let current = self.current();
        let offer = current.by_name.get(&ecds::resource_name(tenant));
        let wanted = offer.map(|offer| &offer.wanted);
        if let Some(wanted) = wanted.filter(|wanted| wanted.version.revision == revision) {
            let accepted = |offer: &Offer| match offer.standing {
                Standing::HeldBack(_) | Standing::Accepted => None,
                _ => Some(Offer { standing: Standing::Accepted, ..offer.clone() }),
            };
            let was_on_trial = offer.is_some_and(|offer| matches!(offer.standing, Standing::Trial(_)));
            if self.move_on(wanted, accepted) && was_on_trial {
                self.ring();
            }
        }
    }

    /// Whether a later revision falls back on this one.
    pub(crate) fn is_fallback(&self, tenant: &str, revision: u64) -> bool {
        let current = self.current();
        let offer = current.by_name.get(&ecds::resource_name(tenant));
        offer.and_then(Offer::proven).is_some_and(|proven| proven.resource.version.revision == revision)
    }

    /// Remembers what a proxy refused, and holds it back if it is what is wanted. Not so what all proxies accepted: then something is
    /// wrong with the one that refused, which is not sent it again.
    pub(crate) fn refuse(&self, rejection: Rejection<'_>) {
        let Rejection { name, version, content, node, message } = rejection;
        let mut past = self.past();
        let current = self.current();
        let Some(offer) = current.by_name.get(name) else { return };
        let is_wanted = offer.wanted.content == content;
        let fallback = offer.fallback.as_ref().filter(|fallback| fallback.resource.content == content);
        let is_trusted = fallback.is_some_and(|fallback| fallback.is_settled)
            || is_wanted && matches!(offer.standing, Standing::Firm | Standing::Accepted);
        let tenant = offer.wanted.tenant().to_owned();
        if is_trusted || past.refusals.of(&tenant, content).is_some() {
            return;
        }
        let (node, message) = (node.to_owned(), message.to_owned());
        let refusal = Arc::new(Refusal { tenant, revision: version.revision, content, node, message });
        past.refusals.add(Arc::clone(&refusal));
        let is_fallback = fallback.is_some();
        if is_wanted || is_fallback {
            // The word may be on an earlier revision with the same content.
            let refusal = Arc::new(Refusal { revision: offer.wanted.version.revision, ..(*refusal).clone() });
            let mut offer = offer.clone();
            if is_wanted {
                offer.standing = Standing::HeldBack(refusal);
            }
            offer.fallback.take_if(|_| is_fallback);
            self.replace(current.with(name, offer));
        }
    }

    /// Takes in that a proxy refused what is wanted, if that is this version.
    pub(crate) fn refuse_wanted(&self, name: &str, version: Version, node: &str, message: &str) {
        let current = self.current();
        let wanted = current.wanted(name).filter(|wanted| wanted.version == version);
        if let Some(wanted) = wanted {
            self.refuse(Rejection { name, version, content: wanted.content, node, message });
        }
    }

    /// Takes in that a proxy refused what is on trial that never accepted anything: it may refuse whatever it is sent. Of two such
    /// the word is taken.
    pub(crate) fn doubt(&self, rejection: Rejection<'_>) {
        let Rejection { name, version, content, node, .. } = rejection;
        let is_on_trial = self
            .current()
            .trials()
            .any(|(offer, _)| offer.wanted.name == name && offer.wanted.version == version);
        if !is_on_trial {
            return;
        }
        let mut past = self.past();
        let mut same = past.doubts.iter().filter(|(of, what, _)| (of.as_str(), *what) == (name, content));
        let is_doubted = same.any(|(_, _, other)| other != node);
        if !is_doubted {
            past.doubts.truncate(MAX_REFUSALS - 1);
            past.doubts.push_front((name.to_owned(), content, node.to_owned()));
            return;
        }
        drop(past);
        self.refuse(rejection);
    }

    /// What is held back now.
    pub(crate) fn held_back(&self) -> Vec<Refusal> {
        let current = self.current();
        let refusal = |offer: &Offer| match &offer.standing {
            Standing::HeldBack(refusal) => Some(Refusal::clone(refusal)),
            _ => None,
        };
        current.by_name.values().filter_map(refusal).collect()
    }

    /// Forgets what was refused of a tenant. What is held back now stays so until it is published under another revision.
    pub(crate) fn forgive(&self, tenant: &str) {
        let mut past = self.past();
        past.refusals.forgive(tenant);
        past.doubts.retain(|(name, _, _)| ecds::tenant_of(name) != tenant);
    }

    /// Remembers what was refused before this process began.
    pub(crate) fn recall(&self, refusal: Refusal) {
        self.past().refusals.recall(refusal);
    }

    /// Remembers what did well before this process began, unless it was refused since.
    pub(crate) fn recall_fallback(&self, publication: &Publication) {
        let resource = Arc::new(Resource::new(publication, &self.settings));
        let mut past = self.past();
        if past.refusals.of(resource.tenant(), resource.content).is_none() {
            past.fallbacks.insert(resource.name.clone(), Fallback { resource, is_settled: true });
        }
    }

    /// Lets what is wanted under a name stand otherwise, if it is this resource still. Gives whether it does.
    fn move_on(&self, resource: &Resource, next: impl FnOnce(&Offer) -> Option<Offer>) -> bool {
        let _turn = self.past();
        let current = self.current();
        let offer = current.by_name.get(&resource.name);
        let offer = offer.filter(|offer| offer.wanted.version == resource.version);
        let offer = offer.and_then(next);
        let has_moved = offer.is_some();
        if let Some(offer) = offer {
            self.current.store(Arc::new(current.with(&resource.name, offer)));
        }
        has_moved
    }

    fn replace(&self, next: Snapshot) {
        self.current.store(Arc::new(next));
        self.ring();
    }

    /// Lets every stream look at what it is sent.
    fn ring(&self) {
        self.bell.send_replace(());
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        // Each change of it is complete in itself.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the snapshot by exactly these publications, or changes nothing.
    #[cfg(test)]
    pub(crate) fn publish(&self, publications: &[Publication]) -> Result<(), PublishError> {
        self.prepare(publications).map(|next| self.swap(next, &tests::Nobody, Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::limits::{DEBOUNCE, MAX_RULES_BYTES};
    use crate::version::digest;

    /// Nobody is there.
    pub(super) struct Nobody;

    impl Fleet for Nobody {
        fn candidates(&self, _: &BTreeSet<&str>, _: Instant) -> BTreeMap<Arc<str>, Vec<Candidate>> {
            BTreeMap::new()
        }

        fn call(&self, _group: &Group) {}
    }

    fn publication(tenant: &str, revision: u64, rules: &'static [u8]) -> Publication {
        let content_hash = digest(&[rules]);
        Publication {
            tenant: tenant.to_owned(),
            revision,
            rules: Bytes::from_static(rules),
            content_hash,
            is_firm: false,
        }
    }

    fn firm(revision: u64, rules: &'static [u8]) -> Publication {
        Publication { is_firm: true, ..publication("a", revision, rules) }
    }

    fn published(publications: &[Publication]) -> Arc<Snapshot> {
        let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::ALL);
        snapshots.publish(publications).unwrap();
        snapshots.current()
    }

    #[test]
    fn the_version_is_the_same_in_every_process() {
        // The literal is the point: a hash that differs from run to run would push to every proxy after every restart.
        let snapshot = published(&[publication("retail", 7, b"rules")]);
        let version = snapshot.wanted("graylane.v1.retail").unwrap().version.to_string();
        assert_eq!(version, "7-8b34cb924536c769");
    }

    #[test]
    fn other_rules_have_another_version() {
        let one = published(&[publication("retail", 7, b"rules")]);
        let two = published(&[publication("retail", 7, b"other")]);
        let version = |s: &Snapshot| s.wanted("graylane.v1.retail").unwrap().version;
        assert_ne!(version(&one), version(&two));
    }

    #[test]
    fn what_did_not_change_is_shared_with_the_snapshot_before() {
        let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::ALL);
        snapshots.publish(&[publication("a", 1, b"a"), publication("b", 1, b"b")]).unwrap();
        let before = snapshots.current();
        snapshots.publish(&[publication("a", 1, b"a"), publication("b", 2, b"c")]).unwrap();
        let after = snapshots.current();
        let same = |name: &str| Arc::ptr_eq(before.wanted(name).unwrap(), after.wanted(name).unwrap());
        assert!(same("graylane.v1.a"));
        assert!(!same("graylane.v1.b"));
    }

    #[test]
    fn a_refused_publish_changes_nothing() {
        let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::ALL);
        snapshots.publish(&[publication("a", 1, b"a")]).unwrap();
        let before = snapshots.current();
        let large = Publication {
            tenant: "b".to_owned(),
            revision: 1,
            rules: Bytes::from(vec![0; MAX_RULES_BYTES + 1]),
            content_hash: 0,
            is_firm: false,
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
        let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::ALL);
        snapshots.publish(&[publication("a", 1, b"a")]).unwrap();
        let error = PublishError::RevisionReused { tenant: "a".to_owned(), revision: 1 };
        assert_eq!(snapshots.publish(&[publication("a", 1, b"b")]), Err(error));
        assert_eq!(snapshots.publish(&[publication("a", 1, b"a")]), Ok(()));
    }

    #[test]
    fn what_one_refuses_is_sent_to_nobody_under_any_revision_until_it_is_forgiven() {
        let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::ALL);
        let served = || snapshots.current().served(NAME, "n").map(|resource| resource.version.revision);
        let publish = |revision, rules| {
            snapshots.publish(&[publication("a", revision, rules)]).unwrap();
            snapshots.current().wanted(NAME).unwrap().clone()
        };
        let refuse = |resource: &Resource, node, message| {
            let Resource { version, content, .. } = *resource;
            snapshots.refuse(Rejection { name: NAME, version, content, node, message });
        };
        let first = publish(1, b"good");
        snapshots.accept("a", 1);
        refuse(&first, "n", "no");
        assert_eq!(served(), Some(1), "all accepted it, so it is the proxy that is odd");
        let again = publish(11, b"good");
        refuse(&again, "n", "no");
        assert_eq!(served(), Some(11), "under any revision");
        snapshots.accept("a", 11);
        let second = publish(12, b"bad");
        snapshots.accept("a", 11);
        refuse(&first, "n", "no");
        assert_eq!(served(), Some(12), "an older version says nothing of this one");
        refuse(&second, "n", "no");
        refuse(&second, "m", "neither do I");
        assert_eq!(served(), Some(11));
        let held_back = snapshots.held_back();
        let [Refusal { tenant, revision: 12, node, message, content }] = &held_back[..] else {
            panic!("{held_back:?}")
        };
        assert_eq!((tenant.as_str(), node.as_str(), message.as_str()), ("a", "n", "no"));
        snapshots.accept("a", 12);
        assert_eq!((publish(13, b"better").version.revision, served()), (13, Some(13)));
        publish(14, b"bad");
        assert_eq!((served(), snapshots.held_back()[0].revision), (Some(11), 14), "what all accepted last");
        snapshots.forgive("a");
        publish(14, b"bad");
        assert_eq!(served(), Some(11), "not under the same revision, when others publish");
        assert_eq!((publish(15, b"bad").version.revision, served()), (15, Some(15)));

        let firm = snapshots.prepare(&[firm(16, b"back")]).unwrap();
        snapshots.swap(firm, &Nobody, Instant::now());
        let firm = snapshots.current().wanted(NAME).unwrap().clone();
        refuse(&firm, "n", "no");
        assert_eq!(served(), Some(16), "nobody stops what takes people back");

        let next = Snapshots::new(FilterSettings::default(), CanaryShare::ALL);
        next.recall(Refusal { content: *content, ..held_back[0].clone() });
        next.publish(&[publication("a", 6, b"bad"), publication("b", 6, b"bad")]).unwrap();
        assert!(next.current().served(NAME, "n").is_none(), "another process knows it, too");
        assert!(
            next.current().served("graylane.v1.b", "n").is_some(),
            "another tenant's proxies were not asked"
        );
    }

    /// Proxies that run what they ran, and answer as they are told.
    struct Few(Vec<Candidate>);

    impl Fleet for Few {
        fn candidates(&self, _: &BTreeSet<&str>, _: Instant) -> BTreeMap<Arc<str>, Vec<Candidate>> {
            BTreeMap::from([(NAME.into(), self.0.clone())])
        }

        fn call(&self, _group: &Group) {}
    }

    impl Few {
        fn of(nodes: &[&str]) -> Self {
            let candidate = |node: &&str| Candidate {
                node: (*node).into(),
                acknowledged: None,
                applied: None,
                may_report: false,
                rejected_config: false,
                refused: None,
            };
            Self(nodes.iter().map(candidate).collect())
        }

        fn accept(&mut self, node: &str, resource: &Resource) {
            let mut named = self.0.iter_mut().filter(|candidate| *candidate.node == *node);
            named.next().unwrap().acknowledged = Some(resource.version);
        }
    }

    const NAME: &str = "graylane.v1.a";

    /// Two proxies, one of which tries what is new.
    struct OnTrial {
        snapshots: Snapshots,
        fleet: Few,
    }

    impl OnTrial {
        fn new() -> Self {
            let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::default());
            Self { snapshots, fleet: Few::of(&["n", "m"]) }
        }

        fn publish(&self, revision: u64, rules: &'static [u8]) -> Arc<Resource> {
            let prepared = self.snapshots.prepare(&[publication("a", revision, rules)]).unwrap();
            self.snapshots.swap(prepared, &self.fleet, Instant::now());
            self.snapshots.current().wanted(NAME).unwrap().clone()
        }

        /// The revision that each is sent, the canary first.
        fn served(&self) -> [Option<u64>; 2] {
            let current = self.snapshots.current();
            let served = |node| current.served(NAME, node).map(|resource| resource.version.revision);
            let mut both = ["n", "m"].map(served);
            both.sort_by_key(|revision| std::cmp::Reverse(*revision));
            both
        }

        fn canary(&self) -> &'static str {
            let current = self.snapshots.current();
            let (_, group) = current.trials().next().unwrap();
            ["n", "m"].into_iter().find(|node| group.contains(node)).unwrap()
        }

        fn refuse(&self, resource: &Resource, node: &str) {
            let Resource { version, content, .. } = *resource;
            self.snapshots.refuse(Rejection { name: NAME, version, content, node, message: "no" });
        }

        /// Looks when no publish can follow any more.
        fn look(&self) {
            self.snapshots.follow_trials(&self.fleet, Instant::now() + DEBOUNCE);
        }
    }

    #[test]
    fn one_tries_what_is_new_and_the_other_keeps_what_was_there_until_it_runs() {
        let mut stage = OnTrial::new();
        let first = stage.publish(1, b"first");
        assert_eq!(stage.served(), [Some(1), None]);
        stage.fleet.accept(stage.canary(), &first);
        stage.look();
        assert_eq!(stage.served(), [Some(1), Some(1)]);

        stage.publish(2, b"second");
        let canary = stage.canary();
        assert_eq!(stage.served(), [Some(2), Some(1)]);
        let third = stage.publish(3, b"third");
        assert_eq!((stage.canary(), stage.served()), (canary, [Some(3), Some(1)]), "the same one tries on");
        stage.refuse(&third, canary);
        assert_eq!(stage.served(), [Some(1), Some(1)], "nobody is sent what it refused");

        stage.publish(4, b"fourth");
        assert_eq!(stage.served(), [Some(4), Some(1)]);
        stage.snapshots.accept("a", 4);
        assert_eq!(stage.served(), [Some(4), Some(4)], "all have it");
        stage.publish(5, b"fourth");
        assert_eq!(stage.served(), [Some(5), Some(5)], "it says nothing new");
        stage.publish(6, b"sixth");
        let firm = stage.snapshots.prepare(&[firm(7, b"back")]).unwrap();
        stage.snapshots.swap(firm, &stage.fleet, Instant::now());
        assert_eq!(stage.served(), [Some(7), Some(7)], "going back waits for nobody");
        stage.publish(8, b"eighth");
        assert_eq!(stage.served(), [Some(8), Some(7)], "nor is it undone by what comes next");
    }

    #[test]
    fn the_first_that_comes_tries_what_nobody_tries() {
        let stage = OnTrial { fleet: Few::of(&[]), ..OnTrial::new() };
        stage.publish(1, b"first");
        let come = |node| {
            stage.snapshots.volunteer(NAME, node, Instant::now());
            stage.snapshots.current().served(NAME, node).is_some()
        };
        assert_eq!([come("n"), come("m"), come("n")], [true, false, true]);
    }

    #[test]
    fn what_was_refused_too_late_is_known_when_it_comes_again() {
        let stage = OnTrial::new();
        let first = stage.publish(1, b"first");
        stage.publish(2, b"second");
        stage.refuse(&first, "n");
        assert_eq!(stage.served(), [Some(2), None], "it says nothing of the second");
        stage.publish(3, b"first");
        assert_eq!((stage.served(), stage.snapshots.held_back().len()), ([None, None], 1));
    }

    #[test]
    fn what_did_well_with_few_is_refused_like_anything_else() {
        let mut stage = OnTrial::new();
        let first = stage.publish(1, b"first");
        stage.fleet.accept(stage.canary(), &first);
        stage.look();
        stage.publish(2, b"second");
        assert_eq!(stage.served(), [Some(2), Some(1)]);
        stage.refuse(&first, "m");
        assert_eq!(stage.served(), [Some(2), None], "one of the others cannot take it");
        stage.publish(3, b"first");
        assert_eq!(stage.served(), [None, None]);
        stage.snapshots.forgive("a");
        let again = stage.publish(4, b"first");
        stage.refuse(&first, "m");
        assert_eq!((again.version.revision, stage.served()), (4, [None, None]), "it is the same content");
    }

    #[test]
    fn what_was_refused_while_the_same_was_published_again_is_held_back() {
        let stage = OnTrial::new();
        let first = stage.publish(1, b"same");
        let second = stage.publish(2, b"same");
        stage.refuse(&first, "n");
        assert_eq!((stage.served(), stage.snapshots.held_back()[0].revision), ([None, None], 2));
        stage.refuse(&second, "n");
        assert_eq!(stage.snapshots.held_back().len(), 1, "and once");
    }

    #[test]
    fn of_two_that_never_accepted_anything_the_word_is_taken() {
        let stage = OnTrial::new();
        let Resource { version, content, .. } = *stage.publish(1, b"first");
        let doubt = |version, node| {
            stage.snapshots.doubt(Rejection { name: NAME, version, content, node, message: "no" });
            stage.snapshots.held_back().len()
        };
        assert_eq!(doubt(version, "n"), 0);
        assert_eq!(doubt(version, "n"), 0, "the same one says it twice");
        assert_eq!(doubt(Version { revision: 9, ..version }, "m"), 0, "it is not on trial");
        assert_eq!(doubt(version, "m"), 1);
    }

    #[test]
    fn what_did_well_before_the_start_is_served_until_the_trial_is_over() {
        let mut stage = OnTrial::new();
        stage.snapshots.recall_fallback(&publication("a", 4, b"before"));
        let fifth = stage.publish(5, b"now");
        assert_eq!(stage.served(), [Some(5), Some(4)]);
        stage.fleet.accept(stage.canary(), &fifth);
        stage.look();
        assert_eq!(stage.served(), [Some(5), Some(5)]);
        assert!(stage.snapshots.is_fallback("a", 5) && !stage.snapshots.is_fallback("a", 4));
    }

    #[test]
    fn the_largest_rules_are_published() {
        let rules = Bytes::from(vec![7; MAX_RULES_BYTES]);
        let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::ALL);
        let publication =
            Publication { tenant: "a".to_owned(), revision: 1, rules, content_hash: 0, is_firm: false };
        assert_eq!(snapshots.publish(&[publication]), Ok(()));
    }
}
