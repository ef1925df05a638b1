//! What requests cost, held against `costs.toml`. All figures are counted, none is a time, so they are the same on every
//! machine as long as the compiler is the pinned one.
//!
//! A cost that grew on purpose is recorded anew: `GRAYLANE_RECORD_COSTS=1 cargo test -p graylane-wasm-tests --test stub_host`.

use crate::proxy::{Cost, Headers, Proxy};
use crate::{request_to, rules};
use graylane_rules::{cases, encode};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

/// A cost may grow by one part in so many before the test fails.
const TOLERATED: u64 = 20;

/// Ordinary headers of every request, beside those that matter.
const ORDINARY_HEADERS: usize = 15;

/// A request as applications send it: with headers that have nothing to do with us.
fn request(host: &str, headers: Headers) -> Headers {
    let ordinary = |at| (format!("x-ordinary-header-{at}").into_bytes(), b"some ordinary value".to_vec());
    request_to(host, &[]).into_iter().chain((0..ORDINARY_HEADERS).map(ordinary)).chain(headers).collect()
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/stub_host/costs.toml")
}

/// The `at`-th of numbers with eight digits that are spread as those of people are, each once.
fn number(at: u64) -> u64 {
    at * 61_803_399 % 100_000_000
}

/// So many tellers, branches and regions of the loan service, the latter within what banks have.
fn rules_of(ids: u64) -> Vec<u8> {
    let mut plain = cases::load().rules;
    let table = Arc::make_mut(&mut plain.services[0].release.as_mut().unwrap().table);
    let entry = table.levels[0][0].entry;
    let level = |(prefix, max): (char, u64)| {
        let ids = (0..ids.min(max)).map(|id| format!("{prefix}{:08}", number(id))).collect();
        vec![graylane_rules::Group { entry, ids: Arc::new(ids) }]
    };
    table.levels = [('T', u64::MAX), ('B', 10_000), ('R', 100)].map(level).into();
    table.all = None;
    encode(&plain, 1).unwrap()
}

static MEASURED: LazyLock<BTreeMap<String, Cost>> = LazyLock::new(measured);

/// The costs of every case of the table, and of look-ups among few ids and among a million.
fn measured() -> BTreeMap<String, Cost> {
    let mut costs = BTreeMap::new();
    let proxy = &mut Proxy::with(&rules(1));
    for case in cases::load().cases {
        costs.insert(format!("case: {}", case.name), proxy.cost(&request(&case.host, case.headers())));
    }
    costs.insert("no rules".into(), Proxy::with(b"").cost(&request("loan", Vec::new())));
    costs.insert("no services".into(), Proxy::with(b"{}").cost(&request("loan", Vec::new())));
    for ids in [10, 1_000_000] {
        let proxy = &mut Proxy::with(&rules_of(ids));
        let mut cost = |what: &str, host: &str, places: Option<[u64; 3]>| {
            let names = [("x-teller", 'T'), ("x-branch", 'B'), ("x-region", 'R')];
            let values = places.into_iter().flatten().zip(names);
            let header = |(at, (name, prefix)): (u64, (&str, char))| {
                (name.as_bytes().to_vec(), format!("{prefix}{:08}", number(at)).into_bytes())
            };
            costs.insert(
                format!("{ids} ids: {what}"),
                proxy.cost(&request(host, values.map(header).collect())),
            );
        };
        // The number behind the last one is in no set.
        cost("gray by teller", "loan", Some([ids / 2, ids, ids]));
        cost("gray by region", "loan", Some([ids, ids, 5]));
        cost("stable", "loan", Some([ids; 3]));
        cost("no headers", "loan", None);
        cost("unknown host", "mail", Some([ids; 3]));
    }
    costs
}

fn written(costs: &BTreeMap<String, Cost>) -> String {
    let mut text = String::from(
        "# What one request costs: host calls, instructions of the filter (wasmtime fuel), bytes allocated. A test fails when\n\
         # one grows by more than 5 %. Recorded by GRAYLANE_RECORD_COSTS=1 cargo test -p graylane-wasm-tests --test stub_host\n\n",
    );
    for (name, Cost { calls, fuel, allocated }) in costs {
        writeln!(text, "{name:?} = {{ calls = {calls}, fuel = {fuel}, allocated = {allocated} }}").unwrap();
    }
    text
}

fn recorded() -> BTreeMap<String, Cost> {
    let table: toml::Table = std::fs::read_to_string(file()).unwrap().parse().unwrap();
    let cost = |value: &toml::Value| {
        let figure = |name: &str| value[name].as_integer().unwrap() as u64;
        Cost { calls: figure("calls"), fuel: figure("fuel"), allocated: figure("allocated") }
    };
    table.iter().map(|(name, value)| (name.clone(), cost(value))).collect()
}

#[test]
fn no_request_costs_more_than_was_recorded() {
    let measured = &*MEASURED;
    if std::env::var_os("GRAYLANE_RECORD_COSTS").is_some() {
        std::fs::write(file(), written(measured)).unwrap();
    }
    let recorded = recorded();
    assert!(measured.keys().eq(recorded.keys()), "a row was added or removed, record the costs anew");
    let mut complaints = String::new();
    for (name, cost) in measured {
        let ceiling = &recorded[name];
        let figures =
            [(cost.calls, ceiling.calls), (cost.fuel, ceiling.fuel), (cost.allocated, ceiling.allocated)];
        if figures.iter().any(|(now, before)| *now > before + before / TOLERATED) {
            writeln!(complaints, "{name}: {cost:?}, the ceiling is {ceiling:?}").unwrap();
        }
    }
    assert!(complaints.is_empty(), "costs grew by more than 5 %:\n{complaints}");
}

#[test]
fn a_request_allocates_nothing() {
    assert!(MEASURED.len() > 20, "{} rows", MEASURED.len());
    let allocating: Vec<_> = MEASURED.iter().filter(|(_, cost)| cost.allocated > 0).collect();
    assert!(allocating.is_empty(), "{allocating:?}");
}
