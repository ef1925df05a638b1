//! The table of proxies: what each was sent, what it answered, and what it reports to run.

mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::canary::{Candidate, Group};
use crate::ecds;
use crate::offer::Offer;
use crate::snapshot::{Fleet, Snapshot};
use crate::spiffe::SpiffeId;
use crate::stream::{Event, History, Identity, Protocol};
use crate::telemetry::Telemetry;
use crate::version::Version;
use table::{Entry, Link, Reported, Table};

/// What is known of one proxy and one of its resources.
///
/// A proxy is its `node.id`, as it says itself. When two live streams of one node ask for one resource, the newer one counts; with
/// TLS only if its certificate names the same SPIFFE id, and else it is refused while the older one lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyStatus {
    /// The proxy's `node.id`.
    pub node: Arc<str>,
    /// The proxy's `node.cluster`.
    pub cluster: Arc<str>,
    /// The SPIFFE id of its certificate; none without TLS.
    pub identity: Option<SpiffeId>,
    /// The ECDS resource that it asks for.
    pub resource: Arc<str>,
    /// The tenant of the resource; empty when the name is not one of ours, which is then never answered.
    pub tenant: Arc<str>,
    /// How it asks, or asked last.
    pub protocol: Protocol,
    /// Whether its stream is open. A disconnected proxy keeps its rules, and is listed for another 10 minutes.
    pub connected: bool,
    /// Whether it is sent what it should have if it lacks that. Others try it first, or it is held back.
    pub offered: bool,
    /// The revision that its tenant has published now.
    pub wanted: Option<u64>,
    /// The revision that was sent to it last. None for one that reconnected to this daemon with what it should have.
    pub sent: Option<u64>,
    /// The revision that it acknowledged last, or held when it reconnected.
    pub acknowledged: Option<u64>,
    /// The revision that its filter reports to run, when reports arrive. None too while the proxy has several tenants, because the
    /// report does not say whose revision it is.
    pub applied: Option<u64>,
    /// Whether its filter reports a configuration that it could not read.
    pub rejected_config: bool,
    /// Its last rejection, until it acknowledges that revision or a later one.
    pub last_error: Option<Nack>,
    /// Time since the last message from it.
    pub age: Duration,
    /// Time since its stream subscribed; none while disconnected.
    pub connected_for: Option<Duration>,
    /// Time since its stream ended; none while connected.
    pub gone_for: Option<Duration>,
}

/// What of a proxy and one of its resources is counted, with the meaning that [`ProxyStatus`] gives it. Of ten thousand proxies it takes
/// a fraction of the time that everything else takes, which names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is sent what it should have if it lacks that.
    pub offered: bool,
    /// The revision that it acknowledged last.
    pub acknowledged: Option<u64>,
    /// The revision that its filter reports to run.
    pub applied: Option<u64>,
    /// Whether its filter reports a configuration that it could not read.
    pub rejected_config: bool,
    /// Whether it refused a revision, and acknowledged neither that nor a later one since.
    pub has_refused: bool,
    /// Time since its stream subscribed; none while disconnected.
    pub connected_for: Option<Duration>,
    /// Time since its stream ended; none while connected.
    pub gone_for: Option<Duration>,
}

/// A rejection by a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// What it rejected.
    pub revision: u64,
    /// Why, in the proxy's words, cut off at 1 KiB.
    pub message: String,
}

/// What a proxy's filter says of itself. Gauges that were not in the report are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilterReport {
    pub(crate) revision: Option<u64>,
    pub(crate) rejected_config: Option<bool>,
}

/// What a proxy acknowledged and its filter cannot read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) resource: String,
    pub(crate) version: Version,
    /// The revision that the filter runs on with.
    pub(crate) runs: u64,
}

/// Names a stream in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamId(u64);

/// A stream as the table knows it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) stream: StreamId,
    pub(crate) protocol: Protocol,
    pub(crate) identity: Identity,
    /// Lets the stream look at what it is sent.
    pub(crate) call: Arc<Notify>,
    /// Whom its certificate names; none without TLS.
    pub(crate) spiffe: Option<SpiffeId>,
}

