//! How long requests took, as far as buckets tell.

use std::cmp::Ordering;

use crate::limits::MAX_BUCKETS;

/// How long requests took: how many fell into each bucket, in milliseconds.
///
/// Histograms with other bounds are merged without loss: each bucket stays the span that it was, and spans may overlap. What
/// cannot be known, where in its span a request lies, is assumed in [`Histogram::percentile`] alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Sorted by span, each span once, none of them empty; at most [`MAX_BUCKETS`].
    buckets: Vec<Bucket>,
}

/// Requests that took longer than `lower_ms`, and not longer than `upper_ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    lower_ms: f64,
    /// Infinite for the last, open one.
    upper_ms: f64,
    count: u64,
}

/// How long all requests took since somebody began to count, as counters that only grow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cumulative {
    /// How many took at most so many milliseconds, by growing bounds.
    bounds: Vec<(f64, u64)>,
    requests: u64,
}

/// A percentile, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Percentile {
    /// About so many milliseconds.
    About(f64),
    /// More than so many, and nobody knows how many: it lies in an open bucket.
    MoreThan(f64),
}

// === impl Histogram ===

impl Histogram {
    /// From cumulative counts, as proxies and Prometheus have them: how many requests took at most so many milliseconds, for each
    /// bound, and how many there were in all.
    ///
    /// The order makes no difference, and a bound that is no finite positive number has no say; of one that is told several times the
    /// largest count has. Counts that fall where they should
    /// grow are taken as not growing.
    #[must_use]
    pub fn from_cumulative(bounds: impl IntoIterator<Item = (f64, u64)>, requests: u64) -> Self {
        let usable = |(bound_ms, _): &(f64, u64)| bound_ms.is_finite() && *bound_ms > 0.0;
        let mut bounds: Vec<_> = bounds.into_iter().filter(usable).collect();
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        bounds.dedup_by_key(|(bound_ms, _)| *bound_ms);
        bounds.push((f64::INFINITY, requests));
        let (mut lower_ms, mut below) = (0.0, 0);
        let mut histogram = Self::default();
        for (upper_ms, cumulative) in bounds {
            let count = cumulative.saturating_sub(below);
            below = below.max(cumulative);
            if count > 0 {
                histogram.buckets.push(Bucket { lower_ms, upper_ms, count });
            }
            lower_ms = upper_ms;
        }
        histogram.keep_limit();
        histogram
    }

    /// How many requests are in it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum.saturating_add(bucket.count))
    }

    /// Adds another one. The order of merging makes no difference while there are at most [`MAX_BUCKETS`] different spans; beyond,
    /// neighbours become one wider span, which tells less and nothing wrong.
    pub fn merge(&mut self, other: &Self) {
        let mut missing = Vec::new();
        let mut ours = self.buckets.iter_mut().peekable();
        for theirs in &other.buckets {
            while ours.next_if(|bucket| bucket.by_span(theirs).is_lt()).is_some() {}
            match ours.peek_mut() {
                Some(same) if same.by_span(theirs).is_eq() => {
                    same.count = same.count.saturating_add(theirs.count)
                }
                _ => missing.push(*theirs),
            }
        }
        if missing.is_empty() {
            return;
        }
        self.buckets.append(&mut missing);
        self.buckets.sort_by(Bucket::by_span);
        self.keep_limit();
    }

    /// What `percent` of the requests did not exceed, in milliseconds: linear within a bucket, and of an open bucket its lower bound.
    /// None when there are no requests, or when `percent` is not from 0 to 100.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        self.quantile(percent).map(|quantile| match quantile {
            Percentile::About(ms) | Percentile::MoreThan(ms) => ms,
        })
    }

    /// How many requests took surely longer than `threshold_ms`: those in buckets that begin there or later.
    #[must_use]
    pub fn above(&self, threshold_ms: f64) -> u64 {
        let above = self.buckets.iter().filter(|bucket| bucket.lower_ms >= threshold_ms);
        above.fold(0, |sum, bucket| sum.saturating_add(bucket.count))
    }

    /// The same percentile, and whether it is known.
    pub(crate) fn quantile(&self, percent: f64) -> Option<Percentile> {
        if self.buckets.is_empty() || !(0.0..=100.0).contains(&percent) {
            return None;
        }
        let sum = |count: &dyn Fn(&Bucket) -> f64| self.buckets.iter().map(count).sum::<f64>();
        let wanted = sum(&|bucket| bucket.count as f64) * (percent / 100.0);
        let mut bounds: Vec<f64> =
            self.buckets.iter().flat_map(|bucket| [bucket.lower_ms, bucket.upper_ms]).collect();
        bounds.retain(|bound| bound.is_finite());
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let (mut before_ms, mut before) = (0.0, 0.0);
        for bound_ms in bounds {
            let closed = sum(&|bucket| bucket.closed_until(bound_ms));
            let open = |include: bool| sum(&|bucket| bucket.open_until(bound_ms, include));
            let here = closed + open(false);
            if here >= wanted {
                let part = if here > before { ((wanted - before) / (here - before)).max(0.0) } else { 1.0 };
                return Some(Percentile::About(before_ms + (bound_ms - before_ms) * part));
            }
            if closed + open(true) >= wanted {
                return Some(Percentile::MoreThan(bound_ms));
            }
            (before_ms, before) = (bound_ms, closed + open(true));
        }
        Some(Percentile::MoreThan(before_ms))
    }

    /// Makes neighbours one until there are few enough, first those with the fewest requests: whoever has bounds of its own widens the
    /// spans of others no more than it has requests.
    fn keep_limit(&mut self) {
        while self.buckets.len() > MAX_BUCKETS {
            let mut excess = self.buckets.len() - MAX_BUCKETS;
            let pairs = self.buckets.iter().zip(self.buckets.iter().skip(1));
            let mut sums: Vec<u64> = pairs.map(|(a, b)| a.joined(*b).count).collect();
            sums.sort_unstable();
            let few = sums.get(excess - 1).copied().unwrap_or(u64::MAX);
            let mut kept: Vec<Bucket> = Vec::with_capacity(self.buckets.len());
            for bucket in self.buckets.drain(..) {
                match kept.last_mut() {
                    Some(last) if excess > 0 && last.joined(bucket).count <= few => {
                        *last = last.joined(bucket);
                        excess -= 1;
                    }
                    _ => kept.push(bucket),
                }
            }
            self.buckets = kept;
        }
    }
}

