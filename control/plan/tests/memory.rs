//! What a million ids take on their way, by a counting allocator: so this program holds this one test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use graylane_plan::{
    ServiceRules, Tenant, World, check_list, compile, list_hash, parse, parse_list, rule_set, snapshot,
    write_list,
};
use graylane_rules::{Rules, encode};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const PLAN: &str = "
apiVersion: graylane.dev/v1alpha1
kind: ReleasePlan
metadata: { name: million, tenant: retail }
spec:
  owner: release-manager
  services: [ { name: loan, hosts: [loan.local], stable: v1, gray: v2 } ]
  stages:
    - { name: pilot, scope: { include: { teller: { list: pilots } }, percent: 20 } }
    - { name: rest, scope: { include: { teller: { list: pilots } } } }
";

/// A million different ids of eight digits in no order, one per line: 10 MB.
fn csv() -> String {
    (0..1_000_000_u64).fold(String::new(), |mut text, at| {
        let _ = writeln!(text, "T{:08}", at * 61_803_399 % 100_000_007);
        text
    })
}

/// What `run` allocated: the most bytes at one time, in bytes of the text, and how many blocks.
fn measured<T>(text: &str, run: impl FnOnce() -> T) -> (T, f64, u64) {
    let _profiler = dhat::Profiler::builder().testing().build();
    let result = run();
    let stats = dhat::HeapStats::get();
    (result, stats.max_bytes as f64 / text.len() as f64, stats.total_blocks)
}

/// Ten times is the promise for the daemon. These ceilings are what its two steps took, and a twentieth more: the
/// rest is for the request's body, for the store, and for what is published already.
#[test]
fn a_million_ids_take_a_few_times_their_text_from_the_list_to_the_rules() {
    let text = csv();
    let tenant = Tenant::with_defaults("retail");
    let plan = parse(PLAN).unwrap();
    let (ids, list_peak, list_blocks) = measured(&text, || {
        let ids = Arc::new(parse_list(&text).unwrap());
        check_list(&ids).unwrap();
        drop((list_hash(&ids), write_list(&ids)));
        ids
    });
    assert_eq!(ids.len(), 1_000_000);
    let lists = BTreeMap::from([("pilots".to_owned(), ids)]);
    let (rules, rules_peak, rules_blocks) = measured(&text, || {
        let snapshot = snapshot(&plan, &World::new(&tenant, &lists)).unwrap();
        let service = ServiceRules {
            name: "loan".into(),
            hosts: vec!["loan.local".into()],
            stable: "v1".into(),
            route_default: "v1".into(),
            release: Some(("v2".into(), compile(&snapshot, snapshot.scopes(), 2))),
        };
        Rules::load(encode(&rule_set(&tenant, [service]), 1).unwrap()).unwrap()
    });
    assert!(rules.bytes().len() < 1_500_000);
    println!("list: {list_peak:.2} times the text at most, {list_blocks} blocks");
    println!("rules: {rules_peak:.2} times the text at most, {rules_blocks} blocks");
    assert!(list_peak < 3.25 && list_blocks < 90, "{list_peak} times the text, {list_blocks} blocks");
    assert!(rules_peak < 2.3 && rules_blocks < 385, "{rules_peak} times the text, {rules_blocks} blocks");
}
