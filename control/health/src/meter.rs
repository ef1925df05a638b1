//! What all proxies count of one version, as figures of ticks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::figures::Figures;
use crate::histogram::{Cumulative, Histogram};
use crate::limits::{MAX_NODES, MAX_REQUESTS_PER_TICK, STALE, ticks};

/// What one proxy reports of one version. What it does not say is none.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Requests that came to an end since the proxy started.
    pub completed: Option<u64>,
    /// Those of them that failed.
    pub errors: Option<u64>,
    /// How long they took.
    pub times: Times,
    /// Endpoints that may be sent requests, as it sees them.
    pub endpoints: Option<u64>,
    /// Which sample of it this is, where somebody samples it and tells it on; none when it speaks for itself, now.
    pub sample: Option<Sample>,
}

/// How long requests took, as one proxy tells it.
#[derive(Clone, Debug)]
pub enum Times {
    /// Those since its last report.
    Since(Histogram),
    /// All since it started.
    Total(Cumulative),
}

/// When a proxy was sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When that was, in milliseconds by the clock of whoever samples.
    pub at_ms: u64,
    /// How long ago that is.
    pub age: Duration,
}

/// Adds up what proxies report of one version. What one of them says wrong is its own: whose counter falls, or grows faster than any
/// proxy serves, is not believed until it said what can be for a while. Only where it is sampled may it have begun anew.
#[derive(Clone, Debug)]
pub struct Meter {
    /// By node, and by the number of its stream. Two that call themselves the same have counters of their own.
    by_stream: BTreeMap<(Arc<str>, u64), Last>,
    /// What was reported since the last tick.
    figures: Figures,
    tick: u64,
    /// Ticks after which figures say nothing of the present.
    stale_ticks: u64,
}

/// What a proxy reported last.
#[derive(Clone, Debug)]
struct Last {
    completed: u64,
    errors: u64,
    /// How long all its requests took, if it tells that.
    total: Option<Cumulative>,
    endpoints: Option<u64>,
    /// When it was sampled, if it is.
    at_ms: Option<u64>,
    /// Of which tick this is.
    tick: u64,
    /// In which tick it was told last, be it once more.
    heard: u64,
    /// Until which tick it is not believed.
    doubted_until: u64,
}

// === impl Times ===

impl Default for Times {
    fn default() -> Self {
        Self::Since(Histogram::default())
    }
}

// === impl Meter ===

impl Meter {
    /// A meter that has heard nothing. Figures that are older than `stale` say nothing of the present to it.
    #[must_use]
    pub fn new(stale: Duration) -> Self {
        let stale_ticks = ticks(stale);
        // Samples may be of ticks before the first one.
        Self { by_stream: BTreeMap::new(), figures: Figures::default(), tick: stale_ticks, stale_ticks }
    }

    /// Takes what a proxy reports on a stream; later streams have larger numbers. Gives whether it is news: a sample that is stale is
    /// none, nor is one that is not later than the last one of this proxy, nor what is not believed. So a server that stands still is
    /// noticed, and two that sample the same proxy do no harm. Of more than [`MAX_NODES`] proxies those that came last are not heard.
    pub fn report(&mut self, node: &Arc<str>, stream: u64, reading: Reading) -> bool {
        let age = reading.sample.map_or(0, |sample| ticks(sample.age));
        let at_ms = reading.sample.map(|sample| sample.at_ms);
        let key = (Arc::clone(node), stream);
        if at_ms.is_some()
            && let Some(last) = self.by_stream.get_mut(&key)
            && at_ms <= last.at_ms
        {
            last.heard = self.tick;
            return false;
        }
        let known = self.by_stream.get(&key);
        if age > self.stale_ticks || (known.is_none() && self.by_stream.len() >= MAX_NODES) {
            return false;
        }
        let before = known.filter(|last| self.is_fresh(last.tick));
        let Reading { completed, errors, times, endpoints, .. } = reading;
        let (total, latency) = match times {
            Times::Since(latency) => (None, latency),
            Times::Total(total) => {
                let before = before.and_then(|last| last.total.as_ref());
                let latency = before.map(|before| total.since(before));
                (Some(total), latency.unwrap_or_default())
            }
        };
        let mut now = Last {
            completed: completed.or(before.map(|last| last.completed)).unwrap_or_default(),
            errors: errors.or(before.map(|last| last.errors)).unwrap_or_default(),
            total,
            endpoints: endpoints.or(before.and_then(|last| last.endpoints)),
            at_ms,
            tick: self.tick - age,
            heard: self.tick,
            doubted_until: before.map_or(0, |last| last.doubted_until),
        };
        // What it counted before anybody listened is of no tick.
        if let Some(before) = before {
            match now.since(before, &latency) {
                None => now.doubted_until = self.tick + self.stale_ticks,
                Some(_) if self.is_doubted(&now) => {}
                Some((requests, errors)) => self.figures.merge(&Figures::new(requests, errors, latency)),
            }
        }
        let is_believed = !self.is_doubted(&now);
        self.by_stream.insert(key, now);
        is_believed
    }

