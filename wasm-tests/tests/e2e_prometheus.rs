//! Gray versions behind real Envoys, judged by what a real Prometheus scrapes of these.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use graylane_wasm_tests::prometheus::Prometheus;
use graylane_wasm_tests::{
    Client, Daemon, Envoy, LEDGER_HOST, LOAN_HOST, Load, LoadSettings, Mood, Request, Testbed, free_address,
    wait,
};
use serde_json::Value;

/// How many proxies carry the load.
const ENVOYS: usize = 2;
/// Requests a second of each thread; there are two for each proxy, and half of the requests are gray.
const RATE: u32 = 20;
/// For how long nothing may happen.
const LONG_ENOUGH: Duration = Duration::from_secs(8);

const ERRORS: &str = "{ source: prometheus, window: 10s, minRequests: 20, errors: { max: 2% }, endpoints: { min: 1 }, \
                      onFault: rollback-order }";
const LATENCY: &str = "{ source: { prometheus: {} }, window: 10s, minRequests: 20, latency: { percentile: 99, maxRatio: 3 }, \
                       onFault: rollback-order }";
const BY_ENVOY: &str = "{ window: 10s, minRequests: 20, errors: { max: 2% }, onFault: rollback-order }";

/// Queries with sums, as counters need them that are split further.
const SUMS: &str = r#"
  queries:
    completed: sum without (envoy_response_code_class) (envoy_cluster_upstream_rq_xx{envoy_cluster_name=~"$cluster"})
    errors: sum without (envoy_response_code_class) (envoy_cluster_upstream_rq_xx{envoy_cluster_name=~"$service-$version", envoy_response_code_class="5"})
    endpoints: envoy_cluster_membership_healthy{envoy_cluster_name=~"$cluster"}
    sampled: max without (envoy_response_code_class) (timestamp(envoy_cluster_upstream_rq_xx{envoy_cluster_name=~"$cluster"}))
"#;

fn configuration(prometheus: SocketAddr, more: &str) -> String {
    format!("prometheus:\n  url: http://{prometheus}\n  interval: 1s\n  timeout: 1s\n  stale: 5s\n{more}")
}

fn plan(service: &str, host: &str, health: &str) -> String {
    format!(
        "
apiVersion: graylane.dev/v1alpha1
kind: ReleasePlan
metadata: {{ name: {service}, tenant: retail }}
spec:
  owner: release-manager
  services: [{{ name: {service}, hosts: [{host}], stable: v1, gray: v2 }}]
  stages:
    - {{ name: pilot, scope: {{ include: {{ teller: [T0000017] }} }} }}
    - {{ name: whole-bank, scope: {{ all: true }} }}
  health: {health}
"
    )
}

/// Releases whose gray versions are used through several proxies.
struct Releases {
    testbed: Testbed,
    _load: Vec<Load>,
}

// === impl Releases ===

impl Releases {
    /// Starts a release of each of these services, with what their plans say of health.
    fn start(config: &str, services: &[(&str, &str, &str)]) -> Self {
        let (daemon, upstreams) = (Daemon::start_with(config).unwrap(), Testbed::upstreams().unwrap());
        let mut testbed = Testbed { envoys: Vec::new(), daemon, upstreams };
        for _ in 0..ENVOYS {
            testbed.add_envoy(|config| config).unwrap();
        }
        let mut requests = Vec::new();
        for (service, host, health) in services {
            testbed.daemon.apply(&plan(service, host, health)).unwrap();
            testbed.daemon.cli(&["order", "start", service, "--wait", "30"]).unwrap();
            requests.push((format!("gray {service}"), Request::to(host).teller("T0000017")));
            requests.push((format!("stable {service}"), Request::to(host)));
        }
        let settings = LoadSettings { requests, stable: "v1".to_owned(), threads: 2, rate: RATE };
        let load = testbed.envoys.iter().map(|envoy| Load::start(&envoy.client(), &settings)).collect();
        Self { testbed, _load: load }
    }

