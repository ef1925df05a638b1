//! What a configuration does: it serves at once, or what was before goes on.

use crate::proxy::Proxy;
use crate::{request_to, rules};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use graylane_rules::{cases, encode};
use serde_json::Value;
use std::sync::Arc;

/// Levels of the log.
const INFO: u32 = 2;
const WARN: u32 = 3;

/// A rule set that only a reader of another format can read.
fn newer_format() -> Vec<u8> {
    let mut bytes = rules(9);
    bytes[8..12].copy_from_slice(&[9, 0, 9, 0]);
    bytes
}

/// Which version a teller of the pilot gets.
fn version_of_pilot(proxy: &mut Proxy) -> Option<String> {
    let headers = proxy.request(request_to("loan", &[("x-teller", "T0000017")])).headers;
    let version = headers.into_iter().find(|(name, _)| name == b"x-gray-version");
    version.map(|(_, value)| String::from_utf8(value).unwrap())
}

#[test]
fn bytes_envelope_and_written_rules_serve() {
    let written = br#"{"services": [{"name": "loan", "hosts": ["loan"], "gray": "v2", "teller": ["T0000017"]}], "revision": 7}"#;
    let envelope = format!("{{\"rulesBase64\": \"{}\"}}", STANDARD.encode(rules(7)));
    for configuration in [&rules(7)[..], envelope.as_bytes(), written] {
        let proxy = &mut Proxy::with(configuration);
        assert_eq!(version_of_pilot(proxy).as_deref(), Some("v2"));
        assert_eq!(proxy.metric("graylane_revision"), Some(7));
        assert_eq!(proxy.metric("graylane_config_rejections"), Some(0));
    }
}

#[test]
fn the_example_for_people_serves() {
    let file = graylane_wasm_tests::places::envoy_configs().join("static-rules.yaml");
    let file: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let configuration = "/http_filters/0/typed_config/config/configuration/value";
    let written = file.pointer(manager).and_then(|manager| manager.pointer(configuration)).unwrap();
    let proxy = &mut Proxy::with(written.as_str().unwrap().as_bytes());
    let pilot = request_to("loan.retail.svc.cluster.local", &[("x-teller", "T0000017")]);
    assert!(proxy.request(pilot).headers.contains(&(b"x-gray-version".to_vec(), b"v2".to_vec())));
}

#[test]
fn no_configuration_is_stable() {
    let (mut proxy, answer) = Proxy::start(b"");
    assert!(answer);
    assert_eq!(version_of_pilot(&mut proxy), None);
    assert_eq!(proxy.metric("graylane_revision"), Some(0));
    assert_eq!(proxy.metric("graylane_config_rejected"), Some(0));
}

#[test]
fn the_log_names_the_filter_once_and_each_configuration_once() {
    let mut proxy = Proxy::with(&rules(7));
    proxy.configure(&rules(8));
    version_of_pilot(&mut proxy);
    let content = graylane_rules::Rules::load(rules(7)).unwrap().content_hash();
    let line =
        |revision| format!("rules of retail at revision {revision}, content {content:016x}, services 4");
    let started = concat!("graylane filter ", env!("CARGO_PKG_VERSION")).to_owned();
    assert_eq!(proxy.world().log, [(INFO, started), (INFO, line(7)), (INFO, line(8))]);
}

