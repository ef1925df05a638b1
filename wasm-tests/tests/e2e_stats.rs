//! What real Envoys keep and report: with the filter of statistics that users copy, and as Istio has it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use graylane_wasm_tests::release::{self, GRAY};
use graylane_wasm_tests::{
    Daemon, Envoy, EnvoyConfig, LEDGER_HOST, LOAN_HOST, Mood, Relay, Release, ReleaseSettings, Request,
    Testbed, TestbedSettings, places, wait,
};
use serde_json::{Value, json};

/// A proxy that sent nothing for so long has sent its report: it reports once a second.
const QUIET: Duration = Duration::from_millis(300);

/// What is read of a cluster, but for the times.
const READ: [&str; 3] = ["upstream_rq_completed", "upstream_rq_5xx", "membership_healthy"];

/// Istio's names, and the configuration that knows them.
const CLUSTERS: &str = include_str!("../../control/examples/clusters.yaml");

#[test]
fn the_filter_of_statistics_keeps_what_is_judged_and_makes_reports_an_eighth() {
    let mut testbed = Testbed::start(&TestbedSettings { envoys: 0, ..TestbedSettings::default() }).unwrap();
    let relays = [(); 3].map(|()| Relay::start(testbed.daemon.xds()).unwrap());
    let [default, whole, filtered] = relays.each_ref().map(Relay::address);
    testbed.add_envoy(|config| config.xds(default).edit(report_summaries)).unwrap();
    testbed.add_envoy(|config| config.xds(whole)).unwrap();
    testbed.add_envoy(|config| config.xds(filtered).overlay("stats-filter.yaml").unwrap()).unwrap();
    let mut release = start_on(testbed, release::errors("10s"));
    let healthy = release.until_found("verdict", "healthy").unwrap();
    assert_eq!(healthy["endpoints"], 1, "{healthy}");
    let [default, whole, filtered] = relays.each_ref().map(report_bytes);
    eprintln!(
        "bytes of a report: {default} of all statistics, {whole} without summaries, {filtered} of what is read"
    );
    assert!(whole < default && filtered * 8 < whole, "{default} {whole} {filtered}");

    // The filtered one alone has all that there is to know.
    release.testbed.envoys.drain(..2);
    let judged = release.until_found("verdict", "healthy").unwrap();
    assert!(judged["gray"]["p99Ms"].is_number(), "{judged}");
    let filtered = &release.testbed.envoys[0];
    assert!(filtered.stat("wasmcustom.graylane_revision").unwrap().is_some_and(|revision| revision > 0));
    let kept = filtered.stats_with("").unwrap();
    assert!(kept.iter().any(|(name, _)| name.contains("graylane_requests")), "{kept:?}");
    for (name, _) in &kept {
        let of_a_cluster: Vec<&str> = name.split('.').collect();
        let is_read = match of_a_cluster[..] {
            ["cluster", _, figure] => READ.contains(&figure),
            _ => name.starts_with("wasmcustom.graylane_"),
        };
        assert!(is_read, "{name} is read by nobody");
    }
    release.be(GRAY, Mood::Failing(100)).unwrap();
    release.check_taken_back("fail").unwrap();
}

#[test]
fn where_tags_are_reported_as_labels_a_failing_version_is_taken_back() {
    let mut testbed = Testbed::start(&TestbedSettings { envoys: 0, ..TestbedSettings::default() }).unwrap();
    testbed.add_envoy(|config| config.edit(report_labels)).unwrap();
    let release = start_on(testbed, release::errors("10s"));
    release.until_found("verdict", "healthy").unwrap();
    release.be(GRAY, Mood::Failing(100)).unwrap();
    release.check_taken_back("fail").unwrap();
}

/// A release on what runs already, and its order.
fn start_on(testbed: Testbed, health: Value) -> Release {
    let mut release =
        Release::start(testbed, &ReleaseSettings { health, ..ReleaseSettings::default() }).unwrap();
    release.start_order().unwrap();
    release
}

/// The bytes of one report: what a proxy sends between two moments at which it is quiet.
fn report_bytes(relay: &Relay) -> u64 {
    let before = until_quiet(relay);
    wait::until("a report", || {
        ensure!(relay.sent() > before, "{before} bytes");
        Ok(())
    })
    .unwrap();
    until_quiet(relay) - before
}

