//! A bank with one judged service, and proxies that report of it what a test wants.

#![allow(dead_code, reason = "each test file uses its part")]

use crate::daemon::Daemon;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_client::ExtensionConfigDiscoveryServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_client::MetricsServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::{
    StreamMetricsMessage, stream_metrics_message::Identifier,
};
use envoy_types::pb::io::prometheus::client::{
    Bucket, Counter, Gauge, Histogram, Metric, MetricFamily, MetricType,
};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

const TYPE_URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// A plan of one judged service, whose order rolls back by itself.
pub const PLAN: &str = "{ apiVersion: graylane.dev/v1alpha1, kind: ReleasePlan, metadata: { name: p, tenant: retail }, spec: {
    owner: o, services: [{ name: loan, hosts: [loan.local], stable: v1, gray: v2 }], stages: [{ name: one, scope: { all: true } }],
    health: { window: 5s, minRequests: 10, errors: { max: 2% }, onFault: rollback-order } } }";

/// How long anything may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How long a proxy waits between two reports.
const INTERVAL: Duration = Duration::from_millis(100);

/// A daemon with order 1, and what its proxies run on.
pub struct Bank {
    pub runtime: Runtime,
    pub daemon: Daemon,
    data: tempfile::TempDir,
}

/// A proxy that asks for the rules of a tenant, and reports.
pub struct Proxy {
    node: String,
    /// Requests and errors of gray, then of stable, since it started.
    counted: [u64; 4],
    reports: mpsc::Sender<StreamMetricsMessage>,
    served: JoinHandle<Result<(), Status>>,
    /// None once they are acknowledged elsewhere.
    rules: Option<(mpsc::Sender<DeltaDiscoveryRequest>, Streaming<DeltaDiscoveryResponse>)>,
}

// === impl Bank ===

impl Bank {
    pub fn start() -> Self {
        Self::start_with(PLAN, "")
    }

    /// A bank with another plan, and a configuration.
    pub fn start_with(plan: &str, config: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("config.yaml");
        std::fs::write(&file, config).unwrap();
        let daemon = Daemon::start_with(&data.path().join("data"), &["--config", file.to_str().unwrap()]);
        daemon.json(&["plan", "apply", "-f", "-"], plan);
        daemon.json(&["order", "start", "p"], "");
        Self { runtime: Runtime::new().unwrap(), daemon, data }
    }

    /// The same after a power cut, with no proxy.
    pub fn restarted(self) -> Self {
        let Self { runtime, daemon, data } = self;
        daemon.kill();
        let daemon = Daemon::start(&data.path().join("data"));
        Self { runtime, daemon, data }
    }

    /// A new proxy on a connection of its own.
    pub fn connect(&self, node: &str, tenant: &str) -> Proxy {
        self.runtime.block_on(async {
            let channel = Channel::from_shared(self.daemon.xds.clone()).unwrap().connect().await.unwrap();
            let (requests, receiver) = mpsc::channel(4);
            let first = DeltaDiscoveryRequest {
                node: Some(named(node)),
                type_url: TYPE_URL.into(),
                resource_names_subscribe: vec![format!("graylane.v1.{tenant}")],
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(first).await.unwrap();
            let mut client = ExtensionConfigDiscoveryServiceClient::new(channel.clone());
            let answers = client.delta_extension_configs(ReceiverStream::new(receiver)).await.unwrap();
            let (reports, served) = report_stream(channel);
            let rules = Some((requests, answers.into_inner()));
            Proxy { node: node.to_owned(), counted: [0; 4], reports, served, rules }
        })
    }

    /// Has a proxy acknowledge all rules that it is sent.
    pub fn follow(&self, proxy: &mut Proxy) {
        let (requests, mut answers) = proxy.rules.take().unwrap();
        self.runtime.spawn(async move {
            while let Ok(Some(answer)) = answers.message().await {
                let (type_url, response_nonce) = (TYPE_URL.into(), answer.nonce);
                let taken =
                    DeltaDiscoveryRequest { type_url, response_nonce, ..DeltaDiscoveryRequest::default() };
                if requests.send(taken).await.is_err() {
                    return;
                }
            }
        });
    }

    /// One report of each proxy, which counted so much since its last one.
    pub fn count(&self, proxies: &mut [Proxy], each: [u64; 4]) {
        for proxy in proxies {
            let families = proxy.count(each);
            self.report(proxy, families).unwrap();
        }
        std::thread::sleep(INTERVAL);
    }

    /// A report of a proxy; an error when its stream ended.
    pub fn report(&self, proxy: &Proxy, families: Vec<MetricFamily>) -> Result<(), &'static str> {
        let node = Some(named(&proxy.node));
        let message = StreamMetricsMessage { identifier: Some(Identifier { node }), envoy_metrics: families };
        self.runtime.block_on(proxy.reports.send(message)).map_err(|_| "the stream ended")
    }

