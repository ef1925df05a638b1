//! The server over real sockets, with the clients that a proxy would be: every protocol, the metrics, health, and the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests are tests"
)]

mod authority;
mod certificates;
mod clients;
mod drain;
mod figures;
mod hostile;
mod keepalive;
mod relay;
mod stage;
mod tls;

use std::time::Instant;

use clients::{Answer, DeltaClient, Proxy, SotwClient};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_client::ExtensionConfigDiscoveryServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_client::MetricsServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use envoy_types::pb::envoy::service::metrics::v3::{StreamMetricsMessage, StreamMetricsResponse};
use envoy_types::pb::io::prometheus::client::{Gauge, Metric, MetricFamily};
use graylane_xds::limits::{FIRST_PATIENCE, Limits, MAX_FIRST_RESPONSES, SHUTDOWN_GRACE};
use graylane_xds::{Nack, Protocol};
use stage::{RESOURCE, Stage, soon};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Publish, accept, publish, reject, publish, reconnect: the life of a proxy, the same over every protocol.
async fn check_the_road<P: Proxy>(protocol: Protocol) {
    let stage = Stage::start().await;
    stage.publish(1);
    let mut proxy = P::connect(stage.channel(), protocol, None).await;

    let first = proxy.next().await;
    assert_eq!((first.name.as_str(), first.revision()), (RESOURCE, 1));
    proxy.answer(&first, Answer::Ack).await;
    let status = stage.until(|status| status.acknowledged == Some(1)).await;
    assert_eq!((&*status.node, &*status.cluster), ("envoy-1", "loan"));
    assert_eq!((&*status.tenant, status.protocol), ("retail", protocol));
    assert_eq!((status.connected, status.sent, status.last_error), (true, Some(1), None));

    stage.publish(2);
    let second = proxy.next().await;
    assert_eq!(second.revision(), 2);
    proxy.answer(&second, Answer::Nack("cannot build the plugin")).await;
    let status = stage.until(|status| status.last_error.is_some()).await;
    let message = "cannot build the plugin".to_owned();
    assert_eq!(status.last_error, Some(Nack { revision: 2, message }));
    assert_eq!((status.wanted, status.acknowledged), (Some(2), Some(1)));

    stage.publish(3);
    let third = proxy.next().await;
    assert_eq!(third.revision(), 3, "the rejected one is not sent again");
    proxy.answer(&third, Answer::Ack).await;
    stage.until(|status| status.acknowledged == Some(3) && status.last_error.is_none()).await;

    drop(proxy);
    let status = stage.until(|status| !status.connected).await;
    assert_eq!((status.acknowledged, status.connected_for), (Some(3), None));
    let mut proxy = P::connect(stage.channel(), protocol, Some(&third.version)).await;
    stage.until(|status| status.connected && status.acknowledged == Some(3)).await;
    stage.publish(4);
    assert_eq!(proxy.next().await.revision(), 4, "what it held was not sent");
}

/// What one proxy refuses is held back, and all hold on to what they had, the one that refused under another version.
async fn check_a_refusal<P: Proxy>(protocol: Protocol) {
    let stage = Stage::start().await;
    stage.publish(1);
    let mut proxy = P::connect(stage.channel(), protocol, None).await;
    let first = proxy.next().await;
    proxy.answer(&first, Answer::Ack).await;
    stage.until(|status| status.acknowledged == Some(1)).await;
    stage.xds.accept("retail", 1);

    stage.publish(2);
    let second = proxy.next().await;
    proxy.answer(&second, Answer::Nack("cannot build the plugin")).await;
    let again = proxy.next().await;
    assert_eq!(again.revision(), 1);
    assert_ne!(again.version, first.version);
    proxy.answer(&again, Answer::Ack).await;
    let status = stage.until(|status| status.sent == Some(1)).await;
    assert_eq!((status.wanted, status.acknowledged), (Some(2), Some(1)));
    assert_eq!(status.last_error.map(|nack| nack.revision), Some(2), "it is not undone by that");
    let [held_back] = &stage.xds.held_back()[..] else { panic!("{:?}", stage.xds.held_back()) };
    assert_eq!((held_back.revision, held_back.node.as_str()), (2, "envoy-1"));
    assert_eq!(held_back.message, "cannot build the plugin");

    drop(proxy);
    stage.until(|status| !status.connected).await;
    let mut newcomer = P::connect(stage.channel(), protocol, None).await;
    let held = newcomer.next().await;
    assert_eq!(held.revision(), 1);
    drop(newcomer);
    let mut returned = P::connect(stage.channel(), protocol, Some(&again.version)).await;
    stage.until(|status| status.connected && status.acknowledged == Some(1)).await;
    stage.publish(3);
    assert_eq!(returned.next().await.revision(), 3, "what it held was not sent");
}

