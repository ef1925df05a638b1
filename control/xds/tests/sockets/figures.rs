//! What is measured, as it is scraped, from a proxy's first message to its last.

use std::time::Duration;

use graylane_xds::Protocol;
use graylane_xds::limits::Limits;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;
use tokio::time::sleep;
use tonic::Code;

use crate::clients::{Answer, DeltaClient, Proxy, SotwClient};
use crate::stage::{Stage, soon};
use crate::{report, report_stream};

// === impl Stage ===

impl Stage {
    /// The value of a line that is scraped.
    pub fn figure(&self, name: &str) -> f64 {
        let (mut registry, mut text) = (Registry::default(), String::new());
        self.xds.register(&mut registry);
        prometheus_text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    }

    /// Waits until a line has a value.
    #[track_caller]
    pub fn until_figure(&self, name: &str, value: f64) -> impl Future<Output = ()> {
        soon(async move {
            while self.figure(name) != value {
                sleep(Duration::from_millis(2)).await;
            }
        })
    }

    #[track_caller]
    pub fn check_figures(&self, expected: &[(&str, f64)]) {
        let found: Vec<_> = expected.iter().map(|(name, _)| (*name, self.figure(name))).collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn every_figure_follows_a_proxy_from_its_first_message_to_its_last() {
    let stage = Stage::start().await;
    stage.publish(1);
    let [stream, awaited] = ["xds_streams{protocol=\"ecds-delta\"}", "xds_unanswered_responses"];
    let [acked, nacked, unanswered] =
        ["acked", "nacked", "unanswered"].map(|result| format!("xds_pushes_total{{result=\"{result}\"}}"));
    stage.check_figures(&[
        (stream, 0.0),
        ("xds_sent_bytes_total", 0.0),
        ("xds_publishes_total", 1.0),
        (&acked, 0.0),
    ]);

    let mut proxy = DeltaClient::connect(stage.channel(), Protocol::EcdsDelta, None).await;
    let first = proxy.next().await;
    stage.check_figures(&[
        (stream, 1.0),
        ("xds_streams_opened_total{protocol=\"ecds-delta\"}", 1.0),
        ("xds_requests_total{protocol=\"ecds-delta\"}", 1.0),
        (awaited, 1.0),
        ("xds_queued_responses", 0.0),
        ("xds_push_seconds_count", 0.0),
    ]);
    let sent = stage.figure("xds_sent_bytes_total");
    assert!((100.0..1_000.0).contains(&sent), "{sent} bytes for a small resource");
    proxy.answer(&first, Answer::Ack).await;
    stage.until_figure(&acked, 1.0).await;
    stage.until_figure("proxy_convergence_seconds_count{step=\"acked\"}", 1.0).await;
    stage.check_figures(&[(awaited, 0.0), ("xds_push_seconds_count", 1.0), (&nacked, 0.0)]);
    assert!(stage.figure("xds_push_seconds_sum") > 0.0);

    let (reports, _metrics) = report_stream(&stage);
    reports.send(report("envoy-1", &[("wasmcustom.graylane_revision", 1.0)])).await.unwrap();
    stage.until_figure("proxy_convergence_seconds_count{step=\"applied\"}", 1.0).await;
    reports.send(report("envoy-1", &[("wasmcustom.graylane_config_rejected", 1.0)])).await.unwrap();
    stage.until_figure("xds_nacks_total{by=\"filter\"}", 1.0).await;
    reports.send(report("envoy-1", &[("wasmcustom.graylane_revision", 1.0)])).await.unwrap();
    stage.until_figure("xds_requests_total{protocol=\"metrics\"}", 3.0).await;
    stage.check_figures(&[
        ("proxy_convergence_seconds_count{step=\"applied\"}", 1.0),
        ("xds_nacks_total{by=\"filter\"}", 1.0),
        ("xds_streams{protocol=\"metrics\"}", 1.0),
        ("xds_held_back", 0.0),
    ]);

    stage.xds.accept("retail", 1);
    stage.publish(2);
    let second = proxy.next().await;
    proxy.answer(&second, Answer::Nack("cannot build the plugin")).await;
    let again = proxy.next().await;
    stage.check_figures(&[(&nacked, 1.0), ("xds_nacks_total{by=\"proxy\"}", 1.0), ("xds_held_back", 1.0)]);
    proxy.answer(&again, Answer::Ack).await;
    stage.until_figure(&acked, 2.0).await;
    // What it fell back on is not what was published.
    stage.check_figures(&[("proxy_convergence_seconds_count{step=\"acked\"}", 1.0), (&unanswered, 0.0)]);

    stage.publish(3);
    proxy.next().await;
    drop((proxy, reports));
    stage.until_figure(stream, 0.0).await;
    stage.until_figure("xds_streams{protocol=\"metrics\"}", 0.0).await;
    stage.check_figures(&[(&unanswered, 1.0), (awaited, 0.0), ("xds_queued_responses", 0.0)]);
    stage.check_figures(&[
        ("xds_publishes_total", 3.0),
        ("xds_streams_opened_total{protocol=\"ecds-delta\"}", 1.0),
    ]);
}

#[tokio::test]
async fn who_comes_back_with_what_it_should_have_does_not_converge_again() {
    let before = Stage::start().await;
    before.publish(1);
    let held = DeltaClient::connect(before.channel(), Protocol::EcdsDelta, None).await.next().await.version;
    let after = Stage::start().await;
    after.publish(1);
    let _proxy = DeltaClient::connect(after.channel(), Protocol::EcdsDelta, Some(&held)).await;
    after.until(|status| status.acknowledged == Some(1)).await;
    let (reports, _metrics) = report_stream(&after);
    reports.send(report("envoy-1", &[("wasmcustom.graylane_revision", 1.0)])).await.unwrap();
    after.until(|status| status.applied == Some(1)).await;
    for step in ["acked", "applied"] {
        after.check_figures(&[(&format!("proxy_convergence_seconds_count{{step=\"{step}\"}}"), 0.0)]);
    }
}

#[tokio::test]
async fn a_refused_stream_is_counted_with_its_reason() {
    let stage = Stage::start().await;
    stage.publish(1);
    let refused = |reason: &str| format!("xds_refused_streams_total{{reason=\"{reason}\"}}");
    let mut nameless = SotwClient::connect_as(stage.channel(), Protocol::AdsSotw, "").await;
    assert_eq!(nameless.end().await, Code::InvalidArgument);
    stage.check_figures(&[(&refused("malformed"), 1.0), (&refused("unreadable"), 0.0)]);
    let mut proxy = SotwClient::connect(stage.channel(), Protocol::EcdsSotw, None).await;
    let first = proxy.next().await;
    proxy.answer(&first, Answer::Nack(&"x".repeat(Limits::DEFAULT.request_bytes))).await;
    stage.until_figure(&refused("unreadable"), 1.0).await;
    // One that just goes away is none.
    drop(DeltaClient::connect(stage.channel(), Protocol::EcdsDelta, None).await);
    stage.until_figure("xds_streams{protocol=\"ecds-delta\"}", 0.0).await;
    stage.check_figures(&[(&refused("malformed"), 1.0), (&refused("unreadable"), 1.0)]);
}