    /// Lets proxies count so much, again and again, until order 1 is as wanted, and gives it.
    #[track_caller]
    pub fn until(
        &self,
        proxies: &mut [Proxy],
        each: [u64; 4],
        mut is_wanted: impl FnMut(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.count(proxies, each);
            let order = self.order();
            if is_wanted(&order) {
                return order;
            }
            assert!(Instant::now() < deadline, "{order}");
        }
    }

    /// Ends the reports of a proxy; an error when the daemon did before.
    pub fn ended(&self, proxy: Proxy) -> Result<(), Status> {
        drop(proxy.reports);
        self.runtime.block_on(proxy.served).unwrap()
    }

    /// Order 1 as it is.
    pub fn order(&self) -> Value {
        self.daemon.request("GET", "/api/v1/orders/1", &[], b"").json
    }
}

// === impl Proxy ===

impl Proxy {
    /// What it reports when it counted so much more.
    fn count(&mut self, more: [u64; 4]) -> Vec<MetricFamily> {
        for (sum, more) in self.counted.iter_mut().zip(more) {
            *sum += more;
        }
        let [gray, gray_errors, stable, stable_errors] = self.counted.map(|count| count as f64);
        let [gray_times, _, stable_times, _] = more;
        [
            of_cluster("loan-v2", gray, gray_errors, gray_times),
            of_cluster("loan-v1", stable, stable_errors, stable_times),
        ]
        .concat()
    }
}

fn report_stream(channel: Channel) -> (mpsc::Sender<StreamMetricsMessage>, JoinHandle<Result<(), Status>>) {
    let (reports, receiver) = mpsc::channel(1);
    let served = tokio::spawn(async move {
        let mut client = MetricsServiceClient::new(channel);
        client.stream_metrics(ReceiverStream::new(receiver)).await.map(drop)
    });
    (reports, served)
}

fn named(id: &str) -> Node {
    Node { id: id.to_owned(), ..Node::default() }
}

/// What a proxy says of a cluster: requests and errors since it started, and how many took 10 to 25 ms since the last report.
pub fn of_cluster(cluster: &str, completed: f64, errors: f64, times: u64) -> Vec<MetricFamily> {
    let named = |figure: &str| format!("cluster.{cluster}.{figure}");
    let bucket = |bound, count| Bucket {
        upper_bound: Some(bound),
        cumulative_count: Some(count),
        ..Bucket::default()
    };
    let times = Histogram {
        sample_count: Some(times),
        bucket: vec![bucket(10.0, 0), bucket(25.0, times)],
        ..Histogram::default()
    };
    vec![
        counter(&named("upstream_rq_completed"), completed),
        counter(&named("upstream_rq_5xx"), errors),
        gauge(&named("membership_healthy"), 1.0),
        family(
            &named("upstream_rq_time"),
            MetricType::Histogram,
            Metric { histogram: Some(times), ..Metric::default() },
        ),
    ]
}

pub fn counter(name: &str, value: f64) -> MetricFamily {
    let counter = Some(Counter { value: Some(value), ..Counter::default() });
    family(name, MetricType::Counter, Metric { counter, ..Metric::default() })
}

pub fn gauge(name: &str, value: f64) -> MetricFamily {
    let gauge = Some(Gauge { value: Some(value) });
    family(name, MetricType::Gauge, Metric { gauge, ..Metric::default() })
}

pub fn family(name: &str, kind: MetricType, metric: Metric) -> MetricFamily {
    let (name, kind) = (Some(name.to_owned()), Some(kind.into()));
    MetricFamily { name, r#type: kind, metric: vec![metric], ..MetricFamily::default() }
}