#[tokio::test]
async fn a_refusal_holds_back_over_every_protocol() {
    check_a_refusal::<SotwClient>(Protocol::EcdsSotw).await;
    check_a_refusal::<DeltaClient>(Protocol::EcdsDelta).await;
    check_a_refusal::<SotwClient>(Protocol::AdsSotw).await;
    check_a_refusal::<DeltaClient>(Protocol::AdsDelta).await;
}

#[tokio::test]
async fn ecds_state_of_the_world_delivers() {
    check_the_road::<SotwClient>(Protocol::EcdsSotw).await;
}

#[tokio::test]
async fn ecds_delta_delivers() {
    check_the_road::<DeltaClient>(Protocol::EcdsDelta).await;
}

#[tokio::test]
async fn ads_state_of_the_world_delivers() {
    check_the_road::<SotwClient>(Protocol::AdsSotw).await;
}

#[tokio::test]
async fn ads_delta_delivers() {
    check_the_road::<DeltaClient>(Protocol::AdsDelta).await;
}

#[tokio::test]
async fn one_publish_reaches_every_protocol() {
    let stage = Stage::start().await;
    let mut ecds = SotwClient::connect(stage.channel(), Protocol::EcdsSotw, None).await;
    let mut ecds_delta = DeltaClient::connect(stage.channel(), Protocol::EcdsDelta, None).await;
    let mut ads = SotwClient::connect(stage.channel(), Protocol::AdsSotw, None).await;
    let mut ads_delta = DeltaClient::connect(stage.channel(), Protocol::AdsDelta, None).await;
    stage.publish(1);
    let versions = [ecds.next().await, ecds_delta.next().await, ads.next().await, ads_delta.next().await]
        .map(|message| message.version);
    assert!(versions.iter().all(|version| *version == versions[0]), "{versions:?}");
}

#[tokio::test]
async fn polling_is_refused_with_what_to_do_instead() {
    let stage = Stage::start().await;
    stage.publish(1);
    let mut client = ExtensionConfigDiscoveryServiceClient::new(stage.channel());
    let refusal = soon(client.fetch_extension_configs(DiscoveryRequest::default())).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unimplemented);
    assert!(refusal.message().contains("set api_type to GRPC"), "{refusal}");
}

/// Answers and publishes meet in every order that the machine finds: the second publish of a round comes when one proxy has the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_subscribes_and_answers_while_others_publish_gets_the_last() {
    const PROXIES: u64 = 16;
    const LAST: u64 = 200;
    let stage = Stage::start().await;
    let (reports, mut reported) = mpsc::channel(1);
    for number in 0..PROXIES {
        let (channel, reports) = (stage.channel(), reports.clone());
        tokio::spawn(async move {
            let node = format!("envoy-{number}");
            let mut proxy = SotwClient::connect_as(channel, Protocol::EcdsSotw, &node).await;
            for _ in 0..LAST {
                let message = proxy.next().await;
                proxy.answer(&message, Answer::Ack).await;
                reports.send(message.revision()).await.unwrap();
            }
        });
    }
    for first in (1..LAST).step_by(2) {
        stage.publish(first);
        while soon(reported.recv()).await != Some(first) {}
        stage.publish(first + 1);
        let mut left = PROXIES;
        while left > 0 {
            left -= u64::from(soon(reported.recv()).await == Some(first + 1));
        }
    }
}

