//! What is decided: one service with so many gray ids in each of three dimensions, and requests to it.

use graylane_rules::{Action, Dimension, Entry, IdSet, Release, RuleSet, Rules, Service, Table, Values};
use std::sync::Arc;

/// Ids in each dimension.
pub(crate) const SIZES: [usize; 3] = [10, 10_000, 1_000_000];

/// What the requests are sent to.
pub(crate) const HOST: &[u8] = b"loan.retail.svc.cluster.local:8080";

/// Different requests: so many that their ids' places do not all stay in a core's own caches.
const REQUESTS: usize = 4_096;

/// The ids of a request: teller, branch, region.
pub(crate) type Ids = [[u8; 9]; 3];

/// Numbers from SplitMix64, the same in every run.
fn random(count: usize, seed: u64) -> impl Iterator<Item = u64> {
    (1..=count as u64).map(move |at| {
        let mut mixed = (at + (seed << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

/// So many ids at random: a letter and eight digits.
pub(crate) fn ids(letter: char, count: usize, seed: u64) -> Vec<[u8; 9]> {
    let id = |number: u64| format!("{letter}{:08}", number % 100_000_000);
    random(count, seed).map(|number| id(number).into_bytes().try_into().unwrap()).collect()
}

/// The ids of the gray groups.
pub(crate) fn gray_ids(count: usize) -> [Vec<[u8; 9]>; 3] {
    [('T', 1), ('B', 2), ('R', 3)].map(|(letter, seed)| ids(letter, count, seed))
}

/// The rules.
pub(crate) fn rule_set(count: usize) -> RuleSet {
    let entry = Entry { action: Action::Gray, stage: 0 };
    let mut table = Table { plan: "p".into(), stages: vec!["s".into()], ..Table::default() };
    for (level, ids) in gray_ids(count).iter().enumerate() {
        table.add(level, entry, Arc::new(ids.iter().collect::<IdSet>()));
    }
    let dimension = |name: &str| Dimension { name: name.into(), header: format!("x-{name}") };
    RuleSet {
        tenant: "retail".into(),
        dimensions: ["teller", "branch", "region"].map(dimension).into(),
        output_header: "x-gray-version".into(),
        services: vec![Service {
            name: "loan".into(),
            hosts: vec!["loan.retail.svc.cluster.local".into()],
            stable: "v1".into(),
            route_default: "v1".into(),
            release: Some(Release { gray: "v2".into(), table: Arc::new(table) }),
        }],
    }
}

/// Requests whose teller and branch miss and whose region hits: the host and three look-ups in large sets.
pub(crate) fn requests(count: usize) -> Vec<Ids> {
    let (tellers, branches) = (ids('T', REQUESTS, 11), ids('B', REQUESTS, 12));
    let [gray_tellers, gray_branches, regions] =
        gray_ids(count).map(|ids| ids.into_iter().collect::<IdSet>());
    let regions: Vec<[u8; 9]> = regions.iter().map(|id| id.try_into().unwrap()).collect();
    let miss = |(teller, branch): &(&[u8; 9], &[u8; 9])| {
        !gray_tellers.contains(*teller) && !gray_branches.contains(*branch)
    };
    let missing = tellers.iter().zip(&branches).filter(miss);
    missing
        .zip(0..)
        .map(|((teller, branch), at)| [*teller, *branch, regions[at * 7_919 % regions.len()]])
        .collect()
}

/// The requests' headers as the rules read them.
pub(crate) fn values<'a>(rules: &Rules, requests: &'a [Ids]) -> Vec<Values<'a>> {
    let names = [&b"x-teller"[..], b"x-branch", b"x-region"];
    let of = |ids: &'a Ids| rules.values(names.into_iter().zip(ids.iter().map(|id| &id[..])));
    requests.iter().map(of).collect()
}
