//! A clock that only moves when it is told to.

use graylane::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A handle; clones are the same clock.
#[derive(Clone, Debug)]
pub struct SimClock(Arc<Mutex<Hands>>);

#[derive(Clone, Copy, Debug)]
struct Hands {
    elapsed: Duration,
    /// What people, or a time server, did to the wall clock.
    set_by: SignedDuration,
}

/// When every simulation begins: an ordinary Wednesday.
const BEGIN_SECONDS: i64 = 1_795_600_000;

// === impl SimClock ===

impl SimClock {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Hands { elapsed: Duration::ZERO, set_by: SignedDuration::ZERO })))
    }

    /// Another clock that shows the same.
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(*self.0.lock().unwrap())))
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.0.lock().unwrap().elapsed += time;
    }

    /// Sets the wall clock forward, or back.
    pub fn set_by(&self, jump: SignedDuration) {
        self.0.lock().unwrap().set_by += jump;
    }

    /// Shows what it showed when so much time had passed, or will.
    pub fn show(&self, elapsed: Duration) {
        self.0.lock().unwrap().elapsed = elapsed;
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let hands = *self.0.lock().unwrap();
        let begin = Timestamp::from_second(BEGIN_SECONDS).unwrap();
        begin + SignedDuration::try_from(hands.elapsed).unwrap() + hands.set_by
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap().elapsed
    }
}
