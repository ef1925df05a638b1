//! A large rule set is in memory once, however many proxies have yet to read it. In a process of its own, whose memory is measured.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_client::ExtensionConfigDiscoveryServiceClient;
use graylane_xds::limits::Limits;
use graylane_xds::{CanaryShare, FilterSettings, Publication, Xds};
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;

/// Proxies that do not read. Their copies would be 2 GB.
const PROXIES: usize = 1_000;
const RULES_BYTES: usize = 2 << 20;
/// What the streams and connections themselves may take, on both sides.
const GROWTH_KIB_MAX: u64 = 100 << 10;
/// What a client takes in before it is full.
const WINDOW_BYTES: u32 = 65_535;

#[tokio::test]
async fn a_large_rule_set_is_in_memory_once() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let xds = Xds::new(FilterSettings::default(), CanaryShare::ALL, Limits::DEFAULT);
    let serving = tokio::spawn(xds.clone().serve(listener, std::future::pending()));
    let rules = Bytes::from(vec![b'x'; RULES_BYTES]);
    let publication =
        Publication { tenant: "retail".to_owned(), revision: 1, rules, content_hash: 1, is_firm: false };
    xds.publish(xds.prepare(&[publication]).unwrap());

    let channel = Endpoint::from_shared(address).unwrap();
    let channel = channel.initial_stream_window_size(WINDOW_BYTES).connect().await.unwrap();
    let before = rss_kib();
    let mut streams = Vec::new();
    for number in 0..PROXIES {
        let node = Node { id: format!("envoy-{number}"), ..Node::default() };
        let names = vec!["graylane.v1.retail".to_owned()];
        let first = DeltaDiscoveryRequest {
            node: Some(node),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        };
        let requests = tokio_stream::once(first).chain(tokio_stream::pending());
        let mut client = ExtensionConfigDiscoveryServiceClient::new(channel.clone());
        streams.push(client.delta_extension_configs(requests).await.unwrap());
    }
    let all_sent = async {
        while xds.proxies().iter().filter(|proxy| proxy.sent == Some(1)).count() < PROXIES {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_sent).await.expect("all have something to read");
    let growth = rss_kib().saturating_sub(before);
    eprintln!("{PROXIES} proxies that do not read {RULES_BYTES} bytes: {growth} KiB");
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB");
    serving.abort();
}

fn rss_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
