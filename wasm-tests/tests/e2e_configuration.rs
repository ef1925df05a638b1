//! What a real Envoy does with rules that cannot be read, and with those that follow; and with a filter that traps.

use std::path::Path;

use anyhow::{Result, ensure};
use graylane_rules::{RuleSet, cases, encode};
use graylane_wasm_tests::{
    Envoy, EnvoyConfig, LOAN_HOST, Request, RulesFile, Testbed, Upstream, move_into_place, places, wait,
};
use serde_json::{Value, json};

/// Enough connections of their own that both workers are asked.
const CONNECTIONS: usize = 16;
/// Envoy's statistics of the subscription.
const SUBSCRIPTION: &str = "extension_config_discovery.http_filter.graylane.v1.retail";

/// An Envoy that takes its rules from a file.
struct Stage {
    envoy: Envoy,
    rules: RulesFile,
    _upstreams: Vec<Upstream>,
}

// === impl Stage ===

impl Stage {
    fn start(first: &[u8]) -> Self {
        Self::start_with(first, RulesFile::new(places::filter().unwrap()).unwrap(), |config| config)
    }

    fn start_with(
        first: &[u8],
        mut rules: RulesFile,
        change: impl FnOnce(EnvoyConfig) -> EnvoyConfig,
    ) -> Self {
        let upstreams = Testbed::upstreams().unwrap();
        let config = EnvoyConfig::of("sidecar-outbound.yaml").unwrap().upstreams(&upstreams);
        let config = change(rules.serve(config, first).unwrap());
        Self { envoy: Envoy::start(config).unwrap(), rules, _upstreams: upstreams }
    }

    /// Checks on many connections that the pilot gets this version.
    fn check_pilot(&self, version: &str) {
        for _ in 0..CONNECTIONS {
            assert_eq!(pilot_version(&self.envoy).unwrap(), version, "{}", self.envoy.log());
        }
    }

    /// Waits until the pilot gets this version on many connections one after the other.
    fn until_pilot(&mut self, version: &str) {
        let envoy = &self.envoy;
        wait::until(&format!("the pilot on {version}"), || {
            (0..CONNECTIONS).try_for_each(|_| {
                let answered = pilot_version(envoy)?;
                ensure!(answered == version, "{answered} answers");
                Ok(())
            })
        })
        .unwrap();
    }

    fn until_stat(&mut self, name: &str, wanted: u64) {
        self.envoy.until_stat(name, |value| value == wanted).unwrap();
    }

    fn subscription(&self, stat: &str) -> u64 {
        self.envoy.stat(&format!("{SUBSCRIPTION}.{stat}")).unwrap().unwrap()
    }
}

/// The version of the case table's pilot, on a connection of its own; a status that is no success is an error.
fn pilot_version(envoy: &Envoy) -> Result<String> {
    let answer = envoy.client().send_raw(&Request::to(LOAN_HOST).teller("T0000017"))?;
    ensure!(answer.status == 200, "status {}", answer.status);
    Ok(answer.version)
}

/// The case table's rules.
fn rules(revision: u64) -> Vec<u8> {
    encode(&cases::load().rules, revision).unwrap()
}

/// The case table's rules with nothing in release, so that all its pilots are stable.
fn rules_without_release(revision: u64) -> Vec<u8> {
    let RuleSet { mut services, tenant, output_header, dimensions } = cases::load().rules;
    services.iter_mut().for_each(|service| service.release = None);
    encode(&RuleSet { services, tenant, output_header, dimensions }, revision).unwrap()
}

fn garbage() -> Vec<Vec<u8>> {
    let good = rules(8);
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    vec![
        b"garbage".to_vec(),
        b"{\"services\": [{}]}".to_vec(),
        good[..good.len() - 1].to_vec(),
        flipped,
        vec![0xff; 1 << 20],
    ]
}

#[test]
fn garbage_keeps_the_last_good_rules_and_later_good_ones_apply() {
    let mut stage = Stage::start(&rules(7));
    stage.until_pilot("v2");
    for (round, garbage) in (1u64..).zip(garbage()) {
        let counted = stage.envoy.stat("wasmcustom.graylane_config_rejections").unwrap().unwrap_or(0);
        stage.rules.push(&garbage).unwrap();
        stage.until_stat("wasmcustom.graylane_config_rejected", 1);
        stage.until_stat(&format!("{SUBSCRIPTION}.update_success"), 2 * round);
        stage
            .envoy
            .until_stat("wasmcustom.graylane_config_rejections", |count| count >= counted + 3)
            .unwrap();
        stage.check_pilot("v2");
        assert_eq!(stage.envoy.stat("wasmcustom.graylane_revision").unwrap(), Some(6 + round));

        stage.rules.push(&rules(7 + round)).unwrap();
        stage.envoy.until_applied(7 + round).unwrap();
        stage.until_stat("wasmcustom.graylane_config_rejected", 0);
        stage.check_pilot("v2");
    }
    assert_eq!((stage.subscription("update_rejected"), stage.subscription("config_fail")), (0, 0));
    stage.rules.push(&rules_without_release(100)).unwrap();
    stage.until_pilot("v1");
    stage.rules.push(&rules(101)).unwrap();
    stage.until_pilot("v2");
}

