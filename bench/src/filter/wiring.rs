//! The Envoy configuration of each contender: that of a sidecar as users copy it, with another filter in Graylane's place,
//! and answers from the proxy itself, so that the filter is what differs.
#![expect(
    clippy::indexing_slicing,
    reason = "JSON by name: the sidecar's file has the shape that is edited here"
)]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use graylane_rules::encode;
use graylane_wasm_tests::{EnvoyConfig, LOAN_HOST, RulesFile, places};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::filter::contender::Contender;
use crate::filter::ids::{GRAY, Ids};
use crate::filter::requests::Outcome;

const EMPTY: &str = include_str!("../../peers/empty.wat");
const FLOOR: &str = include_str!("../../peers/floor.wat");
const LUA: &str = include_str!("../../peers/steer.lua");
/// The name of the filter in the sidecar's file.
const FILTER: &str = "graylane.v1.retail";

/// The wasm modules of all contenders, and a folder for what they read.
pub(crate) struct Modules {
    graylane: PathBuf,
    textbook: PathBuf,
    empty: PathBuf,
    floor: PathBuf,
    folder: TempDir,
}

/// What an Envoy starts from, and what must live as long as it.
pub(crate) struct Wired {
    /// The configuration.
    pub(crate) config: EnvoyConfig,
    /// The file that its rules come from, for the contenders whose configuration can change.
    pub(crate) rules: Option<RulesFile>,
}

// === impl Modules ===

impl Modules {
    /// Assembles those that are text, and finds those that cargo built.
    pub(crate) fn prepare() -> Result<Self> {
        let folder = TempDir::new()?;
        let assembled = |name: &str, text: &str| -> Result<PathBuf> {
            let path = folder.path().join(name);
            fs::write(&path, wat::parse_str(text)?)?;
            Ok(path)
        };
        Ok(Self {
            graylane: places::filter()?,
            textbook: places::module("graylane_bench_textbook.wasm")?,
            empty: assembled("empty.wasm", EMPTY)?,
            floor: assembled("floor.wasm", FLOOR)?,
            folder,
        })
    }

    /// The configuration of a contender that steers by these ids.
    pub(crate) fn wire(&self, contender: Contender, ids: &Ids) -> Result<Wired> {
        let alone = |config: EnvoyConfig| Ok(Wired { config, rules: None });
        match contender {
            Contender::None => alone(sidecar()?.edit_http(remove_filter)),
            Contender::Lua => alone(lua(sidecar()?, &self.write_ids(ids)?)),
            Contender::Routes => alone(routes(sidecar()?.edit_http(remove_filter), &native_routes(ids))),
            Contender::Matcher => alone(matcher(sidecar()?.edit_http(remove_filter), ids)),
            Contender::Empty => wasm(&self.empty, sidecar()?, b"-"),
            Contender::Floor(outcome) => wasm(&self.floor, sidecar()?, &[letter(outcome)]),
            Contender::Textbook => {
                wasm(&self.textbook, sidecar()?.edit_http(grant_all), &textbook_rules(ids, 1)?)
            }
            Contender::Graylane => wasm(&self.graylane, sidecar()?, &graylane_rules(ids, 1)?),
            Contender::OffByRoute => wasm(&self.graylane, off_by_route(sidecar()?), &graylane_rules(ids, 1)?),
            Contender::OffByMatcher => {
                let wired = wasm(&self.graylane, sidecar()?, &graylane_rules(ids, 1)?)?;
                Ok(Wired { config: wired.config.edit_http(off_by_matcher), ..wired })
            }
        }
    }

    fn write_ids(&self, ids: &Ids) -> Result<PathBuf> {
        let path = self.folder.path().join(format!("tellers-{}.txt", ids.tellers.len()));
        fs::write(&path, ids.tellers.join("\n") + "\n")?;
        Ok(path)
    }
}

/// These ids as Graylane's configuration.
pub(crate) fn graylane_rules(ids: &Ids, revision: u64) -> Result<Vec<u8>> {
    Ok(encode(&ids.rule_set(), revision)?)
}

/// These ids as the textbook filter's configuration. It does not read the revision, which makes the bytes others.
pub(crate) fn textbook_rules(ids: &Ids, revision: u64) -> Result<Vec<u8>> {
    let Ids { tellers, branches, regions, .. } = ids;
    let service = json!({ "gray": GRAY, "teller": tellers, "branch": branches, "region": regions });
    Ok(serde_json::to_vec(&json!({ "revision": revision, "services_by_host": { LOAN_HOST: service } }))?)
}

/// The sidecar with routes that answer at once, and with nothing that computes when no request comes.
fn sidecar() -> Result<EnvoyConfig> {
    let quiet = |root: &mut Value| {
        if let Some(fields) = root.as_object_mut() {
            fields.remove("stats_sinks");
        }
        root["static_resources"]["clusters"] = json!([]);
        root["stats_flush_interval"] = json!("299s");
        let rarely = json!({ "miss_timeout": "1000s", "megamiss_timeout": "1000s" });
        root["watchdogs"] = json!({ "main_thread_watchdog": rarely, "worker_watchdog": rarely });
    };
    Ok(routes(EnvoyConfig::of("sidecar-outbound.yaml")?.edit(quiet), &[]))
}

