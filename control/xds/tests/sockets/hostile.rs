//! Clients that ask for too much, or say nothing: each loses its stream or its connection, and nobody else does.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsResponse;
use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use graylane_xds::Protocol;
use graylane_xds::limits::{
    FIRST_MESSAGE_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, Limits, MESSAGES_BURST_SECONDS,
};
use http::uri::PathAndQuery;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, pause};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::clients::{Answer, DeltaClient, Proxy, SotwClient};
use crate::stage::{RESOURCE, Stage, soon};
use crate::{report, report_stream, report_stream_on};

const FLOODS: &str = "xds_refused_streams_total{reason=\"too-many-messages\"}";
const SILENT: &str = "xds_refused_streams_total{reason=\"no-first-message\"}";
const TURNED: &str = "xds_refused_connections_total{reason=\"too-many\"}";

/// What a client sends first by HTTP/2 (RFC 9113, section 3.4): the preface, and settings that change nothing.
pub const HTTP2_BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn limited(limits: Limits) -> Stage {
    let stage = Stage::start_with(None, limits).await;
    stage.publish(1);
    stage
}

#[tokio::test]
async fn a_flood_of_messages_ends_its_stream_and_the_others_on_its_connection_go_on() {
    const PER_SECOND: u32 = 10;
    let stage = limited(Limits { messages_per_second: PER_SECOND, ..Limits::DEFAULT }).await;
    let channel = stage.channel();
    let mut honest = SotwClient::connect_as(channel.clone(), Protocol::EcdsSotw, "honest").await;
    let first = honest.next().await;
    honest.answer(&first, Answer::Ack).await;

    let mut flood = DeltaClient::connect(channel.clone(), Protocol::AdsDelta, None).await;
    let first = flood.next().await;
    for _ in 0..=PER_SECOND * MESSAGES_BURST_SECONDS {
        flood.answer(&first, Answer::Ack).await;
    }
    assert_eq!(flood.end().await, Code::ResourceExhausted);

    let (reports, served) = report_stream_on(channel);
    for _ in 0..=2 * PER_SECOND * MESSAGES_BURST_SECONDS {
        // The stream ends meanwhile.
        let _ = reports.send(report("reporter", &[])).await;
    }
    assert_eq!(soon(served).await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(stage.figure(FLOODS), 2.0);

    stage.publish(2);
    assert_eq!(honest.next().await.revision(), 2);
}

#[tokio::test]
async fn who_does_not_say_who_it_is_in_time_loses_its_stream() {
    let stage = Stage::start().await;
    let nothing = tokio_stream::pending::<DiscoveryRequest>();
    let mut client = AggregatedDiscoveryServiceClient::new(stage.channel());
    let mut responses = soon(client.stream_aggregated_resources(nothing)).await.unwrap().into_inner();
    let (reports, served) = report_stream(&stage);
    stage.until_figure("xds_streams{protocol=\"metrics\"}", 1.0).await;
    // From here on time passes as soon as nobody has anything to do.
    pause();
    let begun = Instant::now();
    assert_eq!(responses.message().await.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() > FIRST_MESSAGE_TIMEOUT / 2, "{:?}", begun.elapsed());
    assert_eq!(served.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(stage.figure(SILENT), 2.0);
    drop(reports);
}

/// A report whose families are bytes, which need not be any.
#[derive(Clone, PartialEq, prost::Message)]
struct RawReport {
    #[prost(message, optional, tag = "1")]
    identifier: Option<Identifier>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    families: Vec<Vec<u8>>,
}

#[tokio::test]
async fn of_a_proxy_whose_rules_are_not_served_no_report_is_read() {
    const UNREADABLE: &str = "xds_refused_streams_total{reason=\"unreadable\"}";
    const REQUESTS: &str = "xds_requests_total{protocol=\"metrics\"}";
    let stage = limited(Limits::DEFAULT).await;
    let _known = SotwClient::connect_as(stage.channel(), Protocol::EcdsSotw, "known").await;
    stage.until(|status| status.connected).await;
    for (node, code) in [("known", Code::InvalidArgument), ("unknown", Code::Ok)] {
        let identifier = report(node, &[]).identifier;
        let garbled = RawReport { identifier, families: vec![vec![0xff]] };
        let mut client = tonic::client::Grpc::new(stage.channel());
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/envoy.service.metrics.v3.MetricsService/StreamMetrics");
        let codec = ProstCodec::<RawReport, StreamMetricsResponse>::default();
        let requests = Request::new(tokio_stream::iter([garbled.clone(), garbled]));
        let ended = soon(client.client_streaming(requests, path, codec)).await;
        assert_eq!(ended.map_or_else(|status| status.code(), |_| Code::Ok), code, "{node}");
    }
    assert_eq!((stage.figure(UNREADABLE), stage.figure(REQUESTS)), (1.0, 3.0));
    assert_eq!(stage.heard(), []);
}

#[tokio::test]
async fn a_connection_that_begins_and_then_says_nothing_is_closed() {
    let stage = Stage::start().await;
    let mut half_open = TcpStream::connect(stage.address().strip_prefix("http://").unwrap()).await.unwrap();
    half_open.write_all(HTTP2_BEGIN).await.unwrap();
    // The server's own settings: it has begun, too.
    assert!(soon(half_open.read(&mut [0; 256])).await.unwrap() > 0);
    pause();
    let begun = Instant::now();
    while half_open.read(&mut [0; 256]).await.is_ok_and(|bytes| bytes > 0) {}
    let lived = begun.elapsed();
    assert!(lived > KEEPALIVE_TIMEOUT, "{lived:?}");
    assert!(lived < KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT + Duration::from_secs(5), "{lived:?}");
}

#[tokio::test]
async fn one_connection_more_than_there_may_be_is_closed_and_the_first_goes_on() {
    let stage = limited(Limits { connections: 1, ..Limits::DEFAULT }).await;
    let mut proxy = SotwClient::connect_as(stage.channel(), Protocol::EcdsSotw, "n").await;
    let first = proxy.next().await;
    let mut second = TcpStream::connect(stage.address().strip_prefix("http://").unwrap()).await.unwrap();
    assert_eq!(soon(second.read(&mut [0; 16])).await.unwrap_or(0), 0);
    assert_eq!(stage.figure(TURNED), 1.0);
    proxy.answer(&first, Answer::Ack).await;
    stage.publish(2);
    assert_eq!(proxy.next().await.revision(), 2);
    drop(proxy);
    let served = async {
        loop {
            if let Ok(mut next) = SotwClient::try_connect(stage.channel(), Protocol::EcdsSotw).await {
                return next.next().await.revision();
            }
        }
    };
    assert_eq!(soon(served).await, 2, "its place is free again");
}

#[tokio::test]
async fn streams_and_names_and_bytes_have_the_limits_that_were_chosen() {
    let limits = Limits { streams: 1, names: 2, request_bytes: 64 << 10, ..Limits::DEFAULT };
    let stage = limited(limits).await;
    let mut proxy = SotwClient::ask(stage.channel(), "n", &[RESOURCE, "b"]).await.unwrap();
    let first = proxy.next().await;
    let refused = SotwClient::try_connect(stage.channel(), Protocol::EcdsSotw).await.err().unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::ResourceExhausted, "1 streams are open, which is the limit")
    );
    proxy.answer(&first, Answer::Nack(&"x".repeat(64 << 10))).await;
    assert_eq!(proxy.status().await.code(), Code::OutOfRange);
    let of_three = async {
        loop {
            let mut proxy = match SotwClient::ask(stage.channel(), "n", &[RESOURCE, "b", "c"]).await {
                Ok(proxy) => proxy,
                // The place of the first is not free yet.
                Err(status) if status.code() == Code::ResourceExhausted => continue,
                Err(status) => return status,
            };
            return proxy.status().await;
        }
    };
    let refused = soon(of_three).await;
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("more than 2 names"), "{refused}");
}
