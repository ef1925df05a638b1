//! The entries, and how an event changes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::Notify;

use super::{FilterReport, Nack, Peer, Standing, StreamId, Unlisted, Unreadable};
use crate::canary::Candidate;
use crate::ecds;
use crate::limits::{FORGET_AFTER, REPORT_FRESH, REPORT_GRACE};
use crate::spiffe::SpiffeId;
use crate::stream::{Event, Protocol};
use crate::telemetry::Telemetry;
use crate::version::Version;

/// The entries. They lie side by side, so that ten thousand are counted in no time: each at the end of a pointer, they would lie
/// between the buffers of ten thousand connections.
#[derive(Debug)]
pub(super) struct Table {
    entries: Slab<Entry>,
    /// The entries of each node, by resource.
    by_node: BTreeMap<Arc<str>, Vec<usize>>,
    /// How many entries there may be.
    limit: usize,
    /// Names of resources, tenants and clusters, each once. What nobody has any more goes when entries are forgotten.
    names: BTreeSet<Arc<str>>,
    /// When entries were forgotten last.
    forgotten: Instant,
    telemetry: Arc<Telemetry>,
}

/// One proxy with one resource. Names are shared with those who read the table: a look at ten thousand proxies copies none.
#[derive(Debug)]
pub(super) struct Entry {
    /// The same in all entries of a node.
    pub(super) node: Arc<str>,
    pub(super) resource: Arc<str>,
    /// Whether its node has no other one, so that a report of the node is about this one.
    pub(super) is_sole: bool,
    pub(super) cluster: Arc<str>,
    pub(super) tenant: Arc<str>,
    /// Whom the certificate of its stream names, or named.
    pub(super) spiffe: Option<SpiffeId>,
    pub(super) protocol: Protocol,
    pub(super) link: Link,
    pub(super) last_message: Instant,
    pub(super) sent: Option<u64>,
    pub(super) acknowledged: Option<Version>,
    /// What it rejected last, if it accepted nothing since.
    pub(super) rejected: Option<u64>,
    pub(super) last_error: Option<Nack>,
    pub(super) report: FilterReport,
    /// When the filter reported last.
    reported: Option<Instant>,
    /// When it acknowledged last, on a stream of this process.
    acknowledged_at: Option<Instant>,
    /// What its filter said that it cannot read.
    unreadable: Option<Version>,
}

/// What a report changed.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// Whether watchers want to know.
    pub(super) changed: bool,
    /// What the filter cannot read since.
    pub(super) unreadable: Option<Unreadable>,
}

/// The stream that an entry hangs on.
#[derive(Clone, Debug)]
pub(super) enum Link {
    Up { stream: StreamId, since: Instant, call: Arc<Notify> },
    Down { since: Instant },
}

// === impl Table ===

