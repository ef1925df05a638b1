//! Which version a real Envoy leads a request to, whatever its headers are.

use std::collections::BTreeMap;

use graylane_rules::{cases, encode};
use graylane_wasm_tests::{
    Answer, Envoy, EnvoyConfig, LEDGER_HOST, LOAN_HOST, Request, RulesFile, Testbed, Upstream, places,
};
use serde_json::{Value, json};

/// The header that the filter writes and the routes match.
const VERSION_HEADER: &str = "x-gray-version";
/// A teller of the case table's pilot.
const PILOT: &str = "T0000017";

/// An Envoy with the case table's rules, and what must live as long as it.
struct Stage {
    envoy: Envoy,
    _rules: RulesFile,
    _upstreams: Vec<Upstream>,
}

// === impl Stage ===

impl Stage {
    /// Any host is led to `any-v1`, or to the version that the header names, up to v3.
    fn with_a_version_for_any_host(change: impl FnOnce(EnvoyConfig) -> EnvoyConfig) -> Self {
        let versions = ["v1", "v2", "v3"];
        let upstreams: Vec<_> =
            versions.map(|version| Upstream::start("any", version).unwrap()).into_iter().collect();
        let config = EnvoyConfig::of("sidecar-outbound.yaml").unwrap().edit(|root| {
            let clusters = root["static_resources"]["clusters"].as_array_mut().unwrap();
            let pattern = clusters.iter().find(|cluster| cluster["name"] == "loan-v1").unwrap().clone();
            for upstream in &upstreams {
                let mut cluster = pattern.clone();
                cluster["name"] = json!(upstream.cluster());
                clusters.push(cluster);
            }
        });
        let routes = |version: &str| json!({ "cluster": format!("any-{version}") });
        let config = config.upstreams(&upstreams).edit_http(|http| lead_any_host(http, "route", routes));
        Self::start(change(config), upstreams)
    }

    /// The two services of the file that users copy.
    fn with_loan_and_ledger() -> Self {
        let upstreams = Testbed::upstreams().unwrap();
        Self::start(EnvoyConfig::of("sidecar-outbound.yaml").unwrap().upstreams(&upstreams), upstreams)
    }

    fn start(config: EnvoyConfig, upstreams: Vec<Upstream>) -> Self {
        let mut rules = RulesFile::new(places::filter().unwrap()).unwrap();
        let config = rules.serve(config, &encode(&cases::load().rules, 7).unwrap()).unwrap();
        let mut envoy = Envoy::start(config).unwrap();
        envoy.until_applied(7).unwrap();
        Self { envoy, _rules: rules, _upstreams: upstreams }
    }

    fn ask(&self, case: &str, request: &Request) -> Answer {
        let answer =
            self.envoy.client().send_raw(request).unwrap_or_else(|error| panic!("{case}: {error:#}"));
        assert_eq!(answer.status, 200, "{case}\n{}", self.envoy.log());
        answer
    }
}

/// Replaces the routes by one virtual host for all, with a route for v2, one for v3 and a default.
fn lead_any_host(http: &mut Value, kind: &str, target: impl Fn(&str) -> Value) {
    let route = |version: &str| {
        let header = json!({ "name": VERSION_HEADER, "string_match": { "exact": version } });
        json!({ "match": { "prefix": "/", "headers": [header] }, (kind): target(version) })
    };
    let default = json!({ "match": { "prefix": "/" }, (kind): target("v1") });
    let routes = [route("v2"), route("v3"), default];
    http["route_config"]["virtual_hosts"] = json!([{ "name": "any", "domains": ["*"], "routes": routes }]);
}

fn request_of(case: &cases::Case) -> Request {
    case.headers().into_iter().fold(Request::to(&case.host), |request, (name, value)| {
        request.header(&String::from_utf8(name).unwrap(), value)
    })
}

/// The counter that a case counts in; none for an unknown host.
fn series_of(case: &cases::Case, service: Option<&str>) -> Option<String> {
    let level = match case.verdict.as_str() {
        "ambiguous" => "ambiguous",
        _ => case.level.as_deref().unwrap_or("none"),
    };
    let version = case.version.as_deref()?;
    Some(format!("wasmcustom.graylane_requests.service.{}.version.{version}.level.{level}", service?))
}

#[test]
fn every_case_of_the_table_reaches_its_version_with_its_header_and_is_counted() {
    let stage = Stage::with_a_version_for_any_host(|config| {
        // One case has a value of 64 KiB, which Envoy's own limit would refuse.
        config.edit_http(|http| http["max_request_headers_kb"] = json!(96))
    });
    let table = cases::load();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for case in &table.cases {
        let answer = stage.ask(&case.name, &request_of(case));
        let header = case.header_upstream();
        assert_eq!(answer.values_seen(VERSION_HEADER), Vec::from_iter(header), "{}", case.name);
        assert_eq!(answer.version, header.unwrap_or("v1"), "{}", case.name);
        let host = case.host.to_ascii_lowercase();
        let host = host.split(':').next().unwrap();
        let service =
            table.rules.services.iter().find(|service| service.hosts.iter().any(|known| known == host));
        let series = series_of(case, service.map(|service| service.name.as_str()));
        let oddities = [
            (case.verdict == "ambiguous").then(|| "wasmcustom.graylane_ambiguous".to_owned()),
            case.oversize.then(|| "wasmcustom.graylane_oversize".to_owned()),
        ];
        for name in oddities.into_iter().flatten().chain(series) {
            *counts.entry(name).or_default() += 1;
        }
    }
    assert!(counts.len() > 10, "the table has few kinds of decisions: {counts:?}");
    let of_requests = stage.envoy.stats_with("wasmcustom.graylane_requests.").unwrap();
    let of_oddities = stage.envoy.stats_with("wasmcustom.graylane_").unwrap();
    let of_oddities = of_oddities.into_iter().filter(|(name, _)| counts.contains_key(name));
    let counted: BTreeMap<String, u64> = of_requests.into_iter().chain(of_oddities).collect();
    assert_eq!(counted, counts);
}