/// Waits until a proxy sends nothing, and gives the bytes that it sent so far.
fn until_quiet(relay: &Relay) -> u64 {
    let (mut sent, mut since) = (relay.sent(), Instant::now());
    while since.elapsed() < QUIET {
        thread::sleep(Duration::from_millis(10));
        if relay.sent() != sent {
            (sent, since) = (relay.sent(), Instant::now());
        }
    }
    sent
}

/// The name that Istio gives to the cluster of a version, as `loan-v2`. The versions of `ledger` are services of their own, which
/// have no versions.
fn name_in_istio(cluster: &str) -> String {
    match cluster.split_once('-').unwrap() {
        ("loan", version) => format!("outbound|8080|{version}|loan.retail.svc.cluster.local"),
        _ => format!("outbound|8080||{cluster}.retail.svc.cluster.local"),
    }
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

/// What the file that users copy sets for all proxies.
fn istio_defaults() -> Value {
    let file = std::fs::read_to_string(places::envoy_configs().join("istio/mesh-config.yaml")).unwrap();
    let mut mesh: Value = serde_saphyr::from_str(&file).unwrap();
    mesh["spec"]["meshConfig"]["defaultConfig"].take()
}

/// The expressions of that file.
fn inclusion_regexps() -> impl Iterator<Item = String> {
    let regexps = istio_defaults()["proxyStatsMatcher"]["inclusionRegexps"].as_array().unwrap().clone();
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
fn the_file_for_istio_leads_to_the_port_that_the_daemon_has_by_default_and_to_its_own_certificate() {
    let service = &istio_defaults()["envoyMetricsService"];
    let (host, port) = service["address"].as_str().unwrap().split_once(':').unwrap();
    let [name, namespace] =
        host.strip_suffix(".svc.cluster.local").unwrap().split('.').collect::<Vec<_>>()[..]
    else {
        panic!("{host} names no service");
    };
    let subject = format!("spiffe://cluster.local/ns/{namespace}/sa/{name}");
    assert_eq!(service["tlsSettings"]["subjectAltNames"], json!([subject]));
    let daemon = Daemon::prepare().unwrap();
    let help = daemon.try_cli(&["serve", "--help"]).unwrap().stdout;
    let xds = help.split_once("--xds <").unwrap().1;
    assert!(xds.split("--").next().unwrap().contains(&format!("[default: 127.0.0.1:{port}]")), "{help}");
}

#[test]
fn with_the_statistics_that_istio_keeps_a_slow_and_a_failing_version_are_taken_back() {
    for (health, mood, why) in [
        (release::errors("10s"), Mood::Failing(100), "fail"),
        (release::latency(), Mood::Slow(Duration::from_millis(200)), "ms"),
    ] {
        let daemon = Daemon::start_with(CLUSTERS).unwrap();
        let mut testbed = Testbed { envoys: Vec::new(), daemon, upstreams: Testbed::upstreams().unwrap() };
        let config = testbed
            .config("sidecar-outbound.yaml")
            .unwrap()
            .node("sidecar~10.0.0.1~loan.retail~cluster.local");
        testbed.envoys.push(Envoy::start(as_in_istio(config, &testbed)).unwrap());
        let client = testbed.envoys[0].client();
        for host in [LOAN_HOST, LEDGER_HOST] {
            assert_eq!(client.version_for(&Request::to(host)).unwrap(), "v1");
        }
        let release = start_on(testbed, health);
        release.until_found("verdict", "healthy").unwrap();
        check_kept(&release.testbed.envoys[0]);
        release.be(GRAY, mood).unwrap();
        release.check_taken_back(why).unwrap();
    }
}

/// Of the clusters that are versions, what is read, and nothing of others nor Envoy's copies by the origin of a request.
fn check_kept(envoy: &Envoy) {
    let kept = envoy.stats_with("cluster.outbound").unwrap();
    let kept: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
    let of = |version: &str, figure: &str| {
        format!("cluster.outbound|8080|{version}|loan.retail.svc.cluster.local;.{figure}")
    };
    let wanted = ["v1", "v2"]
        .map(|version| ["membership_healthy", "upstream_rq_completed"].map(|figure| of(version, figure)));
    assert_eq!(kept, wanted.concat());
}
