//! What an Envoy says of itself in its metrics stream: about as much, and under the same names.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use envoy_types::pb::io::prometheus::client::{
    Bucket, Counter, Gauge, Histogram, Metric, MetricFamily, MetricType, Quantile, Summary,
};

use crate::health::traffic::BOUNDS_MS;

/// The clusters, and how many requests each gets between two reports.
const CLUSTERS: [(&str, u64); 4] =
    [("loan-v1", STABLE), ("loan-v2", GRAY), ("ledger-v1", STABLE), ("ledger-v2", GRAY)];
pub(crate) const GRAY: u64 = 20;
pub(crate) const STABLE: u64 = 80;

/// Requests took at most this many milliseconds, and more than the bound before it.
const TIME_MS: f64 = 25.0;

/// What else Envoy counts of a cluster with its default configuration and some traffic.
const OTHERS: [&str; 31] = [
    "assignment_stale",
    "bind_errors",
    "circuit_breakers.default.cx_open",
    "circuit_breakers.default.rq_open",
    "http1.dropped_headers_with_underscores",
    "lb_healthy_panic",
    "lb_subsets_active",
    "max_host_weight",
    "membership_change",
    "membership_total",
    "update_attempt",
    "update_success",
    "upstream_cx_active",
    "upstream_cx_connect_fail",
    "upstream_cx_destroy",
    "upstream_cx_http1_total",
    "upstream_cx_overflow",
    "upstream_cx_rx_bytes_buffered",
    "upstream_cx_rx_bytes_total",
    "upstream_cx_total",
    "upstream_cx_tx_bytes_total",
    "upstream_rq_200",
    "upstream_rq_2xx",
    "upstream_rq_500",
    "upstream_rq_active",
    "upstream_rq_pending_total",
    "upstream_rq_retry",
    "upstream_rq_rx_reset",
    "upstream_rq_timeout",
    "upstream_rq_total",
    "external.upstream_rq_completed",
];

/// The report of a proxy behind so many others, of which each told of as many requests. The first one says who it is of.
pub(crate) fn report(node: &str, number: u64, revision: u64, errors: u64) -> StreamMetricsMessage {
    let identifier = (number == 0).then(|| Identifier {
        node: Some(Node { id: node.to_owned(), cluster: "bench".to_owned(), ..Node::default() }),
    });
    let of_clusters =
        CLUSTERS.iter().flat_map(|(cluster, requests)| of_cluster(cluster, *requests, number, errors));
    let own = [
        gauge("wasmcustom.graylane_revision".to_owned(), revision as f64),
        gauge("wasmcustom.graylane_config_rejected".to_owned(), 0.0),
        gauge("server.live".to_owned(), 1.0),
        gauge("server.uptime".to_owned(), (number * 5) as f64),
        counter("http.outbound.downstream_rq_total".to_owned(), (number * 200) as f64),
        counter("http.outbound.downstream_rq_2xx".to_owned(), (number * 200) as f64),
    ];
    StreamMetricsMessage { identifier, envoy_metrics: of_clusters.chain(own).collect() }
}

fn of_cluster(cluster: &str, requests: u64, number: u64, errors: u64) -> Vec<MetricFamily> {
    let named = |figure: &str| format!("cluster.{cluster}.{figure}");
    let others = OTHERS.iter().map(|figure| counter(named(figure), (number * requests) as f64));
    let mut families: Vec<_> = others.collect();
    families.extend([
        counter(named("upstream_rq_completed"), (number * requests) as f64),
        counter(named("upstream_rq_5xx"), (number * errors) as f64),
        gauge(named("membership_healthy"), 1.0),
        summary(named("upstream_rq_time"), requests),
        histogram(named("upstream_rq_time"), requests),
    ]);
    families
}

fn counter(name: String, value: f64) -> MetricFamily {
    let counter = Some(Counter { value: Some(value), ..Counter::default() });
    family(name, MetricType::Counter, Metric { counter, ..Metric::default() })
}

fn gauge(name: String, value: f64) -> MetricFamily {
    let gauge = Some(Gauge { value: Some(value) });
    family(name, MetricType::Gauge, Metric { gauge, ..Metric::default() })
}

fn histogram(name: String, requests: u64) -> MetricFamily {
    let bucket = BOUNDS_MS.iter().map(|bound| Bucket {
        upper_bound: Some(*bound),
        cumulative_count: Some(if *bound < TIME_MS { 0 } else { requests }),
        ..Bucket::default()
    });
    let histogram = Some(Histogram {
        sample_count: Some(requests),
        sample_sum: Some(requests as f64 * TIME_MS),
        bucket: bucket.collect(),
        ..Histogram::default()
    });
    family(name, MetricType::Histogram, Metric { histogram, ..Metric::default() })
}

fn summary(name: String, requests: u64) -> MetricFamily {
    let quantiles = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];
    let quantile =
        quantiles.map(|quantile| Quantile { quantile: Some(quantile), value: Some(TIME_MS) }).to_vec();
    let summary = Some(Summary { sample_count: Some(requests), quantile, ..Summary::default() });
    family(name, MetricType::Summary, Metric { summary, ..Metric::default() })
}

fn family(name: String, kind: MetricType, metric: Metric) -> MetricFamily {
    let metric = vec![Metric { timestamp_ms: Some(1_700_000_000_000), ..metric }];
    MetricFamily { name: Some(name), r#type: Some(kind.into()), metric, ..MetricFamily::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_as_many_families_as_one_of_envoy() {
        let families = report("a", 3, 7, 1).envoy_metrics;
        assert_eq!(families.len(), 150);
        let completed =
            families.iter().find(|family| family.name() == "cluster.loan-v2.upstream_rq_completed");
        let value = completed.and_then(|family| family.metric[0].counter.as_ref()?.value);
        assert_eq!(value, Some(60.0));
    }
}