// === impl Cumulative ===

impl Cumulative {
    /// From how many requests took at most so many milliseconds, for each bound in any order, and how many there were in all.
    #[must_use]
    pub fn new(bounds: impl IntoIterator<Item = (f64, u64)>, requests: u64) -> Self {
        let mut bounds: Vec<_> = bounds.into_iter().collect();
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Self { bounds, requests }
    }

    /// How many requests there were.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// How long all of them took.
    #[must_use]
    pub fn histogram(&self) -> Histogram {
        Histogram::from_cumulative(self.bounds.iter().copied(), self.requests)
    }

    /// How long the requests took that came since; none when a counter fell. Both have the same bounds.
    pub(crate) fn since(&self, before: &Self) -> Option<Histogram> {
        let pairs = self.bounds.iter().zip(&before.bounds);
        let grown: Option<Vec<_>> =
            pairs.map(|(now, before)| Some((now.0, now.1.checked_sub(before.1)?))).collect();
        Some(Histogram::from_cumulative(grown?, self.requests.checked_sub(before.requests)?))
    }

    /// How many bounds it has.
    pub(crate) const fn bounds(&self) -> usize {
        self.bounds.len()
    }

    pub(crate) fn has_bounds_of(&self, other: &Self) -> bool {
        let pairs = self.bounds.iter().zip(&other.bounds);
        self.bounds.len() == other.bounds.len()
            && pairs.map(|(a, b)| a.0.total_cmp(&b.0)).all(Ordering::is_eq)
    }
}

// === impl Bucket ===

impl Bucket {
    fn by_span(&self, other: &Self) -> Ordering {
        self.lower_ms.total_cmp(&other.lower_ms).then(self.upper_ms.total_cmp(&other.upper_ms))
    }

    /// How many of a closed bucket lie at or below a bound, if they are spread evenly.
    fn closed_until(&self, bound_ms: f64) -> f64 {
        if self.upper_ms.is_infinite() || bound_ms <= self.lower_ms {
            return 0.0;
        }
        let part = (bound_ms - self.lower_ms) / (self.upper_ms - self.lower_ms);
        self.count as f64 * part.min(1.0)
    }

    /// How many of an open bucket count as lying below a bound, or at it: all lie at its lower bound, for want of another.
    fn open_until(&self, bound_ms: f64, include: bool) -> f64 {
        let is_below = self.lower_ms < bound_ms || (include && self.lower_ms == bound_ms);
        if self.upper_ms.is_infinite() && is_below { self.count as f64 } else { 0.0 }
    }

