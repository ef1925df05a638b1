//! What is measured of the delivery. `control/METRICS.md` says what each figure means.
//!
//! Ten thousand proxies acknowledge at once, so an event costs a few atomic additions: no lock, and nothing allocated. Labels are
//! looked up when a stream opens, and no value of a label comes from a proxy.

mod histogram;
mod offers;
mod publishes;
mod stream;

use std::array;
use std::fmt;
use std::time::Instant;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::stream::Protocol;
use crate::version::Version;
use histogram::Histogram;
pub(crate) use offers::Offers;
use publishes::Publishes;
pub(crate) use stream::{OpenStream, Queued};

/// The word for a metrics stream among the protocols.
pub(crate) const METRICS: &str = "metrics";

/// The words for what became of new certificates.
const REPLACED: &str = "replaced";
const FAILED: &str = "failed";

/// One label with its value.
type Label = [(&'static str, &'static str); 1];

/// Every figure of the delivery.
#[derive(Debug)]
pub(crate) struct Telemetry {
    streams: Family<Label, Gauge>,
    opened: Family<Label, Counter>,
    requests: Family<Label, Counter>,
    refused: Family<Label, Counter>,
    pushes: Family<Label, Counter>,
    acked: Counter,
    nacked: Counter,
    unanswered: Counter,
    nacks: Family<Label, Counter>,
    nacks_by_proxy: Counter,
    nacks_by_filter: Counter,
    push: Histogram,
    convergence: Family<Label, Histogram>,
    convergence_acked: Histogram,
    convergence_applied: Histogram,
    awaited: Gauge,
    queued: Gauge,
    sent_bytes: Counter,
    published: Counter,
    publishes: Publishes,
    certificate_ends: Gauge,
    reloads: Family<Label, Counter>,
    turned: Family<Label, Counter>,
    denied: Counter,
}

/// Why a connection was closed before it could open a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Its TLS handshake failed: no certificate, or one of another authority.
    Handshake,
    /// Its handshake took too long.
    Slow,
    /// Its certificate has no SPIFFE id.
    Nameless,
    /// As many are open as may be.
    TooMany,
    /// The system gave none.
    AcceptFailed,
}

/// Why a stream was refused, or ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// As many streams are open as may be.
    TooManyStreams,
    /// The table of proxies is full.
    TooManyProxies,
    /// It broke the protocol or a limit.
    Malformed,
    /// What it sent is no request, or is too long for one.
    Unreadable,
    /// It compresses its requests.
    Compressed,
    /// The server is about to end.
    Draining,
    /// Its client's certificate ended.
    Expired,
    /// Another certificate is connected under its node.
    Taken,
    /// It did not say who it is in time.
    Silent,
    /// It sends more than anybody has to say.
    Flood,
}

// === impl Reason ===

impl Reason {
    const ALL: [Self; 10] = [
        Self::TooManyStreams,
        Self::TooManyProxies,
        Self::Malformed,
        Self::Unreadable,
        Self::Compressed,
        Self::Draining,
        Self::Expired,
        Self::Taken,
        Self::Silent,
        Self::Flood,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::TooManyStreams => "too-many-streams",
            Self::TooManyProxies => "too-many-proxies",
            Self::Malformed => "malformed",
            Self::Unreadable => "unreadable",
            Self::Compressed => "compressed",
            Self::Draining => "draining",
            Self::Expired => "expired",
            Self::Taken => "node-taken",
            Self::Silent => "no-first-message",
            Self::Flood => "too-many-messages",
        }
    }
}

// === impl Turned ===

impl Turned {
    const ALL: [Self; 5] = [Self::Handshake, Self::Slow, Self::Nameless, Self::TooMany, Self::AcceptFailed];

    const fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Slow => "slow-handshake",
            Self::Nameless => "no-identity",
            Self::TooMany => "too-many",
            Self::AcceptFailed => "accept-failed",
        }
    }
}

// === impl Telemetry ===

