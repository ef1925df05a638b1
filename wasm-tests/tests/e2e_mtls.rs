//! TLS on both sides, with the files that users copy: whose rules a proxy's certificate gets, who is refused, and how
//! certificates change while streams are open.

mod certificates;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use certificates::{Authority, Files};
use graylane_wasm_tests::{Daemon, Envoy, EnvoyConfig, LOAN_HOST, Request, Testbed, wait};
use serde_json::{Value, json};

/// Whom the sidecar's file takes for the daemon.
const DAEMON: &str = "spiffe://bank.example/ns/graylane/sa/daemon";
/// One that the daemon's file lets be served retail.
const LOAN: &str = "spiffe://bank.example/ns/retail/sa/loan";
/// One that it lets be served cards, and nothing else.
const LIMITS: &str = "spiffe://bank.example/ns/cards/sa/limits";

/// Envoy's statistics of the subscription.
const SUBSCRIPTION: &str = "extension_config_discovery.http_filter.graylane.v1.retail";
const CONNECTIONS: &str = "cluster.xds.upstream_cx_total";
const STREAMS: &str = "cluster.xds.upstream_rq_total";
const DENIED: &str = "graylane_xds_denied_names_total";
const REFUSED: &str = "graylane_xds_refused_connections_total{reason=\"handshake\"}";
const REPLACED: &str = "graylane_xds_certificate_reloads_total{result=\"replaced\"}";

/// The daemon with the example of TLS on both sides, and proxies with certificates.
struct Mesh {
    testbed: Testbed,
    authority: Authority,
    daemon_files: Files,
    proxy_files: Vec<Files>,
}

// === impl Mesh ===

impl Mesh {
    fn start() -> Self {
        Self::start_as(DAEMON)
    }

    /// The certificate of its daemon names this one.
    fn start_as(daemon: &str) -> Self {
        let authority = Authority::new();
        let daemon_files = Files::new(&authority.proxy(daemon), &authority);
        let config = daemon_files.here(include_str!("../../control/examples/mtls.yaml"));
        let daemon = Daemon::start_with(&config).unwrap();
        let testbed = Testbed { envoys: Vec::new(), daemon, upstreams: Testbed::upstreams().unwrap() };
        Self { testbed, authority, daemon_files, proxy_files: Vec::new() }
    }

    /// A proxy's files: a certificate of this identity, and the authority that signed it.
    fn files(&self, id: &str) -> Files {
        Files::new(&self.authority.proxy(id), &self.authority)
    }

    /// Starts an Envoy from the sidecar's file.
    fn add(&mut self, files: Files) -> usize {
        self.add_changed(files, |config| config)
    }

    fn add_changed(&mut self, files: Files, change: impl FnOnce(EnvoyConfig) -> EnvoyConfig) -> usize {
        let number = self.proxy_files.len();
        let config = self.testbed.config("sidecar-mtls.yaml").unwrap().node(&format!("proxy-{number}"));
        self.testbed.envoys.push(Envoy::start(change(files.lead(config))).unwrap());
        self.proxy_files.push(files);
        number
    }

    fn add_as(&mut self, id: &str) -> usize {
        self.add(self.files(id))
    }

    /// Takes the order to its first stage, which is everywhere then.
    fn start_order(&self) {
        self.testbed.daemon.apply(include_str!("release_plan.yaml")).unwrap();
        self.testbed.daemon.cli(&["order", "start", "loan-2026-11", "--wait", "30"]).unwrap();
    }

    /// Takes the order to its second stage, which is everywhere then.
    fn advance(&self) {
        self.testbed.daemon.cli(&["order", "advance", "1", "--wait", "30"]).unwrap();
    }

    /// Waits until a proxy leads these requests to the gray version.
    fn until_gray(&mut self, proxy: usize, request: &Request) {
        let client = self.testbed.envoys[proxy].client();
        let is_gray = || ensure_version(&client.version_for(request)?, "v2");
        self.testbed.envoys[proxy].until("the gray version", is_gray).unwrap();
    }

