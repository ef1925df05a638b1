//! Who is compared. Each contender is as good as its own users would write it; bench/peers/README.md says why.

use crate::filter::requests::Outcome;

/// A way to steer, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// No filter: what the proxy itself costs.
    None,
    /// A wasm filter that does nothing.
    Empty,
    /// The host calls of one outcome, and no decision.
    Floor(Outcome),
    /// A filter as the SDK's examples are.
    Textbook,
    /// The filter of this repository.
    Graylane,
    /// A table in Lua.
    Lua,
    /// A route for each id.
    Routes,
    /// A route table that is searched by a hash of the header.
    Matcher,
    /// Graylane, switched off by routes for requests that it cannot steer.
    OffByRoute,
    /// Graylane, reached only by requests that have one of our headers.
    OffByMatcher,
}

// === impl Contender ===

impl Contender {
    /// Those that are measured with each number of ids.
    pub(crate) const GROWING: [Self; 5] =
        [Self::Textbook, Self::Graylane, Self::Lua, Self::Routes, Self::Matcher];

    /// How reports call it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Empty => "empty wasm",
            Self::Floor(_) => "raw floor",
            Self::Textbook => "textbook SDK",
            Self::Graylane => "Graylane",
            Self::Lua => "Lua",
            Self::Routes => "native routes",
            Self::Matcher => "native matcher",
            Self::OffByRoute => "Graylane, off by route",
            Self::OffByMatcher => "Graylane, off by matcher",
        }
    }

    /// The one of its kind that stands for an outcome.
    pub(crate) const fn in_outcome(self, outcome: Outcome) -> Self {
        match self {
            Self::Floor(_) => Self::Floor(outcome),
            other => other,
        }
    }

    /// Whether it holds ids, so that their number may matter.
    pub(crate) const fn holds_ids(self) -> bool {
        !matches!(self, Self::None | Self::Empty | Self::Floor(_))
    }

    /// Whether it steers by itself. For the others a gray request says that it is gray, and takes the same route so.
    pub(crate) const fn steers(self) -> bool {
        !matches!(self, Self::None | Self::Empty)
    }

    /// Whether it runs in a wasm VM.
    pub(crate) const fn is_wasm(self) -> bool {
        !matches!(self, Self::None | Self::Lua | Self::Routes | Self::Matcher)
    }

    /// The outcomes that it is measured in.
    pub(crate) fn outcomes(self) -> Vec<Outcome> {
        match self {
            Self::Floor(outcome) => vec![outcome],
            _ => Outcome::ALL.to_vec(),
        }
    }

    /// Why it is not measured with so many ids, if it is not.
    pub(crate) const fn left_out(self, ids: usize, limits: Limits) -> Option<&'static str> {
        match self {
            Self::Routes if ids > limits.routes => Some(limits.routes_reason),
            Self::Matcher if ids > MATCHER_IDS_MAX => {
                Some("2.7 KB of memory per id: 545 MB for 200,000, and a route table rebuilt at each change")
            }
            _ => None,
        }
    }
}

/// Ids of the native matcher at most.
const MATCHER_IDS_MAX: usize = 100_000;

/// How far contenders are followed whose cost grows with ids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    routes: usize,
    routes_reason: &'static str,
}

impl Limits {
    /// For a run that is over in minutes.
    pub(crate) const QUICK: Self = Self {
        routes: 1_000,
        routes_reason: "each request is compared with each route; a run without `--quick` goes to 10,000",
    };
    /// For a whole run.
    pub(crate) const FULL: Self = Self {
        routes: 10_000,
        routes_reason: "each request is compared with each route: milliseconds per request from here on",
    };
}
