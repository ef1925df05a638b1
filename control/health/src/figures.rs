//! What was counted of one version.

use std::fmt;

use serde::Serialize;

use crate::histogram::Histogram;

/// Requests, and how many of them went wrong: never more than there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    requests: u64,
    errors: u64,
}

/// What was counted of one version, in one tick or in a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Its requests, and those that failed: answered 5xx, reset or timed out, each counted once.
    pub tally: Tally,
    /// How long they took.
    pub latency: Histogram,
    /// Requests that filters steered to it. They came to an end, if they did, in this time or in another.
    pub steered: u64,
}

// === impl Tally ===

impl Tally {
    /// So many requests, of which so many failed. More failures than requests are taken as all: counters that are read one after
    /// the other may disagree by a few.
    #[must_use]
    pub const fn new(requests: u64, errors: u64) -> Self {
        Self { requests, errors: if errors < requests { errors } else { requests } }
    }

    /// How many requests.
    #[must_use]
    pub const fn requests(self) -> u64 {
        self.requests
    }

    /// How many of them failed.
    #[must_use]
    pub const fn errors(self) -> u64 {
        self.errors
    }

    /// Which share of them failed, from 0 to 1; none when there are no requests.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 / self.requests as f64)
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self::new(self.requests.saturating_add(other.requests), self.errors.saturating_add(other.errors))
    }
}

impl fmt::Display for Tally {
    /// Like `3 of 200 (1.5 %)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.errors, self.requests)?;
        self.share().map_or(Ok(()), |share| write!(f, " ({})", Share(share)))
    }
}

// === impl Figures ===

impl Figures {
    /// So many requests, so many of them failed, and how long they took; none is known to be steered.
    #[must_use]
    pub const fn new(requests: u64, errors: u64, latency: Histogram) -> Self {
        Self { tally: Tally::new(requests, errors), latency, steered: 0 }
    }

    /// Adds what another proxy counted, or another tick. The order makes no difference.
    pub fn merge(&mut self, other: &Self) {
        self.tally = self.tally.plus(other.tally);
        self.latency.merge(&other.latency);
        self.steered = self.steered.saturating_add(other.steered);
    }
}

/// A share as a percentage with as many decimals as tell something, like `0.05 %` or `12.5 %`.
pub(crate) struct Share(pub(crate) f64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        let decimals = if percent >= 1.0 { 10.0 } else { 1_000.0 };
        write!(f, "{} %", (percent * decimals).round() / decimals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_errors_than_requests() {
        assert_eq!(Tally::new(3, 5), Tally::new(3, 3));
        assert_eq!(Tally::new(0, 5).share(), None);
        let most = Tally::new(u64::MAX, u64::MAX);
        assert_eq!(most.plus(Tally::new(7, 0)), most);
    }

    #[test]
    fn a_tally_reads_like_a_sentence() {
        assert_eq!(Tally::new(200, 3).to_string(), "3 of 200 (1.5 %)");
        assert_eq!(Tally::new(20_000, 3).to_string(), "3 of 20000 (0.015 %)");
        assert_eq!(Tally::new(2, 2).to_string(), "2 of 2 (100 %)");
        assert_eq!(Tally::default().to_string(), "0 of 0");
    }
}
