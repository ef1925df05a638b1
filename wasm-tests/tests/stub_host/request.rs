//! What a request costs, and what becomes of it.

use crate::proxy::{Headers, Proxy};
use crate::{request_to, rules};
use graylane_rules::cases;

const READ: &str = "get_header_map_pairs 0";
const TELLER: &str = "increment_metric graylane_requests.service.loan.version.v2.level.teller";
const NONE: &str = "increment_metric graylane_requests.service.loan.version.v1.level.none";

/// The host calls of the second of two equal requests: the first one may define its counter.
fn calls(proxy: &mut Proxy, host: &str, headers: &[(&str, &str)]) -> Vec<String> {
    proxy.request(request_to(host, headers));
    proxy.request(request_to(host, headers)).calls
}

fn versions(headers: &Headers) -> Vec<&[u8]> {
    let versions = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"x-gray-version"));
    versions.map(|(_, value)| value.as_slice()).collect()
}

#[test]
fn a_stable_request_reads_and_counts() {
    let proxy = &mut Proxy::with(&rules(1));
    assert_eq!(calls(proxy, "loan", &[]), [READ, NONE]);
    assert_eq!(calls(proxy, "loan", &[("x-teller", "T0000019"), ("x-branch", "B9")]), [READ, NONE]);
}

#[test]
fn a_gray_request_reads_sets_once_and_counts() {
    let proxy = &mut Proxy::with(&rules(1));
    let set = "replace_header_map_value x-gray-version=v2";
    assert_eq!(calls(proxy, "loan:8080", &[("x-teller", "T0000017")]), [READ, set, TELLER]);
    let own = [("x-gray-version", "v9"), ("x-gray-version", "v8"), ("x-teller", "T0000017")];
    assert_eq!(calls(proxy, "loan", &own), [READ, set, TELLER]);
}

#[test]
fn a_gray_request_that_says_so_already_is_not_touched() {
    let proxy = &mut Proxy::with(&rules(1));
    let own = [("x-gray-version", "v2"), ("x-teller", "T0000017")];
    assert_eq!(calls(proxy, "loan", &own), [READ, TELLER]);
}

#[test]
fn a_clients_own_version_is_removed_from_a_stable_request() {
    let proxy = &mut Proxy::with(&rules(1));
    let remove = "remove_header_map_value x-gray-version";
    assert_eq!(calls(proxy, "loan", &[("x-gray-version", "v2")]), [READ, remove, NONE]);
    assert_eq!(calls(proxy, "mail", &[("x-gray-version", "v2")]), [READ, remove]);
}

#[test]
fn an_unknown_host_is_only_read() {
    assert_eq!(calls(&mut Proxy::with(&rules(1)), "mail", &[("x-teller", "T0000017")]), [READ]);
}

#[test]
fn ambiguous_and_oversize_requests_count_twice() {
    let proxy = &mut Proxy::with(&rules(1));
    let ambiguous = [
        READ,
        "increment_metric graylane_requests.service.loan.version.v1.level.ambiguous",
        "increment_metric graylane_ambiguous",
    ];
    assert_eq!(calls(proxy, "loan", &[("x-teller", "T0000017"), ("x-teller", "T0000017")]), ambiguous);
    let long = "T".repeat(257);
    assert_eq!(
        calls(proxy, "loan", &[("x-teller", &long)]),
        [READ, NONE, "increment_metric graylane_oversize"]
    );
    assert_eq!(proxy.metric("graylane_ambiguous"), Some(2));
    assert_eq!(proxy.metric("graylane_oversize"), Some(2));
}

#[test]
fn the_first_request_of_a_counter_defines_it() {
    let proxy = &mut Proxy::with(&rules(1));
    let first = proxy.request(request_to("loan", &[]));
    let define = "define_metric graylane_requests.service.loan.version.v1.level.none";
    assert_eq!(first.calls, [READ, define, NONE]);
}

#[test]
fn with_no_rules_one_header_is_asked_for() {
    let proxy = &mut Proxy::with(b"");
    let ask = "get_header_map_value x-gray-version";
    assert_eq!(calls(proxy, "loan", &[("x-teller", "T0000017")]), [ask]);
    let remove = "remove_header_map_value x-gray-version";
    assert_eq!(calls(proxy, "loan", &[("x-gray-version", "v2")]), [ask, remove]);
}

#[test]
fn with_no_services_one_header_is_asked_for() {
    let rules = br#"{"services": [], "outputHeader": "x-lane"}"#;
    assert_eq!(calls(&mut Proxy::with(rules), "loan", &[]), ["get_header_map_value x-lane"]);
}

#[test]
fn a_second_plugin_in_the_vm_makes_requests_name_theirs() {
    let proxy = &mut Proxy::with(&rules(1));
    proxy.world().plugin_name = "graylane.v1.corporate".into();
    proxy.configure(b"");
    let name = "get_property plugin_name";
    assert_eq!(calls(proxy, "loan", &[]), [name, "get_header_map_value x-gray-version"]);
    proxy.world().plugin_name = "graylane.v1.retail".into();
    assert_eq!(calls(proxy, "loan", &[]), [name, READ, NONE]);
}