    /// Ends the tick, and gives what was reported in it.
    pub fn tick(&mut self) -> Figures {
        self.tick += 1;
        if self.tick.is_multiple_of(self.stale_ticks.max(1)) {
            let (tick, stale_ticks) = (self.tick, self.stale_ticks);
            self.by_stream.retain(|_, last| tick - last.heard <= stale_ticks);
        }
        std::mem::take(&mut self.figures)
    }

    /// How many endpoints the proxies see: so many that more than half of them see no more. None when none said. A node has one say,
    /// that of its last stream.
    #[must_use]
    pub fn endpoints(&self) -> Option<u64> {
        let is_heard = |last: &Last| self.is_fresh(last.tick) && !self.is_doubted(last);
        let heard = self.by_stream.iter().rev().filter(|(_, last)| is_heard(last));
        let mut by_node: Vec<_> =
            heard.filter_map(|((node, _), last)| Some((&**node, last.endpoints?))).collect();
        by_node.dedup_by_key(|(node, _)| *node);
        let mut seen: Vec<u64> = by_node.into_iter().map(|(_, endpoints)| endpoints).collect();
        seen.sort_unstable();
        seen.get(seen.len() / 2).copied()
    }

    fn is_fresh(&self, tick: u64) -> bool {
        self.tick - tick <= self.stale_ticks
    }

    const fn is_doubted(&self, last: &Last) -> bool {
        self.tick < last.doubted_until
    }
}

/// One for proxies that tell themselves what they count.
impl Default for Meter {
    fn default() -> Self {
        Self::new(STALE)
    }
}

// === impl Last ===

