//! From the text of a list to the bytes of its rules, with 10,000 and 1,000,000 ids, beside what one would try first.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use graylane_plan::{
    ReleasePlan, ServiceRules, Tenant, World, check, compile, parse, parse_list, rule_set, snapshot,
};
use graylane_rules::{IdSet, encode};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;

const SIZES: [u64; 2] = [10_000, 1_000_000];

/// A share of a list first, all of it then, and a dimension beside it.
const PLAN: &str = "
apiVersion: graylane.dev/v1alpha1
kind: ReleasePlan
metadata: { name: million, tenant: retail }
spec:
  owner: release-manager
  services: [ { name: loan, hosts: [loan.local], stable: v1, gray: v2 } ]
  stages:
    - { name: pilot, scope: { include: { teller: { list: pilots } }, percent: 20 } }
    - { name: rest, scope: { include: { teller: { list: pilots }, branch: [B012] } } }
    - { name: whole-bank, scope: { all: true } }
";

/// Random eight-digit ids with a letter before them (SplitMix64, the same in every run), one per line, in no order.
fn csv(count: u64) -> String {
    let random = |at: u64| {
        let mut mixed = at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    (1..=count).map(|at| format!("T{:08}\n", random(at) % 100_000_000)).collect()
}

fn list(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("list");
    group.sample_size(10);
    for count in SIZES {
        let text = csv(count);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("parse_list", count), |bench| {
            bench.iter(|| parse_list(black_box(&text)).unwrap());
        });
        group.bench_function(BenchmarkId::new("naive", count), |bench| {
            bench.iter(|| black_box(&text).lines().map(str::to_owned).collect::<BTreeSet<String>>());
        });
    }
    group.finish();
}

fn plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10);
    let (plan, tenant) = (parse(PLAN).unwrap(), Tenant::with_defaults("retail"));
    for count in SIZES {
        let text = csv(count);
        let ids = Arc::new(parse_list(&text).unwrap());
        let lists = BTreeMap::from([("pilots".to_owned(), Arc::clone(&ids))]);
        let world = World::new(&tenant, &lists);
        group.bench_function(BenchmarkId::new("check", count), |bench| {
            bench.iter(|| check(black_box(&plan), &world));
        });
        group.bench_function(BenchmarkId::new("check, compile and encode", count), |bench| {
            bench.iter(|| rules(black_box(&plan), &world));
        });
        group.bench_function(BenchmarkId::new("from text to bytes", count), |bench| {
            bench.iter(|| {
                let ids: Arc<IdSet> = Arc::new(parse_list(black_box(&text)).unwrap());
                let lists = BTreeMap::from([("pilots".to_owned(), ids)]);
                rules(&plan, &World::new(&tenant, &lists))
            });
        });
        group.bench_function(BenchmarkId::new("from text to bytes, naive", count), |bench| {
            bench.iter(|| naive(black_box(&text)));
        });
    }
    group.finish();
}

/// The rules of the last stage as they go out.
fn rules(plan: &ReleasePlan, world: &World<'_>) -> Vec<u8> {
    let snapshot = snapshot(plan, world).unwrap();
    let table = compile(&snapshot, snapshot.scopes(), snapshot.scopes().len());
    let service = ServiceRules {
        name: "loan".into(),
        hosts: vec!["loan.local".into()],
        stable: "v1".into(),
        route_default: "v1".into(),
        release: Some(("v2".into(), table)),
    };
    encode(&rule_set(world.tenant, [service]), 1).unwrap()
}

/// Each stage's ids as a set of strings, the union of both, and that as text.
fn naive(text: &str) -> Vec<u8> {
    let stages = [text, text].map(|text| text.lines().map(str::to_owned).collect::<BTreeSet<String>>());
    let union: BTreeSet<&String> = stages.iter().flatten().collect();
    union.into_iter().flat_map(|id| id.bytes().chain([b'\n'])).collect()
}

criterion_group!(benches, list, plan);
criterion_main!(benches);
