//! Requests that come, fail and take their time by chance, counted as proxies do.

use fastrand::Rng;
use graylane_health::{Figures, Histogram, TICK};

/// The bounds that Envoy has by default, in milliseconds.
pub(crate) const BOUNDS_MS: [f64; 19] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6,
    3.6e6,
];
/// Those of our files in `envoy-configs`.
pub(crate) const OUR_BOUNDS_MS: [f64; 30] = [
    1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 15.0, 22.0, 33.0, 47.0, 68.0, 100.0, 150.0, 220.0, 330.0, 470.0,
    680.0, 1e3, 1.5e3, 2.2e3, 3.3e3, 4.7e3, 6.8e3, 1e4, 1.5e4, 2.2e4, 3.3e4, 4.7e4, 6.8e4,
];
/// Times are drawn as one of so many, each as likely as another.
const TIMES: usize = 1 << TIME_BITS;
const TIME_BITS: u32 = 12;
/// Half of the requests take at most this, and one of a hundred ten times as long.
const MEDIAN_MS: f64 = 20.0;

/// Requests to one service.
pub(crate) struct Traffic {
    rng: Rng,
    bounds_ms: &'static [f64],
    /// The bucket of each time that may be drawn.
    buckets: Vec<u8>,
}

// === impl Traffic ===

impl Traffic {
    /// Traffic that is the same for the same seed, and is counted in these buckets.
    pub(crate) fn new(seed: u64, bounds_ms: &'static [f64]) -> Self {
        let mut traffic = Self { rng: Rng::with_seed(seed), bounds_ms, buckets: Vec::new() };
        traffic.slow_down(1.0);
        traffic
    }

    /// Each request takes so many times as long as at first from now on.
    pub(crate) fn slow_down(&mut self, times: f64) {
        // Log-logistic, which has a long tail, as services have.
        let time_ms = |at: usize| {
            let part = (at as f64 + 0.5) / TIMES as f64;
            times * MEDIAN_MS * (part / (1.0 - part)).sqrt()
        };
        let bucket = |ms: f64| self.bounds_ms.iter().filter(|bound| **bound < ms).count() as u8;
        self.buckets = (0..TIMES).map(|at| bucket(time_ms(at))).collect();
    }

    /// The requests of one tick, of so many a second on average, of which this share fails.
    pub(crate) fn tick(&mut self, per_second: f64, share: f64) -> Figures {
        let failing = (share * (1_u64 << (u64::BITS - TIME_BITS)) as f64) as u64;
        let requests = self.poisson(per_second * TICK.as_secs_f64());
        let (mut errors, mut counts) = (0, vec![0_u64; self.bounds_ms.len() + 1]);
        for _ in 0..requests {
            // One number says both how a request ends and how long it takes.
            let drawn = self.rng.u64(..);
            errors += u64::from(drawn >> TIME_BITS < failing);
            let bucket = self.buckets.get(drawn as usize % TIMES).copied().unwrap_or_default();
            counts.get_mut(usize::from(bucket)).into_iter().for_each(|count| *count += 1);
        }
        let mut below = 0;
        let cumulative = self.bounds_ms.iter().zip(counts).map(|(bound, count)| {
            below += count;
            (*bound, below)
        });
        Figures::new(requests, errors, Histogram::from_cumulative(cumulative, requests))
    }

    /// How many come when so many do on average.
    fn poisson(&mut self, mean: f64) -> u64 {
        let (limit, mut product, mut count) = ((-mean).exp(), self.rng.f64(), 0);
        while product > limit {
            product *= self.rng.f64();
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_has_the_rate_the_share_and_the_tail_that_are_wanted() {
        let mut traffic = Traffic::new(7, &BOUNDS_MS);
        let mut sum = Figures::default();
        (0..4_000).for_each(|_| sum.merge(&traffic.tick(100.0, 0.04)));
        let requests = sum.tally.requests() as f64;
        assert!((98_000.0..102_000.0).contains(&requests), "{requests}");
        assert!(sum.tally.share().is_some_and(|share| (share - 0.04).abs() < 0.003), "{:?}", sum.tally);
        // It is 199 ms; a bucket from 100 to 250 ms, in which 96.2 to 99.4 % end, shows it as 233.
        let p99_ms = sum.latency.percentile(99.0).unwrap();
        assert!((225.0..241.0).contains(&p99_ms), "{p99_ms}");
        assert_eq!(traffic.tick(0.0, 1.0), Figures::default());
        let failing = traffic.tick(400.0, 1.0).tally;
        assert_eq!(failing.errors(), failing.requests());
    }

    #[test]
    fn slow_traffic_takes_as_many_times_as_long() {
        let mut traffic = Traffic::new(7, &OUR_BOUNDS_MS);
        traffic.slow_down(3.0);
        let mut sum = Figures::default();
        (0..4_000).for_each(|_| sum.merge(&traffic.tick(100.0, 0.0)));
        let p50_ms = sum.latency.percentile(50.0).unwrap();
        assert!((57.0..63.0).contains(&p50_ms), "{p50_ms}");
    }

    #[test]
    fn our_buckets_are_those_of_the_files() {
        let file = include_str!("../../../envoy-configs/sidecar-outbound.yaml");
        let (_, rest) = file.split_once("buckets: [").unwrap();
        let (bounds, _) = rest.split_once(']').unwrap();
        let bounds: Vec<f64> = bounds.split(',').map(|bound| bound.trim().parse().unwrap()).collect();
        assert_eq!(bounds, OUR_BOUNDS_MS);
    }
}
