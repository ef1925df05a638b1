//! One report of Envoy's metrics service: who sends it, what its filter says of itself, and what both counted.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::io::prometheus::client::MetricType;

use crate::clusters::{self, ClusterReport};
use crate::fields::{Fields, Garbled, Value};
use crate::proxies::FilterReport;
use crate::steered;

/// The gauge of the revision that the filter runs.
const REVISION_GAUGE: &str = "graylane_revision";

/// The gauge that is not zero while the filter holds on to older rules because it could not read the newest.
const REJECTED_GAUGE: &str = "graylane_config_rejected";

/// The fields of a report, and of who sends it.
const IDENTIFIER: u32 = 1;
const FAMILIES: u32 = 2;
const IDENTIFIER_NODE: u32 = 1;
const NODE_ID: u32 = 1;
const NODE_CLUSTER: u32 = 2;

/// The fields of a family.
const FAMILY_NAME: u32 = 1;
const FAMILY_TYPE: u32 = 3;
const FAMILY_METRICS: u32 = 4;

/// The fields of a metric and of what is in it.
const METRIC_LABELS: u32 = 1;
const METRIC_GAUGE: u32 = 2;
const METRIC_COUNTER: u32 = 3;
const METRIC_HISTOGRAM: u32 = 7;
const LABEL_NAME: u32 = 1;
const LABEL_VALUE: u32 = 2;
const GAUGE_VALUE: u32 = 1;
const COUNTER_VALUE: u32 = 1;

/// What a report says, as far as anybody here wants to know.
#[derive(Debug, Default)]
pub(crate) struct Report<'a> {
    /// The gauges of ours. Of several values for one the worse counts: the lowest revision, and any rejection.
    pub(crate) of_filter: FilterReport,
    pub(crate) reported: Reported<'a>,
}

/// What a proxy counted, as one report says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reported<'a> {
    /// What it counted of each cluster to which it sends requests, by the cluster's name.
    pub clusters: BTreeMap<&'a str, ClusterReport>,
    /// Requests that its filter steered since the proxy started, by service and version. Of two tenants' services of one name the filters
    /// count together.
    pub steered: BTreeMap<(&'a str, &'a str), u64>,
}

/// The metrics of one name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: MetricType,
    message: &'a [u8],
}

/// One value of a family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric<'a>(&'a [u8]);

// === impl Report ===

impl<'a> Report<'a> {
    /// Reads a `StreamMetricsMessage`, but for who sends it. What is kept of it is less than a few times as large.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn read(message: &'a [u8]) -> Result<Self, Garbled> {
        let mut report = Self::default();
        for field in Fields::of(message) {
            if let (FAMILIES, Value::Bytes(family)) = field? {
                report.take(&Family::read(family)?)?;
            }
        }
        Ok(report)
    }

    fn take(&mut self, family: &Family<'a>) -> Result<(), Garbled> {
        let FilterReport { revision, rejected_config } = &mut self.of_filter;
        if is_named(family.name, REVISION_GAUGE) {
            for metric in family.metrics() {
                let value = metric?.gauge()?.and_then(clusters::whole_count);
                *revision = value.into_iter().chain(*revision).min();
            }
        } else if is_named(family.name, REJECTED_GAUGE) {
            for metric in family.metrics() {
                let value = metric?.gauge()?.map(|value| value != 0.0);
                *rejected_config = value.into_iter().chain(*rejected_config).max();
            }
        }
        clusters::take(&mut self.reported.clusters, family)?;
        steered::take(&mut self.reported.steered, family)
    }
}

/// Who sends a `StreamMetricsMessage`: of all that Envoy says of itself the two names. The rest of the message is stepped over.
///
/// # Errors
/// When it is none.
pub(crate) fn sender(message: &[u8]) -> Result<Option<Node>, Garbled> {
    let Some(identifier) = Fields::last(message, IDENTIFIER)?.and_then(Value::bytes) else { return Ok(None) };
    let Some(node) = Fields::last(identifier, IDENTIFIER_NODE)?.and_then(Value::bytes) else {
        return Ok(None);
    };
    let text = |number| match Fields::last(node, number)? {
        None => Ok(String::new()),
        Some(value) => value.text().map(ToOwned::to_owned).ok_or(Garbled),
    };
    Ok(Some(Node { id: text(NODE_ID)?, cluster: text(NODE_CLUSTER)?, ..Node::default() }))
}

/// True for the gauge under any prefix.
fn is_named(name: &str, gauge: &str) -> bool {
    name.strip_suffix(gauge).is_some_and(is_prefix)
}

/// True for what Envoy and its sinks put before a filter's statistics: `wasmcustom.`, `wasmcustom_`, or nothing.
pub(crate) fn is_prefix(text: &str) -> bool {
    text.is_empty() || text.ends_with(['.', '_'])
}