    fn order(&self, id: u64) -> Result<Value> {
        self.testbed.daemon.get(&format!("/api/v1/orders/{id}"))
    }

    /// Waits until the service of an order is found so, for this reason, and gives what is said of it.
    fn until_found(&self, id: u64, verdict: &str, why: &str) -> Value {
        wait::until(&format!("{verdict}: {why}"), || {
            let judged = self.order(id)?["services"][0]["judged"].take();
            let is_why = judged["reason"].as_str().is_some_and(|reason| reason.contains(why));
            ensure!(judged["verdict"] == verdict && is_why, "{judged}");
            Ok(judged)
        })
        .unwrap()
    }

    fn be(&self, version: &str, mood: Mood) {
        self.testbed.upstreams.iter().find(|upstream| upstream.cluster() == version).unwrap().be(mood);
    }

    /// Waits until every proxy sends the pilot to stable again, and checks that the order says why.
    fn check_taken_back(&self, id: u64, host: &str, why: &str) {
        let pilot = Request::to(host).teller("T0000017");
        let clients: Vec<Client> = self.testbed.envoys.iter().map(Envoy::client).collect();
        wait::until("the way back", || {
            for client in &clients {
                let version = client.version_for(&pilot)?;
                ensure!(version == "v1", "{version}");
            }
            Ok(())
        })
        .unwrap();
        let timeline = self.order(id).unwrap()["timeline"].to_string();
        assert!(timeline.contains("is faulty") && timeline.contains(why), "{timeline}");
    }

