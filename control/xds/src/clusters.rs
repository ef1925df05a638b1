//! What a proxy counted of the clusters to which it sends requests, in Envoy's metrics stream.
//!
//! Counters are read as Envoy sends them unless it is told otherwise: what was counted since the proxy started. Histograms are what
//! was seen since the report before. Both were looked at on Envoy 1.40; `report_counters_as_deltas` has to stay off.

use std::collections::BTreeMap;

use envoy_types::pb::io::prometheus::client::MetricType;

use crate::fields::{Fields, Garbled, Value};
use crate::limits::{MAX_REPORTED_BUCKETS, MAX_REPORTED_CLUSTERS};
use crate::report::{Family, Metric, bounded_entry};

/// What the name of every figure of a cluster begins with.
const PREFIX: &str = "cluster.";

/// The label that names the cluster, where Envoy is told to send tags as labels.
const CLUSTER_LABEL: &str = "envoy.cluster_name";

/// Requests whose status begins with a digit, which is in a label: so Envoy reports [`ERRORS`] where it is told to send tags as labels.
const OF_A_CLASS: &str = "upstream_rq_xx";
const CLASS_LABEL: &str = "envoy.response_code_class";

/// What Istio puts behind the name of a cluster since 1.23, so that its end is found.
const DELIMITER: char = ';';

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

/// How many requests took at most so many milliseconds, by growing bounds; and how many there were.
type Latency = (Vec<(f64, u64)>, u64);

/// Takes a figure into the report of its cluster.
type Take = fn(&mut ClusterReport, Metric<'_>) -> Result<(), Garbled>;

/// Takes what a family says of a cluster, if it is one of ours.
pub(crate) fn take<'a>(
    clusters: &mut BTreeMap<&'a str, ClusterReport>,
    family: &Family<'a>,
) -> Result<(), Garbled> {
    let Some(rest) = family.name.strip_prefix(PREFIX) else { return Ok(()) };
    // The cluster may have dots in its name, and a figure's name has none.
    let (named, figure) = rest.rsplit_once('.').map_or((None, rest), |(named, figure)| (Some(named), figure));
    let is_of_a_class = named.is_none() && figure == OF_A_CLASS;
    let figure = if is_of_a_class { ERRORS } else { figure };
    let Some(take) = taker(figure, family.kind) else { return Ok(()) };
    if let Some(cluster) = named {
        if let Some(metric) = family.last()? {
            add(clusters, cluster, take, metric)?;
        }
    } else {
        for metric in family.metrics() {
            let metric = metric?;
            if is_of_a_class && metric.label(CLASS_LABEL)? != Some("5") {
                continue;
            }
            if let Some(cluster) = metric.label(CLUSTER_LABEL)? {
                add(clusters, cluster, take, metric)?;
            }
        }
    }
    Ok(())
}

fn add<'a>(
    clusters: &mut BTreeMap<&'a str, ClusterReport>,
    cluster: &'a str,
    take: Take,
    metric: Metric<'_>,
) -> Result<(), Garbled> {
    let cluster = cluster.strip_suffix(DELIMITER).unwrap_or(cluster);
    match bounded_entry(clusters, cluster, MAX_REPORTED_CLUSTERS) {
        Some(report) => take(report, metric),
        None => Ok(()),
    }
}

/// What to do with a figure of that name, if it is one of ours.
fn taker(figure: &str, kind: MetricType) -> Option<Take> {
    match (figure, kind) {
        (COMPLETED, MetricType::Counter) => Some(|report, metric| {
            report.completed = metric.counter()?.and_then(whole_count);
            Ok(())
        }),
        (ERRORS, MetricType::Counter) => Some(|report, metric| {
            report.errors = metric.counter()?.and_then(whole_count);
            Ok(())
        }),
        (HEALTHY, MetricType::Gauge) => Some(|report, metric| {
            report.healthy = metric.gauge()?.and_then(whole_count);
            Ok(())
        }),
        (TIME, MetricType::Histogram) => Some(|report, metric| {
            report.latency = metric.histogram()?.map(latency).transpose()?.flatten();
            Ok(())
        }),
        _ => None,
    }
}