impl Telemetry {
    /// Adds every figure to what is scraped.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("xds_streams", "Streams that are open", self.streams.clone());
        registry.register("xds_streams_opened", "Streams that were opened", self.opened.clone());
        registry.register("xds_refused_streams", "Streams that were refused or ended", self.refused.clone());
        registry.register("xds_requests", "Messages that clients sent", self.requests.clone());
        registry.register("xds_publishes", "Rule sets that were published", self.published.clone());
        registry.register("xds_pushes", "Responses by what became of them", self.pushes.clone());
        registry.register("xds_nacks", "Refusals by proxies and by filters", self.nacks.clone());
        let help = "From making a response to its ACK";
        registry.register_with_unit("xds_push", help, Unit::Seconds, self.push.clone());
        let help = "From a publish, or the proxy's subscription if that came later, to each proxy";
        registry.register_with_unit("proxy_convergence", help, Unit::Seconds, self.convergence.clone());
        let help = "Responses that their proxies did not answer yet";
        registry.register("xds_unanswered_responses", help, self.awaited.clone());
        let help = "Responses that no connection took yet";
        registry.register("xds_queued_responses", help, self.queued.clone());
        let help = "Bytes of responses that were handed to connections";
        registry.register_with_unit("xds_sent", help, Unit::Bytes, self.sent_bytes.clone());
        let help = "Connections that were closed before any stream";
        registry.register("xds_refused_connections", help, self.turned.clone());
        let help = "Names that proxies asked for and their certificates do not allow";
        registry.register("xds_denied_names", help, self.denied.clone());
        let help = "When the server's certificate ends; 0 without TLS";
        let ends = self.certificate_ends.clone();
        registry.register_with_unit("xds_certificate_expiry_timestamp", help, Unit::Seconds, ends);
        let help = "Certificates that were replaced, or could not be";
        registry.register("xds_certificate_reloads", help, self.reloads.clone());
    }

    pub(crate) fn refused(&self, reason: Reason) {
        self.refused.get_or_create(&[("reason", reason.label())]).inc();
    }

    /// Takes in that a connection was closed.
    pub(crate) fn turned(&self, turned: Turned) {
        self.turned.get_or_create(&[("reason", turned.label())]).inc();
    }

    /// Takes in that somebody asked for what is not theirs.
    pub(crate) fn denied(&self) {
        self.denied.inc();
    }

    /// Takes in when the server's certificate ends.
    pub(crate) fn certificate(&self, ends: i64) {
        self.certificate_ends.set(ends);
    }

    /// Takes in that the certificates changed, and whether the new ones serve.
    pub(crate) fn reloaded(&self, well: bool) {
        self.reloads.get_or_create(&[("result", if well { REPLACED } else { FAILED })]).inc();
    }

    /// Takes in what is published now, before proxies can hear of it.
    pub(crate) fn publishes<'a>(&self, versions: impl Iterator<Item = (&'a str, Version)>, now: Instant) {
        self.published.inc_by(self.publishes.replace(versions, now));
    }

    /// Takes in that a proxy, which asks for the resource since then, acknowledged a version.
    pub(crate) fn acknowledged(&self, resource: &str, version: Version, asks_since: Instant, now: Instant) {
        if let Some(published) = self.publishes.since(resource, |published| published == version) {
            self.convergence_acked.observe(now.saturating_duration_since(published.max(asks_since)));
        }
    }

    /// Takes in that the filter of a proxy, which asks for the resource since then, runs a revision.
    pub(crate) fn applied(&self, resource: &str, revision: u64, asks_since: Instant, now: Instant) {
        if let Some(published) = self.publishes.since(resource, |published| published.revision == revision) {
            self.convergence_applied.observe(now.saturating_duration_since(published.max(asks_since)));
        }
    }

    /// Takes in that a filter cannot read what its proxy acknowledged.
    pub(crate) fn unreadable(&self) {
        self.nacks_by_filter.inc();
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        let protocols = [
            Protocol::EcdsSotw.as_str(),
            Protocol::EcdsDelta.as_str(),
            Protocol::AdsSotw.as_str(),
            Protocol::AdsDelta.as_str(),
            METRICS,
        ];
        let (pushes, [acked, nacked, unanswered]) = family("result", ["acked", "nacked", "unanswered"]);
        let (nacks, [nacks_by_proxy, nacks_by_filter]) = family("by", ["proxy", "filter"]);
        let (convergence, [convergence_acked, convergence_applied]) = family("step", ["acked", "applied"]);
        Self {
            streams: family("protocol", protocols).0,
            opened: family("protocol", protocols).0,
            requests: family("protocol", protocols).0,
            refused: family("reason", Reason::ALL.map(Reason::label)).0,
            pushes,
            acked,
            nacked,
            unanswered,
            nacks,
            nacks_by_proxy,
            nacks_by_filter,
            push: Histogram::default(),
            convergence,
            convergence_acked,
            convergence_applied,
            awaited: Gauge::default(),
            queued: Gauge::default(),
            sent_bytes: Counter::default(),
            published: Counter::default(),
            publishes: Publishes::default(),
            certificate_ends: Gauge::default(),
            reloads: family("result", [REPLACED, FAILED]).0,
            turned: family("reason", Turned::ALL.map(Turned::label)).0,
            denied: Counter::default(),
        }
    }
}

/// A metric for each value of a label, all of them there from the start: who adds up what comes late misses the first.
fn family<M, const N: usize>(label: &'static str, values: [&'static str; N]) -> (Family<Label, M>, [M; N])
where
    M: Clone + Default + EncodeMetric + TypedMetric + fmt::Debug + 'static,
    fn() -> M: MetricConstructor<M>,
{
    let family = Family::default();
    let mut metrics = values.into_iter().map(|value| family.get_or_create_owned(&[(label, value)]));
    // There is a value for each place.
    let metrics = array::from_fn(|_| metrics.next().unwrap_or_default());
    (family, metrics)
}