/// The entry of a key, which may be new while there are fewer than so many.
pub(crate) fn bounded_entry<K: Ord, V: Default>(
    map: &mut BTreeMap<K, V>,
    key: K,
    limit: usize,
) -> Option<&mut V> {
    let has_room = map.len() < limit;
    match map.entry(key) {
        Entry::Occupied(entry) => Some(entry.into_mut()),
        Entry::Vacant(entry) => has_room.then(|| entry.insert(V::default())),
    }
}

// === impl Family ===

impl<'a> Family<'a> {
    /// Reads a `MetricFamily`. One whose name is no text, or longer than names are, has no name.
    pub(crate) fn read(message: &'a [u8]) -> Result<Self, Garbled> {
        let (mut name, mut kind) = ("", MetricType::Counter);
        for field in Fields::of(message) {
            match field? {
                (FAMILY_NAME, text) => name = text.name().unwrap_or_default(),
                (FAMILY_TYPE, Value::Number(number)) => {
                    let number = i32::try_from(number).unwrap_or(i32::MAX);
                    kind = MetricType::try_from(number).unwrap_or(MetricType::Untyped);
                }
                _ => {}
            }
        }
        Ok(Self { name, kind, message })
    }

    pub(crate) fn metrics(&self) -> impl Iterator<Item = Result<Metric<'a>, Garbled>> + use<'a> {
        Fields::of(self.message).filter_map(|field| match field {
            Ok((FAMILY_METRICS, Value::Bytes(metric))) => Some(Ok(Metric(metric))),
            Ok(_) => None,
            Err(garbled) => Some(Err(garbled)),
        })
    }

    /// The last metric, which counts where all are of one name.
    pub(crate) fn last(&self) -> Result<Option<Metric<'a>>, Garbled> {
        self.metrics().try_fold(None, |_, metric| metric.map(Some))
    }
}

// === impl Metric ===

impl<'a> Metric<'a> {
    pub(crate) fn gauge(self) -> Result<Option<f64>, Garbled> {
        self.value(METRIC_GAUGE, GAUGE_VALUE)
    }

    pub(crate) fn counter(self) -> Result<Option<f64>, Garbled> {
        self.value(METRIC_COUNTER, COUNTER_VALUE)
    }

