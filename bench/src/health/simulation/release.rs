//! A release that is not there: a judge, and what it is told.

use std::time::Duration;

use graylane_health::{ErrorLimits, Freshness, Judge, LatencyLimit, Observed, Policy, Verdict};

use crate::health::traffic::{BOUNDS_MS, OUR_BOUNDS_MS, Traffic};

/// How many times as many requests stable gets.
const STABLE_TIMES: f64 = 4.0;
/// In which buckets times are counted.
pub(super) const BUCKETS: [Buckets; 2] = [
    Buckets { name: "Envoy's default", bounds_ms: &BOUNDS_MS },
    Buckets { name: "our files'", bounds_ms: &OUR_BOUNDS_MS },
];
/// Of a burst, 2 s of every 15 s: a fifth fails, and all take five times as long.
const BURST_SHARE: f64 = 0.2;
const BURST_TIMES: f64 = 5.0;
const BURST_TICKS: u64 = 8;
const BURST_EVERY_TICKS: u64 = 60;

/// How a healthy release does.
#[derive(Clone, Copy)]
pub(super) struct Healthy {
    /// The share that fails, of gray and stable alike.
    pub(super) share: f64,
    /// How many times as long gray takes.
    pub(super) times: f64,
    /// Whether bursts of failures and of slow requests come over gray and stable together.
    pub(super) has_bursts: bool,
}

/// What is wrong with gray.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    /// This share of its requests fails.
    Fails(f64),
    /// It takes so many times as long.
    IsSlow(f64),
}

/// Buckets that proxies count times in.
#[derive(Clone, Copy)]
pub(super) struct Buckets {
    pub(super) name: &'static str,
    bounds_ms: &'static [f64],
}

/// A release that is not there.
pub(super) struct Release {
    judge: Judge,
    gray: Traffic,
    stable: Traffic,
    rate: f64,
}

/// What the example of a plan says.
fn policy() -> Policy {
    Policy {
        window: Duration::from_secs(60),
        min_requests: 50,
        errors: Some(ErrorLimits { max: Some(0.02), over_stable: Some(0.01) }),
        latency: Some(LatencyLimit { percentile: 99.0, max_ratio: 1.5 }),
        ..Policy::default()
    }
}

// === impl Fault ===

impl Fault {
    /// Its name in a row, and its size.
    pub(super) fn figure(self) -> (&'static str, f64) {
        match self {
            Self::Fails(share) => ("errors_percent", share * 100.0),
            Self::IsSlow(times) => ("times_as_slow", times),
        }
    }
}

// === impl Release ===

impl Release {
    /// One with so many gray requests a second, which is the same for the same seed.
    pub(super) fn new(seed: u64, rate: f64, buckets: Buckets) -> Self {
        let traffic = |seed| Traffic::new(seed, buckets.bounds_ms);
        Self { judge: Judge::new(policy()), gray: traffic(2 * seed), stable: traffic(2 * seed + 1), rate }
    }

    /// Goes on for one tick as a healthy one does; whether gray is blamed all the same.
    pub(super) fn do_well(&mut self, healthy: Healthy, tick: u64) -> bool {
        let Healthy { share, times, has_bursts } = healthy;
        let at = tick % BURST_EVERY_TICKS;
        let is_burst = has_bursts && at < BURST_TICKS;
        if at == 0 || at == BURST_TICKS {
            let of_both = if is_burst { BURST_TIMES } else { 1.0 };
            self.gray.slow_down(times * of_both);
            self.stable.slow_down(of_both);
        }
        let share = if is_burst { BURST_SHARE } else { share };
        self.tick(share, share)
    }

    /// A fault begins. Gives the share of gray requests that fail from now on, if that is it.
    pub(super) fn suffer(&mut self, fault: Fault) -> Option<f64> {
        match fault {
            Fault::Fails(share) => Some(share),
            Fault::IsSlow(times) => {
                self.gray.slow_down(times);
                None
            }
        }
    }

    /// Goes on for one tick, with these shares of errors; whether gray is blamed.
    pub(super) fn tick(&mut self, gray: f64, stable: f64) -> bool {
        let gray = self.gray.tick(self.rate, gray);
        let stable = self.stable.tick(self.rate * STABLE_TIMES, stable);
        let observed = Observed {
            gray: &gray,
            stable: &stable,
            endpoints: None,
            freshness: Freshness::Fresh,
            is_alone: false,
        };
        matches!(self.judge.tick(&observed), Verdict::Unhealthy(_))
    }
}
