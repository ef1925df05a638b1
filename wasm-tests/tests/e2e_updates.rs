//! Many changes of the rules under constant load.

use std::sync::Arc;

use anyhow::{Result, ensure};
use graylane_rules::{Action, Entry, Table, cases, encode};
use graylane_wasm_tests::{
    Client, Envoy, EnvoyConfig, LEDGER_HOST, LOAN_HOST, Load, LoadSettings, Request, RulesFile, Testbed,
    TestbedSettings, places, wait,
};
use serde_json::{Value, json};

/// How often the rules change.
const UPDATES: usize = 200;
/// How often large rules change.
const LARGE_UPDATES: u64 = 40;
/// Envoy's count of live VMs.
const VMS: &str = "wasm.envoy.wasm.runtime.v8.active";

/// The scope of an update. It grows by one teller each time. And it says the same of two people with other entries each
/// time: one who is gray by teller, then by branch, and so on; and one whose branch is gray with the teller excluded, then
/// with neither. Whoever mixed the tables of two updates would send the first to stable, or the second to gray.
fn scope(update: usize) -> Value {
    let mut tellers: Vec<String> = (1..=update).map(grown).collect();
    if update.is_multiple_of(2) {
        tellers.push("T-IN".to_owned());
        json!({ "include": { "teller": tellers, "branch": ["B-OUT"] }, "exclude": { "teller": ["T-OUT"] } })
    } else {
        json!({ "include": { "teller": tellers, "branch": ["B-IN"] } })
    }
}

/// The teller that an update lets in, for good.
fn grown(update: usize) -> String {
    format!("T{update:07}")
}

fn plan() -> String {
    let service =
        |name: &str, host: &str| json!({ "name": name, "hosts": [host], "stable": "v1", "gray": "v2" });
    json!({
        "apiVersion": "graylane.dev/v1alpha1",
        "kind": "ReleasePlan",
        "metadata": { "name": "restless", "tenant": "retail" },
        "spec": {
            "owner": "release-manager",
            "batch": "parallel",
            "services": [service("loan", LOAN_HOST), service("ledger", LEDGER_HOST)],
            "stages": [{ "name": "only", "scope": scope(1) }],
        },
    })
    .to_string()
}

/// Requests whose version is the same under every update.
fn settled_requests() -> Vec<(String, Request)> {
    let hosts = [("loan", LOAN_HOST), ("ledger", LEDGER_HOST)];
    let of_host = |(service, host): (&str, &str)| {
        let request = || Request::to(host);
        [
            ("in", request().teller("T-IN").branch("B-IN")),
            ("out", request().teller("T-OUT").branch("B-OUT")),
            ("nobody", request().header("x-gray-version", "v2")),
        ]
        .map(|(who, request)| (format!("{who} at {service}"), request))
    };
    hosts.into_iter().flat_map(of_host).collect()
}

/// Asks one service until the update's teller is gray there, then the other one, on the same connection and so in the same
/// worker: a rule set holds every service of a batch, so the other one must have changed too.
fn see(client: &Client, update: usize) -> Result<()> {
    let (first, second) =
        if update.is_multiple_of(2) { (LOAN_HOST, LEDGER_HOST) } else { (LEDGER_HOST, LOAN_HOST) };
    let ask = |host: &str, update: usize| client.version_for(&Request::to(host).teller(&grown(update)));
    wait::until(&format!("update {update} at {first}"), || ensure_v2(&ask(first, update).unwrap()))?;
    for known in [update, update / 2 + 1, 1] {
        for host in [second, first] {
            let version = ask(host, known)?;
            ensure!(
                version == "v2",
                "{version} answers at {host} under update {update} or later for {known}"
            );
        }
    }
    let next = ask(second, update + 1)?;
    ensure!(next == "v1", "{next} answers at {second} for update {} before it is published", update + 1);
    Ok(())
}

