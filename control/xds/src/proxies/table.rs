//! The entries, and how an event changes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{FilterReport, Nack, Peer, StreamId, Unlisted, Unreadable, is_sole};
use crate::canary::Candidate;
use crate::ecds;
use crate::limits::{FORGET_AFTER, REPORT_FRESH, REPORT_GRACE};
use crate::spiffe::SpiffeId;
use crate::stream::{Event, Protocol};
use crate::telemetry::Telemetry;
use crate::version::Version;

/// Entries by node, then resource.
#[derive(Debug)]
pub(super) struct Table {
    by_node: BTreeMap<Arc<str>, ByResource>,
    entries: usize,
    /// How many entries there may be.
    limit: usize,
    /// Names of resources, tenants and clusters, each once. What nobody has any more goes when entries are forgotten.
    names: BTreeSet<Arc<str>>,
    /// When entries were forgotten last.
    forgotten: Instant,
    telemetry: Arc<Telemetry>,
}

/// What is known of one node. Names are shared with those who read the table: a look at ten thousand proxies copies none.
/// Boxed, because a map keeps room for eleven entries, and most proxies have one.
pub(super) type ByResource = BTreeMap<Arc<str>, Box<Entry>>;

/// One proxy with one resource.
#[derive(Debug)]
pub(super) struct Entry {
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
        let (by_node, names) = (BTreeMap::new(), BTreeSet::new());
        Self { by_node, entries: 0, limit, names, forgotten: Instant::now(), telemetry }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &ByResource)> {
        self.by_node.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.entries
    }

    pub(super) fn of(&self, node: &str) -> Option<&ByResource> {
        self.by_node.get(node)
    }

    pub(super) fn get(&self, node: &str, resource: &str) -> Option<&Entry> {
        self.by_node.get(node)?.get(resource).map(AsRef::as_ref)
    }

    /// True if watchers want to know.
    pub(super) fn record(&mut self, peer: &Peer, event: Event, now: Instant) -> Result<bool, Unlisted> {
        match event {
            Event::Subscribed { resource, resumed, held } => {
                let entry = self.connect(peer, resource, now)?;
                entry.resume(resumed, held);
            }
            Event::Denied { .. } => return Ok(false),
            Event::Unsubscribed { resource } => self.remove(peer, &resource),
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

    fn connect(&mut self, peer: &Peer, resource: String, now: Instant) -> Result<&mut Entry, Unlisted> {
        let node = peer.identity.node.as_str();
        let known = self.by_node.get(node).is_some_and(|by_resource| by_resource.contains_key(&*resource));
        if !known {
            self.make_room(now)?;
            self.entries += 1;
        }
        let by_resource = self.by_node.entry(node.into()).or_default();
        let tenant = one(&mut self.names, ecds::tenant_of(&resource));
        let resource = one(&mut self.names, &resource);
        let entry = by_resource.entry(resource).or_insert_with(|| Box::new(Entry::new(peer, tenant, now)));
        if let (true, Link::Up { stream, .. }) = (known, &entry.link)
            && *stream != peer.stream
        {
            if entry.spiffe != peer.spiffe {
                return Err(Unlisted::Taken { node: node.to_owned() });
            }
            tracing::warn!(%node, "two live streams of one node ask for one resource; the newer one counts");
        }
        if entry.spiffe != peer.spiffe {
            // What another one did under this name says nothing of it.
            **entry = Entry::new(peer, entry.tenant.clone(), now);
        }
        entry.cluster = one(&mut self.names, &peer.identity.cluster);
        entry.protocol = peer.protocol;
        entry.link = Link::Up { stream: peer.stream, since: now, call: peer.call.clone() };
        Ok(entry)
    }

    /// Makes sure that one more entry fits.
    fn make_room(&mut self, now: Instant) -> Result<(), Unlisted> {
        if self.entries < self.limit {
            return Ok(());
        }
        self.forget(now);
        if self.entries < self.limit {
            return Ok(());
        }
        let down = self.by_node.iter().flat_map(|(node, by_resource)| {
            by_resource
                .iter()
                .filter_map(move |(resource, entry)| Some((entry.down_since()?, node, resource)))
        });
        let (_, node, resource) = down.min().ok_or(Unlisted::Full(self.limit))?;
        let (node, resource) = (node.clone(), resource.clone());
        self.delete(&node, &resource);
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
        let stays = |entry: &Entry| {
            entry.down_since().is_none_or(|since| now.saturating_duration_since(since) < FORGET_AFTER)
        };
        self.by_node.retain(|_, by_resource| {
            by_resource.retain(|_, entry| stays(entry));
            !by_resource.is_empty()
        });
        self.entries = self.by_node.values().map(BTreeMap::len).sum();
        self.names.retain(|name| Arc::strong_count(name) > 1);
    }

    fn remove(&mut self, peer: &Peer, resource: &str) {
        if self.entry_of(peer, resource).is_some() {
            self.delete(&peer.identity.node, resource);
        }
    }

    fn delete(&mut self, node: &str, resource: &str) {
        let Some(by_resource) = self.by_node.get_mut(node) else { return };
        if by_resource.remove(resource).is_some() {
            self.entries -= 1;
        }
        if by_resource.is_empty() {
            self.by_node.remove(node);
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
        let Some(by_resource) = self.by_node.get_mut(node) else { return reported };
        let is_sole = is_sole(by_resource);
        for (resource, entry) in by_resource {
            let Some(since) = entry.up_since().filter(|_| entry.spiffe.as_ref() == spiffe) else { continue };
            entry.last_message = now;
            let before = entry.report;
            reported.changed |= entry.take_report(report, now);
            let FilterReport { revision, rejected_config } = entry.report;
            // What it was not sent here it had before.
            if let Some(revision) = revision.filter(|_| is_sole && entry.sent == revision)
                && before.revision != Some(revision)
            {
                self.telemetry.applied(resource, revision, since, now);
            }
            if rejected_config != Some(true) {
                continue;
            }
            let is_new = before.rejected_config != Some(true);
            if is_new {
                self.telemetry.unreadable();
            }
            if is_sole && let Some(unreadable) = entry.unreadable(resource, is_new, now) {
                reported.unreadable = Some(unreadable);
            }
        }
        reported
    }

    pub(super) fn heard(&mut self, peer: &Peer, now: Instant) {
        for entry in self.entries_of(peer) {
            entry.last_message = now;
        }
    }

    /// The entry of a resource, if it hangs on this stream. An older stream of the same node speaks for nobody.
    pub(super) fn entry_of(&mut self, peer: &Peer, resource: &str) -> Option<&mut Entry> {
        let entry = self.by_node.get_mut(peer.identity.node.as_str())?.get_mut(resource)?;
        entry.is_on(peer.stream).then_some(entry)
    }

    pub(super) fn entries_of(&mut self, peer: &Peer) -> impl Iterator<Item = &mut Entry> {
        let by_resource = self.by_node.get_mut(peer.identity.node.as_str());
        let entries = by_resource.into_iter().flat_map(BTreeMap::values_mut).map(AsMut::as_mut);
        entries.filter(|entry: &&mut Entry| entry.is_on(peer.stream))
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
    fn new(peer: &Peer, tenant: Arc<str>, now: Instant) -> Self {
        Self {
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
    pub(super) fn applied(&self, sole: bool, now: Instant) -> Option<u64> {
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < REPORT_FRESH;
        self.reported.filter(is_fresh)?;
        self.report.revision.filter(|_| sole)
    }

    /// The proxy as a trial sees it.
    pub(super) fn candidate(&self, node: &Arc<str>, sole: bool, now: Instant) -> Candidate {
        let is_young = |at: Instant| now.saturating_duration_since(at) < REPORT_GRACE;
        let just_came = self.up_since().is_some_and(is_young);
        Candidate {
            node: node.clone(),
            acknowledged: self.acknowledged,
            applied: self.applied(sole, now),
            may_report: sole && just_came && self.reported.is_none() && self.acknowledged_at.is_some(),
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
    fn unreadable(&mut self, resource: &str, is_new: bool, now: Instant) -> Option<Unreadable> {
        let version = self.acknowledged.filter(|version| self.unreadable != Some(*version))?;
        let runs = self.report.revision.filter(|runs| (1..version.revision).contains(runs))?;
        let is_old = |at: Instant| now.saturating_duration_since(at) >= REPORT_GRACE;
        let is_about_it = is_new || self.acknowledged_at.is_some_and(is_old);
        if !is_about_it || self.last_error.is_some() || self.sent != Some(version.revision) {
            return None;
        }
        self.unreadable = Some(version);
        Some(Unreadable { resource: resource.to_owned(), version, runs })
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
    pub(super) fn acknowledged(&self, wanted: Option<Version>) -> Option<u64> {
        let acknowledged = self.acknowledged?;
        let other = wanted.is_some_and(|wanted| {
            wanted.revision == acknowledged.revision && wanted.digest != acknowledged.digest
        });
        (!other).then_some(acknowledged.revision)
    }
}
