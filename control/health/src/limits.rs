//! Every size has a limit.

use std::time::Duration;

/// How much time one tick stands for: four a second, so that a version that fails always is found in one to two seconds.
pub const TICK: Duration = Duration::from_millis(250);

/// Slots of the sliding window: a minute of ticks. A longer window has slots of several ticks, not more of them.
pub const MAX_SLOTS: usize = 240;

/// Points of a series that people are shown: two seconds each in a minute, and no more than fit on a line of a terminal.
pub const MAX_POINTS: usize = 30;

/// Buckets of one histogram. Proxies have about 20, and of one that tells more the times are not counted; merging others with other bounds
/// keeps both, up to here.
pub const MAX_BUCKETS: usize = 128;

/// How long what a proxy reported speaks of the present: three times as long as Envoy waits between two reports, if it is not told
/// otherwise.
pub const STALE: Duration = Duration::from_secs(15);

/// How long requests of one version wait for some of the other to be compared with, where proxies report both at once.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Over how long slow requests are counted before gray is compared with its limit and with stable. One of a hundred may be slow, so that
/// stable has none in most ticks, and a single one would outweigh what they say.
pub(crate) const STRETCH: Duration = Duration::from_secs(15);

/// Streams of proxies that are counted of one version: several times as many as one daemon serves. One more is not heard.
pub const MAX_STREAMS: usize = 65_536;

/// Streams of one node that are counted of one version: one that comes back now and then has two, and a few sidecars may share a name. One
/// more is not heard until another one is silent for as long as figures speak of the present.
pub const MAX_STREAMS_PER_NODE: usize = 4;

/// Clusters of one stream that are counted of one version: its hosts, ports and zones. One more is not heard.
pub const MAX_CLUSTERS_PER_STREAM: usize = 8;

/// Requests of one proxy in one tick at most, in all its clusters of one version: a million a second. No proxy serves as many, so whoever
/// says so says nothing.
pub const MAX_REQUESTS_PER_TICK: u64 = 250_000;

/// How many ticks are in a time, rounded down.
pub(crate) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX)
}