/// The bounds of a histogram with how many requests lie below, and how many there were.
fn latency(histogram: &[u8]) -> Result<Option<Latency>, Garbled> {
    /// The fields of a histogram, and of a bucket.
    const COUNT: u32 = 1;
    const BUCKET: u32 = 3;
    const BUCKET_COUNT: u32 = 1;
    const BUCKET_BOUND: u32 = 2;
    let (mut count, mut bounds) = (None, Vec::new());
    for field in Fields::of(histogram) {
        match field? {
            (COUNT, Value::Number(number)) => count = Some(number),
            (BUCKET, Value::Bytes(bucket)) if bounds.len() <= MAX_REPORTED_BUCKETS => {
                let bound = Fields::last(bucket, BUCKET_BOUND)?.and_then(Value::double);
                let below = Fields::last(bucket, BUCKET_COUNT)?.and_then(Value::number);
                bounds.extend(bound.zip(below));
            }
            _ => {}
        }
    }
    Ok(count.filter(|_| bounds.len() <= MAX_REPORTED_BUCKETS).map(|count| (bounds, count)))
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
    use envoy_types::pb::io::prometheus::client::{
        Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily,
    };
    use prost::Message as _;

    use super::*;

    fn read(families: &[MetricFamily]) -> BTreeMap<String, ClusterReport> {
        let encoded: Vec<Vec<u8>> = families.iter().map(MetricFamily::encode_to_vec).collect();
        let mut clusters = BTreeMap::new();
        encoded.iter().for_each(|family| take(&mut clusters, &Family::read(family).unwrap()).unwrap());
        clusters.into_iter().map(|(name, report)| (name.to_owned(), report)).collect()
    }

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
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [("outbound|80|v2|loan.bank.svc".to_owned(), expected)]
        );
    }

    #[test]
    fn the_delimiter_behind_istios_names_is_none_of_them() {
        let family =
            counter("cluster.outbound|80|v2|loan.bank.svc.cluster.local;.upstream_rq_completed", 20.0);
        let read = read(&[family]);
        assert_eq!(read["outbound|80|v2|loan.bank.svc.cluster.local"].completed, Some(20));
    }

    #[test]
    fn more_clusters_and_more_buckets_than_anybody_has_say_nothing() {
        let named = |number: usize| counter(&format!("cluster.c{number}.upstream_rq_completed"), 1.0);
        let families: Vec<_> = (0..MAX_REPORTED_CLUSTERS + 10).map(named).chain([named(0)]).collect();
        assert_eq!(read(&families).len(), MAX_REPORTED_CLUSTERS);
        let of = |buckets: usize| {
            let bucket = Bucket { upper_bound: Some(1.0), cumulative_count: Some(2), ..Bucket::default() };
            let histogram =
                Histogram { sample_count: Some(5), bucket: vec![bucket; buckets], ..Histogram::default() };
            let metric = Metric { histogram: Some(histogram), ..Metric::default() };
            read(&[family("cluster.a.upstream_rq_time", MetricType::Histogram, metric)])["a"]
                .latency
                .is_some()
        };
        assert_eq!(
            [20, MAX_REPORTED_BUCKETS, MAX_REPORTED_BUCKETS + 1, 100_000].map(of),
            [true, true, false, false]
        );
    }

    #[test]
    fn a_cluster_is_named_by_its_label_where_there_is_one() {
        let mut family = counter("cluster.upstream_rq_completed", 7.0);
        let label = LabelPair { name: Some(CLUSTER_LABEL.to_owned()), value: Some("loan-v2".to_owned()) };
        family.metric[0].label.push(label.clone());
        assert_eq!(read(&[family])["loan-v2"].completed, Some(7));
        let of_class = |class: &str, value| {
            let class = LabelPair { name: Some(CLASS_LABEL.to_owned()), value: Some(class.to_owned()) };
            let mut family = counter("cluster.upstream_rq_xx", value);
            family.metric[0].label = vec![class, label.clone()];
            family
        };
        let families = [of_class("2", 9.0), of_class("5", 3.0), of_class("4", 1.0)];
        assert_eq!(read(&families)["loan-v2"].errors, Some(3));
        assert!(read(&[counter("cluster.external.upstream_rq_xx", 1.0)]).is_empty());
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
