//! A histogram of times that takes no lock: the library's own has one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The upper bounds of the buckets in seconds, from one proxy on loopback to a fleet that hardly moves. 2 and 5 are what a publish
/// may take at the scale that is promised.
const BOUNDS: [f64; 16] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];

/// How often something took how long. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// By the bounds.
    by_bound: [AtomicU64; BOUNDS.len()],
    /// What took longer than the last bound.
    longer: AtomicU64,
    nanoseconds: AtomicU64,
}

// === impl Histogram ===

impl Histogram {
    pub(super) fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let mut buckets = BOUNDS.iter().zip(&self.0.by_bound);
        let bucket = buckets.find(|(bound, _)| seconds <= **bound).map(|(_, count)| count);
        bucket.unwrap_or(&self.0.longer).fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let bounds = BOUNDS.iter().copied().zip(self.0.by_bound.iter().map(read));
        let buckets: Vec<_> = bounds.chain([(f64::INFINITY, read(&self.0.longer))]).collect();
        // Of what was counted here, or it could be other than the last bucket.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let seconds = Duration::from_nanos(read(&self.0.nanoseconds)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    fn text(histogram: &Histogram) -> String {
        let mut registry = Registry::default();
        registry.register_with_unit("it", "How long it took", Unit::Seconds, histogram.clone());
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn a_time_is_in_the_first_bucket_that_is_not_below_it() {
        for (nanoseconds, expected) in [
            (0, "it_seconds_bucket{le=\"0.001\"} 1\n"),
            (1_000_000, "it_seconds_bucket{le=\"0.001\"} 1\n"),
            (1_000_001, "it_seconds_bucket{le=\"0.001\"} 0\nit_seconds_bucket{le=\"0.0025\"} 1\n"),
            (300_000_000_000, "it_seconds_bucket{le=\"60\"} 0\nit_seconds_bucket{le=\"300\"} 1\n"),
            (301_000_000_000, "it_seconds_bucket{le=\"300\"} 0\nit_seconds_bucket{le=\"+Inf\"} 1\n"),
        ] {
            let histogram = Histogram::default();
            histogram.observe(Duration::from_nanos(nanoseconds));
            let text = text(&histogram);
            assert!(text.contains(expected) && text.contains("it_seconds_count 1\n"), "{text}");
        }
    }

    #[test]
    fn what_many_threads_observe_at_once_is_all_there() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| histogram.observe(Duration::from_millis(500))));
            }
        });
        let text = text(&histogram);
        assert!(text.contains("it_seconds_sum 20000.0\n"), "{text}");
        assert!(
            text.contains("it_seconds_bucket{le=\"0.25\"} 0\nit_seconds_bucket{le=\"0.5\"} 40000\n"),
            "{text}"
        );
        assert!(text.contains("it_seconds_count 40000\n"), "{text}");
    }
}
