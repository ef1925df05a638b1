//! What one proxy counts on one stream.

use std::collections::BTreeMap;

use super::{Heard, Implausible, Reading, Times};
use crate::figures::{Figures, Tally};
use crate::histogram::{Cumulative, Histogram};
use crate::limits::{MAX_BUCKETS, MAX_CLUSTERS_PER_STREAM, MAX_REQUESTS_PER_TICK, STALE, ticks};

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    pub(super) now: u64,
    /// Ticks after which figures say nothing of the present.
    pub(super) stale: u64,
}

/// A stream of a proxy.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    by_cluster: BTreeMap<Box<str>, Last>,
    allowance: Allowance,
    /// Until which tick it is not believed.
    doubted_until: u64,
}

/// How much more a stream may count: as much as a proxy serves in the time that went by.
#[derive(Clone, Debug)]
struct Allowance {
    /// Of requests, of errors, of steered requests, and of times.
    left: [u64; 4],
    /// Up to which tick.
    tick: u64,
}

/// Endpoints as a stream tells them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoints {
    pub(super) ready: u64,
    /// Whether there were any once.
    pub(super) was_up: bool,
}

/// What was reported last of a cluster.
#[derive(Clone, Debug, Default)]
struct Last {
    completed: Option<u64>,
    errors: Option<u64>,
    steered: Option<u64>,
    times: Option<Cumulative>,
    endpoints: Option<u64>,
    /// Whether it had endpoints once.
    was_up: bool,
    /// When it was sampled, if it is.
    at_ms: Option<u64>,
    /// The tick of the first report, and of this one.
    began: u64,
    tick: u64,
    /// In which tick it was told last, be it once more.
    heard: u64,
    counts: Counts,
}

/// What was reported of a cluster since the last tick.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u64,
    errors: u64,
    steered: u64,
    /// For how many ticks errors wait for their requests.
    waited: u64,
}

/// What came since the report before.
#[derive(Debug)]
struct Since {
    counts: Counts,
    latency: Histogram,
}

// === impl Ticks ===

impl Ticks {
    pub(super) const fn is_fresh(self, tick: u64) -> bool {
        self.now - tick <= self.stale
    }
}

// === impl Stream ===

impl Stream {
    pub(super) const fn new(ticks: Ticks, doubted_until: u64) -> Self {
        let allowance = Allowance { left: [MAX_REQUESTS_PER_TICK; 4], tick: ticks.now };
        Self { by_cluster: BTreeMap::new(), allowance, doubted_until }
    }

    /// Takes what it tells of a cluster, and adds how long requests took.
    pub(super) fn take(
        &mut self,
        cluster: &str,
        reading: Reading,
        ticks: Ticks,
        latency: &mut Histogram,
    ) -> Heard {
        let age = reading.age();
        let known = self.by_cluster.get_mut(cluster);
        let is_known = known.is_some();
        let is_old = known.is_some_and(|last| {
            last.heard = ticks.now;
            reading.sample.is_some_and(|sample| Some(sample.at_ms) <= last.at_ms)
        });
        let is_too_many = !is_known && self.by_cluster.len() >= MAX_CLUSTERS_PER_STREAM;
        if is_old || age > ticks.stale || is_too_many {
            return Heard::NoNews;
        }
        let tick = ticks.now - age;
        let last = self.by_cluster.entry(cluster.into()).or_default();
        if !is_known || !ticks.is_fresh(last.tick) {
            *last = Last { began: tick, heard: ticks.now, ..Last::default() };
        }
        let since = last.next(reading, tick);
        let allowed = since.and_then(|since| self.allowance.take(since, tick, ticks.stale));
        match allowed {
            Err(implausible) => {
                self.doubted_until = ticks.now + ticks.stale;
                self.by_cluster.values_mut().for_each(|last| last.counts = Counts::default());
                Heard::Implausible(implausible)
            }
            Ok(_) if ticks.now < self.doubted_until => Heard::Doubted,
            Ok(since) => {
                latency.merge(&since.latency);
                last.counts.add(since.counts);
                Heard::News
            }
        }
    }

    /// Adds what was reported since the last tick.
    pub(super) fn settle(&mut self, figures: &mut Figures) {
        self.by_cluster.values_mut().for_each(|last| last.counts.settle(figures));
    }

    /// Endpoints of its cluster that has the fewest: requests to that one fail when it has none, however many the others have. Those that
    /// never had any have no say, unless all are like that.
    pub(super) fn endpoints(&self, ticks: Ticks) -> Option<Endpoints> {
        let of = |last: &Last| Some(Endpoints { ready: last.endpoints?, was_up: last.was_up });
        let fresh = || self.by_cluster.values().filter(|last| ticks.is_fresh(last.tick)).filter_map(of);
        let up = fresh().filter(|endpoints| endpoints.was_up).min_by_key(|endpoints| endpoints.ready);
        up.or_else(|| fresh().next()).filter(|_| ticks.now >= self.doubted_until)
    }

    /// In which tick it was told last.
    pub(super) fn heard(&self) -> u64 {
        self.by_cluster.values().map(|last| last.heard).max().unwrap_or_default()
    }