/// Why a proxy has no entry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Unlisted {
    /// Every entry is connected, and there is no room for another.
    #[error("{0} proxies are connected, which is the limit; connect this one to another daemon")]
    Full(usize),
    /// Else whoever has a certificate of the tenant could speak for the proxies of others.
    #[error("node {node:?} is connected under another certificate; give each proxy a node.id of its own")]
    Taken { node: String },
}

/// The table, and the bell for those who watch it.
#[derive(Debug)]
pub(crate) struct Proxies {
    table: Mutex<Table>,
    streams: AtomicU64,
    changes: watch::Sender<u64>,
}

// === impl ProxyStatus ===

impl ProxyStatus {
    /// What of it is counted.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        Standing {
            offered: self.offered,
            acknowledged: self.acknowledged,
            applied: self.applied,
            rejected_config: self.rejected_config,
            has_refused: self.last_error.is_some(),
            connected_for: self.connected_for,
            gone_for: self.gone_for,
        }
    }
}

// === impl StreamId ===

impl StreamId {
    /// A number that no earlier stream has.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

// === impl Proxies ===

impl Proxies {
    /// A table of at most so many entries.
    pub(crate) fn new(limit: usize, telemetry: Arc<Telemetry>) -> Self {
        let table = Mutex::new(Table::new(limit, telemetry));
        Self { table, streams: AtomicU64::new(1), changes: watch::Sender::new(0) }
    }

