//! Decide where the filter lives: in V8, by wasm-bindgen-test's own Criterion.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends"
)]

#[cfg(target_family = "wasm")]
mod inputs;

fn main() {}

#[cfg(target_family = "wasm")]
mod v8 {
    use crate::inputs::{HOST, SIZES, requests, rule_set, values};
    use graylane_rules::{Rules, encode};
    use std::hint::black_box;
    use wasm_bindgen_test::{Criterion, wasm_bindgen_bench};

    #[wasm_bindgen_bench]
    fn decide(criterion: &mut Criterion) {
        for count in SIZES {
            let rules = Rules::load(encode(&rule_set(count), 1).unwrap()).unwrap();
            let requests = requests(count);
            let values = values(&rules, &requests);
            let mut turn = (0..requests.len()).cycle();
            criterion.bench_function(&format!("decide/graylane/{count}"), |bench| {
                bench
                    .iter(|| black_box(rules.decide(black_box(HOST), &values[turn.next().unwrap()]).version));
            });
        }
    }
}
