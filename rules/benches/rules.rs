//! Load, decide and encode from 10 to 1,000,000 ids per dimension, beside the ways that one would try first.
//! `cargo xtask bench rules` runs it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends"
)]

#[cfg(not(target_family = "wasm"))]
mod inputs;

#[cfg(target_family = "wasm")]
fn main() {}

#[cfg(not(target_family = "wasm"))]
criterion::criterion_main!(native::benches);

#[cfg(not(target_family = "wasm"))]
mod native {
    use crate::inputs::{HOST, SIZES, gray_ids, requests, rule_set, values};
    use criterion::{BenchmarkId, Criterion, criterion_group};
    use graylane_rules::{Rules, encode};
    use std::collections::{BTreeSet, HashSet};
    use std::hint::black_box;

    fn decide(criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("decide");
        for count in SIZES {
            let rules = Rules::load(encode(&rule_set(count), 1).unwrap()).unwrap();
            let requests = requests(count);
            let values = values(&rules, &requests);
            assert!(values.iter().all(|values| rules.decide(HOST, values).version == Some("v2")));
            let mut turn = (0..requests.len()).cycle();
            group.bench_function(BenchmarkId::new("graylane", count), |bench| {
                bench
                    .iter(|| black_box(rules.decide(black_box(HOST), &values[turn.next().unwrap()]).version));
            });
            // The look-ups alone: no host, no reason, no version.
            let sets: [HashSet<Vec<u8>>; 3] =
                gray_ids(count).map(|ids| ids.iter().map(|id| id.to_vec()).collect());
            group.bench_function(BenchmarkId::new("hash-sets", count), |bench| {
                bench.iter(|| {
                    let ids = &requests[turn.next().unwrap()];
                    black_box(sets.iter().zip(ids).any(|(set, id)| set.contains(&id[..])))
                });
            });
            let trees: [BTreeSet<Vec<u8>>; 3] =
                gray_ids(count).map(|ids| ids.iter().map(|id| id.to_vec()).collect());
            group.bench_function(BenchmarkId::new("tree-sets", count), |bench| {
                bench.iter(|| {
                    let ids = &requests[turn.next().unwrap()];
                    black_box(trees.iter().zip(ids).any(|(set, id)| set.contains(&id[..])))
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
}
