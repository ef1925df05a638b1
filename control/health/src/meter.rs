//! What all proxies count of one version, as figures of ticks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::figures::Figures;
use crate::histogram::Histogram;
use crate::limits::{MAX_REQUESTS, STALE_TICKS};

/// What one proxy reports of one version. What it does not say is none.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Requests that came to an end since the proxy started.
    pub completed: Option<u64>,
    /// Those of them that failed.
    pub errors: Option<u64>,
    /// How long those since its last report took.
    pub latency: Histogram,
    /// Endpoints that may be sent requests, as it sees them.
    pub endpoints: Option<u64>,
}

/// Adds up what proxies report of one version. What one of them says wrong is its own: a counter that falls is one that began anew,
/// and one that leaps is a beginning.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    by_node: BTreeMap<Arc<str>, Last>,
    /// What was reported since the last tick.
    figures: Figures,
    tick: u64,
}

/// What a proxy reported last.
#[derive(Clone, Copy, Debug)]
struct Last {
    completed: u64,
    errors: u64,
    endpoints: Option<u64>,
    /// In which tick.
    tick: u64,
}

// === impl Meter ===

impl Meter {
    /// Takes what a proxy reports.
    pub fn report(&mut self, node: &Arc<str>, reading: Reading) {
        let Reading { completed, errors, latency, endpoints } = reading;
        let before = self.by_node.get(node).filter(|last| self.tick - last.tick <= STALE_TICKS).copied();
        let now = Last {
            completed: completed.or(before.map(|last| last.completed)).unwrap_or_default(),
            errors: errors.or(before.map(|last| last.errors)).unwrap_or_default(),
            endpoints: endpoints.or(before.and_then(|last| last.endpoints)),
            tick: self.tick,
        };
        self.by_node.insert(Arc::clone(node), now);
        // What it counted before anybody listened is of no tick.
        let Some(before) = before else { return };
        let requests = grown(before.completed, now.completed);
        if requests <= MAX_REQUESTS && latency.requests() <= MAX_REQUESTS {
            let errors = grown(before.errors, now.errors);
            self.figures.merge(&Figures::new(requests, errors, latency));
        }
    }

    /// Ends the tick, and gives what was reported in it.
    pub fn tick(&mut self) -> Figures {
        self.tick += 1;
        if self.tick.is_multiple_of(STALE_TICKS) {
            self.by_node.retain(|_, last| self.tick - last.tick <= STALE_TICKS);
        }
        std::mem::take(&mut self.figures)
    }

    /// How many endpoints the proxies see: so many that more than half of them see no more. None when none said.
    #[must_use]
    pub fn endpoints(&self) -> Option<u64> {
        let fresh = self.by_node.values().filter(|last| self.tick - last.tick <= STALE_TICKS);
        let mut seen: Vec<u64> = fresh.filter_map(|last| last.endpoints).collect();
        seen.sort_unstable();
        seen.get(seen.len() / 2).copied()
    }
}

/// By how much a counter grew; one that fell began anew with what it has.
const fn grown(before: u64, now: u64) -> u64 {
    if now >= before { now - before } else { now }
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
        meter.report(&a, said(1_000, 500, 1));
        meter.report(&b, said(10, 0, 1));
        assert_eq!(meter.tick(), Figures::default(), "what was before is not counted");
        meter.report(&a, said(1_010, 501, 1));
        meter.report(&b, said(15, 2, 1));
        meter.report(&b, said(16, 2, 1));
        assert_eq!(meter.tick(), Figures::new(16, 3, Histogram::default()));
        assert_eq!(meter.tick(), Figures::default());
    }

    #[test]
    fn a_counter_that_falls_began_anew_and_one_that_leaps_says_nothing() {
        let (mut meter, a) = (Meter::default(), node("a"));
        meter.report(&a, said(1_000, 10, 1));
        meter.report(&a, said(30, 1, 1));
        assert_eq!(meter.tick(), Figures::new(30, 1, Histogram::default()));
        meter.report(&a, said(u64::MAX, u64::MAX, 1));
        meter.report(&a, said(40, 2, 1));
        assert_eq!(meter.tick(), Figures::new(40, 2, Histogram::default()));
    }

    #[test]
    fn who_was_away_for_long_begins_anew() {
        let (mut meter, a) = (Meter::default(), node("a"));
        meter.report(&a, said(10, 0, 1));
        (0..=STALE_TICKS).for_each(|_| drop(meter.tick()));
        assert_eq!(meter.endpoints(), None);
        meter.report(&a, said(5_000, 4_000, 1));
        assert_eq!((meter.tick(), meter.endpoints()), (Figures::default(), Some(1)));
    }

    #[test]
    fn more_than_half_of_the_proxies_say_how_few_endpoints_there_are() {
        let mut meter = Meter::default();
        let mut seen = |name, endpoints| {
            meter.report(&node(name), said(0, 0, endpoints));
            meter.endpoints()
        };
        assert_eq!(
            [seen("a", 3), seen("b", 0), seen("c", 0), seen("d", 3)].map(Option::unwrap),
            [3, 3, 0, 3]
        );
        assert_eq!(seen("e", 0), Some(0), "more than half of them");
    }
}
