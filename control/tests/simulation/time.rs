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
    /// What is told to whoever asks next how much time has passed.
    told_once: Option<Duration>,
}

/// When every simulation begins: an ordinary Wednesday.
const BEGIN_SECONDS: i64 = 1_795_600_000;

// === impl SimClock ===

impl SimClock {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Hands {
            elapsed: Duration::ZERO,
            set_by: SignedDuration::ZERO,
            told_once: None,
        })))
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

    /// Tells whoever asks next that so much time has passed. It is a daemon that opens, which goes by that as its start: so
    /// one takes the place of another that has been running since then, and has seen all jumps of the wall clock.
    pub fn tell_once(&self, elapsed: Duration) {
        self.0.lock().unwrap().told_once = Some(elapsed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let hands = *self.0.lock().unwrap();
        let begin = Timestamp::from_second(BEGIN_SECONDS).unwrap();
        begin + SignedDuration::try_from(hands.elapsed).unwrap() + hands.set_by
    }

    fn elapsed(&self) -> Duration {
        let mut hands = self.0.lock().unwrap();
        hands.told_once.take().unwrap_or(hands.elapsed)
    }
}