impl Table {
    pub(super) fn new(limit: usize, telemetry: Arc<Telemetry>) -> Self {
        let (entries, by_node, names) = (Slab::new(), BTreeMap::new(), BTreeSet::new());
        Self { entries, by_node, limit, names, forgotten: Instant::now(), telemetry }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All entries, in no order that says anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// All entries, by node, then resource.
    pub(super) fn sorted(&self) -> impl Iterator<Item = &Entry> {
        self.by_node.values().flatten().filter_map(|id| self.entries.get(*id))
    }

    /// The entries of a node, by resource.
    pub(super) fn of(&self, node: &str) -> impl Iterator<Item = &Entry> {
        self.by_node.get(node).into_iter().flatten().filter_map(|id| self.entries.get(*id))
    }

    pub(super) fn get(&self, node: &str, resource: &str) -> Option<&Entry> {
        self.of(node).find(|entry| *entry.resource == *resource)
    }

    /// True if watchers want to know.
    pub(super) fn record(&mut self, peer: &Peer, event: Event, now: Instant) -> Result<bool, Unlisted> {
        match event {
            Event::Subscribed { resource, resumed, held } => {
                self.connect(peer, &resource, (resumed, held), now)?;
            }
            Event::Denied { .. } => return Ok(false),
            Event::Unsubscribed { resource } => self.drop_of(peer, &resource),
            Event::Acknowledged { resource, version } => {
                let Some(entry) = self.entry_of(peer, &resource) else { return Ok(false) };
                entry.acknowledge(version, now);
                if let Some(since) = entry.up_since() {
                    self.telemetry.acknowledged(&resource, version, since, now);
                }
            }
            Event::Rejected { resource, version, message, .. } => {
                let Some(entry) = self.entry_of(peer, &resource) else { return Ok(false) };
                entry.rejected = Some(version.digest);
                entry.last_error = Some(Nack { revision: version.revision, message });
            }
        }
        Ok(true)
    }

    fn connect(
        &mut self,
        peer: &Peer,
        resource: &str,
        (resumed, held): (bool, Option<Version>),
        now: Instant,
    ) -> Result<(), Unlisted> {
        let node = peer.identity.node.as_str();
        match self.get(node, resource) {
            None => self.make_room(now)?,
            Some(Entry { spiffe, link: Link::Up { stream, .. }, .. }) if *stream != peer.stream => {
                if *spiffe != peer.spiffe {
                    return Err(Unlisted::Taken { node: node.to_owned() });
                }
                tracing::warn!(%node, "two live streams of one node ask for one resource; the newer one counts");
            }
            Some(_) => {}
        }
        let [resource, tenant, cluster] = [resource, ecds::tenant_of(resource), &peer.identity.cluster]
            .map(|name| one(&mut self.names, name));
        // What another one did under this name says nothing of it.
        let known = self.remove(node, &resource).filter(|entry| entry.spiffe == peer.spiffe);
        let mut entry = known.unwrap_or_else(|| {
            let node = self.by_node.get_key_value(node).map_or_else(|| node.into(), |(node, _)| node.clone());
            Entry::new(peer, node, resource, tenant, now)
        });
        entry.cluster = cluster;
        entry.protocol = peer.protocol;
        entry.link = Link::Up { stream: peer.stream, since: now, call: peer.call.clone() };
        entry.resume(resumed, held);
        self.insert(entry);
        Ok(())
    }

    fn insert(&mut self, entry: Entry) {
        let Self { entries, by_node, .. } = self;
        let ids = by_node.entry(entry.node.clone()).or_default();
        ids.push(entries.insert(entry));
        ids.sort_by_cached_key(|id| entries.get(*id).map(|entry| entry.resource.clone()));
        note_sole(ids, entries);
    }

    fn remove(&mut self, node: &str, resource: &str) -> Option<Entry> {
        let Self { entries, by_node, .. } = self;
        let ids = by_node.get_mut(node)?;
        let is_it = |id: &usize| entries.get(*id).is_some_and(|entry| *entry.resource == *resource);
        let id = ids.remove(ids.iter().position(is_it)?);
        note_sole(ids, entries);
        if ids.is_empty() {
            by_node.remove(node);
        }
        entries.try_remove(id)
    }

    /// Makes sure that one more entry fits.
    fn make_room(&mut self, now: Instant) -> Result<(), Unlisted> {
        if self.len() < self.limit {
            return Ok(());
        }
        self.forget(now);
        if self.len() < self.limit {
            return Ok(());
        }
        let down = self.iter().filter_map(|entry| Some((entry.down_since()?, &entry.node, &entry.resource)));
        let (_, node, resource) = down.min().ok_or(Unlisted::Full(self.limit))?;
        let (node, resource) = (node.clone(), resource.clone());
        self.remove(&node, &resource);
        Ok(())
    }

    /// Drops what has been disconnected for longer than [`FORGET_AFTER`], or a second more.
    pub(super) fn tidy(&mut self, now: Instant) {
        if now.saturating_duration_since(self.forgotten) >= Duration::from_secs(1) {
            self.forget(now);
        }
    }

    fn forget(&mut self, now: Instant) {
        self.forgotten = now;
        let is_over = |entry: &&Entry| {
            entry.down_since().is_some_and(|since| now.saturating_duration_since(since) >= FORGET_AFTER)
        };
        let names = |entry: &Entry| (entry.node.clone(), entry.resource.clone());
        for (node, resource) in self.iter().filter(is_over).map(names).collect::<Vec<_>>() {
            self.remove(&node, &resource);
        }
        self.names.retain(|name| Arc::strong_count(name) > 1);
    }

    fn drop_of(&mut self, peer: &Peer, resource: &str) {
        if self.entry_of(peer, resource).is_some() {
            self.remove(&peer.identity.node, resource);
        }
    }

    pub(super) fn report(
        &mut self,
        node: &str,
        spiffe: Option<&SpiffeId>,
        report: FilterReport,
        now: Instant,
    ) -> Reported {
        let mut reported = Reported::default();
        for id in self.by_node.get(node).into_iter().flatten() {
            let Some(entry) = self.entries.get_mut(*id) else { continue };
            let Some(since) = entry.up_since().filter(|_| entry.spiffe.as_ref() == spiffe) else { continue };
            entry.last_message = now;
            let before = entry.report;
            reported.changed |= entry.take_report(report, now);
            let FilterReport { revision, rejected_config } = entry.report;
            // What it was not sent here it had before.
            if let Some(revision) = revision.filter(|_| entry.is_sole && entry.sent == revision)
                && before.revision != Some(revision)
            {
                self.telemetry.applied(&entry.resource, revision, since, now);
            }
            if rejected_config != Some(true) {
                continue;
            }
            let is_new = before.rejected_config != Some(true);
            if is_new {
                self.telemetry.unreadable();
            }
            if let Some(unreadable) = entry.unreadable(is_new, now) {
                reported.unreadable = Some(unreadable);
            }
        }
        reported
    }

    pub(super) fn heard(&mut self, peer: &Peer, now: Instant) {
        self.update(peer, |entry| entry.last_message = now);
    }

    /// The entry of a resource, if it hangs on this stream. An older stream of the same node speaks for nobody.
    pub(super) fn entry_of(&mut self, peer: &Peer, resource: &str) -> Option<&mut Entry> {
        let Self { entries, by_node, .. } = self;
        let mut ids = by_node.get(peer.identity.node.as_str())?.iter();
        let id = ids.find(|id| entries.get(**id).is_some_and(|entry| *entry.resource == *resource))?;
        entries.get_mut(*id).filter(|entry| entry.is_on(peer.stream))
    }

    /// Changes what hangs on a stream.
    pub(super) fn update(&mut self, peer: &Peer, mut change: impl FnMut(&mut Entry)) {
        for id in self.by_node.get(peer.identity.node.as_str()).into_iter().flatten() {
            self.entries
                .get_mut(*id)
                .filter(|entry| entry.is_on(peer.stream))
                .into_iter()
                .for_each(&mut change);
        }
    }
}

/// Takes in how many entries a node has.
fn note_sole(ids: &[usize], entries: &mut Slab<Entry>) {
    for id in ids {
        if let Some(entry) = entries.get_mut(*id) {
            entry.is_sole = ids.len() == 1;
        }
    }
}

/// A name that is kept once.
fn one(names: &mut BTreeSet<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = names.get(name) {
        return known.clone();
    }
    let name: Arc<str> = name.into();
    names.insert(name.clone());
    name
}

// === impl Entry ===

impl Entry {
    fn new(peer: &Peer, node: Arc<str>, resource: Arc<str>, tenant: Arc<str>, now: Instant) -> Self {
        Self {
            node,
            resource,
            is_sole: true,
            cluster: Arc::default(),
            tenant,
            spiffe: peer.spiffe.clone(),
            protocol: peer.protocol,
            link: Link::Down { since: now },
            last_message: now,
            sent: None,
            acknowledged: None,
            rejected: None,
            last_error: None,
            report: FilterReport::default(),
            reported: None,
            acknowledged_at: None,
            unreadable: None,
        }
    }