impl Last {
    /// Requests and errors since the report before; none when that cannot be. A proxy that is sampled may have begun anew under its name,
    /// with what it has; one that speaks for itself does so on another stream.
    fn since(&self, before: &Self, latency: &Histogram) -> Option<(u64, u64)> {
        let grown = |before: u64, now: u64| match now.checked_sub(before) {
            None if self.at_ms.is_some() => Some(now),
            grown => grown,
        };
        let requests = grown(before.completed, self.completed)?;
        let errors = grown(before.errors, self.errors)?;
        let ticks = self.tick.saturating_sub(before.tick).saturating_add(1);
        let most = MAX_REQUESTS_PER_TICK.saturating_mul(ticks);
        (requests.max(errors).max(latency.requests()) <= most).then_some((requests, errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(completed: u64, errors: u64, endpoints: u64) -> Reading {
        Reading {
            completed: Some(completed),
            errors: Some(errors),
            endpoints: Some(endpoints),
            ..Reading::default()
        }
    }

    fn node(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn a_tick_has_what_every_proxy_counted_since_its_last_report() {
        let (mut meter, a, b) = (Meter::default(), node("a"), node("b"));
        meter.report(&a, 1, said(1_000, 500, 1));
        meter.report(&b, 1, said(10, 0, 1));
        assert_eq!(meter.tick(), Figures::default(), "what was before is not counted");
        meter.report(&a, 1, said(1_010, 501, 1));
        meter.report(&b, 1, said(15, 2, 1));
        meter.report(&b, 1, said(16, 2, 1));
        assert_eq!(meter.tick(), Figures::new(16, 3, Histogram::default()));
        assert_eq!(meter.tick(), Figures::default());
    }

    #[test]
    fn who_says_what_cannot_be_is_not_believed_until_it_says_what_can_for_a_while() {
        let a = node("a");
        for odd in [said(990, 10, 0), said(1_000, 9, 0), said(1_000_000, 10, 0), said(1_000, u64::MAX, 0)] {
            let mut meter = Meter::default();
            let mut next = |reading: Reading| {
                meter.report(&a, 1, reading);
                (meter.tick(), meter.endpoints())
            };
            assert_eq!(next(said(1_000, 10, 3)), (Figures::default(), Some(3)));
            let (completed, errors) = (odd.completed.unwrap(), odd.errors.unwrap());
            assert_eq!(next(odd), (Figures::default(), None));
            for _ in 2..ticks(STALE) {
                assert_eq!(next(said(completed, errors, 3)), (Figures::default(), None));
            }
            next(said(completed, errors, 3));
            let more = said(completed + 5, errors, 3);
            assert_eq!(next(more), (Figures::new(5, 0, Histogram::default()), Some(3)));
        }
        let slow = Histogram::from_cumulative([], MAX_REQUESTS_PER_TICK * 10);
        let mut meter = Meter::default();
        meter.report(&a, 1, said(0, 0, 1));
        meter.report(&a, 1, Reading { times: Times::Since(slow), ..said(1, 0, 1) });
        assert_eq!(meter.tick(), Figures::default());
    }

    #[test]
    fn what_does_no_harm_to_a_counter_is_no_count_and_the_counter_stays() {
        let (mut meter, a) = (Meter::default(), node("a"));
        meter.report(&a, 1, said(10, 1, 1));
        meter.report(&a, 1, Reading::default());
        meter.report(&a, 1, said(12, 1, 1));
        assert_eq!((meter.tick(), meter.endpoints()), (Figures::new(2, 0, Histogram::default()), Some(1)));
    }

    #[test]
    fn who_is_sampled_may_begin_anew_with_what_it_has() {
        let (mut meter, a) = (Meter::default(), node("a"));
        let mut sampled = |at_ms, completed, errors| {
            let sample = Some(Sample { at_ms, age: Duration::ZERO });
            let is_news = meter.report(&a, 0, Reading { sample, ..said(completed, errors, 1) });
            (is_news, meter.tick())
        };
        assert_eq!(sampled(1, 1_000, 10), (true, Figures::default()));
        assert_eq!(sampled(2, 30, 1), (true, Figures::new(30, 1, Histogram::default())));
        assert_eq!(sampled(3, 10_000_000, 1), (false, Figures::default()), "it leaps");
        assert_eq!(sampled(4, 10_000_001, 1), (false, Figures::default()));
    }

    #[test]
    fn two_that_call_themselves_the_same_have_counters_of_their_own_and_one_say() {
        let (mut meter, a) = (Meter::default(), node("a"));
        for round in 0..3 {
            meter.report(&a, 1, said(1_000 + round, 10, 3));
            meter.report(&a, 2, said(5_000 + 2 * round, 4_000, 0));
        }
        assert_eq!(meter.tick(), Figures::new(2 + 4, 0, Histogram::default()));
        assert_eq!(meter.endpoints(), Some(0), "that of the later stream");
        meter.report(&node("b"), 3, said(0, 0, 3));
        meter.report(&node("c"), 4, said(0, 0, 3));
        assert_eq!(meter.endpoints(), Some(3));
    }

    #[test]
    fn who_was_away_for_long_begins_anew() {
        let (mut meter, a) = (Meter::default(), node("a"));
        meter.report(&a, 1, said(10, 0, 1));
        (0..=ticks(STALE)).for_each(|_| drop(meter.tick()));
        assert_eq!(meter.endpoints(), None);
        meter.report(&a, 1, said(5_000, 4_000, 1));
        assert_eq!((meter.tick(), meter.endpoints()), (Figures::default(), Some(1)));
    }

    fn sampled(at_ms: u64, age: Duration, completed: u64) -> Reading {
        Reading { sample: Some(Sample { at_ms, age }), ..said(completed, 0, 1) }
    }

    #[test]
    fn a_sample_counts_once_whoever_tells_it_and_how_often() {
        let (mut meter, a) = (Meter::new(Duration::from_secs(45)), node("a"));
        let age = Duration::from_secs(1);
        assert!(meter.report(&a, 1, sampled(1_000, age, 500)));
        assert!(!meter.report(&a, 1, sampled(1_000, age, 500)), "told again");
        assert!(meter.report(&a, 1, sampled(16_000, age, 520)));
        assert!(!meter.report(&a, 1, sampled(9_000, age, 510)), "by another server, which lags");
        assert!(meter.report(&a, 1, sampled(24_000, age, 530)));
        assert_eq!(meter.tick(), Figures::new(30, 0, Histogram::default()));
    }

    #[test]
    fn a_sample_is_as_old_as_it_is_and_not_as_young_as_it_was_told() {
        let stale = Duration::from_secs(45);
        let (mut meter, a) = (Meter::new(stale), node("a"));
        assert!(!meter.report(&a, 1, sampled(1_000, Duration::from_secs(46), 0)));
        assert!(!meter.report(&a, 1, sampled(1_000, Duration::MAX, 0)));
        assert_eq!(meter.endpoints(), None);
        assert!(meter.report(&a, 1, sampled(2_000, Duration::from_secs(44), 0)));
        assert_eq!(meter.endpoints(), Some(1));
        (0..8).for_each(|_| drop(meter.tick()));
        assert_eq!(meter.endpoints(), None, "two seconds later");
        assert!(meter.report(&a, 1, sampled(60_000, Duration::ZERO, 700)));
        assert_eq!(meter.tick(), Figures::default(), "what is that long ago is of no tick");
    }

    #[test]
    fn a_server_that_stands_still_never_becomes_news_again() {
        let (mut meter, a) = (Meter::new(Duration::from_secs(15)), node("a"));
        assert!(meter.report(&a, 1, sampled(1_000, Duration::ZERO, 10)));
        for _ in 0..1_000 {
            assert!(!meter.report(&a, 1, sampled(1_000, Duration::ZERO, 10)));
            meter.tick();
        }
        assert_eq!(meter.endpoints(), None);
    }

    #[test]
    fn there_are_never_more_proxies_than_there_may_be() {
        let mut meter = Meter::default();
        for number in 0..MAX_NODES + 1_000 {
            let is_heard = meter.report(&node(&number.to_string()), 1, said(1, 0, 1));
            assert_eq!(is_heard, number < MAX_NODES);
        }
        assert!(meter.report(&node("0"), 1, said(2, 0, 1)), "who is known goes on");
        assert_eq!((meter.by_stream.len(), meter.tick().tally.requests()), (MAX_NODES, 1));
    }

    #[test]
    fn times_of_all_requests_are_told_by_what_they_grew() {
        let (mut meter, a) = (Meter::default(), node("a"));
        let mut told = |at_ms, below_10: u64, requests: u64| {
            let times = Times::Total(Cumulative::new([(10.0, below_10)], requests));
            let sample = Some(Sample { at_ms, age: Duration::ZERO });
            meter.report(&a, 0, Reading { completed: Some(requests), times, sample, ..Reading::default() });
            meter.tick().latency
        };
        assert_eq!(told(1, 100, 200), Histogram::default(), "what was before is not counted");
        assert_eq!(told(2, 103, 205), Histogram::from_cumulative([(10.0, 3)], 5));
        assert_eq!(told(3, 1, 4), Histogram::from_cumulative([(10.0, 1)], 4), "it began anew");
    }

    #[test]
    fn more_than_half_of_the_proxies_say_how_few_endpoints_there_are() {
        let mut meter = Meter::default();
        let mut seen = |name, endpoints| {
            meter.report(&node(name), 1, said(0, 0, endpoints));
            meter.endpoints()
        };
        assert_eq!(
            [seen("a", 3), seen("b", 0), seen("c", 0), seen("d", 3)].map(Option::unwrap),
            [3, 3, 0, 3]
        );
        assert_eq!(seen("e", 0), Some(0), "more than half of them");
    }
}
