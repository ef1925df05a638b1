//! How proxies stand: the real program, by command line and by HTTP, with proxies as far as xDS sees them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;

use daemon::{Daemon, read_until, terminal};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_client::ExtensionConfigDiscoveryServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_client::MetricsServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::{
    StreamMetricsMessage, stream_metrics_message::Identifier,
};
use envoy_types::pb::google::rpc::Status;
use envoy_types::pb::io::prometheus::client::{Gauge, Metric, MetricFamily};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");
const TYPE_URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// How long anything may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A daemon, and what its proxies run on.
struct Mesh {
    runtime: Runtime,
    daemon: Daemon,
    data: tempfile::TempDir,
}

/// A proxy with one resource by ECDS, delta.
struct Proxy {
    node: String,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    answers: tonic::Streaming<DeltaDiscoveryResponse>,
}

// === impl Mesh ===

impl Mesh {
    /// A daemon with the rules of tenants `retail` and `cards`.
    fn start() -> Self {
        Self::start_with("tenants: {}")
    }

    fn start_with(config: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("graylane.yaml");
        std::fs::write(&file, config).unwrap();
        let daemon = Daemon::start_with(data.path(), &["--config", file.to_str().unwrap()]);
        let cards = PLAN.replace("tenant: retail", "tenant: cards").replace("loan-2026-11", "cards-2026-11");
        for plan in [PLAN, &cards] {
            daemon.json(&["plan", "apply", "-f", "-"], plan);
        }
        Self { runtime: Runtime::new().unwrap(), daemon, data }
    }

    fn connect(&self, node: &str, cluster: &str, tenant: &str) -> Proxy {
        let (requests, receiver) = mpsc::channel(4);
        let first = DeltaDiscoveryRequest {
            node: Some(Node { id: node.into(), cluster: cluster.into(), ..Node::default() }),
            type_url: TYPE_URL.into(),
            resource_names_subscribe: vec![format!("graylane.v1.{tenant}")],
            ..DeltaDiscoveryRequest::default()
        };
        let answers = self.runtime.block_on(async {
            requests.send(first).await.unwrap();
            let client = ExtensionConfigDiscoveryServiceClient::connect(self.daemon.xds.clone()).await;
            client.unwrap().delta_extension_configs(ReceiverStream::new(receiver)).await.unwrap()
        });
        Proxy { node: node.to_owned(), requests, answers: answers.into_inner() }
    }

    /// Takes what the proxy is sent, and acknowledges it, or refuses it for a reason.
    fn answer(&self, proxy: &mut Proxy, refusal: Option<&str>) {
        self.runtime.block_on(async {
            let sent = tokio::time::timeout(DEADLINE, proxy.answers.message()).await.unwrap();
            let message = refusal.map(ToOwned::to_owned);
            let answer = DeltaDiscoveryRequest {
                type_url: TYPE_URL.into(),
                response_nonce: sent.unwrap().unwrap().nonce,
                error_detail: message.map(|message| Status { code: 13, message, details: Vec::new() }),
                ..DeltaDiscoveryRequest::default()
            };
            proxy.requests.send(answer).await.unwrap();
        });
    }

    /// Tells what the filter of a node says.
    fn report(&self, node: &str, gauge: &str, value: u64) {
        let gauge_of = |value: u64| Gauge { value: Some(value as f64) };
        let family = MetricFamily {
            name: Some(format!("wasmcustom.{gauge}")),
            metric: vec![Metric { gauge: Some(gauge_of(value)), ..Metric::default() }],
            ..MetricFamily::default()
        };
        let node = Node { id: node.to_owned(), ..Node::default() };
        let message = StreamMetricsMessage {
            identifier: Some(Identifier { node: Some(node) }),
            envoy_metrics: vec![family],
        };
        self.runtime.block_on(async {
            let client = MetricsServiceClient::connect(self.daemon.xds.clone()).await;
            client.unwrap().stream_metrics(tokio_stream::iter([message])).await.unwrap();
        });
    }

