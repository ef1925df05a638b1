//! What a judge says, in types and in a sentence.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::figures::{Share, Tally};

/// How the gray version of a service does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Verdict {
    /// There are enough figures, and all are within the limits.
    Healthy(Basis),
    /// It does worse than it may. This stays.
    Unhealthy(Fault),
    /// Nobody can say.
    Undecided(Why),
}

/// Which limits a version is within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Basis {
    /// All of the policy's.
    Limits,
    /// Those that are no comparison: all requests are gray, and stable has none to compare with.
    OwnLimits,
}

/// What is wrong with a version, and the figures that say so.
///
/// In a [`Verdict::Unhealthy`] the figures are those since the evidence began to grow, which may be a second; in a [`Why::NotYet`]
/// those of the whole window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Fault {
    /// More of its requests fail than may.
    TooManyErrors {
        /// What it did.
        gray: Tally,
        /// What stable did meanwhile; nothing where stable has too few requests to be compared with.
        stable: Tally,
        /// The share of errors that was allowed.
        max: f64,
        /// In how much time.
        during: Duration,
    },
    /// More of its requests fail than stable's, by more than may.
    WorseThanStable {
        /// What it did.
        gray: Tally,
        /// What stable did meanwhile.
        stable: Tally,
        /// How much larger the share of errors might have been.
        over_stable: f64,
        /// In how much time.
        during: Duration,
    },
    /// It is slower than it may be.
    TooSlow {
        /// Its requests of which the time is known; an error is one that surely took longer than the limit.
        gray: Tally,
        /// The percentile that is compared.
        percentile: f64,
        /// That percentile of the window, in milliseconds.
        gray_ms: f64,
        /// What it might have been: stable's, times the ratio that is allowed.
        limit_ms: f64,
        /// How much time the requests are of.
        during: Duration,
    },
    /// It has fewer endpoints than it has to have, and had as many before.
    NoEndpoints {
        /// How many it has.
        ready: u64,
        /// How many it has to have.
        min: u64,
    },
    /// None of the requests came to an end that were steered to it, and stable answers.
    Unanswered {
        /// How many were.
        steered: u64,
        /// In how much time.
        during: Duration,
    },
}

/// Why nobody can say how a version does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Why {
    /// It had too few requests in the window.
    TooFewRequests {
        /// How many it had.
        seen: u64,
        /// How many it takes.
        wanted: u64,
    },
    /// Stable, which it is to be compared with, had too few.
    StableTooFewRequests {
        /// How many it had.
        seen: u64,
        /// How many it takes.
        wanted: u64,
    },
    /// All requests are gray, so stable, which it is to be compared with, has none; and the policy has no other limit.
    NothingToCompare,
    /// It had no request in the window.
    NoTraffic,
    /// It was steered requests, and none came to an end in the window.
    Unanswered {
        /// How many were steered to it in the window.
        steered: u64,
    },
    /// Nobody reports figures.
    NoData,
    /// The figures are old.
    StaleData {
        /// How old.
        age: Duration,
    },
    /// The window shows this, and it is not enough evidence either way.
    NotYet(Fault),
    /// It fails more often than it may, and stable fails as often: rolling back would help nobody.
    StableFailsToo {
        /// What it did in the window.
        gray: Tally,
        /// What stable did.
        stable: Tally,
        /// The share of errors that is allowed.
        max: f64,
    },
    /// The percentile lies beyond the last bound of the histogram, of gray or of stable.
    TooCoarse {
        /// The percentile.
        percentile: f64,
        /// The last bound, in milliseconds.
        last_ms: f64,
    },
    /// It has fewer endpoints than it has to have, and never had as many: it did not come up yet, which is no reason to roll back.
    NeverUp {
        /// How many it has.
        ready: u64,
        /// How many it has to have.
        min: u64,
    },
    /// Nobody says how many endpoints it has.
    EndpointsUnknown,
}

/// A time in seconds, like `1.5 s`.
struct Seconds(Duration);

// === impl Verdict ===

impl Verdict {
    /// Why, in a word that stays while the figures change.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Healthy(Basis::Limits) => "within-limits",
            Self::Healthy(Basis::OwnLimits) => "within-own-limits",
            Self::Unhealthy(fault) => fault.label(),
            Self::Undecided(why) => why.label(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy(Basis::Limits) => f.write_str("healthy"),
            Self::Healthy(Basis::OwnLimits) => {
                f.write_str("healthy: all requests are gray, so it is within its own limits, and nothing is compared with stable")
            }
            Self::Unhealthy(fault) => write!(f, "unhealthy: {fault}"),
            Self::Undecided(why) => write!(f, "undecided: {why}"),
        }
    }
}

// === impl Fault ===

