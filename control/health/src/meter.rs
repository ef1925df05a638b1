//! What all proxies count of one version, as figures of ticks.

mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::figures::Figures;
use crate::histogram::{Cumulative, Histogram};
use crate::limits::{MAX_STREAMS, MAX_STREAMS_PER_NODE, STALE, ticks};
use stream::{Stream, Ticks};

/// What one proxy reports of one version. What it does not say is none.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Requests that came to an end since the proxy started.
    pub completed: Option<u64>,
    /// Those of them that failed.
    pub errors: Option<u64>,
    /// Requests that its filter steered to the version since it started.
    pub steered: Option<u64>,
    /// How long requests took.
    pub times: Option<Times>,
    /// Endpoints that may be sent requests, as it sees them.
    pub endpoints: Option<u64>,
    /// Which sample of it this is, where somebody samples it and tells it on; none when it speaks for itself, now.
    pub sample: Option<Sample>,
}

/// How long requests took, as one proxy tells it.
#[derive(Clone, Debug)]
pub enum Times {
    /// Those since its last report.
    Since(Cumulative),
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

/// Whose counters a reading is of.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The node that the proxy says it is.
    pub node: &'a Arc<str>,
    /// The number of its stream; later streams have larger numbers.
    pub stream: u64,
    /// Its cluster: a version may have several, of ports, hosts and zones. Empty for what is of none.
    pub cluster: &'a str,
}

/// What becomes of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is news.
    News,
    /// It is none: a sample that is stale or not later than the last one, or of a stream or a cluster too many.
    NoNews,
    /// It says what cannot be. From now on its stream is not believed for a while.
    Implausible(Implausible),
    /// Its stream is not believed yet.
    Doubted,
}

/// Why a reading says what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implausible {
    /// A counter is less than it was.
    Fell,
    /// It counted more than any proxy serves.
    TooMany,
    /// Its histogram has other bounds than before.
    OtherBounds,
}

/// Adds up what proxies report of one version.
///
/// What one of them says wrong is its own: a stream on which a counter falls, or grows faster than any proxy serves, is not believed until
/// it said what can be for a while. Only where a proxy is sampled may it have begun anew.
#[derive(Clone, Debug)]
pub struct Meter {
    /// By node, and by the number of its stream. Two that call themselves the same have counters of their own.
    by_stream: BTreeMap<(Arc<str>, u64), Stream>,
    /// How long requests took that were reported since the last tick.
    latency: Histogram,
    ticks: Ticks,
}

// === impl Reading ===

impl Reading {
    /// How many ticks ago it was sampled.
    fn age(&self) -> u64 {
        self.sample.map_or(0, |sample| ticks(sample.age))
    }
}

// === impl Implausible ===

impl fmt::Display for Implausible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fell => "a counter fell",
            Self::TooMany => "it counted more than a million requests a second",
            Self::OtherBounds => "its histogram has other bounds than before",
        })
    }
}

// === impl Meter ===

impl Meter {
    /// A meter that has heard nothing. Figures that are older than `stale` say nothing of the present to it.
    #[must_use]
    pub fn new(stale: Duration) -> Self {
        let stale = ticks(stale);
        // Samples may be of ticks before the first one.
        let ticks = Ticks { now: stale, stale };
        Self { by_stream: BTreeMap::new(), latency: Histogram::default(), ticks }
    }

    /// Takes what a proxy reports. A sample that is stale is no news, nor is one that is not later than the last one of this proxy. So a
    /// server that stands still is noticed, and two that sample the same proxy do no harm.
    ///
    /// Of more than [`MAX_STREAMS`], and of more than [`MAX_STREAMS_PER_NODE`] of one node, those that came last are not heard until
    /// another one is silent: sidecars that share a name by mistake would take each other's place for ever, and none would count.
    pub fn report(&mut self, source: Source<'_>, reading: Reading) -> Heard {
        let key = (Arc::clone(source.node), source.stream);
        if !self.by_stream.contains_key(&key) {
            if reading.age() > self.ticks.stale || !self.has_place(source.node) {
                return Heard::NoNews;
            }
            // Who comes back is believed no sooner, and a twin that lies costs the honest one no stream that it has.
            let doubted_until = self.of_node(source.node).map(|(_, stream)| stream.doubted_until()).max();
            let stream = Stream::new(self.ticks, doubted_until.unwrap_or_default());
            self.by_stream.insert(key.clone(), stream);
        }
        let Some(stream) = self.by_stream.get_mut(&key) else { return Heard::NoNews };
        stream.take(source.cluster, reading, self.ticks, &mut self.latency)
    }

    /// Ends the tick, and gives what was reported in it.
    pub fn tick(&mut self) -> Figures {
        let mut figures = Figures { latency: std::mem::take(&mut self.latency), ..Figures::default() };
        self.by_stream.values_mut().for_each(|stream| stream.settle(&mut figures));
        self.ticks.now += 1;
        if self.ticks.now.is_multiple_of(self.ticks.stale.max(1)) {
            let ticks = self.ticks;
            self.by_stream.retain(|_, stream| stream.is_kept(ticks));
        }
        figures
    }

    /// How many endpoints the proxies see: so many that more than half of them see no more. None when none said. A node has one say,
    /// that of its first stream that is heard: who comes later under its name takes nothing over. Those that never saw any have none, as
    /// in a zone where the version is not, or before the first health check: unless all are like that.
    #[must_use]
    pub fn endpoints(&self) -> Option<u64> {
        let said = self.by_stream.iter();
        let said = said.filter_map(|((node, _), stream)| Some((node, stream.endpoints(self.ticks)?)));
        let mut by_node: Vec<_> = said.collect();
        by_node.dedup_by_key(|(node, _)| *node);
        let (up, never_up): (Vec<_>, Vec<_>) =
            by_node.into_iter().map(|(_, said)| said).partition(|said| said.was_up);
        let mut seen: Vec<u64> =
            if up.is_empty() { never_up } else { up }.into_iter().map(|said| said.ready).collect();
        seen.sort_unstable();
        seen.get(seen.len() / 2).copied()
    }

    /// Whether another stream of a node is heard. It may take the place of the one that was silent longest.
    fn has_place(&mut self, node: &Arc<str>) -> bool {
        if self.by_stream.len() < MAX_STREAMS && self.of_node(node).count() < MAX_STREAMS_PER_NODE {
            return true;
        }
        let silent = self.of_node(node).min_by_key(|(_, stream)| stream.heard());
        let silent = silent.filter(|(_, stream)| !self.ticks.is_fresh(stream.heard()));
        let silent = silent.map(|(key, _)| key.clone());
        silent.is_some_and(|key| self.by_stream.remove(&key).is_some())
    }

    fn of_node(&self, node: &Arc<str>) -> impl Iterator<Item = (&(Arc<str>, u64), &Stream)> {
        self.by_stream.range((Arc::clone(node), 0)..=(Arc::clone(node), u64::MAX))
    }
}

/// One for proxies that tell themselves what they count.
impl Default for Meter {
    fn default() -> Self {
        Self::new(STALE)
    }
}