    /// Checks that a proxy never got rules, and what its requests get.
    fn check_without_rules(&self, proxy: usize) {
        let envoy = &self.testbed.envoys[proxy];
        assert_eq!(self.stat(proxy, &format!("{SUBSCRIPTION}.update_success")), 0, "{}", envoy.log());
        for request in [pilot(), of_the_branch()] {
            assert_eq!(envoy.client().version_for(&request).unwrap(), "v1", "{request:?}");
        }
    }

    fn stat(&self, proxy: usize, name: &str) -> u64 {
        let value = self.testbed.envoys[proxy].stat(name).unwrap();
        value.unwrap_or_else(|| panic!("proxy {proxy} has no {name}"))
    }

    fn until_figure(&self, series: &str, wanted: impl Fn(f64) -> bool) {
        wait::until(&format!("the wanted value of {series}"), || {
            let value = self.testbed.daemon.figure(series)?;
            ensure!(wanted(value), "{value}");
            Ok(())
        })
        .unwrap();
    }

    /// The proxies that the daemon knows, each with its identity and how it stands.
    fn proxies(&self) -> Vec<Value> {
        let listed = self.testbed.daemon.cli(&["proxies"]).unwrap();
        let listed = listed["proxies"].as_array().unwrap().iter();
        listed.map(|proxy| json!([proxy["node"], proxy["identity"], proxy["state"]])).collect()
    }

    fn until_proxies(&self, expected: &[Value]) {
        wait::until("the wanted proxies", || {
            let proxies = self.proxies();
            ensure!(proxies == expected, "{proxies:?}");
            Ok(())
        })
        .unwrap();
    }
}

/// One of the first stage.
fn pilot() -> Request {
    Request::to(LOAN_HOST).teller("T0000017")
}

/// One of the second stage.
fn of_the_branch() -> Request {
    Request::to(LOAN_HOST).teller("T0000500").branch("B012")
}

fn ensure_version(version: &str, wanted: &str) -> Result<()> {
    ensure!(version == wanted, "{version} answers");
    Ok(())
}

#[test]
fn a_proxy_with_a_certificate_of_the_tenant_gets_its_rules_and_steers_by_them() {
    let mut mesh = Mesh::start();
    let proxy = mesh.add_as(LOAN);
    mesh.start_order();
    mesh.until_gray(proxy, &pilot());
    let client = mesh.testbed.envoys[proxy].client();
    assert_eq!(client.version_for(&of_the_branch()).unwrap(), "v1");
    mesh.until_proxies(&[json!(["proxy-0", LOAN, "SYNCED"])]);
    // Rules and reports go over one connection.
    assert_eq!(mesh.stat(proxy, CONNECTIONS), 1);
    assert_eq!(mesh.stat(proxy, "cluster.xds.ssl.versions.TLSv1.3"), 1);
}

#[test]
fn a_proxy_of_another_tenant_is_never_answered_and_its_requests_are_stable() {
    let mut mesh = Mesh::start();
    let foreign = mesh.add_as(LIMITS);
    mesh.until_figure(DENIED, |count| count == 1.0);
    let own = mesh.add_as(LOAN);
    mesh.start_order();
    mesh.advance();
    mesh.until_gray(own, &of_the_branch());
    mesh.check_without_rules(foreign);
    // It is not refused either: what it asks for is as if nobody had published it.
    assert_eq!(mesh.stat(foreign, &format!("{SUBSCRIPTION}.control_plane.connected_state")), 1);
    mesh.until_proxies(&[json!(["proxy-1", LOAN, "SYNCED"])]);
}