    /// Waits until the proxy of a node is in a state, and gives it.
    #[track_caller]
    fn until(&self, node: &str, state: &str) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = self.daemon.request("GET", &format!("/api/v1/proxies/{node}"), &[], b"");
            if answer.status == 200 && answer.json[0]["state"] == state {
                return answer.json[0].clone();
            }
            assert!(Instant::now() < deadline, "{}", answer.json);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The proxy that is sent a revision before the other one.
    fn sent_first(&self, both: [Proxy; 2], revision: u64) -> (Proxy, Proxy) {
        let sent = |node: &str| {
            let answer = self.daemon.request("GET", &format!("/api/v1/proxies/{node}"), &[], b"");
            answer.json[0]["sent"].as_u64() == Some(revision)
        };
        let deadline = Instant::now() + DEADLINE;
        let [one, two] = both;
        loop {
            match (sent(&one.node), sent(&two.node)) {
                (true, false) => return (one, two),
                (false, true) => return (two, one),
                (false, false) => assert!(Instant::now() < deadline, "nobody is sent revision {revision}"),
                (true, true) => unreachable!("both are sent revision {revision}"),
            }
        }
    }

    /// Waits until the first order is in a phase.
    #[track_caller]
    fn until_order(&self, phase: &str) {
        let deadline = Instant::now() + DEADLINE;
        while self.daemon.json(&["order", "get", "1"], "")["phase"] != phase {
            assert!(Instant::now() < deadline, "the order is not {phase}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the daemon, and starts another on the same data.
    fn restart(self) -> Self {
        let Self { runtime, daemon, data } = self;
        daemon.kill();
        Self { runtime, daemon: Daemon::start(data.path()), data }
    }

    /// The nodes that a list has.
    fn nodes(&self, filter: &[&str]) -> Vec<String> {
        let page = self.daemon.json(&[&["proxies"], filter].concat(), "");
        let nodes = page["proxies"].as_array().unwrap().iter();
        nodes.map(|proxy| proxy["node"].as_str().unwrap().to_owned()).collect()
    }

    /// One proxy in each state, each named after it.
    fn with_one_in_each_state(&self) -> Vec<Proxy> {
        let mut proxies: Vec<Proxy> = ["synced", "not-reporting", "nacked", "gone"]
            .map(|name| self.connect(&format!("web-{name}"), "web", "retail"))
            .into();
        for proxy in &mut proxies {
            let refusal = (proxy.node == "web-nacked").then_some("no such file\nlook into the log");
            self.answer(proxy, refusal);
        }
        self.until("web-synced", "NOT-REPORTING");
        let applied = self.until("web-not-reporting", "NOT-REPORTING")["wanted"].as_u64().unwrap();
        self.until("web-gone", "NOT-REPORTING");
        self.report("web-synced", "graylane_revision", applied);
        proxies.pop();
        proxies.push(self.connect("app-stale", "app", "cards"));
        proxies.push(self.connect("app-no-rules", "app", "nobody"));
        for (node, state) in [
            ("web-synced", "SYNCED"),
            ("web-nacked", "NACKED"),
            ("web-gone", "GONE"),
            ("app-stale", "STALE"),
            ("app-no-rules", "NO-RULES"),
        ] {
            self.until(node, state);
        }
        proxies
    }
}

#[test]
fn a_proxy_goes_from_word_to_word_as_it_is_observed() {
    let mesh = Mesh::start();
    let mut proxy = mesh.connect("web-1", "web", "retail");
    let stale = mesh.until("web-1", "STALE");
    assert_eq!((&stale["acknowledged"], stale["connected"].as_bool()), (&Value::Null, Some(true)));
    mesh.answer(&mut proxy, None);
    let quiet = mesh.until("web-1", "NOT-REPORTING");
    assert_eq!((&quiet["acknowledged"], &quiet["applied"]), (&quiet["wanted"], &Value::Null));
    let first = quiet["wanted"].as_u64().unwrap();
    mesh.report("web-1", "graylane_revision", first);
    assert_eq!(mesh.until("web-1", "SYNCED")["applied"], first);

    mesh.daemon.json(&["order", "start", "loan-2026-11"], "");
    mesh.until("web-1", "STALE");
    mesh.answer(&mut proxy, Some("no such file"));
    let nacked = mesh.until("web-1", "NACKED");
    assert_eq!(nacked["lastNack"], json!({ "revision": first + 1, "message": "no such file" }));
    assert_eq!((&nacked["applied"], &nacked["acknowledged"]), (&json!(first), &json!(first)));

    // What it had, under another version.
    mesh.answer(&mut proxy, None);
    mesh.daemon.json(&["order", "rollback", "1"], "");
    mesh.answer(&mut proxy, None);
    // Acknowledged, but the filter's last report is of an older one still.
    let behind = mesh.until("web-1", "STALE");
    assert_eq!((&behind["acknowledged"], &behind["lastNack"]), (&behind["wanted"], &Value::Null));
    mesh.report("web-1", "graylane_config_rejected", 1);
    assert_eq!(mesh.until("web-1", "NACKED")["rejectedConfig"], true);
    mesh.report("web-1", "graylane_config_rejected", 0);
    mesh.report("web-1", "graylane_revision", behind["wanted"].as_u64().unwrap());
    mesh.until("web-1", "SYNCED");

    drop(proxy);
    let gone = mesh.until("web-1", "GONE");
    assert!(gone["connectedSeconds"].is_null() && gone["goneSeconds"].is_f64() && gone["connected"] == false);
}

#[test]
fn a_list_has_the_proxies_of_which_all_holds_and_counts_every_state() {
    let mesh = Mesh::start();
    let _proxies = mesh.with_one_in_each_state();
    let web = ["web-gone", "web-nacked", "web-not-reporting", "web-synced"];
    for (filter, found) in [
        (&[][..], &[&["app-no-rules", "app-stale"][..], &web].concat()[..]),
        (&["--tenant", "cards"], &["app-stale"]),
        (&["--tenant", "nobody", "--state", "stale"], &[]),
        (&["--state", "stale", "--state", "GONE"], &["app-stale", "web-gone"]),
        (&["--node", "web-n"], &["web-nacked", "web-not-reporting"]),
        (&["--cluster", "web"], &web),
        (&["--cluster", "w"], &[]),
        (&["--limit", "2"], &["app-no-rules", "app-stale"]),
        (&["--after", "web-nacked"], &["web-not-reporting", "web-synced"]),
        (&["--node", "web&state=GONE"], &[]),
    ] {
        assert_eq!(mesh.nodes(filter), found, "{filter:?}");
    }
    let page = mesh.daemon.json(&["proxies", "--state", "NACKED", "--limit", "1"], "");
    let one_of_each =
        json!({ "SYNCED": 1, "NOT-REPORTING": 1, "STALE": 1, "NACKED": 1, "NO-RULES": 1, "GONE": 1 });
    assert_eq!((&page["counts"], &page["next"]), (&one_of_each, &Value::Null));

    let text = String::from_utf8(mesh.daemon.cli(&["proxies", "--limit", "2"], "").stdout).unwrap();
    let counts = "6 proxies: 1 SYNCED, 1 NOT-REPORTING, 1 STALE, 1 NACKED, 1 NO-RULES, 1 GONE";
    assert!(
        text.contains(counts) && text.contains("These are 2; see more with --after 'app-stale'"),
        "{text}"
    );
}

#[test]
fn a_filter_that_cannot_be_is_refused_with_its_field() {
    let mesh = Mesh::start();
    for (query, said) in [
        ("state=SYNCD", "the states are SYNCED, NOT-REPORTING, STALE, NACKED, NO-RULES, GONE"),
        ("state=", "state"),
        ("limit=0", "read on with `after`"),
        ("limit=1001", "limit"),
        ("states=GONE", "states"),
    ] {
        let answer = mesh.daemon.request("GET", &format!("/api/v1/proxies?{query}"), &[], b"");
        let detail = answer.json["detail"].as_str().unwrap();
        assert!(answer.status == 400 && detail.contains(said), "{query}: {detail}");
    }
    let wrong = mesh.daemon.cli(&["proxies", "--state", "STAL"], "");
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(wrong.status.code() == Some(1) && said.contains("the states are SYNCED"), "{said}");
}

#[test]
fn one_proxy_is_shown_whole_and_an_unknown_one_with_the_nearest_name() {
    let mesh = Mesh::start();
    let _proxies = mesh.with_one_in_each_state();
    let text = String::from_utf8(mesh.daemon.cli(&["proxies", "get", "web-nacked"], "").stdout).unwrap();
    assert!(text.starts_with("graylane.v1.retail of web-nacked: NACKED\n"), "{text}");
    assert!(text.contains("    no such file\n    look into the log"), "{text}");
    let _second = mesh.connect("web-synced", "web", "cards");
    let deadline = Instant::now() + DEADLINE;
    let both = loop {
        let both = mesh.daemon.json(&["proxies", "get", "web-synced"], "");
        if both.as_array().unwrap().len() == 2 {
            break both;
        }
        assert!(Instant::now() < deadline, "{both}");
    };
    // A report does not say whose revision it is.
    assert_eq!((&both[0]["state"], &both[1]["state"]), (&json!("STALE"), &json!("NOT-REPORTING")));

    let unknown = mesh.daemon.cli(&["proxies", "get", "web-nackd"], "");
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(unknown.status.code() == Some(1), "{said}");
    assert!(said.contains(r#"there is no proxy "web-nackd"; did you mean "web-nacked"?"#), "{said}");
    // What a shell has set for other commands is no filter here.
    let got = mesh.daemon.cli_with(&[("GRAYLANE_TENANT", "cards")], &["proxies", "get", "web-nacked"], "");
    assert!(got.status.success(), "{got:?}");
    let got = mesh.daemon.cli(&["proxies", "-o", "json", "get", "web-nacked"], "");
    assert!(got.status.success() && got.stdout.starts_with(b"["), "{got:?}");
    let filtered = mesh.daemon.cli(&["proxies", "--state", "GONE", "get", "web-nacked"], "");
    assert_eq!(filtered.status.code(), Some(1), "a filter is not passed over: {filtered:?}");
    let odd = mesh.connect("a/b c?%", "web", "retail");
    mesh.until("a%2Fb%20c%3F%25", "STALE");
    assert_eq!(mesh.daemon.json(&["proxies", "get", &odd.node], "")[0]["node"], odd.node);
}

#[test]
fn proxies_that_are_watched_in_a_pipe_are_told_as_they_change() {
    let mesh = Mesh::start();
    let mut first = mesh.connect("web-1", "web", "retail");
    mesh.answer(&mut first, None);
    let mut proxy = mesh.connect("web-2", "web", "retail");
    mesh.until("web-1", "NOT-REPORTING");
    // What it is sent is a change, too, and it is sent once the first one had time to report.
    let deadline = Instant::now() + DEADLINE;
    while mesh.until("web-2", "STALE")["sent"].is_null() {
        assert!(Instant::now() < deadline, "nothing is sent");
    }
    let watch = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graylane"));
        command.args(["--server", &mesh.daemon.server, "proxies", "--watch=60"]).args(args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        (child, lines)
    };
    let (mut json_child, mut pages) = watch(&["-o", "json"]);
    let (mut text_child, mut lines) = watch(&[]);
    let page: Value = serde_json::from_str(&pages.next().unwrap()).unwrap();
    assert_eq!(page["counts"]["STALE"], 1);
    let mut until_counts = || lines.by_ref().take_while(|line| !line.is_empty()).collect::<Vec<_>>();
    let first = until_counts();
    assert!(first.len() == 4 && first[3] == "2 proxies: 1 NOT-REPORTING, 1 STALE", "{first:?}");
    mesh.answer(&mut proxy, None);
    let page: Value = serde_json::from_str(&pages.next().unwrap()).unwrap();
    assert_eq!(
        (&page["proxies"][1]["state"], &page["counts"]["STALE"]),
        (&json!("NOT-REPORTING"), &json!(0))
    );
    let then = until_counts();
    assert!(then.len() == 3 && then[1].starts_with(" web-2 "), "only what changed: {then:?}");
    assert_eq!(then[2], "2 proxies: 2 NOT-REPORTING");
    for child in [&mut json_child, &mut text_child] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let begun = Instant::now();
    let ended = mesh.daemon.cli(&["proxies", "--watch=1"], "");
    assert!(
        ended.status.success() && begun.elapsed() >= Duration::from_secs(1),
        "it ends when its time is over"
    );
}

#[test]
fn proxies_that_are_watched_on_a_terminal_stay_in_their_place() {
    let mesh = Mesh::start();
    let mut proxy = mesh.connect("web-1", "web", "retail");
    mesh.until("web-1", "STALE");
    let (mut shown, screen) = terminal();
    let mut command = Command::new(env!("CARGO_BIN_EXE_graylane"));
    command.args(["--server", &mesh.daemon.server, "proxies", "--watch=60"]);
    let mut watching = command.stdout(screen).spawn().unwrap();
    drop(command);
    let mut text = Vec::new();
    let mut read_until = |wanted: &str| read_until(&mut shown, &mut text, wanted);
    read_until("1 proxy: 1 STALE");
    mesh.answer(&mut proxy, None);
    let after = read_until("1 proxy: 1 NOT-REPORTING");
    assert!(after.contains("\x1b[3F\x1b[J"), "{after:?}");
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn a_publish_reaches_one_proxy_first_and_all_others_when_its_filter_runs_it() {
    let mesh = Mesh::start();
    let mut both = ["one", "two"].map(|node| mesh.connect(node, "web", "retail"));
    for proxy in &mut both {
        mesh.answer(proxy, None);
        mesh.report(&proxy.node, "graylane_revision", 1);
        mesh.until(&proxy.node, "SYNCED");
    }
    mesh.daemon.json(&["order", "start", "loan-2026-11"], "");
    let (mut canary, mut other) = mesh.sent_first(both, 2);
    mesh.answer(&mut canary, None);
    let deadline = Instant::now() + DEADLINE;
    while mesh.until(&canary.node, "STALE")["acknowledged"] != 2 {
        assert!(Instant::now() < deadline, "it acknowledges nothing");
    }
    // Longer than the daemon takes to look.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(mesh.until(&other.node, "STALE")["sent"], 1, "the canary does not run it yet");
    mesh.report(&canary.node, "graylane_revision", 2);
    mesh.answer(&mut other, None);
    mesh.report(&other.node, "graylane_revision", 2);
    mesh.until(&other.node, "SYNCED");

    // What its filter cannot read is refused, though Envoy acknowledges it.
    for proxy in [&canary, &other] {
        mesh.report(&proxy.node, "graylane_config_rejected", 0);
    }
    mesh.daemon.json(&["order", "advance", "1"], "");
    let (mut canary, other) = mesh.sent_first([canary, other], 3);
    mesh.answer(&mut canary, None);
    mesh.report(&canary.node, "graylane_config_rejected", 1);
    mesh.until_order("Paused");
    let order = mesh.daemon.json(&["order", "get", "1"], "");
    let last = order["timeline"].as_array().unwrap().last().unwrap().clone();
    let why = "its filter cannot read it, and runs revision 2";
    assert_eq!(last["actor"]["reason"], format!("proxy {:?} refused revision 3: {why}", canary.node));
    assert_eq!(mesh.until(&other.node, "STALE")["sent"], 2);
}

/// One of two proxies does not answer what an order publishes.
fn lag(policy: &str) -> (Mesh, [Proxy; 2]) {
    let mesh = Mesh::start_with(&format!(
        "proxies: {{ canary: {{ percent: 100 }}, laggards: {{ policy: {policy}, after: 1s }} }}"
    ));
    let mut both = ["one", "two"].map(|node| mesh.connect(node, "web", "retail"));
    both.iter_mut().for_each(|proxy| mesh.answer(proxy, None));
    mesh.until("two", "NOT-REPORTING");
    mesh.daemon.json(&["order", "start", "loan-2026-11"], "");
    mesh.answer(&mut both[0], None);
    (mesh, both)
}

#[test]
fn an_order_whose_proxies_lag_pauses_after_the_time_that_the_configuration_gives() {
    let (mesh, mut both) = lag("pause");
    mesh.until_order("Paused");
    let order = mesh.daemon.json(&["order", "get", "1"], "");
    let last = order["timeline"].as_array().unwrap().last().unwrap().clone();
    let expected = r#"1 proxies do not run revision 2 after 1s, "two" the first"#;
    assert_eq!(last["actor"]["reason"], expected);
    assert_eq!(order["convergence"]["total"], 2);
    mesh.daemon.json(&["order", "resume", "1"], "");
    mesh.until_order("Paused");
    mesh.answer(&mut both[1], None);
    mesh.daemon.json(&["order", "resume", "1"], "");
    std::thread::sleep(Duration::from_millis(1_500));
    mesh.until_order("Running");
}

#[test]
fn a_proxy_that_lags_is_not_counted_after_the_time_that_the_configuration_gives() {
    let (mesh, mut both) = lag("ignore");
    let convergence = |expected: Value| {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = mesh.daemon.json(&["order", "get", "1"], "")["convergence"].clone();
            let found = json!([found["converged"], found["total"], found["ignored"]]);
            if found == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{found}, and not {expected}");
        }
    };
    convergence(json!([1, 2, 0]));
    convergence(json!([1, 1, 1]));
    let list = mesh.daemon.cli(&["order", "list"], "");
    assert!(String::from_utf8(list.stdout).unwrap().contains("1/1, 1 ignored"));
    mesh.daemon.json(&["order", "advance", "1"], "");
    convergence(json!([0, 2, 0]));
    std::thread::sleep(Duration::from_millis(1_500));
    convergence(json!([0, 2, 0]));
    mesh.answer(&mut both[0], None);
    convergence(json!([1, 1, 1]));
}

/// F24 and F25.
#[test]
fn what_one_proxy_refuses_stops_the_order_and_reaches_nobody_else_until_it_is_tried_again() {
    let mesh = Mesh::start();
    let mut both = ["one", "two"].map(|node| mesh.connect(node, "web", "retail"));
    both.iter_mut().for_each(|proxy| mesh.answer(proxy, None));
    let before = mesh.until("one", "NOT-REPORTING")["wanted"].as_u64().unwrap();
    mesh.until("two", "NOT-REPORTING");
    mesh.daemon.json(&["order", "start", "loan-2026-11"], "");
    let (mut odd, good) = mesh.sent_first(both, before + 1);
    mesh.answer(&mut odd, Some("no such file"));
    mesh.answer(&mut odd, None);
    let stands = mesh.until(&odd.node, "NACKED");
    assert_eq!(
        (stands["acknowledged"].as_u64(), stands["wanted"].as_u64()),
        (Some(before), Some(before + 1))
    );
    mesh.until_order("Paused");
    assert_eq!(mesh.until(&good.node, "STALE")["sent"], before, "the other one was not sent it");
    let order = mesh.daemon.json(&["order", "get", "1"], "");
    let last = order["timeline"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        last["actor"]["reason"],
        format!("proxy {:?} refused revision {}: no such file", odd.node, before + 1)
    );
    mesh.daemon.json(&["order", "resume", "1"], "");
    mesh.until_order("Paused");
    let mut newcomer = mesh.connect("newcomer", "web", "retail");
    mesh.answer(&mut newcomer, None);
    let deadline = Instant::now() + DEADLINE;
    while mesh.until("newcomer", "STALE")["acknowledged"] != before {
        assert!(Instant::now() < deadline, "it does not get what all accepted");
    }
    let mesh = mesh.restart();
    let mut late = mesh.connect("late", "web", "retail");
    mesh.answer(&mut late, None);
    let deadline = Instant::now() + DEADLINE;
    while mesh.until("late", "STALE")["acknowledged"] != before {
        assert!(Instant::now() < deadline, "another daemon does not know what all accepted");
    }
    mesh.daemon.json(&["rules", "retry", "--tenant", "retail", "--reason", "the file is there"], "");
    mesh.answer(&mut late, None);
    let stands = mesh.until("late", "NOT-REPORTING");
    assert_eq!(stands["wanted"].as_u64(), Some(before + 2), "the same under another number");
    mesh.daemon.json(&["order", "resume", "1"], "");
    mesh.daemon.json(&["order", "rollback", "1"], "");
    mesh.answer(&mut late, Some("the disk is gone"));
    mesh.until("late", "NACKED");
    let mut last = mesh.connect("last", "web", "retail");
    mesh.answer(&mut last, None);
    assert_eq!(
        mesh.until("last", "NOT-REPORTING")["wanted"].as_u64(),
        Some(before + 3),
        "nobody stops a rollback"
    );
    let audit = mesh.daemon.cli(&["audit", "list"], "");
    let audit = String::from_utf8(audit.stdout).unwrap();
    assert!(audit.contains("rules.refuse") && audit.contains("rules.retry"), "{audit}");
}