#[test]
fn unreadable_configurations_keep_the_last_good_rules_until_good_ones_come() {
    let cut = rules(9)[..200].to_vec();
    for bad in
        [&b"garbage"[..], b"{", b"{\"services\": 1}", b"\x89GLRULES", &cut, &newer_format(), &[0xff; 4096]]
    {
        let mut proxy = Proxy::with(&rules(7));
        proxy.world().log.clear();
        assert!(proxy.configure(bad), "on_configure never answers false");
        assert_eq!(version_of_pilot(&mut proxy).as_deref(), Some("v2"));
        assert_eq!(proxy.metric("graylane_revision"), Some(7));
        assert_eq!(proxy.metric("graylane_config_rejected"), Some(1));
        assert_eq!(proxy.metric("graylane_config_rejections"), Some(1));
        let log = std::mem::take(&mut proxy.world().log);
        let [(level, line)] = &log[..] else { panic!("one line, not {log:?}") };
        assert_eq!(*level, WARN);
        assert!(line.starts_with("configuration rejected, revision 7 still serves: "), "{line}");

        assert!(proxy.configure(&rules(8)));
        assert_eq!(proxy.metric("graylane_revision"), Some(8));
        assert_eq!(proxy.metric("graylane_config_rejected"), Some(0));
        assert_eq!(proxy.metric("graylane_config_rejections"), Some(1));
        assert_eq!(version_of_pilot(&mut proxy).as_deref(), Some("v2"));
    }
}

#[test]
fn a_first_configuration_that_is_unreadable_is_stable() {
    let (mut proxy, answer) = Proxy::start(b"garbage");
    assert!(answer);
    assert_eq!(version_of_pilot(&mut proxy), None);
    let own = proxy.request(request_to("loan", &[("x-gray-version", "v2")]));
    assert_eq!(own.headers, request_to("loan", &[]));
    assert_eq!(proxy.metric("graylane_config_rejected"), Some(1));
    let (_, line) = proxy.world().log.last().unwrap().clone();
    let reason = "it is neither a rule set nor a JSON object";
    assert_eq!(
        line,
        format!("configuration rejected, no rules before it, all requests are stable: {reason}")
    );
    proxy.configure(&rules(1));
    assert_eq!(version_of_pilot(&mut proxy).as_deref(), Some("v2"));
}

#[test]
fn a_configuration_that_is_not_handed_over_is_rejected() {
    let mut proxy = Proxy::with(&rules(7));
    proxy.world().refused.insert("get_buffer_bytes", 10);
    assert!(proxy.configure(&rules(8)));
    assert_eq!(proxy.metric("graylane_config_rejected"), Some(1));
    assert_eq!(version_of_pilot(&mut proxy).as_deref(), Some("v2"));
}

#[test]
fn an_empty_configuration_takes_the_rules_away() {
    let mut proxy = Proxy::with(&rules(7));
    proxy.configure(b"");
    assert_eq!(version_of_pilot(&mut proxy), None);
    proxy.configure(b"garbage");
    assert_eq!(version_of_pilot(&mut proxy), None, "what was taken away does not come back");
}

#[test]
fn a_reason_is_cut_in_the_log() {
    let (mut proxy, _) = Proxy::start(format!("{{\"{}\": 1}}", "贷".repeat(100_000)).as_bytes());
    let (_, line) = proxy.world().log.last().unwrap().clone();
    assert!((1_000..1_200).contains(&line.len()), "{}", line.len());
}

