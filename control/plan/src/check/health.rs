//! How well gray versions have to do: that it can be judged.

use crate::health::{ErrorSpec, HealthSource, HealthSpec, LatencySpec, Share};
use crate::model::{ReleasePlan, Scope};
use crate::problem::{Problems, field};
use crate::span::Span;
use crate::world::PrometheusSource;
use std::ops::RangeInclusive;

/// The least window has a few reports of each proxy; a longer one than an hour speaks of the past.
const WINDOW_SECONDS: RangeInclusive<u64> = 5..=3_600;
/// What a window has when nothing is said.
const DEFAULT_WINDOW_SECONDS: u64 = 60;
/// Requests that may be asked for: with none, one that nobody uses would be healthy.
const MIN_REQUESTS: RangeInclusive<u64> = 1..=1_000_000;
/// Percentiles that say something: below, half of the requests are no exception.
const PERCENTILES: RangeInclusive<f64> = 50.0..=99.99;
/// How many times stable's a time may be: less than as much is no limit that stable itself keeps.
const RATIOS: RangeInclusive<f64> = 1.0..=100.0;
/// Endpoints that may be asked for.
const ENDPOINTS: RangeInclusive<u64> = 1..=10_000;

pub(super) fn check(plan: &ReleasePlan, prometheus: PrometheusSource, problems: &mut Problems) {
    const PATH: &str = "spec.health";
    let Some(health) = &plan.spec.health else { return };
    let HealthSpec { source, window, min_requests, errors, latency, endpoints, on_fault } = health;
    if *source == HealthSource::Prometheus {
        check_prometheus(PATH, window.as_ref(), prometheus, problems);
    }
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
    warn_of_comparing_alone(PATH, plan, health, problems);
    // What Prometheus is asked of endpoints is not the plan's to know.
    if (errors.is_some() || latency.is_some()) && endpoints.is_none() && *source == HealthSource::Envoy {
        let message = "is missing: that a version lost its last endpoint is found only by requests that fail; say endpoints: { min: 1 }";
        problems.warning(field(PATH, "endpoints"), message);
    }
    if !health.has_limits() && (window.is_some() || min_requests.is_some()) {
        problems.warning(PATH, "judges nothing; give errors, latency or endpoints");
    }
}

/// Warns of limits that say nothing any more once everybody is let in.
fn warn_of_comparing_alone(path: &str, plan: &ReleasePlan, health: &HealthSpec, problems: &mut Problems) {
    let has_own =
        health.endpoints.is_some() || health.errors.as_ref().is_some_and(|errors| errors.max.is_some());
    let stages = &plan.spec.stages;
    let lets_in_everybody =
        |at: &usize| Scope::let_in_everybody(stages.iter().take(at + 1).map(|stage| &stage.scope));
    let whole = (0..stages.len()).find(lets_in_everybody).and_then(|at| stages.get(at));
    if let Some(stage) = whole
        && health.has_limits()
        && !has_own
    {
        let message = format!(
            "stage {:?} lets everybody in, so stable has no requests to be compared with there, and somebody has to say `order health`; \
             give errors.max or endpoints, too",
            stage.name
        );
        problems.warning(path, message);
    }
}

/// That Prometheus is there, and that the window has figures even when they are as old as they may be.
fn check_prometheus(
    path: &str,
    window: Option<&Span>,
    prometheus: PrometheusSource,
    problems: &mut Problems,
) {
    match prometheus {
        PrometheusSource::Unknown => {}
        PrometheusSource::Missing => {
            let message = "prometheus is not there: the daemon's configuration has no `prometheus`; write envoy, or ask whoever runs \
                           the daemon for it";
            problems.error(field(path, "source"), message);
        }
        PrometheusSource::Stale(stale) => {
            let seconds = window.map_or(Ok(DEFAULT_WINDOW_SECONDS), Span::seconds).unwrap_or(u64::MAX);
            if seconds < stale.as_secs() {
                let [seconds, stale] = [seconds, stale.as_secs()].map(Span::from_seconds);
                let message = format!(
                    "{seconds} is less than {stale}, and as old may the daemon's figures from Prometheus be (`prometheus.stale`); \
                     write {stale} or more"
                );
                problems.error(field(path, "window"), message);
            }
        }
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