    pub(super) const fn doubted_until(&self) -> u64 {
        self.doubted_until
    }

    /// Forgets clusters of which nothing is told any more. Gives whether there are others.
    pub(super) fn is_kept(&mut self, ticks: Ticks) -> bool {
        self.by_cluster.retain(|_, last| ticks.is_fresh(last.heard));
        !self.by_cluster.is_empty()
    }
}

// === impl Allowance ===

impl Allowance {
    /// Takes what came of it, if there is as much left.
    fn take(&mut self, since: Since, tick: u64, stale: u64) -> Result<Since, Implausible> {
        let of_ticks = |ticks: u64| MAX_REQUESTS_PER_TICK.saturating_mul(ticks);
        let (more, most) = (of_ticks(tick.saturating_sub(self.tick)), of_ticks(stale.saturating_add(1)));
        self.tick = self.tick.max(tick);
        let Counts { requests, errors, steered, .. } = since.counts;
        let mut is_plausible = true;
        for (left, taken) in self.left.iter_mut().zip([requests, errors, steered, since.latency.requests()]) {
            *left = left.saturating_add(more).min(most);
            is_plausible &= taken <= *left;
            *left = left.saturating_sub(taken);
        }
        is_plausible.then_some(since).ok_or(Implausible::TooMany)
    }
}

// === impl Last ===

impl Last {
    /// Takes the next report in, and gives what came since the one before.
    ///
    /// A counter that falls cannot be, on one stream. It does all the same when an operator sets all of an Envoy's counters to zero, or
    /// when it is given a cluster anew: then its stream is not believed for a while. A proxy that is sampled may have begun anew under
    /// its name, with what it has; that shows in its requests, for a single series may get lost.
    fn next(&mut self, reading: Reading, tick: u64) -> Result<Since, Implausible> {
        let Reading { completed, errors, steered, times, endpoints, sample } = reading;
        // What is told for the first time was counted before anybody listened when the others were just told for the first time, too:
        // one report may come in several messages. Later it began at zero, for Envoy tells of no counter that never counted.
        let is_new = tick.saturating_sub(self.began) <= 1;
        let is_anew = sample.is_some() && completed.is_some_and(|completed| Some(completed) < self.completed);
        let grown = |last: &mut Option<u64>, now: Option<u64>| {
            let Some(now) = now else { return Some(0) };
            match last.replace(now) {
                _ if is_anew => Some(now),
                Some(before) => now.checked_sub(before),
                None => Some(if is_new { 0 } else { now }),
            }
        };
        let requests = grown(&mut self.completed, completed);
        let errors = grown(&mut self.errors, errors);
        // A new filter may count from zero in an Envoy that goes on, so this one is no reason to doubt the others.
        let steered = grown(&mut self.steered, steered).unwrap_or_default();
        let latency = times.map_or(Ok(Histogram::default()), |times| self.took(times, is_new, is_anew));
        self.was_up |= endpoints.is_some_and(|endpoints| endpoints > 0);
        self.endpoints = endpoints.or(self.endpoints);
        self.at_ms = sample.map(|sample| sample.at_ms);
        self.tick = tick;
        let (Some(requests), Some(errors)) = (requests, errors) else {
            return Err(Implausible::Fell);
        };
        Ok(Since { counts: Counts { requests, errors, steered, waited: 0 }, latency: latency? })
    }

    /// How long the requests took that came since the report before.
    fn took(&mut self, times: Times, is_new: bool, is_anew: bool) -> Result<Histogram, Implausible> {
        match times {
            // Of too many bounds a stream might keep megabytes.
            Times::Since(now) | Times::Total(now) if now.bounds() > MAX_BUCKETS => Ok(Histogram::default()),
            // Nothing has no bounds.
            Times::Since(now) if now.requests() == 0 => Ok(Histogram::default()),
            Times::Since(now) => match self.times.replace(now.clone()) {
                Some(before) if !now.has_bounds_of(&before) => Err(Implausible::OtherBounds),
                None if is_new => Ok(Histogram::default()),
                _ => Ok(now.histogram()),
            },
            Times::Total(now) => match self.times.replace(now.clone()) {
                _ if is_anew => Ok(now.histogram()),
                Some(before) if now.has_bounds_of(&before) => now.since(&before).ok_or(Implausible::Fell),
                _ => Ok(Histogram::default()),
            },
        }
    }
}

// === impl Counts ===

impl Counts {
    fn add(&mut self, more: Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.errors = self.errors.saturating_add(more.errors);
        self.steered = self.steered.saturating_add(more.steered);
    }

    /// Adds them to the figures of a tick. Errors may come in another message than their requests, in the same tick or in another: without
    /// requests they wait for the next ones of their cluster, and not for long: those of later are others.
    fn settle(&mut self, figures: &mut Figures) {
        let Self { requests, errors, steered, waited } = std::mem::take(self);
        figures.tally = figures.tally.plus(Tally::new(requests, errors));
        figures.steered = figures.steered.saturating_add(steered);
        if requests == 0 && waited < ticks(STALE) {
            *self = Self { errors, waited: waited + 1, ..Self::default() };
        }
    }
}