#[test]
fn two_hundred_updates_under_load_lose_no_request_and_mix_no_two_rule_sets() {
    let mut testbed = Testbed::start(&TestbedSettings::default()).unwrap();
    let prefix = "extension_config_discovery.http_filter.graylane.v1.retail";
    testbed.daemon.apply(&plan()).unwrap();
    let order = testbed.daemon.cli(&["order", "start", "restless", "--wait", "30"]).unwrap();
    let client = testbed.envoys[0].client();
    see(&client, 1).unwrap();
    let before = testbed.envoys[0].stat(&format!("{prefix}.config_reload")).unwrap().unwrap();
    let vms_before = testbed.envoys[0].stat(VMS).unwrap();
    assert!(vms_before.is_some_and(|count| count >= 3), "{vms_before:?}");

    // So many connections hardly ever all lead to one of the two workers.
    let settings =
        LoadSettings { requests: settled_requests(), stable: "v1".to_owned(), threads: 6, rate: 80 };
    let load = Load::start(&testbed.envoys[0].client(), &settings);
    load.until_sent_more(30).unwrap();
    let adjust = format!("/api/v1/orders/{}/adjust", order["id"]);
    for update in 2..=UPDATES + 1 {
        testbed.daemon.post(&adjust, &json!({ "scope": scope(update).to_string() })).unwrap();
        see(&client, update).unwrap();
    }
    load.until_sent_more(30).unwrap();
    let report = load.stop();

    assert_eq!((report.failures, report.mixed), (0, 0), "{:?}", report.complaints);
    for (name, versions) in &report.versions_by_request {
        let expected = if name.starts_with("in ") { "v2" } else { "v1" };
        assert_eq!(versions.keys().collect::<Vec<_>>(), [expected], "{name} got {versions:?}");
    }
    assert_eq!(report.versions_by_request.len(), settings.requests.len());
    let envoy = &mut testbed.envoys[0];
    envoy.until_stat(&format!("{prefix}.config_reload"), |count| count == before + UPDATES as u64).unwrap();
    assert_eq!(envoy.stat(&format!("{prefix}.update_rejected")).unwrap(), Some(0));
    assert_eq!(envoy.stat("http.outbound.downstream_rq_5xx").unwrap(), Some(0));
    // One connection for each sender and one for the client: nobody changed its worker on the way.
    let connections = envoy.stat("http.outbound.downstream_cx_total").unwrap().unwrap();
    assert!(connections <= 1 + settings.threads as u64, "{connections} connections");
    assert_eq!(envoy.stat(VMS).unwrap(), vms_before, "a VM was built anew, or an old one stays");
    println!("{} requests, the slowest {:?}", report.requests, report.latency(1.0));
}

/// The case table's rules with a hundred thousand more tellers, about 1.2 MB.
fn large_rules(revision: u64) -> Vec<u8> {
    let mut rules = cases::load().rules;
    let release = rules.services[0].release.as_mut().unwrap();
    let mut table = Table::clone(&release.table);
    let tellers = (0..100_000).map(|number| format!("L{number:07}"));
    table.add(0, Entry { action: Action::Gray, stage: 0 }, Arc::new(tellers.collect()));
    release.table = Arc::new(table);
    encode(&rules, revision).unwrap()
}

/// The memory that a process really occupies, in KiB.
fn resident_kib(process_id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn envoys_memory_does_not_grow_with_the_number_of_large_updates() {
    let upstreams = Testbed::upstreams().unwrap();
    let mut rules = RulesFile::new(places::filter().unwrap()).unwrap();
    let config = EnvoyConfig::of("sidecar-outbound.yaml").unwrap().upstreams(&upstreams);
    let mut envoy = Envoy::start(rules.serve(config, &large_rules(1)).unwrap()).unwrap();
    let mut settled = 0;
    for revision in 2..=LARGE_UPDATES {
        rules.push(&large_rules(revision)).unwrap();
        envoy.until_applied(revision).unwrap();
        if revision == LARGE_UPDATES / 4 {
            settled = resident_kib(envoy.process_id());
        }
    }
    let last = Request::to(LOAN_HOST).teller("L0099999");
    let client = envoy.client();
    envoy.until("the last teller", || ensure_v2(&client.version_for(&last)?)).unwrap();
    let grown = resident_kib(envoy.process_id()).saturating_sub(settled);
    println!("{settled} KiB, then {grown} KiB more");
    // One copy that stays for each update would be several hundred MiB.
    assert!(grown < 40 << 10, "{grown} KiB more than the {settled} KiB after a quarter of the updates");
}

fn ensure_v2(version: &str) -> Result<()> {
    ensure!(version == "v2", "{version} answers");
    Ok(())
}