#[test]
fn a_request_gets_the_rules_that_are_there_when_its_headers_come() {
    let mut proxy = Proxy::with(&rules(7));
    assert_eq!(version_of_pilot(&mut proxy).as_deref(), Some("v2"));
    proxy.configure(br#"{"services": [{"name": "loan", "hosts": ["loan"], "gray": "v3", "all": true}]}"#);
    assert_eq!(version_of_pilot(&mut proxy).as_deref(), Some("v3"));
}

#[test]
fn rules_that_were_replaced_are_freed() {
    let mut proxy = Proxy::with(b"");
    let empty = proxy.memory_bytes();
    for revision in 1..100 {
        // Each has its own name only once; its rules go when it has none.
        proxy.world().plugin_name = format!("graylane.v1.tenant{revision}");
        proxy.configure(&many_ids(revision));
        proxy.configure(b"");
    }
    let grown = proxy.memory_bytes() - empty;
    assert!(grown < 1 << 20, "{grown} bytes for rules of 200 kB");
}

#[test]
fn plugins_that_share_a_vm_do_not_share_rules() {
    let mut proxy = Proxy::with(&rules(7));
    proxy.world().plugin_name = "graylane.v1.corporate".into();
    proxy.configure(b"garbage");
    assert_eq!(version_of_pilot(&mut proxy), None);
    proxy.world().plugin_name = "graylane.v1.retail".into();
    assert_eq!(version_of_pilot(&mut proxy).as_deref(), Some("v2"));
    proxy.configure(b"garbage");
    assert_eq!(version_of_pilot(&mut proxy).as_deref(), Some("v2"));
    proxy.world().plugin_name = "graylane.v1.nobody".into();
    assert_eq!(version_of_pilot(&mut proxy), None, "a plugin that was never configured has no rules");
    proxy.world().refused.insert("get_property", 10);
    assert_eq!(version_of_pilot(&mut proxy), None, "nor has one that the proxy does not name");
}

#[test]
fn the_plugins_of_a_vm_are_bounded() {
    const LIMIT: usize = 64;
    let mut proxy = Proxy::with(&rules(7));
    for tenant in 1..LIMIT {
        proxy.world().plugin_name = format!("graylane.v1.tenant{tenant}");
        proxy.configure(if tenant == 1 { b"" } else { br#"{"services": [], "revision": 1}"# });
    }
    let another = |proxy: &mut Proxy, name: &str| {
        proxy.world().plugin_name = name.to_owned();
        proxy.world().log.clear();
        assert!(proxy.configure(&rules(8)));
        (version_of_pilot(proxy), proxy.world().log.len())
    };
    let fits = another(&mut proxy, "graylane.v1.fits");
    assert_eq!(fits, (Some("v2".into()), 1), "in the place of one that has no rules");
    assert_eq!(another(&mut proxy, "graylane.v1.over"), (None, 2), "stable, and the log says why");
    proxy.world().plugin_name = "graylane.v1.retail".into();
    assert_eq!(version_of_pilot(&mut proxy).as_deref(), Some("v2"));
}

#[test]
fn a_configuration_over_the_limit_is_not_even_copied() {
    let mut proxy = Proxy::with(&rules(7));
    let before = proxy.memory_bytes();
    assert!(proxy.configure(&vec![b' '; 24 << 20]));
    assert_eq!(proxy.memory_bytes(), before);
    assert_eq!(proxy.metric("graylane_config_rejected"), Some(1));
    assert_eq!(version_of_pilot(&mut proxy).as_deref(), Some("v2"));
}

/// A new rule set each time, of about 200 kB, whose size varies by a tenth.
fn many_ids(revision: u64) -> Vec<u8> {
    let mut plain = cases::load().rules;
    let table = Arc::make_mut(&mut plain.services[0].release.as_mut().unwrap().table);
    let mut groups = table.levels[0].clone();
    let ids = (0..10_000 + revision % 10 * 100).map(|id| format!("T{:08}", id * 7 + revision));
    groups[0].ids = Arc::new(ids.chain(["T0000017".into()]).collect());
    table.levels[0] = groups;
    encode(&plain, revision).unwrap()
}

#[test]
fn three_hundred_reloads_neither_grow_nor_define_metrics() {
    let mut proxy = Proxy::with(&many_ids(0));
    let mut after_first_few = None;
    for revision in 1..=300 {
        let bytes = if revision % 30 == 0 { b"garbage".to_vec() } else { many_ids(revision) };
        assert!(proxy.configure(&bytes));
        assert_eq!(version_of_pilot(&mut proxy).as_deref(), Some("v2"));
        if revision == 20 {
            after_first_few = Some((proxy.memory_bytes(), proxy.definitions()));
        }
    }
    assert_eq!(Some((proxy.memory_bytes(), proxy.definitions())), after_first_few);
    assert!(proxy.memory_bytes() < 4 << 20, "{} bytes", proxy.memory_bytes());
    assert_eq!(proxy.definitions(), 6, "five without labels, and that of the pilot's tellers");
}
