//! What real Envoys keep and report: with the filter of statistics that users copy, and as Istio has it.

mod judged;

use std::thread;
use std::time::Duration;

use graylane_wasm_tests::{
    Client, Daemon, Envoy, EnvoyConfig, LOAN_HOST, Mood, Relay, Request, Testbed, TestbedSettings, places,
};
use judged::{ERRORS, LATENCY, Release};
use serde_json::{Value, json};

/// How many reports are counted, one a second.
const REPORTS: u64 = 5;

/// Istio's names, and the configuration that knows them.
const CLUSTERS: &str = include_str!("../../control/examples/clusters.yaml");

#[test]
fn the_filter_of_statistics_keeps_what_is_judged_and_makes_reports_a_fifth() {
    let mut testbed = Testbed::start(&TestbedSettings { envoys: 0, ..TestbedSettings::default() }).unwrap();
    let relays = [(); 3].map(|()| Relay::start(testbed.daemon.xds()).unwrap());
    let [default, whole, filtered] = relays.each_ref().map(Relay::address);
    testbed.add_envoy(|config| config.xds(default).edit(report_summaries)).unwrap();
    testbed.add_envoy(|config| config.xds(whole)).unwrap();
    testbed.add_envoy(|config| config.xds(filtered).overlay("stats-filter.yaml").unwrap()).unwrap();
    let mut release = Release::start_on(testbed, ERRORS);
    let healthy = release.until_found("healthy");
    assert_eq!(healthy["judged"]["endpoints"], 1, "{healthy}");
    let [default, whole, filtered] = reports(&relays);
    eprintln!(
        "bytes of a report: {default} of all statistics, {whole} without summaries, {filtered} of what is read"
    );
    assert!(whole < default && filtered * 5 < whole, "{default} {whole} {filtered}");

    // The filtered one alone has all that there is to know.
    release.testbed.envoys.drain(..2);
    let judged = release.until_found("healthy");
    assert!(judged["judged"]["gray"]["p99Ms"].is_number(), "{judged}");
    let filtered = &release.testbed.envoys[0];
    assert!(filtered.stat("wasmcustom.graylane_revision").unwrap().is_some_and(|revision| revision > 0));
    assert!(filtered.stats_with("graylane_requests").unwrap().len() > 1);
    assert_eq!(filtered.stat("server.live").unwrap(), None);
    release.be("loan-v2", Mood::Failing(100));
    release.check_taken_back(&release.until_back(), "fail");
}

#[test]
fn where_tags_are_reported_as_labels_a_failing_version_is_taken_back() {
    let mut testbed = Testbed::start(&TestbedSettings { envoys: 0, ..TestbedSettings::default() }).unwrap();
    testbed.add_envoy(|config| config.edit(report_labels)).unwrap();
    let release = Release::start_on(testbed, ERRORS);
    release.until_found("healthy");
    release.be("loan-v2", Mood::Failing(100));
    release.check_taken_back(&release.until_back(), "fail");
}

/// How many bytes each proxy sends in a second.
fn reports(relays: &[Relay; 3]) -> [u64; 3] {
    let sent = || relays.each_ref().map(Relay::sent);
    let before = sent();
    thread::sleep(Duration::from_secs(REPORTS));
    let after = sent();
    [0, 1, 2].map(|relay| (after[relay] - before[relay]) / REPORTS)
}

/// The name that Istio gives to the cluster of a version, as `loan-v2`.
fn name_in_istio(cluster: &str) -> String {
    let (service, version) = cluster.split_once('-').unwrap();
    format!("outbound|8080|{version}|{service}.retail.svc.cluster.local")
}