    /// Where the name of its node lies. It tells nodes apart for as long as the table is not changed.
    pub(super) fn address(&self) -> *const u8 {
        self.node.as_ptr()
    }

    /// Starts a connection. A proxy that holds nothing is a new process, and what the former one did says nothing of it.
    fn resume(&mut self, resumed: bool, held: Option<Version>) {
        if resumed {
            self.acknowledged = held.or(self.acknowledged);
        } else {
            self.sent = None;
            self.acknowledged = None;
            self.rejected = None;
            self.last_error = None;
            self.report = FilterReport::default();
            self.reported = None;
        }
    }

    fn acknowledge(&mut self, version: Version, now: Instant) {
        self.acknowledged = Some(version);
        self.acknowledged_at = Some(now);
        self.rejected = None;
        // What it is sent in place of what it rejected does not make the rejection undone.
        self.last_error.take_if(|nack| nack.revision <= version.revision);
    }

    /// The revision that its filter reports to run. One that has not reported for a while says nothing any more.
    fn applied(&self, now: Instant) -> Option<u64> {
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < REPORT_FRESH;
        self.reported.filter(is_fresh)?;
        self.report.revision.filter(|_| self.is_sole)
    }

    /// The proxy as it is counted.
    pub(super) fn standing(&self, offered: bool, wanted: Option<Version>, now: Instant) -> Standing {
        let ago = |since| now.saturating_duration_since(since);
        Standing {
            offered,
            acknowledged: self.acknowledged(wanted),
            applied: self.applied(now),
            rejected_config: self.report.rejected_config.unwrap_or_default(),
            has_refused: self.last_error.is_some(),
            connected_for: self.up_since().map(ago),
            gone_for: self.down_since().map(ago),
        }
    }

