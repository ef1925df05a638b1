//! How well gray versions have to do: that it can be judged.

use crate::health::{ErrorSpec, HealthSpec, LatencySpec, Share};
use crate::model::ReleasePlan;
use crate::problem::{Problems, field};
use std::ops::RangeInclusive;

/// The least window has a few reports of each proxy; a longer one than an hour speaks of the past.
const WINDOW_SECONDS: RangeInclusive<u64> = 5..=3_600;
/// Requests that may be asked for: with none, one that nobody uses would be healthy.
const MIN_REQUESTS: RangeInclusive<u64> = 1..=1_000_000;
/// Percentiles that say something: below, half of the requests are no exception.
const PERCENTILES: RangeInclusive<f64> = 50.0..=99.99;
/// How many times stable's a time may be: less than as much is no limit that stable itself keeps.
const RATIOS: RangeInclusive<f64> = 1.0..=100.0;
/// Endpoints that may be asked for.
const ENDPOINTS: RangeInclusive<u64> = 1..=10_000;

pub(super) fn check(plan: &ReleasePlan, problems: &mut Problems) {
    const PATH: &str = "spec.health";
    let Some(health) = &plan.spec.health else { return };
    let HealthSpec { window, min_requests, errors, latency, endpoints, on_fault, source: _ } = health;
    if let Some(window) = window {
        let seconds = window.seconds().map_err(ToString::to_string);
        within(&field(PATH, "window"), seconds, &WINDOW_SECONDS, "s", problems);
    }
    if let Some(wanted) = min_requests {
        within(&field(PATH, "minRequests"), Ok(*wanted), &MIN_REQUESTS, "", problems);
    }
    if let Some(errors) = errors {
        check_errors(&field(PATH, "errors"), errors, problems);
    }
    if let Some(LatencySpec { percentile, max_ratio }) = latency {
        let path = field(PATH, "latency");
        within(&field(&path, "percentile"), percentile.percent(), &PERCENTILES, "", problems);
        within(&field(&path, "maxRatio"), max_ratio.get(), &RATIOS, "", problems);
    }
    if let Some(endpoints) = endpoints {
        within(&field(&field(PATH, "endpoints"), "min"), Ok(endpoints.min), &ENDPOINTS, "", problems);
    }
    if health.has_limits() && on_fault.is_none() {
        let message = "a fault is shown and holds the order back, and nothing goes back by itself; say onFault: rollback-order, \
                       rollback-service or pause";
        problems.warning(PATH, message);
    }
    if !health.has_limits() && (window.is_some() || min_requests.is_some()) {
        problems.warning(PATH, "judges nothing; give errors, latency or endpoints");
    }
}

fn check_errors(path: &str, errors: &ErrorSpec, problems: &mut Problems) {
    let ErrorSpec { max, over_stable } = errors;
    if max.is_none() && over_stable.is_none() {
        problems.error(path, "has no limit; give max or overStable, like max: 2%");
    }
    for (name, share) in [("max", max), ("overStable", over_stable)] {
        // 100 % is no limit, and of 0 % the first request that fails would be an alarm.
        let limit = 0.01..=99.99;
        if let Some(share) = share {
            within(&field(path, name), Share::percent(share), &limit, "%", problems);
        }
    }
}

fn within<T: PartialOrd + std::fmt::Display>(
    path: &str,
    value: Result<T, String>,
    range: &RangeInclusive<T>,
    unit: &str,
    problems: &mut Problems,
) {
    match value {
        Ok(value) if range.contains(&value) => {}
        Ok(value) => {
            let (start, end) = (range.start(), range.end());
            problems.error(path, format!("{value}{unit} is not from {start}{unit} to {end}{unit}"));
        }
        Err(error) => problems.error(path, error),
    }
}