    fn joined(self, other: Self) -> Self {
        Self {
            lower_ms: self.lower_ms.min(other.lower_ms),
            upper_ms: self.upper_ms.max(other.upper_ms),
            count: self.count.saturating_add(other.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS_MS: [f64; 5] = [1.0, 5.0, 25.0, 100.0, 500.0];

    fn of(values_ms: &[f64], bounds_ms: &[f64]) -> Histogram {
        let cumulative = |bound: f64| values_ms.iter().filter(|value| **value <= bound).count() as u64;
        Histogram::from_cumulative(
            bounds_ms.iter().map(|bound| (*bound, cumulative(*bound))),
            values_ms.len() as u64,
        )
    }

    #[test]
    fn a_percentile_is_linear_within_its_bucket() {
        let histogram = Histogram::from_cumulative([(10.0, 50), (20.0, 100)], 100);
        for (percent, ms) in [(0.0, 0.0), (25.0, 5.0), (50.0, 10.0), (75.0, 15.0), (100.0, 20.0)] {
            assert_eq!(histogram.percentile(percent), Some(ms), "{percent}");
        }
        for percent in [-1.0, 100.1, f64::NAN] {
            assert_eq!(histogram.percentile(percent), None, "{percent}");
        }
    }

    #[test]
    fn an_open_bucket_gives_its_lower_bound_and_is_known_as_open() {
        let histogram = Histogram::from_cumulative([(10.0, 50)], 100);
        assert_eq!(histogram.quantile(50.0), Some(Percentile::About(10.0)));
        assert_eq!(histogram.quantile(90.0), Some(Percentile::MoreThan(10.0)));
        assert_eq!(histogram.percentile(90.0), Some(10.0));
        assert_eq!(Histogram::default().percentile(50.0), None);
        assert_eq!(Histogram::from_cumulative([], 3).quantile(50.0), Some(Percentile::MoreThan(0.0)));
    }

    #[test]
    fn only_what_is_surely_above_counts() {
        let histogram = Histogram::from_cumulative([(10.0, 1), (20.0, 3), (40.0, 7)], 15);
        for (threshold, above) in [(0.0, 15), (10.0, 14), (10.1, 12), (20.0, 12), (40.0, 8), (40.1, 0)] {
            assert_eq!(histogram.above(threshold), above, "{threshold}");
        }
    }

    #[test]
    fn odd_bounds_and_falling_counts_do_no_harm() {
        let odd = [(f64::NAN, 9), (20.0, 3), (-1.0, 1), (10.0, 5), (f64::INFINITY, 8), (0.0, 2)];
        let histogram = Histogram::from_cumulative(odd, 7);
        assert_eq!(histogram.requests(), 7);
        assert_eq!((histogram.above(10.0), histogram.above(20.0)), (2, 2));
        let twice = Histogram::from_cumulative([(10.0, 3), (20.0, 8), (10.0, 7), (10.0, 5)], 9);
        assert_eq!(twice, Histogram::from_cumulative([(10.0, 7), (20.0, 8)], 9));
    }

    #[test]
    fn too_many_spans_become_wider_ones() {
        let mut merged = Histogram::default();
        for offset in 0..10_u32 {
            let bound = |step: u32| f64::from(step * 10 + offset + 1);
            let counts = (0..100).map(|step| (bound(step), u64::from(step)));
            merged.merge(&Histogram::from_cumulative(counts, 100));
        }
        assert!(merged.buckets.len() <= MAX_BUCKETS);
        assert_eq!(merged.requests(), 1_000);
        assert!(merged.above(500.0) <= 510, "it never claims more than there are");
    }

    #[test]
    fn a_crowd_keeps_its_percentiles_beside_one_who_has_other_bounds_each_time() {
        // Envoy's bounds. Of a thousand requests of each proxy 980 take 5 to 10 ms, ten up to 250 and ten up to 500.
        let bounds =
            [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5];
        let below = |bound: f64| match bound {
            ..10.0 => 0,
            10.0..250.0 => 980,
            250.0..500.0 => 990,
            _ => 1_000,
        };
        let honest = Histogram::from_cumulative(bounds.map(|bound| (bound, below(bound))), 1_000);
        let (mut alone, mut beside) = (Histogram::default(), Histogram::default());
        for round in 0..100_u32 {
            let odd = (0..100_u32).map(|step| (f64::from(step * 100 + round) + 0.3, u64::from(step)));
            let odd = Histogram::from_cumulative(odd, 100);
            beside.merge(&odd);
            for _ in 0..10 {
                beside.merge(&honest);
                alone.merge(&honest);
            }
        }
        assert!(beside.buckets.len() <= MAX_BUCKETS && alone.buckets.len() == 3);
        for (percent, most) in [(50.0, 10.0), (95.0, 10.0), (98.5, 500.0), (99.9, 10_000.0)] {
            let (alone, beside) = (alone.percentile(percent).unwrap(), beside.percentile(percent).unwrap());
            assert!(beside <= most, "{percent}: {beside}, and {alone} alone");
        }
    }

    #[test]
    fn bounds_are_compared_in_any_order_and_a_counter_that_fell_has_no_growth() {
        let before = Cumulative::new([(10.0, 5), (20.0, 7)], 9);
        for bounds in
            [vec![], vec![(20.0, 8)], vec![(10.0, 8), (30.0, 8)], vec![(10.0, 8), (20.0, 8), (30.0, 8)]]
        {
            assert!(!Cumulative::new(bounds, 20).has_bounds_of(&before));
        }
        let any_order = Cumulative::new([(20.0, 9), (10.0, 6)], 12);
        assert!(any_order.has_bounds_of(&before));
        let grown = Histogram::from_cumulative([(10.0, 1), (20.0, 2)], 3);
        assert_eq!(any_order.since(&before), Some(grown));
        assert_eq!(before.since(&any_order), None);
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(0.01_f64..1_000.0, 1..60)
    }

    fn bounds() -> impl Strategy<Value = Vec<f64>> {
        prop::sample::subsequence(BOUNDS_MS.to_vec(), 0..=BOUNDS_MS.len())
    }

    proptest! {
        /// Against the values themselves: no more are above than really are, and the percentile is in the bucket of the real one.
        #[test]
        fn it_says_what_the_values_say(mut values in values(), percent in 0.0_f64..=100.0, t in 0.0_f64..800.0) {
            let histogram = of(&values, &BOUNDS_MS);
            prop_assert_eq!(histogram.requests(), values.len() as u64);
            prop_assert!(histogram.above(t) <= values.iter().filter(|value| **value > t).count() as u64);
            values.sort_by(f64::total_cmp);
            let rank = (values.len() as f64 * percent / 100.0).ceil().max(1.0) as usize;
            let real = values[rank - 1];
            let lower = BOUNDS_MS.iter().copied().filter(|bound| *bound < real).fold(0.0, f64::max);
            let upper = BOUNDS_MS.iter().copied().find(|bound| *bound >= real).unwrap_or(lower);
            let said = histogram.percentile(percent).unwrap();
            prop_assert!((lower..=upper).contains(&said), "{said} is not in {lower}..={upper}, where {real} is");
        }

        /// Whoever comes first, and whatever the bounds of each are: the same histogram, and the counts of all.
        #[test]
        fn the_order_of_proxies_does_not_matter(
            proxies in prop::collection::vec((values(), bounds()), 1..6),
            t in 0.0_f64..800.0,
        ) {
            let each: Vec<_> = proxies.iter().map(|(values, bounds)| of(values, bounds)).collect();
            let merged = |order: &mut dyn Iterator<Item = &Histogram>| {
                order.fold(Histogram::default(), |mut sum, next| { sum.merge(next); sum })
            };
            let forth = merged(&mut each.iter());
            prop_assert_eq!(&forth, &merged(&mut each.iter().rev()));
            prop_assert_eq!(forth.above(t), each.iter().map(|one| one.above(t)).sum::<u64>());
            prop_assert_eq!(forth.requests(), each.iter().map(Histogram::requests).sum::<u64>());
            let mut before = 0.0;
            for percent in 0..=100 {
                let ms = forth.percentile(f64::from(percent)).unwrap();
                prop_assert!(ms >= before, "a higher percentile is not lower");
                before = ms;
            }
        }

        /// Against the values that came since.
        #[test]
        fn what_grew_is_what_came_since(before in values(), since in values()) {
            let total = |values: &[f64]| {
                let below = |bound: f64| values.iter().filter(|value| **value <= bound).count() as u64;
                Cumulative::new(BOUNDS_MS.map(|bound| (bound, below(bound))), values.len() as u64)
            };
            let all = total(&[&before[..], &since].concat());
            prop_assert_eq!(all.since(&total(&before)), Some(of(&since, &BOUNDS_MS)));
            prop_assert_eq!(all.histogram(), of(&[&before[..], &since].concat(), &BOUNDS_MS));
            prop_assert!(total(&before).since(&all).is_none());
        }

        #[test]
        fn any_counts_are_taken(pairs in prop::collection::vec((any::<f64>(), any::<u64>()), 0..8), n in any::<u64>(), p in any::<f64>()) {
            let half = pairs.iter().map(|(bound, count)| (*bound, count / 2));
            let grown = Cumulative::new(pairs.clone(), n).since(&Cumulative::new(half, n / 2));
            prop_assert!(grown.is_none_or(|grown| grown.percentile(p).is_none_or(f64::is_finite)));
            let mut histogram = Histogram::from_cumulative(pairs, n);
            histogram.merge(&histogram.clone());
            prop_assert!(histogram.percentile(p).is_none_or(f64::is_finite));
            prop_assert!(histogram.above(p) <= histogram.requests());
        }
    }
}
