//! What the API shows of how gray versions do.

use crate::health::{Finding, Unheard};
use graylane_health::{Figures, Series, Tally};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the gray version of a service is found, beside its stable version in the same time.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JudgedView {
    /// `healthy`, `unhealthy` or `undecided`.
    pub verdict: String,
    /// Why, in a sentence with its figures.
    pub reason: String,
    /// Why, in a word: `within-limits` or, where all requests are gray and none are stable's to be compared with, `within-own-limits`;
    /// `too-many-errors`, `worse-than-stable`, `too-slow`, `no-endpoints` or `unanswered`; or, while it is undecided, `too-few-requests`,
    /// `stable-too-few-requests`, `nothing-to-compare`, `no-traffic`, `unanswered`, `no-data`, `stale-data`, `not-enough-evidence`,
    /// `stable-fails-too`, `too-coarse`, `never-up` or `endpoints-unknown`.
    #[serde(default)]
    pub cause: String,
    /// What the gray version did in the window.
    pub gray: FiguresView,
    /// What the stable version did.
    pub stable: FiguresView,
    /// Endpoints of the gray version that may be sent requests, as more than half of the proxies see it.
    pub endpoints: Option<u64>,
    /// Those of both versions of which nobody told anything since the order or the daemon started: no proxy has such a cluster, or none
    /// reports. Not there when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheard: Vec<UnheardView>,
    /// How many seconds the figures of both are of: the window that the plan gives, or less right after the beginning.
    #[serde(default)]
    pub window_seconds: f64,
    /// Who counted: `envoy` is the proxies themselves, by Envoy's metrics service, and `prometheus` is who scrapes them.
    #[serde(default)]
    pub source: String,
    /// The same requests and errors, part by part of the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesView>,
}

/// A version of which nobody told anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnheardView {
    /// The version's name.
    pub version: String,
    /// A name that a cluster of it would have, with `{port}` for any port. None when names are read by a regular expression, or when each
    /// one would be another version's, too.
    pub cluster: Option<String>,
}

/// What both versions did, part by part of the window: at most 30 points each, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeriesView {
    /// How many seconds a point is of; the oldest and the youngest may be of less.
    pub point_seconds: f64,
    /// What the gray version did.
    pub gray: Vec<PointView>,
    /// What the stable version did in the same time.
    pub stable: Vec<PointView>,
}

/// What a version did in a part of the window.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct PointView {
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
}

/// What a version did in the window that the plan gives, as its proxies counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FiguresView {
    /// Requests.
    pub requests: u64,
    /// Those that failed: answered with a status from 500 on, by the upstream or by the proxy in its place.
    pub errors: u64,
    /// Requests that filters steered to it, whether they came to an end or not; 0 where Prometheus counts.
    #[serde(default)]
    pub steered: u64,
    /// How many milliseconds half of them took at most; none when nobody knows.
    pub p50_ms: Option<f64>,
    /// How many milliseconds 99 of 100 took at most; none when nobody knows.
    pub p99_ms: Option<f64>,
}

// === impl JudgedView ===

impl JudgedView {
    /// What does not change only because more requests come.
    pub(crate) fn settled(self) -> Self {
        let Self { verdict, cause, endpoints, unheard, source, .. } = self;
        Self { verdict, cause, endpoints, unheard, source, ..Self::default() }
    }
}

impl From<Finding> for JudgedView {
    fn from(finding: Finding) -> Self {
        let word = finding.word();
        let Finding { verdict, gray, stable, endpoints, unheard, window, series, source } = finding;
        Self {
            verdict: word.to_owned(),
            reason: verdict.to_string(),
            cause: verdict.cause().to_owned(),
            gray: gray.into(),
            stable: stable.into(),
            endpoints,
            unheard: unheard.into_iter().map(UnheardView::from).collect(),
            window_seconds: window.as_secs_f64(),
            source: source.word().to_owned(),
            series: Some(series.into()),
        }
    }
}

// === impl UnheardView ===

impl From<Unheard> for UnheardView {
    fn from(Unheard { version, cluster }: Unheard) -> Self {
        Self { version, cluster }
    }
}

// === impl SeriesView ===

impl From<Series> for SeriesView {
    fn from(Series { point, gray, stable }: Series) -> Self {
        let points = |tallies: Vec<Tally>| tallies.into_iter().map(PointView::from).collect();
        Self { point_seconds: point.as_secs_f64(), gray: points(gray), stable: points(stable) }
    }
}

// === impl PointView ===

impl PointView {
    /// The share of the requests that failed, from 0 to 1; none when there were no requests.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        Tally::new(self.requests, self.errors).share()
    }
}

impl From<Tally> for PointView {
    fn from(tally: Tally) -> Self {
        Self { requests: tally.requests(), errors: tally.errors() }
    }
}

// === impl FiguresView ===

impl From<Figures> for FiguresView {
    fn from(Figures { tally, latency, steered }: Figures) -> Self {
        Self {
            requests: tally.requests(),
            errors: tally.errors(),
            steered,
            p50_ms: latency.percentile(50.0).map(rounded),
            p99_ms: latency.percentile(99.0).map(rounded),
        }
    }
}

/// Milliseconds with two decimals: more would be guessed, and what is written into the audit log has to read back as it was written.
fn rounded(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}