#[test]
fn a_proxy_can_only_call_what_a_request_or_a_configuration_needs() {
    let mut exports = Proxy::exports();
    exports.sort_unstable();
    let callbacks = [
        "graylane_allocated_bytes",
        "proxy_abi_version_0_2_1",
        "proxy_on_configure",
        "proxy_on_memory_allocate",
        "proxy_on_request_headers",
    ];
    assert_eq!(exports, callbacks);
}

#[test]
fn a_proxy_may_ask_for_more_places_than_it_uses() {
    let proxy = &mut Proxy::with(&rules(1));
    for (idle_places, bytes) in [(1, 10), (3, 5_000), (9, 100_000), (0, 10)] {
        proxy.world().idle_places = idle_places;
        let value = "a".repeat(bytes);
        let headers = [("x-teller", "T0000017"), ("x-ordinary", &value)];
        assert_eq!(versions(&proxy.request(request_to("loan", &headers)).headers), [b"v2"], "{bytes}");
        assert!(proxy.configure(&rules(2)));
    }
}

#[test]
fn every_case_of_the_table_leaves_the_right_headers() {
    let proxy = &mut Proxy::with(&rules(1));
    for case in cases::load().cases {
        let mut headers = request_to(&case.host, &[]);
        headers.extend(case.headers());
        let before = headers.clone();
        let after = proxy.request(headers).headers;
        let name = &case.name;
        let expected: Vec<&[u8]> = case.header_upstream().into_iter().map(str::as_bytes).collect();
        assert_eq!(versions(&after), expected, "{name}");
        let others = |headers: &Headers| {
            let mut others = headers.clone();
            others.retain(|(name, _)| name != b"x-gray-version");
            others
        };
        assert_eq!(others(&after), others(&before), "{name}: nothing else changes");
    }
}

#[test]
fn odd_headers_never_trap() {
    let proxy = &mut Proxy::with(&rules(1));
    let with = |odd: Headers| request_to("loan", &[]).into_iter().chain(odd).collect::<Headers>();
    let name = |at: usize| (format!("x-{at}").into_bytes(), vec![0xff; at % 99]);
    let odd_headers = [
        with(vec![(b"\xff\xfe".to_vec(), b"\xff".to_vec())]),
        with(vec![(b"x-teller".to_vec(), b"\0\xf0\x9f".to_vec())]),
        with(vec![(b"x-teller".to_vec(), vec![b'T'; 64 << 10])]),
        with(vec![(vec![b'x'; 64 << 10], Vec::new())]),
        with((0..1_000).map(name).collect()),
        with(vec![(b"x-teller".to_vec(), b"T0000017".to_vec()); 1_000]),
        vec![(b":authority".to_vec(), vec![0xff; 64 << 10])],
        vec![(b":authority".to_vec(), Vec::new())],
        vec![(b":authority".to_vec(), b"[".to_vec())],
        Vec::new(),
    ];
    for headers in odd_headers {
        let after = proxy.request(headers.clone());
        assert_eq!(after.headers, headers, "it is stable, and not touched");
    }
    let gray = proxy.request(request_to("loan", &[("x-teller", "T0000017")]));
    assert_eq!(versions(&gray.headers), [b"v2"]);
}

#[test]
fn memory_stays_where_it_is_however_many_requests_come() {
    let proxy = &mut Proxy::with(&rules(1));
    let long = "T".repeat(64 << 10);
    let mut round = || {
        for headers in [&[("x-teller", "T0000017")][..], &[("x-teller", long.as_str())], &[]] {
            proxy.request(request_to("loan", headers));
        }
        proxy.memory_bytes()
    };
    let after_first = round();
    assert!((0..500).all(|_| round() == after_first));
}

#[test]
fn a_proxy_that_refuses_calls_gets_stable_requests_and_no_trap() {
    let gray = request_to("loan", &[("x-gray-version", "v9"), ("x-teller", "T0000017")]);
    for call in ["get_header_map_pairs", "replace_header_map_value"] {
        let proxy = &mut Proxy::with(&rules(1));
        proxy.world().refused.insert(call, 10);
        assert_eq!(versions(&proxy.request(gray.clone()).headers), [b""; 0], "{call}");
    }
    let proxy = &mut Proxy::with(b"");
    proxy.world().refused.insert("get_header_map_value", 12);
    assert_eq!(versions(&proxy.request(gray.clone()).headers), [b""; 0]);
    for call in ["define_metric", "increment_metric", "record_metric", "log", "get_property"] {
        let (mut proxy, _) = Proxy::start(b"");
        proxy.world().refused.insert(call, 10);
        assert!(proxy.configure(&rules(1)), "{call}");
        assert_eq!(versions(&proxy.request(gray.clone()).headers), [b"v2"], "{call}");
    }
    let proxy = &mut Proxy::with(&rules(1));
    proxy.world().refused.insert("remove_header_map_value", 10);
    proxy.request(request_to("loan", &[("x-gray-version", "v9")]));
}