impl Fault {
    const fn label(&self) -> &'static str {
        match self {
            Self::TooManyErrors { .. } => "too-many-errors",
            Self::WorseThanStable { .. } => "worse-than-stable",
            Self::TooSlow { .. } => "too-slow",
            Self::NoEndpoints { .. } => "no-endpoints",
            Self::Unanswered { .. } => "unanswered",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyErrors { gray, stable, max, during } => {
                write!(f, "{gray} gray requests failed in {}, and {} may", Seconds(*during), Share(*max))?;
                if stable.requests() > 0 { write!(f, "; of stable's {stable} did") } else { Ok(()) }
            }
            Self::WorseThanStable { gray, stable, over_stable, during } => write!(
                f,
                "{gray} gray requests failed in {}, and {stable} of stable's; {} more may",
                Seconds(*during),
                Share(*over_stable)
            ),
            Self::TooSlow { gray, percentile, gray_ms, limit_ms, during } => write!(
                f,
                "percentile {percentile} of gray is {gray_ms:.0} ms, and {limit_ms:.0} ms is allowed; {gray} requests surely took \
                 longer in {}",
                Seconds(*during)
            ),
            Self::NoEndpoints { ready, min } => {
                write!(f, "{ready} endpoints of gray are ready, and there have to be {min}")
            }
            Self::Unanswered { steered, during } => write!(
                f,
                "gray answered none of {steered} requests that were steered to it in {}, and stable answers",
                Seconds(*during)
            ),
        }
    }
}

// === impl Why ===

impl Why {
    const fn label(&self) -> &'static str {
        match self {
            Self::TooFewRequests { .. } => "too-few-requests",
            Self::StableTooFewRequests { .. } => "stable-too-few-requests",
            Self::NothingToCompare => "nothing-to-compare",
            Self::NoTraffic => "no-traffic",
            Self::Unanswered { .. } => "unanswered",
            Self::NoData => "no-data",
            Self::StaleData { .. } => "stale-data",
            Self::NotYet(_) => "not-enough-evidence",
            Self::StableFailsToo { .. } => "stable-fails-too",
            Self::TooCoarse { .. } => "too-coarse",
            Self::NeverUp { .. } => "never-up",
            Self::EndpointsUnknown => "endpoints-unknown",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewRequests { seen, wanted } => {
                write!(f, "gray had {seen} requests in the window, and it takes {wanted}")
            }
            Self::StableTooFewRequests { seen, wanted } => {
                write!(
                    f,
                    "stable had {seen} requests in the window, and it takes {wanted} to compare with it"
                )
            }
            Self::NothingToCompare => f.write_str(
                "all requests are gray, so stable has none to be compared with, and the plan has neither errors.max nor endpoints",
            ),
            Self::NoTraffic => f.write_str("gray had no request in the window"),
            Self::Unanswered { steered } => write!(
                f,
                "the filter steered {steered} requests to gray in the window, and none of them came to an end"
            ),
            Self::NoData => f.write_str("nobody reports figures"),
            Self::StaleData { age } => write!(f, "the last figures are {} old", Seconds(*age)),
            Self::NotYet(fault) => write!(f, "not enough evidence either way: {fault}"),
            Self::StableFailsToo { gray, stable, max } => write!(
                f,
                "{gray} gray requests failed, and {} may, but {stable} of stable's did too: rolling back would not help",
                Share(*max)
            ),
            Self::TooCoarse { percentile, last_ms } => write!(
                f,
                "percentile {percentile} lies somewhere above {last_ms:.0} ms, the last bound of the histogram"
            ),
            Self::NeverUp { ready, min } => {
                write!(f, "gray never came up: {ready} endpoints are ready, and there have to be {min}")
            }
            Self::EndpointsUnknown => f.write_str("nobody says how many endpoints gray has"),
        }
    }
}

// === impl Seconds ===

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", (self.0.as_secs_f64() * 100.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_is_one_sentence_with_its_figures() {
        let (gray, stable) = (Tally::new(240, 61), Tally::new(960, 2));
        let during = Duration::from_millis(1_500);
        for (verdict, text) in [
            (
                Verdict::Unhealthy(Fault::TooManyErrors { gray, stable, max: 0.01, during }),
                "unhealthy: 61 of 240 (25.4 %) gray requests failed in 1.5 s, and 1 % may; of stable's 2 of 960 (0.208 %) did",
            ),
            (
                Verdict::Unhealthy(Fault::WorseThanStable { gray, stable, over_stable: 0.005, during }),
                "unhealthy: 61 of 240 (25.4 %) gray requests failed in 1.5 s, and 2 of 960 (0.208 %) of stable's; 0.5 % more may",
            ),
            (
                Verdict::Undecided(Why::NotYet(Fault::TooSlow {
                    gray,
                    percentile: 99.0,
                    gray_ms: 412.4,
                    limit_ms: 300.0,
                    during: Duration::from_secs(60),
                })),
                "undecided: not enough evidence either way: percentile 99 of gray is 412 ms, and 300 ms is allowed; 61 of 240 \
                 (25.4 %) requests surely took longer in 60 s",
            ),
            (
                Verdict::Undecided(Why::Unanswered { steered: 60 }),
                "undecided: the filter steered 60 requests to gray in the window, and none of them came to an end",
            ),
            (
                Verdict::Unhealthy(Fault::Unanswered { steered: 60, during: Duration::from_secs(60) }),
                "unhealthy: gray answered none of 60 requests that were steered to it in 60 s, and stable answers",
            ),
            (
                Verdict::Undecided(Why::StaleData { age: Duration::from_millis(12_340) }),
                "undecided: the last figures are 12.34 s old",
            ),
        ] {
            assert_eq!(verdict.to_string(), text);
        }
    }
}
