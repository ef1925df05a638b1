//! The server's end: who hears of it when, and what still arrives.

use std::time::{Duration, Instant};

use graylane_xds::Protocol;
use graylane_xds::limits::SHUTDOWN_GRACE;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::clients::{Answer, DeltaClient, Proxy, SotwClient};
use crate::relay::{GOAWAY, HEADERS, Relay, Seen};
use crate::stage::{LARGE_BYTES, Stage, soon};

/// More than stopping may take beside its grace, on a busy machine.
const MARGIN: Duration = Duration::from_secs(3);

/// A service of the health service; the empty one is all.
fn service(name: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: name.to_owned() }
}

#[tokio::test]
async fn a_server_that_drains_is_not_healthy_takes_nobody_and_serves_who_is_there() {
    let mut stage = Stage::start().await;
    stage.publish(1);
    let mut proxy = DeltaClient::connect(stage.channel(), Protocol::EcdsDelta, None).await;
    let first = proxy.next().await;
    proxy.answer(&first, Answer::Ack).await;
    let mut watching =
        soon(HealthClient::new(stage.channel()).watch(service(""))).await.unwrap().into_inner();
    assert_eq!(soon(watching.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);

    stage.xds.drain();
    assert_eq!(soon(watching.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let mut health = HealthClient::new(stage.channel());
    for name in ["", "envoy.service.discovery.v3.AggregatedDiscoveryService"] {
        let response = soon(health.check(service(name))).await.unwrap().into_inner();
        assert_eq!(response.status(), ServingStatus::NotServing, "{name:?}");
    }
    let refused = SotwClient::try_connect(stage.channel(), Protocol::AdsSotw).await;
    assert_eq!(refused.err().map(|status| status.code()), Some(Code::Unavailable));
    stage.publish(2);
    let second = proxy.next().await;
    proxy.answer(&second, Answer::Ack).await;
    stage.until(|status| status.acknowledged == Some(2) && status.connected).await;

    let begun = Instant::now();
    stage.close();
    assert_eq!(proxy.end().await, Code::Unavailable);
    assert!(soon(watching.message()).await.unwrap().is_none(), "who watches the health is not waited for");
    soon(stage.served()).await.unwrap();
    assert!(begun.elapsed() < SHUTDOWN_GRACE);
}

#[tokio::test]
async fn a_client_hears_that_its_connection_ends_before_its_streams_do() {
    let mut stage = Stage::start().await;
    stage.publish(1);
    let relay = Relay::start(&stage, 1 << 16, Duration::ZERO).await;
    let mut proxy = DeltaClient::connect(relay.channel(), Protocol::EcdsDelta, None).await;
    proxy.next().await;
    stage.close();
    let frames = soon(relay.until_frame(GOAWAY)).await;
    let ends = |frame: &Seen| frame.kind == HEADERS && frame.is_last;
    assert!(!frames.iter().any(ends), "it has time to turn to another server: {frames:?}");
    assert_eq!(proxy.end().await, Code::Unavailable);
    assert!(relay.frames().iter().any(ends));
}

#[tokio::test]
async fn a_response_that_was_begun_arrives_whole() {
    let mut stage = Stage::start().await;
    stage.publish_large(1);
    // About half a second for all of it.
    let relay = Relay::start(&stage, 32 << 10, Duration::from_millis(6)).await;
    let mut proxy = DeltaClient::connect(relay.channel(), Protocol::EcdsDelta, None).await;
    soon(relay.until_sent(LARGE_BYTES / 8)).await;
    stage.close();
    assert!(relay.sent() < LARGE_BYTES / 2, "it was there before the end began");
    let message = proxy.next().await;
    assert_eq!((message.revision(), message.bytes > LARGE_BYTES), (1, true));
    assert_eq!(proxy.end().await, Code::Unavailable);
    soon(stage.served()).await.unwrap();
}

#[tokio::test]
async fn who_reads_nothing_holds_up_neither_the_others_nor_the_end() {
    let mut stage = Stage::start().await;
    stage.publish_large(1);
    let _hung = SotwClient::connect_as(stage.channel(), Protocol::EcdsSotw, "hung").await;
    // Half-open: nobody takes from the connection itself.
    let relay = Relay::start(&stage, 1, Duration::MAX).await;
    let half_open = tokio::spawn(SotwClient::try_connect(relay.channel(), Protocol::EcdsSotw));
    soon(relay.until_sent(1)).await;
    let mut proxy = DeltaClient::connect(stage.channel(), Protocol::EcdsDelta, None).await;
    proxy.next().await;
    let begun = Instant::now();
    stage.close();
    assert_eq!(proxy.end().await, Code::Unavailable);
    assert!(begun.elapsed() < MARGIN, "{:?}", begun.elapsed());
    soon(stage.served()).await.unwrap();
    assert!(begun.elapsed() < SHUTDOWN_GRACE + MARGIN, "{:?}", begun.elapsed());
    half_open.abort();
}

#[tokio::test]
async fn nobody_is_told_by_reflection_what_is_served() {
    let stage = Stage::start().await;
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let mut client = tonic::client::Grpc::new(stage.channel());
        soon(client.ready()).await.unwrap();
        let asked = tonic::Request::new(tokio_stream::once(HealthCheckRequest::default()));
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
        let refused = soon(client.streaming(asked, path.parse().unwrap(), codec)).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unimplemented, "{version}");
    }
}