    /// A receiver that wakes at every connect, disconnect, ACK, NACK and changed report.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A name for a new stream.
    pub(crate) fn new_stream(&self) -> StreamId {
        StreamId(self.streams.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes what happened on a stream.
    pub(crate) fn record(&self, peer: &Peer, events: Vec<Event>, now: Instant) -> Result<(), Unlisted> {
        let mut table = self.table();
        let mut changed = false;
        for event in events {
            changed |= table.record(peer, event, now)?;
        }
        table.heard(peer, now);
        drop(table);
        self.ring_if(changed);
        Ok(())
    }

    /// Notes that a revision was handed to a stream.
    pub(crate) fn sent(&self, peer: &Peer, resource: &str, revision: u64) {
        if let Some(entry) = self.table().entry_of(peer, resource) {
            entry.sent = Some(revision);
        }
    }

    /// Whether a proxy accepted everything that it was sent so far, and something at least. One that refuses whatever it is
    /// sent says something of itself, and nothing of what it is sent.
    pub(crate) fn is_in_good_standing(&self, peer: &Peer, resource: &str) -> bool {
        let mut table = self.table();
        table
            .entry_of(peer, resource)
            .is_some_and(|entry| entry.acknowledged.is_some() && entry.last_error.is_none())
    }

    /// Marks what hangs on a stream as disconnected.
    pub(crate) fn disconnect(&self, peer: &Peer, now: Instant) {
        let mut changed = false;
        self.table().update(peer, |entry| {
            entry.link = Link::Down { since: now };
            changed = true;
        });
        self.ring_if(changed);
    }

    /// Takes what the filter of a node reports. Ignored while the node has no stream here under the same certificate; the next report will do. Gives what the
    /// filter says for the first time that it cannot read.
    pub(crate) fn report(
        &self,
        node: &str,
        spiffe: Option<&SpiffeId>,
        report: FilterReport,
        now: Instant,
    ) -> Option<Unreadable> {
        let Reported { changed, unreadable } = self.table().report(node, spiffe, report, now);
        self.ring_if(changed);
        unreadable
    }

    /// The tenants whose rules a connected node asks for, under that certificate. What it asks for by another name is nobody's.
    pub(crate) fn tenants(&self, node: &str, spiffe: Option<&SpiffeId>) -> Vec<Arc<str>> {
        let table = self.table();
        let theirs =
            table.of(node).filter(|entry| entry.up_since().is_some() && entry.spiffe.as_ref() == spiffe);
        theirs.map(|entry| entry.tenant.clone()).filter(|tenant| !tenant.is_empty()).collect()
    }

    /// Everything that is known, sorted by node, then resource.
    pub(crate) fn list(&self, snapshot: &Snapshot, now: Instant) -> Vec<ProxyStatus> {
        let mut table = self.table();
        table.tidy(now);
        // Ten thousand proxies ask for a few resources, so the last one that was looked up is the next one most of the time.
        let mut last: Option<(&Arc<str>, Option<&Offer>)> = None;
        let mut list = Vec::with_capacity(table.len());
        for entry in table.sorted() {
            let known = last.filter(|(of, _)| Arc::ptr_eq(of, &entry.resource));
            let (_, offer) = known.unwrap_or_else(|| (&entry.resource, snapshot.offer(&entry.resource)));
            last = Some((&entry.resource, offer));
            let offered = offer.is_some_and(|offer| offer.is_offered(&entry.node));
            let wanted = offer.map(|offer| offer.wanted.version);
            list.push(status(entry, offered, wanted, now));
        }
        list
    }

    /// How each proxy of a tenant stands, in no order that says anything.
    pub(crate) fn standings(&self, tenant: &str, snapshot: &Snapshot, now: Instant) -> Vec<Standing> {
        let offer = snapshot.offer(&ecds::resource_name(tenant));
        let wanted = offer.map(|offer| offer.wanted.version);
        let table = self.table();
        // By the addresses of their names, which lie scattered.
        let group = offer.map(Offer::group).unwrap_or_default();
        let nodes = group.nodes().flat_map(|node| table.of(node));
        let group: BTreeSet<*const u8> = nodes.map(Entry::address).collect();
        let is_open = offer.is_some_and(Offer::is_open);
        let of_tenant = table.iter().filter(|entry| *entry.tenant == *tenant);
        let standing = |entry: &Entry| {
            let offered = is_open || group.contains(&entry.address());
            entry.standing(offered, wanted, now)
        };
        of_tenant.map(standing).collect()
    }

    fn ring_if(&self, changed: bool) {
        if changed {
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// The table. A panic elsewhere while it was locked leaves it usable: each change is complete in itself.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History for Proxies {
    fn rejected(&self, node: &str, resource: &str) -> Option<u64> {
        self.table().get(node, resource)?.rejected
    }
}

impl Fleet for Proxies {
    fn candidates(&self, resources: &BTreeSet<&str>, now: Instant) -> BTreeMap<Arc<str>, Vec<Candidate>> {
        let table = self.table();
        let mut by_resource: BTreeMap<Arc<str>, Vec<Candidate>> = BTreeMap::new();
        let is_asking = |entry: &&Entry| entry.down_since().is_none() && resources.contains(&*entry.resource);
        for entry in table.sorted().filter(is_asking) {
            let candidate = entry.candidate(now);
            match by_resource.get_mut(&entry.resource) {
                Some(candidates) => candidates.push(candidate),
                None => drop(by_resource.insert(entry.resource.clone(), vec![candidate])),
            }
        }
        by_resource
    }

    fn call(&self, group: &Group) {
        let table = self.table();
        for entry in group.nodes().flat_map(|node| table.of(node)) {
            if let Link::Up { call, .. } = &entry.link {
                call.notify_one();
            }
        }
    }
}

fn status(entry: &Entry, offered: bool, wanted: Option<Version>, now: Instant) -> ProxyStatus {
    let Standing { acknowledged, applied, rejected_config, connected_for, gone_for, .. } =
        entry.standing(offered, wanted, now);
    ProxyStatus {
        node: entry.node.clone(),
        cluster: entry.cluster.clone(),
        identity: entry.spiffe.clone(),
        resource: entry.resource.clone(),
        tenant: entry.tenant.clone(),
        protocol: entry.protocol,
        connected: connected_for.is_some(),
        offered,
        wanted: wanted.map(|version| version.revision),
        sent: entry.sent,
        acknowledged,
        applied,
        rejected_config,
        last_error: entry.last_error.clone(),
        age: now.saturating_duration_since(entry.last_message),
        connected_for,
        gone_for,
    }
}
