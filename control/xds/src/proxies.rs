//! The table of proxies: what each was sent, what it answered, and what it reports to run.

mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::canary::Candidate;
use crate::ecds;
use crate::limits::MAX_PROXIES;
use crate::snapshot::{Fleet, Snapshot};
use crate::stream::{Event, History, Identity, Protocol};
use crate::telemetry::Telemetry;
use crate::version::Version;
use table::{Entry, Link, Reported, Table};

/// What is known of one proxy and one of its resources.
///
/// A proxy is its `node.id`, as it says itself. When two live streams of one node ask for one resource, the newer one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyStatus {
    /// The proxy's `node.id`.
    pub node: String,
    /// The proxy's `node.cluster`.
    pub cluster: String,
    /// The ECDS resource that it asks for.
    pub resource: String,
    /// The tenant of the resource; empty when the name is not one of ours, which is then never answered.
    pub tenant: String,
    /// How it asks, or asked last.
    pub protocol: Protocol,
    /// Whether its stream is open. A disconnected proxy keeps its rules, and is listed for another 10 minutes.
    pub connected: bool,
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
}

/// Every entry is connected, and there is no room for another.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{MAX_PROXIES} proxies are connected, which is the limit; connect this one to another daemon")]
pub(crate) struct TableFull;

/// The table, and the bell for those who watch it.
#[derive(Debug)]
pub(crate) struct Proxies {
    table: Mutex<Table>,
    streams: AtomicU64,
    changes: watch::Sender<u64>,
}

// === impl Proxies ===

impl Proxies {
    pub(crate) fn new(telemetry: Arc<Telemetry>) -> Self {
        let table = Mutex::new(Table::new(telemetry));
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
    pub(crate) fn record(&self, peer: &Peer, events: Vec<Event>, now: Instant) -> Result<(), TableFull> {
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
        for entry in self.table().entries_of(peer) {
            entry.link = Link::Down { since: now };
            changed = true;
        }
        self.ring_if(changed);
    }

    /// Takes what the filter of a node reports. Ignored while the node has no stream here; the next report will do. Gives what the
    /// filter says for the first time that it cannot read.
    pub(crate) fn report(&self, node: &str, report: FilterReport, now: Instant) -> Option<Unreadable> {
        let Reported { changed, unreadable } = self.table().report(node, report, now);
        self.ring_if(changed);
        unreadable
    }

    /// Everything that is known, sorted by node, then resource.
    pub(crate) fn list(&self, snapshot: &Snapshot, now: Instant) -> Vec<ProxyStatus> {
        let mut table = self.table();
        table.forget(now);
        table.iter().flat_map(|(node, by_resource)| statuses(node, by_resource, snapshot, now)).collect()
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
    fn candidates(&self, resource: &str) -> Vec<Candidate> {
        let table = self.table();
        let candidate = |(node, by_resource): (&String, &BTreeMap<String, Entry>)| {
            let entry = by_resource.get(resource).filter(|entry| entry.down_since().is_none())?;
            Some(Candidate {
                node: node.clone(),
                acknowledged: entry.acknowledged,
                applied: entry.report.revision.filter(|_| is_sole(by_resource)),
                rejected_config: entry.report.rejected_config.unwrap_or_default(),
                refused: entry.last_error.as_ref().map(|nack| nack.revision),
            })
        };
        table.iter().filter_map(candidate).collect()
    }
}

/// Whether a node's report can be of one resource only.
fn is_sole(by_resource: &BTreeMap<String, Entry>) -> bool {
    by_resource.values().filter(|entry| entry.down_since().is_none()).count() <= 1
}

fn statuses(
    node: &str,
    by_resource: &BTreeMap<String, Entry>,
    snapshot: &Snapshot,
    now: Instant,
) -> Vec<ProxyStatus> {
    let sole = is_sole(by_resource);
    let status = |(resource, entry): (&String, &Entry)| {
        let wanted = snapshot.wanted(resource).map(|published| published.version);
        let connected_for = entry.up_since().map(|since| now.saturating_duration_since(since));
        let gone_for = entry.down_since().map(|since| now.saturating_duration_since(since));
        ProxyStatus {
            node: node.to_owned(),
            cluster: entry.cluster.clone(),
            resource: resource.clone(),
            tenant: ecds::tenant_of(resource).to_owned(),
            protocol: entry.protocol,
            connected: connected_for.is_some(),
            wanted: wanted.map(|version| version.revision),
            sent: entry.sent,
            acknowledged: entry.acknowledged(wanted),
            applied: entry.report.revision.filter(|_| sole),
            rejected_config: entry.report.rejected_config.unwrap_or_default(),
            last_error: entry.last_error.clone(),
            age: now.saturating_duration_since(entry.last_message),
            connected_for,
            gone_for,
        }
    };
    by_resource.iter().map(status).collect()
}