    /// The histogram as it lies.
    pub(crate) fn histogram(self) -> Result<Option<&'a [u8]>, Garbled> {
        Ok(Fields::last(self.0, METRIC_HISTOGRAM)?.and_then(Value::bytes))
    }

    /// The value of a label, if it can be a name.
    pub(crate) fn label(self, name: &str) -> Result<Option<&'a str>, Garbled> {
        for field in Fields::of(self.0) {
            if let (METRIC_LABELS, Value::Bytes(label)) = field?
                && Fields::last(label, LABEL_NAME)?.and_then(Value::text) == Some(name)
            {
                return Ok(Fields::last(label, LABEL_VALUE)?.and_then(Value::name));
            }
        }
        Ok(None)
    }

    fn value(self, kind: u32, value: u32) -> Result<Option<f64>, Garbled> {
        let Some(inner) = Fields::last(self.0, kind)?.and_then(Value::bytes) else { return Ok(None) };
        Ok(Fields::last(inner, value)?.and_then(Value::double))
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
    use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
    use envoy_types::pb::io::prometheus::client::{
        Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily,
    };
    use proptest::prelude::*;
    use prost::Message as _;
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::limits::MAX_STATISTIC_BYTES;

    const NAMES: [&str; 9] = [
        "wasmcustom.graylane_revision",
        "graylane_config_rejected",
        "cluster.a.upstream_rq_completed",
        "cluster.a.upstream_rq_5xx",
        "cluster.a.membership_healthy",
        "cluster.a.b.upstream_rq_time",
        "cluster.upstream_rq_completed",
        "cluster.a.upstream_rq_total",
        "server.live",
    ];

    fn gauge(name: &str, values: &[f64]) -> MetricFamily {
        let metric = |value: &f64| Metric { gauge: Some(Gauge { value: Some(*value) }), ..Metric::default() };
        let metric = values.iter().map(metric).collect();
        MetricFamily { name: Some(name.to_owned()), metric, ..MetricFamily::default() }
    }

    fn message(families: &[MetricFamily]) -> Vec<u8> {
        let envoy_metrics = families.to_vec();
        StreamMetricsMessage { envoy_metrics, ..StreamMetricsMessage::default() }.encode_to_vec()
    }

    fn check(families: &[MetricFamily], revision: Option<u64>, rejected_config: Option<bool>) {
        let message = message(families);
        let read = Report::read(&message).unwrap();
        assert_eq!(read.of_filter, FilterReport { revision, rejected_config });
    }

    #[test]
    fn our_gauges_are_found_under_the_names_that_envoy_gives_them() {
        for prefix in ["wasmcustom.", "wasmcustom_", "envoy_wasmcustom_", ""] {
            let revision = gauge(&format!("{prefix}graylane_revision"), &[7.0]);
            let rejected = gauge(&format!("{prefix}graylane_config_rejected"), &[1.0]);
            check(&[revision, rejected], Some(7), Some(true));
        }
    }

    #[test]
    fn other_metrics_are_ignored() {
        let mut counter = gauge("wasmcustom.graylane_revision", &[]);
        let value = Some(Counter { value: Some(9.0), ..Counter::default() });
        counter.metric.push(Metric { counter: value, ..Metric::default() });
        let families = [
            gauge("wasmcustom.graylane_revisions", &[9.0]),
            gauge("notgraylane_revision", &[9.0]),
            gauge("server.live", &[1.0]),
            MetricFamily::default(),
            counter,
        ];
        check(&families, None, None);
    }

    #[test]
    fn of_several_values_the_worse_counts() {
        let revision = gauge("wasmcustom.graylane_revision", &[8.0, 7.0]);
        let rejected = gauge("wasmcustom.graylane_config_rejected", &[1.0, 0.0]);
        check(&[revision, rejected], Some(7), Some(true));
    }

    #[test]
    fn a_value_that_is_no_revision_is_no_report() {
        for odd in [-1.0, 0.5, f64::NAN, f64::INFINITY, 1e17] {
            check(&[gauge("wasmcustom.graylane_revision", &[odd])], None, None);
        }
        check(&[gauge("wasmcustom.graylane_revision", &[0.0])], Some(0), None);
    }

    #[test]
    fn who_sends_is_read_by_its_two_names_alone() {
        let node =
            Node { id: "a".into(), cluster: "b".into(), user_agent_name: "envoy".into(), ..Node::default() };
        let identifier = Some(Identifier { node: Some(node) });
        let message = StreamMetricsMessage { identifier, ..StreamMetricsMessage::default() }.encode_to_vec();
        let node = Node { id: "a".into(), cluster: "b".into(), ..Node::default() };
        assert_eq!(sender(&message), Ok(Some(node)));
        assert_eq!(sender(&[]), Ok(None));
        assert_eq!(sender(&[0x0a, 3, 0x0a, 1, 0x0a]), Err(Garbled), "a node that is cut off");
    }

    #[test]
    fn what_would_be_large_when_it_is_unpacked_is_stepped_over() {
        let before = peak_kib();
        // Three million empty metrics, and as many labels: 6 MB each, that prost makes hundreds of.
        for inner in [[0x22, 0].repeat(3_000_000), field(0x22, &[0x0a, 0].repeat(3_000_000))] {
            let family = [field(0x0a, b"cluster.a.upstream_rq_completed"), inner].concat();
            let message = field(0x12, &family);
            let reported = Report::read(&message).unwrap().reported;
            assert_eq!(reported.clusters, BTreeMap::from([("a", ClusterReport::default())]));
        }
        let growth = peak_kib() - before;
        assert!(growth < 100 << 10, "{growth} KiB");
    }

    /// A field of these bytes.
    fn field(key: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![key];
        prost::encoding::encode_varint(bytes.len() as u64, &mut field);
        [field, bytes.to_vec()].concat()
    }

    fn peak_kib() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn what_has_a_longer_name_than_statistics_have_says_nothing_and_costs_its_bytes() {
        let begun = Instant::now();
        for (over, clusters) in [(0, 1), (1, 0), (4 << 20, 0)] {
            let name = "cluster..upstream_rq_completed";
            let cluster = "a".repeat(MAX_STATISTIC_BYTES - name.len() + over);
            let named = MetricFamily {
                name: Some(name.replace("..", &format!(".{cluster}."))),
                metric: vec![Metric::default(); 200_000],
                ..MetricFamily::default()
            };
            let label = cluster_label(&"a".repeat(MAX_STATISTIC_BYTES + over));
            let labelled = MetricFamily {
                name: Some("cluster.upstream_rq_completed".to_owned()),
                metric: vec![Metric { label: vec![label], ..Metric::default() }],
                ..MetricFamily::default()
            };
            for family in [named, labelled] {
                let message = message(&[family]);
                assert_eq!(Report::read(&message).unwrap().reported.clusters.len(), clusters, "{over}");
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    /// What prost reads, as it was read before.
    fn naive(message: &StreamMetricsMessage) -> (FilterReport, BTreeMap<String, ClusterReport>) {
        let (mut of_filter, mut by_cluster) = (FilterReport::default(), BTreeMap::<_, ClusterReport>::new());
        for family in &message.envoy_metrics {
            for metric in &family.metric {
                let gauge = metric.gauge.as_ref().and_then(|gauge| gauge.value);
                let counter = metric.counter.as_ref().and_then(|counter| counter.value);
                match family.name() {
                    "wasmcustom.graylane_revision" => {
                        let revision = gauge.and_then(clusters::whole_count);
                        of_filter.revision = revision.into_iter().chain(of_filter.revision).min();
                    }
                    "graylane_config_rejected" => {
                        let rejected = gauge.map(|value| value != 0.0);
                        of_filter.rejected_config =
                            rejected.into_iter().chain(of_filter.rejected_config).max();
                    }
                    _ => {}
                }
                let Some(rest) = family.name().strip_prefix("cluster.") else { continue };
                let of_label = || Some((metric.label.first()?.value().to_owned(), rest));
                let Some((cluster, figure)) =
                    rest.rsplit_once('.').map(|(a, b)| (a.to_owned(), b)).or_else(of_label)
                else {
                    continue;
                };
                let mut entry = |figure: fn(&mut ClusterReport) -> &mut Option<u64>, value: Option<f64>| {
                    *figure(by_cluster.entry(cluster.clone()).or_default()) =
                        value.and_then(clusters::whole_count);
                };
                match (figure, family.r#type()) {
                    ("upstream_rq_completed", MetricType::Counter) => {
                        entry(|report| &mut report.completed, counter)
                    }
                    ("upstream_rq_5xx", MetricType::Counter) => entry(|report| &mut report.errors, counter),
                    ("membership_healthy", MetricType::Gauge) => entry(|report| &mut report.healthy, gauge),
                    ("upstream_rq_time", MetricType::Histogram) => {
                        let buckets = |histogram: &Histogram| {
                            let bucket = |bucket: &Bucket| bucket.upper_bound.zip(bucket.cumulative_count);
                            Some((
                                histogram.bucket.iter().filter_map(bucket).collect(),
                                histogram.sample_count?,
                            ))
                        };
                        by_cluster.entry(cluster).or_default().latency =
                            metric.histogram.as_ref().and_then(buckets);
                    }
                    _ => {}
                }
            }
        }
        (of_filter, by_cluster)
    }

    fn metrics() -> impl Strategy<Value = Vec<Metric>> {
        let value = || prop::option::of(prop::sample::select(vec![0.0, 1.0, 2.0, 7.5, -1.0, 1e300]));
        let bucket = (value(), prop::option::of(0..9_u64)).prop_map(|(upper_bound, cumulative_count)| {
            Bucket { upper_bound, cumulative_count, ..Bucket::default() }
        });
        let histogram = (prop::option::of(0..9_u64), prop::collection::vec(bucket, 0..4));
        let label = prop::option::of(prop::sample::select(vec!["a", "b"]));
        let metric = (value(), value(), prop::option::of(histogram), label);
        let metric = metric.prop_map(|(gauge, counter, histogram, label)| Metric {
            gauge: gauge.map(|value| Gauge { value: Some(value) }),
            counter: counter.map(|value| Counter { value: Some(value), ..Counter::default() }),
            histogram: histogram.map(|(sample_count, bucket)| Histogram {
                sample_count,
                bucket,
                ..Histogram::default()
            }),
            label: label.into_iter().map(cluster_label).collect(),
            timestamp_ms: Some(-1),
            ..Metric::default()
        });
        prop::collection::vec(metric, 0..4)
    }

    fn cluster_label(cluster: &str) -> LabelPair {
        LabelPair { name: Some("envoy.cluster_name".to_owned()), value: Some(cluster.to_owned()) }
    }

    proptest! {
        #[test]
        fn what_prost_encodes_is_read_as_prost_reads_it(families in prop::collection::vec((prop::sample::select(NAMES.to_vec()), 0..5, metrics()), 0..9)) {
            let family = |(name, kind, metric): (&str, i32, Vec<Metric>)| MetricFamily {
                name: Some(name.to_owned()),
                r#type: Some(kind),
                metric,
                ..MetricFamily::default()
            };
            let envoy_metrics = families.into_iter().map(family).collect();
            let message = StreamMetricsMessage { envoy_metrics, ..StreamMetricsMessage::default() };
            let bytes = message.encode_to_vec();
            let Report { of_filter, reported } = Report::read(&bytes).unwrap();
            let by_cluster = reported.clusters.into_iter().map(|(name, report)| (name.to_owned(), report)).collect();
            prop_assert_eq!((of_filter, by_cluster), naive(&message));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop::sample::select(vec![0, 1, 2, 9, 10, 18, 26, 34, 200]), 0..60)) {
            let _ = (sender(&bytes), Report::read(&bytes));
        }
    }
}
