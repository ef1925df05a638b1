//! Every limit of the delivery, with its reason.

use std::time::Duration;

/// The limits that whoever runs the server may choose. Their defaults serve ten thousand proxies and keep bad ones harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. One more is closed as soon as it comes: an Envoy has one.
    pub connections: usize,
    /// Streams served at once, over all connections. One more is refused with `RESOURCE_EXHAUSTED`.
    pub streams: usize,
    /// Streams on one HTTP/2 connection. One more waits in its client.
    pub streams_per_connection: u32,
    /// Entries (a proxy with one resource) in the table, connected or not. At the limit the entry that has been disconnected longest
    /// gives way; when every entry is connected the newcomer is refused.
    pub proxies: usize,
    /// Names that one stream may subscribe to. Envoy asks for one name per filter, and one filter per tenant is usual.
    pub names: usize,
    /// Bytes of one discovery request. The longest honest one is a delta reconnect that lists every name it holds.
    pub request_bytes: usize,
    /// Bytes of one metrics report. Envoy sends all its statistics in one message, so this is wider than a request; a proxy with more
    /// statistics sets `batch_size` or a stats matcher.
    pub metrics_bytes: usize,
    /// Messages that one stream may send in a second, for long. An honest proxy answers what it is sent, and that is a few at most.
    pub messages_per_second: u32,
}

impl Limits {
    /// What is so unless it is chosen otherwise.
    pub const DEFAULT: Self = Self {
        connections: 20_000,
        streams: 20_000,
        streams_per_connection: 1024,
        proxies: 20_000,
        names: 64,
        request_bytes: 4 << 20,
        metrics_bytes: 16 << 20,
        messages_per_second: 100,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How many seconds' worth of messages a stream may send at once. An aggregated stream begins with one for each type and cluster
/// that the proxy has.
pub const MESSAGES_BURST_SECONDS: u32 = 10;

/// How long a stream may take to say who it is. Envoy says it as soon as the stream is open.
pub const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of one tenant's rule set. Envoy itself has no limit; 16 MiB is applied in about 0.4 s and costs the proxy some 50 MiB per
/// worker for good, since wasm memory never shrinks.
pub const MAX_RULES_BYTES: usize = 16 << 20;

/// Tenants in one publish, each of which is one resource held in memory.
pub const MAX_TENANTS: usize = 4096;

/// Bytes of a tenant's name, so that the resource name stays readable in Envoy's statistics.
pub const MAX_TENANT_BYTES: usize = 128;

/// Bytes of `node.id` and of `node.cluster`, which are kept per proxy and shown to people.
pub const MAX_NODE_BYTES: usize = 256;

/// Bytes of a resource name that a proxy asks for.
pub const MAX_NAME_BYTES: usize = 256;

/// Contents that one stream remembers as rejected, so that they are not sent to it again. The oldest is forgotten first.
pub const MAX_REJECTED: usize = 64;

/// Contents that are remembered as refused, of all tenants. The oldest is forgotten first, and would be refused again.
pub const MAX_REFUSALS: usize = 1024;

/// How long a canary that does not answer is waited for. Then another one takes its place; Envoy's longest back-off is as long.
pub const CANARY_PATIENCE: Duration = Duration::from_secs(30);

/// How long a publish that followed another one at once is sent to nobody, in case that a third follows:
/// as long as istiod's default.
pub const DEBOUNCE: Duration = Duration::from_millis(100);

/// About how long it takes to send a small publish to all proxies, for each of them. One that comes meanwhile follows at once, too.
pub const SPREAD_PER_PROXY: Duration = Duration::from_micros(75);

/// How long a row of such publishes can keep all others waiting.
pub const DEBOUNCE_MAX: Duration = Duration::from_secs(10);

/// How long after it came a proxy that never reported is expected to do so. Envoy flushes its statistics every 5 s if it is not told
/// otherwise.
pub const REPORT_GRACE: Duration = Duration::from_secs(6);

/// How long a filter is believed what it reported last.
pub const REPORT_FRESH: Duration = Duration::from_secs(60);

/// Bytes of a statistic's name in a report, and of a cluster's in a label. Longer ones are stepped over: one of Istio has 364 with the
/// longest host and subset.
pub const MAX_STATISTIC_BYTES: usize = 1_024;

/// Clusters of which one report may speak: ten times those of a proxy in a large mesh. It says nothing of more.
pub const MAX_REPORTED_CLUSTERS: usize = 50_000;

/// Buckets of one histogram in a report. Envoy has 19 if it is not told otherwise; one of more than these says nothing.
pub const MAX_REPORTED_BUCKETS: usize = 64;

/// Versions of services of which one report may say how many requests were steered to them: more than twice as many as the 4,096 series
/// at which a filter stops. It says nothing of more.
pub const MAX_STEERED: usize = 10_000;

/// How often trials are looked at though no proxy moved, because time passes.
pub const TRIAL_TICK: Duration = DEBOUNCE;

/// The least time between two looks at trials, so that ten thousand acknowledgements are not ten thousand looks.
pub const TRIAL_PAUSE: Duration = Duration::from_millis(20);

/// How many times as long as a look at trials takes the next one is put off at least: with ten thousand proxies it takes a
/// millisecond.
pub const TRIAL_REST: u32 = 4;

/// Bytes kept of the reason that a proxy gives for a rejection. The rest is cut off.
pub const MAX_ERROR_BYTES: usize = 1024;

/// How long a disconnected proxy stays in the table, so that a restart of proxy or network is seen as such.
pub const FORGET_AFTER: Duration = Duration::from_secs(600);

/// First responses that are under way at once. Of ten thousand proxies that come back in the same moment the others wait for their turn:
/// enough to keep two cores busy, and too few to make memory or the answers of those that are served suffer.
pub const MAX_FIRST_RESPONSES: usize = 256;

/// How long the answer to a first response is waited for before another stream has its turn.
pub const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// Messages that wait for a slow reader. One is enough: the next is made from the newest snapshot when there is room.
pub const MAX_QUEUED: usize = 1;

/// How often an idle connection is asked for a sign of life.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long the sign of life may take before the connection is closed.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long before their streams end clients are told to open no others on their connections, so that they hear it first.
pub const GOAWAY_LEAD: Duration = Duration::from_millis(100);

/// How long the last responses and the ends of streams may take to be read when the server stops.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// TLS handshakes at once, each of which costs some 50 KiB and a millisecond. Newcomers wait in the system's queue.
pub const MAX_HANDSHAKES: usize = 1024;

/// How long a TLS handshake may take, which are two ways there and back.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait when the system gives no connection, as without file descriptors: it would refuse at once again.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes by which a client begins HTTP/2.
pub const PREFACE_BYTES: usize = 24;

/// How long a connection may take to begin. Only then HTTP/2's own signs of life are asked for.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection outlives its client's certificate, so that its streams can end with a reason. Then it is closed: on the
/// same connection a proxy would show the same certificate again.
pub const EXPIRED_LEAD: Duration = Duration::from_secs(1);

/// How often the files of TLS are looked at. Whoever replaces them does so hours before the old ones end.
pub const CERTIFICATES_LOOK: Duration = Duration::from_secs(10);

/// Bytes of a file of TLS. A bundle of all public authorities has 250 KB.
pub const MAX_PEM_BYTES: u64 = 1 << 20;

/// Bytes of a SPIFFE id, by its standard.
pub const MAX_SPIFFE_BYTES: usize = 2048;