/// Puts routes before those of the sidecar.
fn routes(config: EnvoyConfig, first: &[Value]) -> EnvoyConfig {
    let mut loan = first.to_vec();
    loan.push(route(&[exact("x-gray-version", GRAY)], "gray"));
    loan.push(route(&[], "stable"));
    let hosts = json!([
        { "name": "loan", "domains": [LOAN_HOST], "routes": loan },
        { "name": "other", "domains": ["*"], "routes": [route(&[], "stable")] },
    ]);
    config.edit_http(|http| http["route_config"]["virtual_hosts"] = hosts)
}

fn route(headers: &[Value], body: &str) -> Value {
    let answer = json!({ "status": 200, "body": { "inline_string": body } });
    json!({ "match": { "prefix": "/", "headers": headers }, "direct_response": answer })
}

fn exact(header: &str, value: &str) -> Value {
    json!({ "name": header, "string_match": { "exact": value } })
}

fn remove_filter(http: &mut Value) {
    if let Some(filters) = http["http_filters"].as_array_mut() {
        filters.remove(0);
    }
}

// What a reader of the examples has: no list of capabilities.
fn grant_all(http: &mut Value) {
    let plugin = &mut http["http_filters"][0]["config_discovery"]["default_config"]["config"];
    if let Some(vm) = plugin["vm_config"].as_object_mut() {
        vm.remove("capability_restriction_config");
    }
}

fn wasm(module: &Path, config: EnvoyConfig, configuration: &[u8]) -> Result<Wired> {
    let mut rules = RulesFile::new(module.to_path_buf())?;
    Ok(Wired { config: rules.serve(config, configuration)?, rules: Some(rules) })
}

const fn letter(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Gray => b'g',
        Outcome::Stable => b's',
        Outcome::NoHeaders => b'n',
        Outcome::NoRules => b'h',
    }
}

fn lua(config: EnvoyConfig, tellers: &Path) -> EnvoyConfig {
    let text = LUA.replace("TELLERS_FILE", &tellers.to_string_lossy());
    let filter = json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": { "inline_string": text },
        },
    });
    config.edit_http(|http| http["http_filters"][0] = filter)
}

fn native_routes(ids: &Ids) -> Vec<Value> {
    let of = |header: &'static str, ids: &[String]| -> Vec<Value> {
        ids.iter().map(|id| route(&[exact(header, id)], "gray")).collect()
    };
    [of("x-teller", &ids.tellers), of("x-branch", &ids.branches), of("x-region", &ids.regions)].concat()
}

/// One hash map for each header: who is in none of them falls through to the next.
fn matcher(config: EnvoyConfig, ids: &Ids) -> EnvoyConfig {
    let stable = json!({ "action": action("stable") });
    let levels = [("x-region", &ids.regions), ("x-branch", &ids.branches), ("x-teller", &ids.tellers)];
    let tree = levels.into_iter().fold(stable, |otherwise, (header, ids)| {
        let map: Map<String, Value> =
            ids.iter().map(|id| (id.clone(), json!({ "action": action("gray") }))).collect();
        let input = json!({
            "name": header,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                "header_name": header,
            },
        });
        let tree = json!({ "input": input, "exact_match_map": { "map": map } });
        json!({ "matcher": { "matcher_tree": tree, "on_no_match": otherwise } })
    });
    config.edit_http(|http| {
        let loan = &mut http["route_config"]["virtual_hosts"][0];
        *loan = json!({ "name": "loan", "domains": [LOAN_HOST], "matcher": tree["matcher"] });
    })
}

fn action(body: &str) -> Value {
    let mut route = route(&[], body);
    route["@type"] = json!("type.googleapis.com/envoy.config.route.v3.Route");
    json!({ "name": "route", "typed_config": route })
}

/// Routes that switch the filter off: for hosts with no rules, and for requests that have none of our headers.
fn off_by_route(config: EnvoyConfig) -> EnvoyConfig {
    let off = json!({ FILTER: { "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true } });
    let absent = OURS.map(|header| json!({ "name": header, "present_match": true, "invert_match": true }));
    let mut without_headers = route(&absent, "stable");
    without_headers["typed_per_filter_config"] = off.clone();
    routes(config, &[without_headers])
        .edit_http(|http| http["route_config"]["virtual_hosts"][1]["typed_per_filter_config"] = off)
}

/// The headers that the filter reads. The output header is among them, so that a forged one never passes.
const OURS: [&str; 4] = ["x-teller", "x-branch", "x-region", "x-gray-version"];

/// The filter, still with rules by ECDS, behind a matcher that calls for it only when one of our headers is there.
fn off_by_matcher(http: &mut Value) {
    let discovery = http["http_filters"][0]["config_discovery"].take();
    let present = OURS.map(|header| {
        let input = json!({
            "name": header,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                "header_name": header,
            },
        });
        json!({ "single_predicate": { "input": input, "value_match": { "safe_regex": { "google_re2": {}, "regex": ".*" } } } })
    });
    let run = json!({
        "name": "run",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.composite.v3.ExecuteFilterAction",
            "dynamic_config": { "name": FILTER, "config_discovery": discovery },
        },
    });
    let rule =
        json!({ "predicate": { "or_matcher": { "predicate": present } }, "on_match": { "action": run } });
    http["http_filters"][0] = json!({
        "name": "graylane-where-needed",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher",
            "extension_config": {
                "name": "composite",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.composite.v3.Composite",
                },
            },
            "xds_matcher": { "matcher_list": { "matchers": [rule] } },
        },
    });
}