#[tokio::test]
async fn a_restarted_daemon_sends_nothing_to_who_has_it() {
    let before = Stage::start().await;
    before.publish(1);
    let held = DeltaClient::connect(before.channel(), Protocol::EcdsDelta, None).await.next().await.version;
    let after = Stage::start().await;
    after.publish(1);
    let mut proxy = DeltaClient::connect(after.channel(), Protocol::EcdsDelta, Some(&held)).await;
    let status = after.until(|status| status.acknowledged == Some(1)).await;
    assert_eq!(status.sent, None);
    after.publish(2);
    assert_eq!(proxy.next().await.revision(), 2);
}

#[tokio::test]
async fn a_proxy_that_never_answers_holds_up_nobody() {
    let stage = Stage::start().await;
    stage.publish_large(1);
    let _hung = SotwClient::connect_as(stage.channel(), Protocol::EcdsSotw, "hung").await;
    let mut proxy = SotwClient::connect(stage.channel(), Protocol::EcdsSotw, None).await;
    for revision in 1..=8 {
        stage.publish_large(revision);
        let message = proxy.next().await;
        assert_eq!(message.revision(), revision);
        proxy.answer(&message, Answer::Ack).await;
    }
}

#[tokio::test]
async fn a_proxy_that_lags_skips_to_the_newest() {
    let stage = Stage::start().await;
    stage.publish(1);
    let mut proxy = DeltaClient::connect(stage.channel(), Protocol::EcdsDelta, None).await;
    let first = proxy.next().await;
    for revision in 2..=100 {
        stage.publish(revision);
    }
    proxy.answer(&first, Answer::Ack).await;
    assert_eq!(proxy.next().await.revision(), 100);
}