#[test]
fn a_callers_own_version_never_steers() {
    let stage = Stage::with_loan_and_ledger();
    let shapes: [(&str, &[(&str, &str)]); 7] = [
        ("as it is", &[(VERSION_HEADER, "v2")]),
        ("in capitals", &[("X-GRAY-VERSION", "v2")]),
        ("among blanks", &[(VERSION_HEADER, "  v2\t")]),
        ("twice", &[(VERSION_HEADER, "v2"), (VERSION_HEADER, "v2")]),
        ("twice, differently", &[(VERSION_HEADER, "v1"), ("X-Gray-Version", "v2")]),
        ("with an unlisted teller", &[(VERSION_HEADER, "v2"), ("x-teller", "T0000019")]),
        ("with a doubled teller", &[("x-teller", PILOT), (VERSION_HEADER, "v2"), ("x-teller", PILOT)]),
    ];
    for (shape, headers) in shapes {
        let request =
            headers.iter().fold(Request::to(LOAN_HOST), |request, (name, value)| request.header(name, value));
        let answer = stage.ask(shape, &request);
        assert_eq!((answer.version.as_str(), answer.values_seen(VERSION_HEADER)), ("v1", vec![]), "{shape}");
    }
    let gray = stage.ask("gray", &Request::to(LOAN_HOST).teller(PILOT).header(VERSION_HEADER, "v1"));
    assert_eq!((gray.version.as_str(), gray.values_seen(VERSION_HEADER)), ("v2", vec!["v2"]));
}

#[test]
fn doubled_dimensions_go_to_stable_although_each_alone_would_be_gray() {
    let stage = Stage::with_loan_and_ledger();
    for (name, id) in [("x-teller", PILOT), ("x-branch", "B012")] {
        let alone = Request::to(LOAN_HOST).header(name, id);
        assert_eq!(stage.ask(name, &alone).version, "v2", "{name}");
        for second in [id, "", "\t", "another"] {
            let answer = stage.ask(name, &alone.clone().header(&name.to_uppercase(), second));
            assert_eq!(answer.version, "v1", "{name} and then {second:?}");
            assert_eq!(answer.values_seen(name).len(), 2, "the filter changed the dimensions of {name}");
        }
    }
}

#[test]
fn every_byte_that_a_header_may_hold_is_answered_by_stable() {
    let stage = Stage::with_loan_and_ledger();
    // The others (NUL, line ends, control characters) are refused by Envoy itself, before any filter.
    let allowed = (0x20..=0x7e).chain(0x80..=0xff).chain([b'\t']);
    for byte in allowed {
        let value = [PILOT.as_bytes(), &[byte], PILOT.as_bytes(), &[byte, 0xf0]].concat();
        let request = Request::to(LOAN_HOST).header("x-teller", &value).header("x-region", [byte; 3]);
        assert_eq!(stage.ask(&format!("byte {byte:#04x}"), &request).version, "v1", "byte {byte:#04x}");
    }
    for byte in [0x00, 0x0a, 0x7f] {
        let request = Request::to(LOAN_HOST).header("x-teller", [b'T', byte, b'1']);
        let answer = stage.envoy.client().send_raw(&request).unwrap();
        assert!(matches!(answer.status, 200 | 400), "byte {byte:#04x}: status {}", answer.status);
        assert!(answer.version.is_empty() || answer.version == "v1", "byte {byte:#04x}: {}", answer.version);
    }
    assert_eq!(stage.envoy.stat("wasmcustom.graylane_ambiguous").unwrap(), Some(0));
}

#[test]
fn a_thousand_headers_neither_hide_a_dimension_nor_make_one() {
    let stage = Stage::with_a_version_for_any_host(|config| {
        config.edit_http(|http| {
            http["common_http_protocol_options"] = json!({ "max_headers_count": 2000 });
            // The upstream would refuse so many headers, so Envoy itself answers in its place.
            let body =
                |version: &str| json!({ "service": "any", "version": version, "headers": [] }).to_string();
            lead_any_host(
                http,
                "direct_response",
                |version| json!({ "status": 200, "body": { "inline_string": body(version) } }),
            );
        })
    });
    let crowd = |request: Request| {
        (0..1000).fold(request, |request, number| request.header(&format!("x-teller-{number}"), PILOT))
    };
    let nobody = crowd(Request::to(LOAN_HOST));
    assert_eq!(stage.ask("nobody", &nobody).version, "v1");
    assert_eq!(stage.ask("a pilot at the end", &nobody.clone().teller(PILOT)).version, "v2");
    assert_eq!(
        stage.ask("a pilot at both ends", &crowd(Request::to(LOAN_HOST).teller(PILOT)).teller(PILOT)).version,
        "v1"
    );
    let many = (0..1000).fold(Request::to(LEDGER_HOST), |request, _| request.teller(PILOT));
    assert_eq!(stage.ask("a thousand tellers", &many).version, "v1");
}
