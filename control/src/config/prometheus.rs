//! What the configuration file says of Prometheus.

use crate::config::ConfigError;
use crate::health::{PrometheusSettings, Queries, Query};
use crate::remote::{Endpoint, parse_url};
use graylane_plan::Span;
use serde::Deserialize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// How often it may be asked: more often than it scrapes there is nothing new.
const INTERVAL_SECONDS: RangeInclusive<u64> = 1..=60;
/// How long an answer may take.
const TIMEOUT_SECONDS: RangeInclusive<u64> = 1..=30;
/// How old samples may be: Prometheus itself gives none that are older than five minutes.
const STALE_SECONDS: RangeInclusive<u64> = 2..=300;

/// The labels that Envoy's own statistics give a cluster.
const CLUSTER: &str = "envoy_cluster_name=~\"$cluster\"";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilePrometheus {
    url: String,
    ca: Option<PathBuf>,
    token: Option<PathBuf>,
    interval: Option<Span>,
    timeout: Option<Span>,
    stale: Option<Span>,
    queries: Option<FileQueries>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileQueries {
    completed: String,
    errors: String,
    latency: Option<String>,
    endpoints: Option<String>,
    sampled: String,
}

// === impl FilePrometheus ===

impl FilePrometheus {
    /// Takes it. `unnamed` is a tenant whose clusters have no names that could be told, if there is one.
    pub(super) fn check(self, unnamed: Option<&str>) -> Result<PrometheusSettings, ConfigError> {
        let url = parse_url(&self.url).map_err(|limit| {
            // There may be a secret in it.
            let value = "the URL".to_owned();
            ConfigError::Invalid { field: "prometheus.url".into(), value, limit }
        })?;
        let interval = seconds("interval", self.interval, 5, INTERVAL_SECONDS)?;
        let timeout = seconds("timeout", self.timeout, 3, TIMEOUT_SECONDS)?;
        let stale = seconds("stale", self.stale, 45, STALE_SECONDS)?;
        if stale < interval * 2 {
            let [stale, twice] = [stale, interval * 2].map(|time| Span::from_seconds(time.as_secs()));
            let limit = format!(
                "is less than {twice}, twice the interval: figures would be stale between two answers"
            );
            return Err(invalid("stale", &stale.to_string(), limit));
        }
        let queries = self.queries.unwrap_or_default().check()?;
        if let Some(tenant) = unnamed.filter(|_| queries.have_clusters()) {
            let limit = format!(
                "cannot be filled in: a regular expression names the clusters of tenant {tenant}; write queries with $service, \
                 $version or $host, or give the tenant a template"
            );
            return Err(invalid("queries", "$cluster", limit));
        }
        let endpoint = Endpoint { url, ca: self.ca, token: self.token };
        Ok(PrometheusSettings { endpoint, interval, timeout, stale, queries })
    }
}

// === impl FileQueries ===

impl FileQueries {
    fn check(self) -> Result<Queries, ConfigError> {
        let Self { completed, errors, latency, endpoints, sampled } = self;
        Ok(Queries {
            completed: query("completed", &completed)?,
            errors: query("errors", &errors)?,
            latency: latency.map(|text| query("latency", &text)).transpose()?,
            endpoints: endpoints.map(|text| query("endpoints", &text)).transpose()?,
            sampled: query("sampled", &sampled)?,
        })
    }
}

/// Those for what Envoy itself gives at `/stats/prometheus`, looked at on Envoy 1.40. A counter is there from its first request on, and
/// the gauge of endpoints always, so that tells when an instance was sampled.
impl Default for FileQueries {
    fn default() -> Self {
        let by_class = format!("envoy_cluster_upstream_rq_xx{{{CLUSTER}, envoy_response_code_class=\"5\"}}");
        let healthy = format!("envoy_cluster_membership_healthy{{{CLUSTER}}}");
        Self {
            completed: format!("envoy_cluster_upstream_rq_completed{{{CLUSTER}}}"),
            errors: format!("sum without (envoy_response_code_class) ({by_class})"),
            latency: Some(format!("envoy_cluster_upstream_rq_time_bucket{{{CLUSTER}}}")),
            sampled: format!("timestamp({healthy})"),
            endpoints: Some(healthy),
        }
    }
}

fn query(field: &str, text: &str) -> Result<Query, ConfigError> {
    Query::parse(text).map_err(|error| invalid(&format!("queries.{field}"), text, error.to_string()))
}

fn seconds(
    field: &str,
    span: Option<Span>,
    default: u64,
    limits: RangeInclusive<u64>,
) -> Result<Duration, ConfigError> {
    let Some(span) = span else { return Ok(Duration::from_secs(default)) };
    let value = span.to_string();
    let seconds = span.seconds().map_err(|error| invalid(field, &value, format!("is no time: {error}")))?;
    if !limits.contains(&seconds) {
        let [least, most] = [limits.start(), limits.end()].map(|limit| Span::from_seconds(*limit));
        return Err(invalid(field, &value, format!("has to be from {least} to {most}")));
    }
    Ok(Duration::from_secs(seconds))
}

fn invalid(field: &str, value: &str, limit: String) -> ConfigError {
    ConfigError::Invalid { field: format!("prometheus.{field}"), value: value.into(), limit }
}