#[test]
fn the_daemons_certificate_is_replaced_no_stream_ends_and_newcomers_see_the_new_one() {
    let mut mesh = Mesh::start();
    let old = mesh.add_as(LOAN);
    mesh.start_order();
    mesh.until_gray(old, &pilot());
    // One for the rules, and one for the reports.
    mesh.testbed.envoys[old].until_stat(STREAMS, |count| count == 2).unwrap();

    // Another authority signed it, so that who trusts only this one tells it from the one before.
    let next = Authority::new();
    mesh.daemon_files.replace(&next.proxy(DAEMON), &mesh.authority);
    mesh.until_figure(REPLACED, |count| count == 1.0);
    let newcomer = mesh.add(Files::new(&mesh.authority.proxy(LOAN), &next));
    mesh.until_gray(newcomer, &pilot());
    let late = mesh.add_as(LOAN);
    mesh.testbed.envoys[late].until_stat("cluster.xds.ssl.fail_verify_error", |count| count > 0).unwrap();
    mesh.check_without_rules(late);

    mesh.advance();
    for proxy in [old, newcomer] {
        mesh.until_gray(proxy, &of_the_branch());
        assert_eq!(mesh.stat(proxy, CONNECTIONS), 1, "proxy {proxy} connected again");
    }
    assert_eq!(mesh.stat(old, STREAMS), 2, "a stream was opened again");
    // It asks again and again, and is let in as soon as its own files have the new authority.
    mesh.proxy_files[late].replace(&mesh.authority.proxy(LOAN), &next);
    mesh.until_gray(late, &of_the_branch());
}

#[test]
fn a_proxy_whose_certificate_ends_comes_back_with_the_one_that_replaced_it() {
    let mut mesh = Mesh::start();
    let (life, began) = (Duration::from_secs(10), Instant::now());
    let proxy = mesh.add(Files::new(&mesh.authority.proxy_for(LOAN, life), &mesh.authority));
    mesh.start_order();
    mesh.until_gray(proxy, &pilot());
    mesh.proxy_files[proxy].replace(&mesh.authority.proxy(LOAN), &mesh.authority);
    assert!(mesh.stat(proxy, CONNECTIONS) == 1 && began.elapsed() < life, "the machine is too slow");

    mesh.testbed.envoys[proxy].until_stat(CONNECTIONS, |count| count > 1).unwrap();
    assert!(began.elapsed() > life - Duration::from_secs(1), "it did not wait for the end");
    mesh.until_proxies(&[json!(["proxy-0", LOAN, "SYNCED"])]);
    mesh.advance();
    mesh.until_gray(proxy, &of_the_branch());
}

#[test]
fn a_proxy_without_a_certificate_is_refused_and_its_requests_are_stable() {
    let mut mesh = Mesh::start();
    let nobody = mesh.add_changed(mesh.files(LOAN), |config| {
        config.edit(|root| {
            let clusters = root["static_resources"]["clusters"].as_array_mut().unwrap();
            let xds = clusters.iter_mut().find(|cluster| cluster["name"] == "xds").unwrap();
            let tls = &mut xds["transport_socket"]["typed_config"]["common_tls_context"];
            tls.as_object_mut().unwrap().remove("tls_certificate_sds_secret_configs").unwrap();
        })
    });
    mesh.until_figure(REFUSED, |count| count > 1.0);
    mesh.start_order();
    mesh.check_without_rules(nobody);
    assert_eq!(mesh.proxies(), [Value::Null; 0]);
    // With its certificate, the same proxy is served.
    let same = mesh.add_as(LOAN);
    mesh.until_gray(same, &pilot());
}

#[test]
fn a_proxy_takes_no_rules_from_who_is_not_the_daemon() {
    // Any proxy of the bank could show such a certificate.
    let mut mesh = Mesh::start_as(LOAN);
    let proxy = mesh.add_as(LOAN);
    mesh.start_order();
    mesh.testbed.envoys[proxy].until_stat("cluster.xds.ssl.fail_verify_san", |count| count > 1).unwrap();
    mesh.check_without_rules(proxy);
}