#[tokio::test]
async fn a_stream_without_node_is_refused() {
    let stage = Stage::start().await;
    let mut proxy = SotwClient::connect_as(stage.channel(), Protocol::AdsSotw, "").await;
    assert_eq!(proxy.end().await, Code::InvalidArgument);
    assert!(stage.xds.proxies().is_empty());
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused() {
    let stage = Stage::start().await;
    stage.publish(1);
    let mut proxy = SotwClient::connect(stage.channel(), Protocol::EcdsSotw, None).await;
    let first = proxy.next().await;
    proxy.answer(&first, Answer::Nack(&"x".repeat(Limits::DEFAULT.request_bytes))).await;
    stage.until(|status| !status.connected && status.last_error.is_none()).await;
}

#[tokio::test]
async fn closing_ends_the_streams_and_does_not_wait_for_the_grace() {
    let mut stage = Stage::start().await;
    stage.publish(1);
    let mut proxy = DeltaClient::connect(stage.channel(), Protocol::EcdsDelta, None).await;
    proxy.next().await;
    let (reports, metrics) = report_stream(&stage);
    reports.send(report("envoy-1", &[])).await.unwrap();
    let begun = Instant::now();
    stage.close();
    assert_eq!(proxy.end().await, Code::Unavailable);
    assert_eq!(soon(metrics).await.unwrap().unwrap_err().code(), Code::Unavailable);
    drop((proxy, reports));
    soon(stage.served()).await.unwrap();
    assert!(begun.elapsed() < SHUTDOWN_GRACE);
}

#[tokio::test]
async fn health_says_serving() {
    let stage = Stage::start().await;
    let mut client = HealthClient::new(stage.channel());
    for service in ["", "envoy.service.extension.v3.ExtensionConfigDiscoveryService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let response = soon(client.check(request)).await.unwrap().into_inner();
        assert_eq!(response.status(), ServingStatus::Serving);
    }
}

#[tokio::test]
async fn gauges_of_the_filter_become_applied_and_rejected() {
    let stage = Stage::start().await;
    stage.publish(1);
    let mut proxy = DeltaClient::connect(stage.channel(), Protocol::EcdsDelta, None).await;
    let first = proxy.next().await;
    proxy.answer(&first, Answer::Ack).await;
    assert_eq!(stage.until(|status| status.acknowledged == Some(1)).await.applied, None);

    let (reports, metrics) = report_stream(&stage);
    let gauges = [("wasmcustom.graylane_revision", 1.0), ("server.uptime", 5.0)];
    reports.send(report("envoy-1", &gauges)).await.unwrap();
    let status = stage.until(|status| status.applied == Some(1)).await;
    assert!(!status.rejected_config);
    // Envoy names itself in the first message only.
    let gauges = [("wasmcustom.graylane_config_rejected", 1.0)];
    let anonymous = StreamMetricsMessage { identifier: None, ..report("", &gauges) };
    reports.send(anonymous).await.unwrap();
    assert_eq!(stage.until(|status| status.rejected_config).await.applied, Some(1));

    drop(reports);
    assert_eq!(soon(metrics).await.unwrap().unwrap(), StreamMetricsResponse {});
}

#[tokio::test]
async fn a_metrics_stream_without_node_is_refused() {
    let stage = Stage::start().await;
    let (reports, metrics) = report_stream(&stage);
    reports.send(StreamMetricsMessage::default()).await.unwrap();
    assert_eq!(soon(metrics).await.unwrap().unwrap_err().code(), Code::InvalidArgument);
}

/// F28: as many newcomers as may be served at once say nothing, and hold up nobody who is there, and others not for long.
#[tokio::test]
async fn a_storm_of_newcomers_is_served_in_turns_and_those_that_are_there_at_once() {
    let stage = Stage::start().await;
    stage.publish(1);
    let mut there = SotwClient::connect_as(stage.channel(), Protocol::EcdsSotw, "there").await;
    let first = there.next().await;
    there.answer(&first, Answer::Ack).await;
    let mut silent = Vec::new();
    let channel = stage.channel();
    for number in 0..MAX_FIRST_RESPONSES {
        let mut newcomer =
            SotwClient::connect_as(channel.clone(), Protocol::EcdsSotw, &format!("silent-{number}")).await;
        newcomer.next().await;
        silent.push(newcomer);
    }
    let begun = Instant::now();
    let mut last = SotwClient::connect_as(channel, Protocol::EcdsSotw, "last").await;
    stage.publish(2);
    let second = there.next().await;
    assert!(second.revision() == 2 && begun.elapsed() < FIRST_PATIENCE / 2);
    assert_eq!(last.next().await.revision(), 2, "what there is when its turn comes");
    let waited = begun.elapsed();
    assert!(waited > FIRST_PATIENCE / 10 && waited < 2 * FIRST_PATIENCE, "{waited:?}");
}

type Served = tokio::task::JoinHandle<Result<StreamMetricsResponse, tonic::Status>>;

fn report_stream(stage: &Stage) -> (mpsc::Sender<StreamMetricsMessage>, Served) {
    report_stream_on(stage.channel())
}

fn report_stream_on(channel: tonic::transport::Channel) -> (mpsc::Sender<StreamMetricsMessage>, Served) {
    let (reports, receiver) = mpsc::channel(1);
    let mut client = MetricsServiceClient::new(channel);
    let call = async move {
        let response = client.stream_metrics(ReceiverStream::new(receiver)).await?;
        Ok(response.into_inner())
    };
    (reports, tokio::spawn(call))
}

fn report(node: &str, gauges: &[(&str, f64)]) -> StreamMetricsMessage {
    let family = |(name, value): &(&str, f64)| MetricFamily {
        name: Some((*name).to_owned()),
        metric: vec![Metric { gauge: Some(Gauge { value: Some(*value) }), ..Metric::default() }],
        ..MetricFamily::default()
    };
    let node = Node { id: node.to_owned(), ..Node::default() };
    StreamMetricsMessage {
        identifier: Some(Identifier { node: Some(node) }),
        envoy_metrics: gauges.iter().map(family).collect(),
    }
}
