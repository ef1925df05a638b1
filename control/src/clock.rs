//! The time, as the daemon asks for it. One place reads the machine's clocks.

use jiff::Timestamp;
use std::time::{Duration, Instant};

/// A wall clock, which people set, and a monotonic one, which nobody does.
pub trait Clock: Send + Sync {
    /// The wall clock's time, to the millisecond: finer says nothing to the people who read it.
    fn now(&self) -> Timestamp;

    /// The time since this clock was made, whatever happened to the wall clock meanwhile.
    fn elapsed(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    made: Instant,
}

// === impl SystemClock ===

impl Default for SystemClock {
    fn default() -> Self {
        Self { made: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    fn elapsed(&self) -> Duration {
        self.made.elapsed()
    }
}