#[test]
fn a_first_configuration_that_is_garbage_is_stable_and_the_next_good_one_applies() {
    let mut stage = Stage::start(b"garbage");
    stage.until_stat("wasmcustom.graylane_config_rejected", 1);
    stage.check_pilot("v1");
    stage.rules.push(&rules(1)).unwrap();
    stage.until_pilot("v2");
    stage.until_stat("wasmcustom.graylane_config_rejected", 0);
}

#[test]
fn a_listener_can_be_updated_while_the_newest_rules_are_garbage() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("lds.json");
    let mut listener = Value::Null;
    let mut stage =
        Stage::start_with(&rules(7), RulesFile::new(places::filter().unwrap()).unwrap(), |config| {
            config.edit(|root| listener = watch_listener(root, &file))
        });
    stage.until_pilot("v2");
    stage.rules.push(b"garbage").unwrap();
    stage.until_stat("wasmcustom.graylane_config_rejected", 1);

    let header = json!([{ "header": { "key": "x-listener", "value": "second" } }]);
    let manager = "/filter_chains/0/filters/0/typed_config/route_config";
    listener.pointer_mut(manager).unwrap()["request_headers_to_add"] = header;
    publish_listener(&file, &listener);
    let envoy = &mut stage.envoy;
    let client = envoy.client();
    let seen = wait::until("the new listener", || {
        let answer = client.send_raw(&Request::to(LOAN_HOST).teller("T0000017"))?;
        assert_eq!(answer.status, 200);
        ensure!(answer.values_seen("x-listener") == ["second"], "{:?}", answer.seen);
        Ok(answer)
    });
    assert_eq!(seen.unwrap().version, "v2", "the new listener does not serve the last good rules");
    assert_eq!(envoy.stat("listener_manager.lds.update_rejected").unwrap(), Some(0));
    stage.check_pilot("v2");
    stage.rules.push(&rules_without_release(9)).unwrap();
    stage.until_pilot("v1");
}

/// Moves the static listener into a file that Envoy watches, as it will run.
fn watch_listener(root: &mut Value, file: &Path) -> Value {
    let mut listener = root["static_resources"]["listeners"].as_array_mut().unwrap().remove(0);
    listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    listener["address"]["socket_address"]["port_value"] = json!(0);
    let filter =
        "/filter_chains/0/filters/0/typed_config/http_filters/0/config_discovery/default_config/config";
    listener.pointer_mut(filter).unwrap()["vm_config"]["code"]["local"]["filename"] =
        json!(places::filter().unwrap());
    publish_listener(file, &listener);
    let source = json!({ "resource_api_version": "V3", "path_config_source": { "path": file } });
    root["dynamic_resources"] = json!({ "lds_config": source });
    listener
}

fn publish_listener(file: &Path, listener: &Value) {
    move_into_place(file, &json!({ "resources": [listener] })).unwrap();
}

#[test]
fn a_filter_that_traps_is_reloaded_with_its_rules_and_is_counted() {
    let rules_file = RulesFile::new(places::filter_that_traps().unwrap()).unwrap();
    let mut stage = Stage::start_with(&rules(7), rules_file, |config| config);
    stage.until_pilot("v2");
    let reloads = |stage: &Stage| stage.envoy.stats_with("vm_reload_success").unwrap();
    assert!(reloads(&stage).iter().all(|(_, count)| *count == 0), "{:?}", reloads(&stage));

    for round in 1..=3 {
        let trap = Request::to(LOAN_HOST).teller("T0000017").header("x-graylane-trap", "1");
        let answer = stage.envoy.client().send_raw(&trap).unwrap();
        assert_eq!(answer.status, 503, "the trap did not spring");
        stage.until_pilot("v2");
        let counts = reloads(&stage);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), round, "{counts:?}");
    }
    stage.rules.push(&rules_without_release(8)).unwrap();
    stage.until_pilot("v1");
}

#[test]
fn a_filter_that_traps_under_garbage_has_no_last_good_rules_and_is_stable_until_good_ones_come() {
    let rules_file = RulesFile::new(places::filter_that_traps().unwrap()).unwrap();
    let mut stage = Stage::start_with(&rules(7), rules_file, |config| config);
    stage.until_pilot("v2");
    stage.rules.push(b"garbage").unwrap();
    stage.until_stat("wasmcustom.graylane_config_rejected", 1);
    let trap = Request::to(LOAN_HOST).header("x-graylane-trap", "1");
    assert_eq!(stage.envoy.client().send_raw(&trap).unwrap().status, 503, "the trap did not spring");
    // The worker with the new VM knows nothing but garbage; the other one still has the rules before it.
    wait::until("a stable answer of the worker that trapped", || {
        let version = pilot_version(&stage.envoy)?;
        ensure!(version == "v1", "{version} answers");
        Ok(())
    })
    .unwrap();
    for _ in 0..CONNECTIONS {
        pilot_version(&stage.envoy).unwrap();
    }
    assert_eq!(stage.envoy.stat("wasmcustom.graylane_config_rejected").unwrap(), Some(1));
    stage.rules.push(&rules(8)).unwrap();
    stage.until_pilot("v2");
}
