//! Every size has a limit.

use std::time::Duration;

/// How much time one tick stands for: four a second, so that a version that fails always is found in one to two seconds.
pub const TICK: Duration = Duration::from_millis(250);

/// Slots of the sliding window: a minute of ticks. A longer window has slots of several ticks, not more of them.
pub const MAX_SLOTS: usize = 240;

/// Buckets of one histogram. Proxies have about 20; merging others with other bounds keeps both, up to here.
pub const MAX_BUCKETS: usize = 128;

/// Ticks after which a proxy that reported nothing says nothing of the present: 15 s. Envoy flushes its statistics every 5 s if it is
/// not told otherwise.
pub const STALE_TICKS: u64 = 60;

/// Requests of one report at most: no proxy serves as many between two flushes, so whoever says so says nothing.
pub const MAX_REQUESTS: u64 = 10_000_000;