    /// Checks that a release goes on for a while, and nobody can say how it does.
    fn check_nobody_says(&self, id: u64) {
        let until = Instant::now() + LONG_ENOUGH;
        while Instant::now() < until {
            let order = self.order(id).unwrap();
            assert_eq!(order["phase"], "Running", "{order}");
            assert_eq!(order["services"][0]["judged"]["verdict"], "undecided", "{order}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until so many queries more ended so.
    fn until_counted(&self, result: &str) {
        let series = format!("graylane_prometheus_queries_total{{result=\"{result}\"}}");
        let before = self.testbed.daemon.figure(&series).unwrap();
        wait::until(&series, || {
            let now = self.testbed.daemon.figure(&series)?;
            ensure!(now > before, "{now}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_gray_version_that_fails_is_found_in_what_prometheus_scrapes_and_in_nothing_else() {
    let address = free_address().unwrap();
    let releases = Releases::start(&configuration(address, ""), &[("loan", LOAN_HOST, ERRORS)]);
    // The proxies report all the while.
    releases.until_counted("unreachable");
    let judged = releases.until_found(1, "undecided", "nobody reports figures");
    assert_eq!(judged["unheard"].as_array().map(Vec::len), Some(2), "{judged}");
    let _prometheus = Prometheus::of_envoys(address, &releases.testbed.envoys).unwrap();
    let judged = releases.until_found(1, "healthy", "healthy");
    assert!(judged["source"] == "prometheus" && judged["unheard"].is_null(), "{judged}");
    for version in ["gray", "stable"] {
        assert!(judged[version]["requests"].as_u64() >= Some(20), "{judged}");
    }
    assert_eq!(judged["endpoints"], 1);
    releases.until_counted("ok");
    let begun = Instant::now();
    releases.be("loan-v2", Mood::Failing(50));
    releases.check_taken_back(1, LOAN_HOST, "fail");
    eprintln!("from the first failing answer to stable everywhere: {:?}", begun.elapsed());
}

#[test]
fn a_gray_version_that_gets_slow_is_found_in_what_prometheus_scrapes() {
    let address = free_address().unwrap();
    let releases = Releases::start(&configuration(address, ""), &[("loan", LOAN_HOST, LATENCY)]);
    let _prometheus = Prometheus::of_envoys(address, &releases.testbed.envoys).unwrap();
    let judged = releases.until_found(1, "healthy", "healthy");
    assert!(judged["gray"]["p99Ms"].as_f64().is_some_and(|ms| ms < 200.0), "{judged}");
    releases.be("loan-v2", Mood::Slow(Duration::from_millis(200)));
    releases.check_taken_back(1, LOAN_HOST, "ms");
}

#[test]
fn while_prometheus_is_away_nobody_is_healthy_and_nobody_is_taken_back_and_then_it_goes_on() {
    let address = free_address().unwrap();
    let releases = Releases::start(&configuration(address, SUMS), &[("loan", LOAN_HOST, ERRORS)]);
    let mut prometheus = Prometheus::of_envoys(address, &releases.testbed.envoys).unwrap();
    releases.until_found(1, "healthy", "healthy");
    prometheus.kill().unwrap();
    releases.until_found(1, "undecided", "old");
    releases.be("loan-v2", Mood::Failing(100));
    releases.check_nobody_says(1);
    releases.be("loan-v2", Mood::Well);
    prometheus.restart().unwrap();
    releases.until_found(1, "healthy", "healthy");
    releases.be("loan-v2", Mood::Failing(100));
    releases.check_taken_back(1, LOAN_HOST, "fail");
}

/// What a server answers that is no Prometheus.
#[derive(Clone, Copy, Debug)]
enum Conduct {
    Garbage,
    Huge,
    Silence,
}

/// Starts a server that answers everything so.
fn hostile(conduct: &Arc<Mutex<Conduct>>) -> SocketAddr {
    let (listener, conduct) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::clone(conduct));
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming().map_while(Result::ok) {
            silent.extend(answer(stream, *conduct.lock().unwrap()));
        }
    });
    address
}

/// Answers a connection; gives it back if it is to wait.
fn answer(mut stream: std::net::TcpStream, conduct: Conduct) -> Option<std::net::TcpStream> {
    use std::io::{Read as _, Write as _};
    // Who hangs up in the middle has heard enough.
    let _ = stream.read(&mut [0; 1_024]);
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    match conduct {
        Conduct::Garbage => {
            drop(stream.write_all(format!("{head}{{\"status\": \"success\", \"data\": 7}}").as_bytes()))
        }
        Conduct::Huge => {
            let _ = stream.write_all(head.as_bytes());
            let part = [b' '; 1 << 16];
            while stream.write_all(&part).is_ok() {}
        }
        Conduct::Silence => return Some(stream),
    }
    None
}

#[test]
fn a_server_that_answers_nonsense_is_told_of_and_spoils_no_verdict_of_others() {
    let conduct = Arc::new(Mutex::new(Conduct::Garbage));
    let config = configuration(hostile(&conduct), "");
    let services = [("loan", LOAN_HOST, ERRORS), ("ledger", LEDGER_HOST, BY_ENVOY)];
    let releases = Releases::start(&config, &services);
    releases.until_found(2, "healthy", "healthy");
    for (next, result) in
        [(Conduct::Garbage, "malformed"), (Conduct::Huge, "too-large"), (Conduct::Silence, "timeout")]
    {
        *conduct.lock().unwrap() = next;
        releases.until_counted(result);
        releases.until_found(1, "undecided", "nobody reports figures");
    }
    releases.check_nobody_says(1);
    releases.until_found(2, "healthy", "healthy");
    releases.be("ledger-v2", Mood::Failing(100));
    releases.be("loan-v2", Mood::Failing(100));
    releases.check_taken_back(2, LEDGER_HOST, "fail");
    assert_eq!(releases.order(1).unwrap()["phase"], "Running");
    let log = releases.testbed.daemon.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("no figures from Prometheus")).collect();
    assert_eq!(told.len(), 1, "once a minute: {told:?}");
    assert!(told[0].contains("retail") && told[0].contains("loan"), "{told:?}");
}