    /// The proxy as a trial sees it.
    pub(super) fn candidate(&self, now: Instant) -> Candidate {
        let is_young = |at: Instant| now.saturating_duration_since(at) < REPORT_GRACE;
        let just_came = self.up_since().is_some_and(is_young);
        Candidate {
            node: self.node.clone(),
            acknowledged: self.acknowledged,
            applied: self.applied(now),
            may_report: self.is_sole
                && just_came
                && self.reported.is_none()
                && self.acknowledged_at.is_some(),
            rejected_config: self.report.rejected_config.unwrap_or_default(),
            refused: self.last_error.as_ref().map(|nack| nack.revision),
        }
    }

    fn take_report(&mut self, report: FilterReport, now: Instant) -> bool {
        self.reported = Some(now);
        let next = FilterReport {
            revision: report.revision.or(self.report.revision),
            rejected_config: report.rejected_config.or(self.report.rejected_config),
        };
        std::mem::replace(&mut self.report, next) != next
    }

    /// What the filter took and cannot read, told once, if it runs something that it took before: one that reads nothing at all says
    /// something of itself. A report of what was before may come just after the acknowledgement, so one that says nothing new is
    /// taken for it only later.
    fn unreadable(&mut self, is_new: bool, now: Instant) -> Option<Unreadable> {
        let version =
            self.acknowledged.filter(|version| self.is_sole && self.unreadable != Some(*version))?;
        let runs = self.report.revision.filter(|runs| (1..version.revision).contains(runs))?;
        let is_old = |at: Instant| now.saturating_duration_since(at) >= REPORT_GRACE;
        let is_about_it = is_new || self.acknowledged_at.is_some_and(is_old);
        if !is_about_it || self.last_error.is_some() || self.sent != Some(version.revision) {
            return None;
        }
        self.unreadable = Some(version);
        Some(Unreadable { resource: self.resource.to_string(), version, runs })
    }

    fn is_on(&self, of: StreamId) -> bool {
        matches!(&self.link, Link::Up { stream, .. } if *stream == of)
    }

    pub(super) fn up_since(&self) -> Option<Instant> {
        match self.link {
            Link::Up { since, .. } => Some(since),
            Link::Down { .. } => None,
        }
    }

    pub(super) fn down_since(&self) -> Option<Instant> {
        match self.link {
            Link::Up { .. } => None,
            Link::Down { since } => Some(since),
        }
    }

    /// The acknowledged revision; none while the proxy has other bytes under the wanted number, as after a change of settings.
    fn acknowledged(&self, wanted: Option<Version>) -> Option<u64> {
        let acknowledged = self.acknowledged?;
        let other = wanted.is_some_and(|wanted| {
            wanted.revision == acknowledged.revision && wanted.digest != acknowledged.digest
        });
        (!other).then_some(acknowledged.revision)
    }
}
