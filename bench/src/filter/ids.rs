//! Ids: random, and the same in each run.

use std::collections::HashSet;
use std::sync::Arc;

use graylane_rules::{Action, Dimension, Entry, Group, IdSet, Release, RuleSet, Service, Table};
use graylane_wasm_tests::LOAN_HOST;

/// The version that gray requests get.
pub(crate) const GRAY: &str = "v2";
/// Branches and regions that are gray.
pub(crate) const FEW: usize = 10;
/// Different ids that requests carry, so that no cache of the processor holds what a look-up needs.
const CARRIED_MAX: usize = 4_096;
/// Teller ids have eight digits.
const TELLERS: u64 = 100_000_000;

/// A stream of random numbers (splitmix64), the same for the same seed.
pub(crate) struct Random(u64);

/// What is gray at one service, and who is not.
pub(crate) struct Ids {
    /// Gray tellers.
    pub(crate) tellers: Vec<String>,
    /// Tellers that are not gray.
    pub(crate) strangers: Vec<String>,
    /// Gray branches.
    pub(crate) branches: Vec<String>,
    /// Gray regions.
    pub(crate) regions: Vec<String>,
}

// === impl Random ===

impl Random {
    /// A stream of its own for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

// === impl Ids ===

impl Ids {
    /// So many random tellers, and ten branches and regions.
    pub(crate) fn random(tellers: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut taken = HashSet::with_capacity(tellers + CARRIED_MAX);
        let mut draw = |count: usize| -> Vec<String> {
            let mut ids = Vec::with_capacity(count);
            while ids.len() < count {
                let number = random.below(TELLERS);
                if taken.insert(number) {
                    ids.push(format!("T{number:08}"));
                }
            }
            ids
        };
        Self {
            tellers: draw(tellers),
            strangers: draw(CARRIED_MAX),
            branches: (0..FEW).map(|number| format!("B{number:03}")).collect(),
            regions: (0..FEW).map(|number| format!("R-{number:02}")).collect(),
        }
    }

    /// Gray tellers for requests. They were drawn at random, so the first ones lie anywhere in the order.
    pub(crate) fn carried(&self) -> impl Iterator<Item = &String> {
        self.tellers.iter().take(CARRIED_MAX)
    }

    /// These ids as Graylane's rules.
    pub(crate) fn rule_set(&self) -> RuleSet {
        let entry = Entry { action: Action::Gray, stage: 0 };
        let level = |ids: &[String]| vec![Group { entry, ids: Arc::new(ids.iter().collect::<IdSet>()) }];
        let levels = vec![level(&self.tellers), level(&self.branches), level(&self.regions)];
        let table = Table { plan: "bench".to_owned(), stages: vec!["one".to_owned()], levels, all: None };
        let dimension = |name: &str| Dimension { name: name.to_owned(), header: format!("x-{name}") };
        RuleSet {
            tenant: "retail".to_owned(),
            dimensions: ["teller", "branch", "region"].map(dimension).to_vec(),
            output_header: "x-gray-version".to_owned(),
            services: vec![Service {
                name: "loan".to_owned(),
                hosts: vec![LOAN_HOST.to_owned()],
                stable: "v1".to_owned(),
                route_default: "v1".to_owned(),
                release: Some(Release { gray: GRAY.to_owned(), table: Arc::new(table) }),
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_the_same_each_time() {
        let (ids, again) = (Ids::random(10_000, 1), Ids::random(10_000, 1));
        assert_eq!(ids.tellers, again.tellers);
        let all: HashSet<_> = ids.tellers.iter().chain(&ids.strangers).collect();
        assert_eq!(all.len(), 10_000 + CARRIED_MAX);
        assert!(ids.tellers.iter().all(|id| id.len() == 9));
        assert_ne!(ids.tellers, Ids::random(10_000, 2).tellers);
    }
}
