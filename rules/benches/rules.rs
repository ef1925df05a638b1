//! Load, decide and encode from 10 to 1,000,000 ids per dimension, beside the ways that one would try first.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends"
)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use graylane_rules::{Action, Dimension, Entry, IdSet, Release, RuleSet, Rules, Service, Table, encode};
use std::collections::{BTreeSet, HashSet};
use std::hint::black_box;
use std::sync::Arc;

const SIZES: [usize; 3] = [10, 10_000, 1_000_000];

/// Numbers from SplitMix64, the same in every run.
fn random(count: usize, seed: u64) -> impl Iterator<Item = u64> {
    (1..=count as u64).map(move |at| {
        let mut mixed = (at + (seed << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

fn ids(letter: char, count: usize) -> Vec<String> {
    random(count, letter as u64).map(|number| format!("{letter}{:08}", number % 100_000_000)).collect()
}

/// One service with so many gray ids in each of three dimensions.
fn rule_set(count: usize) -> RuleSet {
    let entry = Entry { action: Action::Gray, stage: 0 };
    let mut table = Table { plan: "p".into(), stages: vec!["s".into()], ..Table::default() };
    for (level, letter) in ['T', 'B', 'R'].into_iter().enumerate() {
        table.add(level, entry, Arc::new(ids(letter, count).iter().collect::<IdSet>()));
    }
    let dimension = |name: &str| Dimension { name: name.into(), header: format!("x-{name}") };
    let release = Some(Release { gray: "v2".into(), table: Arc::new(table) });
    let hosts = vec!["loan.retail.svc.cluster.local".into()];
    RuleSet {
        tenant: "retail".into(),
        dimensions: ["teller", "branch", "region"].map(dimension).into(),
        output_header: "x-gray-version".into(),
        services: vec![Service {
            name: "loan".into(),
            hosts,
            stable: "v1".into(),
            route_default: "v1".into(),
            release,
        }],
    }
}

/// Requests whose teller and branch miss and whose region hits: the host and three look-ups in large sets.
fn requests(count: usize) -> Vec<[String; 3]> {
    let (tellers, branches, regions) = (ids('t', 4_096), ids('b', 4_096), ids('R', count));
    let upper = |id: &String| id.to_ascii_uppercase();
    let pick = |at: usize| [upper(&tellers[at]), upper(&branches[at]), regions[at * 7_919 % count].clone()];
    (0..4_096).map(pick).collect()
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    for count in SIZES {
        let rules = Rules::load(encode(&rule_set(count), 1).unwrap()).unwrap();
        let requests = requests(count);
        let values: Vec<_> = requests
            .iter()
            .map(|ids| {
                let names = [&b"x-teller"[..], b"x-branch", b"x-region"];
                rules.values(names.into_iter().zip(ids.iter().map(String::as_bytes)))
            })
            .collect();
        let host = b"loan.retail.svc.cluster.local:8080";
        assert!(values.iter().all(|values| rules.decide(host, values).version == Some("v2")));
        let mut at = 0;
        group.bench_function(BenchmarkId::new("graylane", count), |bench| {
            bench.iter(|| {
                at = (at + 1) % values.len();
                black_box(rules.decide(black_box(host), &values[at]).version)
            });
        });
        let sets: Vec<HashSet<String>> =
            ['T', 'B', 'R'].map(|letter| ids(letter, count).into_iter().collect()).into();
        group.bench_function(BenchmarkId::new("hash-sets", count), |bench| {
            bench.iter(|| {
                at = (at + 1) % requests.len();
                black_box(sets.iter().zip(&requests[at]).any(|(set, id)| set.contains(id.as_str())))
            });
        });
        let trees: Vec<BTreeSet<String>> =
            ['T', 'B', 'R'].map(|letter| ids(letter, count).into_iter().collect()).into();
        group.bench_function(BenchmarkId::new("tree-sets", count), |bench| {
            bench.iter(|| {
                at = (at + 1) % requests.len();
                black_box(trees.iter().zip(&requests[at]).any(|(set, id)| set.contains(id.as_str())))
            });
        });
    }
    group.finish();
}

fn load_and_encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reload");
    group.sample_size(20);
    for count in SIZES {
        let plain = rule_set(count);
        let bytes = encode(&plain, 1).unwrap();
        println!("{count} ids in each of 3 dimensions: {} bytes", bytes.len());
        group.bench_function(BenchmarkId::new("load", count), |bench| {
            bench.iter_with_setup(|| bytes.clone(), |bytes| Rules::load(bytes).unwrap());
        });
        group.bench_function(BenchmarkId::new("encode", count), |bench| {
            bench.iter(|| encode(&plain, 1).unwrap())
        });
    }
    group.finish();
}

criterion_group!(benches, decide, load_and_encode);
criterion_main!(benches);
