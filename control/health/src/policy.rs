//! What a gray version may do, and over how long it is looked at.

use std::time::Duration;

use crate::limits::PATIENCE;

/// What a gray version may do. A limit that is not given is not tested.
///
/// It is plain data: whoever reads it from a person checks the ranges named here. A value outside of them is taken as the nearest
/// inside, and what is no number makes no test.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How far back the figures go of which a verdict speaks; a whole number of ticks, at least one.
    pub window: Duration,
    /// Requests to the gray version in the window without which it is not called healthy, and requests to the stable version without
    /// which it is not compared with. An alarm does not wait for them: its test knows by itself how much little figures say.
    pub min_requests: u64,
    /// How often it may fail.
    pub errors: Option<ErrorLimits>,
    /// How slow it may be.
    pub latency: Option<LatencyLimit>,
    /// How many endpoints it has to have.
    pub endpoints: Option<EndpointLimit>,
    /// How long requests of one version wait for some of the other to be compared with. Where figures come in lumps, it is as long as
    /// both may be apart and still be of the same time.
    pub patience: Duration,
}

/// How often a version may fail. Both limits may be given; each is an alarm of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorLimits {
    /// The share of its requests that may fail, from 0 to 1. Where stable fails as often, rolling back would help nobody, and it is
    /// no fault.
    pub max: Option<f64>,
    /// How much larger its share of failures may be than stable's of the same time, from 0 to 1: 0.01 is one percentage point.
    pub over_stable: Option<f64>,
}

/// How slow a version may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyLimit {
    /// Which percentile is compared, above 0 and below 100: 99 is what one request of a hundred exceeds.
    pub percentile: f64,
    /// How many times stable's percentile it may be, at least 1.
    pub max_ratio: f64,
}

/// How many endpoints a version has to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointLimit {
    /// Fewer are a fault, once there were as many.
    pub min: u64,
}

// === impl Policy ===

impl Policy {
    /// Whether it has a limit that is a comparison with stable.
    pub(crate) fn compares(&self) -> bool {
        self.latency.is_some() || self.errors.is_some_and(|errors| errors.over_stable.is_some())
    }
}

impl Default for Policy {
    /// A minute, fifty requests, no limit, and figures of proxies that report both versions at once.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            min_requests: 50,
            errors: None,
            latency: None,
            endpoints: None,
            patience: PATIENCE,
        }
    }
}