/// A sidecar with the statistics of Istio's bootstrap (1.23 and later) and what `istio/mesh-config.yaml` adds.
fn as_in_istio(config: EnvoyConfig, testbed: &Testbed) -> EnvoyConfig {
    let names: Vec<(String, String)> = testbed
        .upstreams
        .iter()
        .map(|upstream| (upstream.cluster(), name_in_istio(&upstream.cluster())))
        .collect();
    let config = testbed.upstreams.iter().fold(config, |config, upstream| {
        config.cluster(&name_in_istio(&upstream.cluster()), upstream.address())
    });
    config.edit(|root| {
        names.iter().for_each(|(from, to)| rename(root, from, to));
        for cluster in root["static_resources"]["clusters"].as_array_mut().unwrap() {
            cluster["alt_stat_name"] = format!("{};", cluster["name"].as_str().unwrap()).into();
        }
        let (prefix, regex) =
            (|prefix: &str| json!({ "prefix": prefix }), |regex| json!({ "safe_regex": { "regex": regex } }));
        let prefixes = [
            "reporter=",
            "cluster_manager",
            "listener_manager",
            "server",
            "cluster.xds-grpc",
            "wasm",
            "component",
            "istio",
        ];
        let patterns: Vec<Value> =
            prefixes.into_iter().map(prefix).chain(inclusion_regexps().map(regex)).collect();
        let by_name = r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)";
        root["stats_config"] = json!({
            "use_all_default_tags": false,
            "stats_tags": [{ "tag_name": "cluster_name", "regex": by_name }],
            "stats_matcher": { "inclusion_list": { "patterns": patterns } },
        });
        // Envoy's own five seconds.
        root.as_object_mut().unwrap().remove("stats_flush_interval");
        report_summaries(root);
    })
}

/// Reports tags as labels, and names without them.
fn report_labels(root: &mut Value) {
    root["stats_sinks"][0]["typed_config"]["emit_tags_as_labels"] = true.into();
}

/// Reports summaries beside histograms, as Envoy does by default.
fn report_summaries(root: &mut Value) {
    root["stats_sinks"][0]["typed_config"].as_object_mut().unwrap().remove("histogram_emit_mode");
}

/// The expressions of the file that users copy.
fn inclusion_regexps() -> impl Iterator<Item = String> {
    let file = std::fs::read_to_string(places::envoy_configs().join("istio/mesh-config.yaml")).unwrap();
    let mesh: Value = serde_saphyr::from_str(&file).unwrap();
    let matcher = &mesh["spec"]["meshConfig"]["defaultConfig"]["proxyStatsMatcher"];
    let regexps = matcher["inclusionRegexps"].as_array().unwrap().clone();
    regexps.into_iter().map(|regex| regex.as_str().unwrap().to_owned())
}

/// Puts another text in the place of one.
fn rename(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) if text == from => to.clone_into(text),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, from, to)),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, from, to)),
        _ => {}
    }
}

#[test]
fn with_the_statistics_that_istio_keeps_a_slow_and_a_failing_version_are_taken_back() {
    for (health, mood, why) in
        [(ERRORS, Mood::Failing(100), "fail"), (LATENCY, Mood::Slow(Duration::from_millis(200)), "ms")]
    {
        let daemon = Daemon::start_with(CLUSTERS).unwrap();
        let mut testbed = Testbed { envoys: Vec::new(), daemon, upstreams: Testbed::upstreams().unwrap() };
        let config = testbed
            .config("sidecar-outbound.yaml")
            .unwrap()
            .node("sidecar~10.0.0.1~loan.retail~cluster.local");
        testbed.envoys.push(Envoy::start(as_in_istio(config, &testbed)).unwrap());
        let client: Client = testbed.envoys[0].client();
        assert_eq!(client.version_for(&Request::to(LOAN_HOST)).unwrap(), "v1");
        let release = Release::start_on(testbed, health);
        release.until_found("healthy");
        let kept = release.testbed.envoys[0].stats_with("cluster.outbound").unwrap();
        assert!(
            kept.iter()
                .any(|(name, _)| name.contains("loan.retail.svc.cluster.local;.upstream_rq_completed")),
            "{kept:?}"
        );
        assert!(kept.len() <= 12, "no others: {kept:?}");
        release.be("loan-v2", mood);
        release.check_taken_back(&release.until_back(), why);
    }
}
