//! The testbed itself: what the other tests trust in.

use graylane_wasm_tests::{
    Envoy, EnvoyConfig, LEDGER_HOST, LOAN_HOST, Load, LoadSettings, Request, Testbed, Upstream,
};
use serde_json::json;

/// The sidecar with its routes and without the filter, so that a header alone decides.
fn envoy_without_filter(upstreams: &[Upstream]) -> Envoy {
    let config =
        EnvoyConfig::of("sidecar-outbound.yaml").unwrap().upstreams(upstreams).module("unused".into());
    let config = config.edit_http(|http| {
        http["http_filters"].as_array_mut().unwrap().remove(0);
    });
    Envoy::start(config).unwrap()
}

#[test]
fn routes_map_the_version_header_to_a_cluster_and_know_both_services() {
    let upstreams = Testbed::upstreams().unwrap();
    let envoy = envoy_without_filter(&upstreams);
    let client = envoy.client();
    for (host, service) in [(LOAN_HOST, "loan"), (LEDGER_HOST, "ledger")] {
        let stable = client.send(&Request::to(host)).unwrap();
        let gray = client.send(&Request::to(host).header("x-gray-version", "v2")).unwrap();
        let unknown = client.send(&Request::to(host).header("x-gray-version", "v3")).unwrap();
        let versions = [stable.version, gray.version, unknown.version];
        assert_eq!((versions, gray.service), (["v1", "v2", "v1"].map(String::from), service.to_owned()));
    }
}

#[test]
fn a_raw_request_carries_what_a_well_behaved_client_would_not_send() {
    let upstreams = Testbed::upstreams().unwrap();
    let envoy = envoy_without_filter(&upstreams);
    let request = Request::to(LOAN_HOST).teller("T1").teller("T2").header("x-branch", [0xff, 0xfe]);
    let answer = envoy.client().send_raw(&request).unwrap();
    assert_eq!((answer.status, answer.values_seen("x-teller")), (200, vec!["T1", "T2"]));
    assert_eq!(answer.values_seen("x-branch"), ["\u{fffd}\u{fffd}"]);
}

#[test]
fn load_counts_answers_and_failures_and_decisions_that_were_not_followed() {
    let mut upstreams = Testbed::upstreams().unwrap();
    let envoy = envoy_without_filter(&upstreams);
    let requests = vec![
        ("stable".to_owned(), Request::to(LOAN_HOST)),
        ("gray".to_owned(), Request::to(LOAN_HOST).header("x-gray-version", "v2")),
        ("unheard".to_owned(), Request::to(LOAN_HOST).header("x-gray-version", "v3")),
    ];
    let settings = LoadSettings { requests, stable: "v1".to_owned(), threads: 2, rate: 300 };
    let load = Load::start(&envoy.client(), &settings);
    load.until_sent_more(60).unwrap();
    upstreams.retain(|upstream| upstream.cluster() != "loan-v2");
    load.until_sent_more(60).unwrap();
    let report = load.stop();

    assert_eq!(report.versions_by_request["stable"].keys().collect::<Vec<_>>(), ["v1"]);
    assert!(report.versions_by_request["gray"]["v2"] > 0, "{report:?}");
    assert!(report.failures > 0, "the stopped upstream was not noticed: {report:?}");
    assert_eq!(report.mixed, report.versions_by_request["unheard"]["v1"], "{report:?}");
    let answers: u64 = report.versions_by_request.values().flat_map(|versions| versions.values()).sum();
    assert_eq!(report.requests, answers + report.failures);
    assert!(report.latency(0.5) <= report.latency(1.0));
}

#[test]
fn several_envoys_run_beside_each_other_and_report_their_stats() {
    let upstreams = Testbed::upstreams().unwrap();
    let mut envoys = [envoy_without_filter(&upstreams), envoy_without_filter(&upstreams)];
    for envoy in &mut envoys {
        assert_eq!(envoy.client().version_for(&Request::to(LOAN_HOST)).unwrap(), "v1");
        envoy.until_stat("cluster.loan-v1.upstream_rq_total", |value| value == 1).unwrap();
    }
    assert_eq!(upstreams[0].requests(), 2);
    assert_ne!(envoys[0].admin(), envoys[1].admin());
}

#[test]
fn an_envoy_that_cannot_start_says_why() {
    let broken = EnvoyConfig::of("static-rules.yaml").unwrap().module("unused".into());
    let Err(error) = Envoy::start(broken.edit(|root| root["static_resources"] = json!({ "listners": [] })))
    else {
        panic!("Envoy took a field that does not exist");
    };
    assert!(format!("{error:#}").contains("listners"), "{error:#}");
}
