//! What a report says is kept no longer than it takes to hand it on. In a process of its own, whose memory is measured.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_client::ExtensionConfigDiscoveryServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_client::MetricsServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use envoy_types::pb::io::prometheus::client::{LabelPair, Metric, MetricFamily};
use graylane_xds::limits::Limits;
use graylane_xds::{CanaryShare, FilterSettings, Reported, Reporter, Reports, Xds};
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;

/// Streams that send one report and then nothing, of which the first ones fill what the allocator keeps.
const STREAMS: usize = 25;
const FIRST: usize = 5;
const CLUSTERS: usize = 50_000;
/// What a stream may take: on both sides a buffer of the report's bytes, which are 5 MiB, and not another 7 for what it says.
const STREAM_KIB_MAX: u64 = 8 << 10;

/// How many clusters were told of.
#[derive(Debug, Default)]
struct Heard(AtomicUsize);

impl Reports for Heard {
    fn take(&self, _: Reporter<'_>, reported: &Reported<'_>) {
        self.0.fetch_add(reported.clusters.len(), Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_stream_that_says_nothing_more_keeps_nothing_of_its_report() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::<Heard>::default();
    let xds =
        Xds::new(FilterSettings::default(), CanaryShare::ALL, Limits::DEFAULT).reporting_to(heard.clone());
    let serving = tokio::spawn(xds.clone().serve(listener, std::future::pending()));
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let node = Node { id: "envoy".to_owned(), ..Node::default() };
    let subscription = DeltaDiscoveryRequest {
        node: Some(node.clone()),
        resource_names_subscribe: vec!["graylane.v1.retail".to_owned()],
        ..DeltaDiscoveryRequest::default()
    };
    let requests = tokio_stream::once(subscription).chain(tokio_stream::pending());
    let mut client = ExtensionConfigDiscoveryServiceClient::new(channel.clone());
    let subscribed = tokio::spawn(async move { client.delta_extension_configs(requests).await });
    until(|| !xds.proxies().is_empty()).await;

    let (mut before, mut streams) = (0, Vec::new());
    for number in 1..=STREAMS {
        let identifier = Some(Identifier { node: Some(node.clone()) });
        let envoy_metrics = vec![of_clusters()];
        let reports = tokio_stream::once(StreamMetricsMessage { identifier, envoy_metrics });
        let mut client = MetricsServiceClient::new(channel.clone()).max_encoding_message_size(usize::MAX);
        let open = reports.chain(tokio_stream::pending());
        streams.push(tokio::spawn(async move { client.stream_metrics(open).await }));
        until(|| heard.0.load(Ordering::Relaxed) == number * CLUSTERS).await;
        if number == FIRST {
            before = rss_kib();
        }
    }
    let each = rss_kib().saturating_sub(before) / (STREAMS - FIRST) as u64;
    eprintln!("an idle stream that told of {CLUSTERS} clusters: {each} KiB");
    assert!(each < STREAM_KIB_MAX, "{each} KiB");
    assert!(streams.iter().all(|stream| !stream.is_finished()), "they are open");
    drop(subscribed);
    serving.abort();
}

fn of_clusters() -> MetricFamily {
    let label =
        |number| LabelPair { name: Some("envoy.cluster_name".to_owned()), value: Some(format!("{number}")) };
    let metric = |number| Metric { label: vec![label(number)], ..Metric::default() };
    MetricFamily {
        name: Some("cluster.upstream_rq_completed".to_owned()),
        metric: (0..CLUSTERS).map(metric).collect(),
        ..MetricFamily::default()
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it comes");
}

fn rss_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
