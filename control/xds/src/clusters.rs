//! What a proxy counted of the clusters to which it sends requests, in Envoy's metrics stream.
//!
//! Counters are read as Envoy sends them unless it is told otherwise: what was counted since the proxy started. Histograms are what
//! was seen since the report before. Both were looked at on Envoy 1.40; `report_counters_as_deltas` has to stay off.

use std::collections::BTreeMap;

use envoy_types::pb::io::prometheus::client::{Metric, MetricFamily, MetricType};

/// What the name of every figure of a cluster begins with.
const PREFIX: &str = "cluster.";

/// The label that names the cluster, where Envoy is told to send tags as labels.
const CLUSTER_LABEL: &str = "envoy.cluster_name";

/// Requests that came to an end, with an answer of the upstream or of the proxy in its place: 503 where there was no connection, 504
/// where it took too long.
const COMPLETED: &str = "upstream_rq_completed";

/// Those of them that ended with a status from 500 on.
const ERRORS: &str = "upstream_rq_5xx";

/// How long they took, in milliseconds.
const TIME: &str = "upstream_rq_time";

/// Endpoints that may be sent requests.
const HEALTHY: &str = "membership_healthy";

/// What one report says of one cluster. What it does not say is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterReport {
    /// Requests that came to an end since the proxy started.
    pub completed: Option<u64>,
    /// Those of them that failed, with a status from 500 on, which is what a time-out and a connection that fails are, too.
    pub errors: Option<u64>,
    /// How many requests since the last report took at most so many milliseconds, by growing bounds; and how many there were.
    pub latency: Option<(Vec<(f64, u64)>, u64)>,
    /// Endpoints that may be sent requests, as this proxy sees it.
    pub healthy: Option<u64>,
}

/// What one report says of each cluster that is named in it.
pub(crate) fn read(families: &[MetricFamily]) -> BTreeMap<&str, ClusterReport> {
    let mut by_cluster = BTreeMap::<&str, ClusterReport>::new();
    for family in families {
        for metric in &family.metric {
            let Some((cluster, figure)) = cluster_and_figure(family.name(), metric) else { continue };
            if let Some(take) = taker(figure, family.r#type()) {
                take(by_cluster.entry(cluster).or_default(), metric);
            }
        }
    }
    by_cluster
}

/// The cluster may have dots in its name, and a figure's name has none.
fn cluster_and_figure<'a>(name: &'a str, metric: &'a Metric) -> Option<(&'a str, &'a str)> {
    let rest = name.strip_prefix(PREFIX)?;
    rest.rsplit_once('.').or_else(|| {
        let label = metric.label.iter().find(|label| label.name() == CLUSTER_LABEL)?;
        Some((label.value(), rest))
    })
}

/// What to do with a figure of that name, if it is one of ours.
fn taker(figure: &str, kind: MetricType) -> Option<fn(&mut ClusterReport, &Metric)> {
    match (figure, kind) {
        (COMPLETED, MetricType::Counter) => Some(|report, metric| report.completed = counted(metric)),
        (ERRORS, MetricType::Counter) => Some(|report, metric| report.errors = counted(metric)),
        (HEALTHY, MetricType::Gauge) => Some(|report, metric| {
            report.healthy = metric.gauge.as_ref().and_then(|gauge| whole_count(gauge.value?))
        }),
        (TIME, MetricType::Histogram) => Some(|report, metric| report.latency = latency(metric)),
        _ => None,
    }
}

fn counted(metric: &Metric) -> Option<u64> {
    whole_count(metric.counter.as_ref()?.value?)
}

fn latency(metric: &Metric) -> Option<(Vec<(f64, u64)>, u64)> {
    let histogram = metric.histogram.as_ref()?;
    let bound = |bucket: &envoy_types::pb::io::prometheus::client::Bucket| {
        Some((bucket.upper_bound?, bucket.cumulative_count?))
    };
    Some((histogram.bucket.iter().filter_map(bound).collect(), histogram.sample_count?))
}

/// A count, which travels as a double; one that is no whole number, negative, or too large to be exact is none.
#[must_use]
pub fn whole_count(value: f64) -> Option<u64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let whole = value.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&value);
    // The check above makes the cast exact.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    whole.then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::io::prometheus::client::{Bucket, Counter, Gauge, Histogram, LabelPair};

    use super::*;

    fn family(name: &str, kind: MetricType, metric: Metric) -> MetricFamily {
        MetricFamily {
            name: Some(name.to_owned()),
            r#type: Some(kind.into()),
            metric: vec![metric],
            ..MetricFamily::default()
        }
    }

    fn counter(name: &str, value: f64) -> MetricFamily {
        let counter = Some(Counter { value: Some(value), ..Counter::default() });
        family(name, MetricType::Counter, Metric { counter, ..Metric::default() })
    }

    fn gauge(name: &str, value: f64) -> MetricFamily {
        let gauge = Some(Gauge { value: Some(value) });
        family(name, MetricType::Gauge, Metric { gauge, ..Metric::default() })
    }

    #[test]
    fn a_cluster_is_named_by_what_stands_before_the_last_dot() {
        let families = [
            counter("cluster.outbound|80|v2|loan.bank.svc.upstream_rq_completed", 20.0),
            counter("cluster.outbound|80|v2|loan.bank.svc.upstream_rq_5xx", 14.0),
            gauge("cluster.outbound|80|v2|loan.bank.svc.membership_healthy", 3.0),
            counter("cluster.other.upstream_rq_500", 14.0),
            counter("http.outbound.upstream_rq_completed", 1.0),
        ];
        let expected = ClusterReport {
            completed: Some(20),
            errors: Some(14),
            healthy: Some(3),
            ..ClusterReport::default()
        };
        let read = read(&families);
        assert_eq!(read.into_iter().collect::<Vec<_>>(), [("outbound|80|v2|loan.bank.svc", expected)]);
    }

    #[test]
    fn a_cluster_is_named_by_its_label_where_there_is_one() {
        let mut family = counter("cluster.upstream_rq_completed", 7.0);
        let label = LabelPair { name: Some(CLUSTER_LABEL.to_owned()), value: Some("loan-v2".to_owned()) };
        family.metric[0].label.push(label);
        assert_eq!(read(&[family])["loan-v2"].completed, Some(7));
    }

    #[test]
    fn times_are_those_of_the_histogram_and_not_of_the_summary() {
        let bucket = |upper_bound, cumulative_count| Bucket {
            upper_bound: Some(upper_bound),
            cumulative_count: Some(cumulative_count),
            ..Bucket::default()
        };
        let histogram = Histogram {
            sample_count: Some(5),
            bucket: vec![bucket(1.0, 2), bucket(5.0, 4)],
            ..Histogram::default()
        };
        let metric = Metric { histogram: Some(histogram), ..Metric::default() };
        let name = "cluster.loan-v2.upstream_rq_time";
        let families = [
            family(name, MetricType::Histogram, metric),
            family(name, MetricType::Summary, Metric::default()),
        ];
        assert_eq!(read(&families)["loan-v2"].latency, Some((vec![(1.0, 2), (5.0, 4)], 5)));
    }

    #[test]
    fn what_is_no_count_is_none() {
        for value in [-1.0, 0.5, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(read(&[counter("cluster.a.upstream_rq_5xx", value)])["a"].errors, None, "{value}");
        }
        assert!(read(&[gauge("cluster.a.upstream_rq_5xx", 1.0)]).is_empty(), "a gauge counts nothing");
    }
}
