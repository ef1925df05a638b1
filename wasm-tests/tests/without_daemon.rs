//! The filter in a real Envoy with no daemon: the configuration that a newcomer tries first, and the default that serves
//! before the daemon has spoken.

use graylane_wasm_tests::{Envoy, EnvoyConfig, LEDGER_HOST, LOAN_HOST, Request, Testbed, free_address};

#[test]
fn hand_written_rules_steer_by_teller_branch_and_region() {
    let upstreams = Testbed::upstreams().unwrap();
    let envoy = Envoy::start(EnvoyConfig::of("static-rules.yaml").unwrap().upstreams(&upstreams)).unwrap();
    let loan = || Request::to(LOAN_HOST);
    let cases = [
        ("a listed teller", loan().teller("T0000017"), "v2"),
        ("another teller", loan().teller("T0000018"), "v1"),
        ("a listed branch", loan().teller("T0000018").branch("B012"), "v2"),
        ("an excluded teller of a listed branch", loan().teller("T0000099").branch("B012"), "v1"),
        ("a region of another service", loan().region("R-EAST"), "v1"),
        ("the region of this service", Request::to(LEDGER_HOST).region("R-EAST"), "v2"),
        ("a host with a port", Request::to(&format!("{LOAN_HOST}:8080")).teller("T0000017"), "v2"),
        ("a caller's own version", loan().header("x-gray-version", "v2"), "v1"),
        ("nobody", loan(), "v1"),
    ];
    for (case, request, expected) in cases {
        assert_eq!(envoy.client().version_for(&request).unwrap(), expected, "{case}\n{}", envoy.log());
    }
}

#[test]
fn requests_show_as_one_labelled_metric() {
    let upstreams = Testbed::upstreams().unwrap();
    let envoy = Envoy::start(EnvoyConfig::of("static-rules.yaml").unwrap().upstreams(&upstreams)).unwrap();
    envoy.client().send(&Request::to(LOAN_HOST).teller("T0000017")).unwrap();
    let metrics = envoy.admin_get("/stats/prometheus").unwrap();
    let line = r#"graylane_requests{service="loan",version="v2",level="teller"} 1"#;
    assert!(metrics.lines().any(|shown| shown == line), "no {line} in\n{metrics}");
}

#[test]
fn an_absent_daemon_means_stable_at_the_edge_and_beside_the_application() {
    for file in ["edge.yaml", "sidecar-outbound.yaml"] {
        let upstreams = Testbed::upstreams().unwrap();
        let config = EnvoyConfig::of(file).unwrap().upstreams(&upstreams).xds(free_address().unwrap());
        let envoy = Envoy::start(config).unwrap();
        let request = Request::to(LOAN_HOST).teller("T0000017").header("x-gray-version", "v2");
        let answer = envoy.client().send(&request).unwrap();
        assert_eq!((answer.status, answer.version.as_str()), (200, "v1"), "{file}\n{}", envoy.log());
        assert_eq!(answer.values_seen("x-gray-version"), [""; 0], "{file}");
        assert_eq!(answer.values_seen("x-teller"), ["T0000017"], "{file}");
    }
}
