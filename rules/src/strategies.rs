//! Rule sets and requests for property tests: small alphabets, so that ids, hosts and stages meet.

use crate::model::{Action, Dimension, Entry, Percent, Release, RuleSet, Service, Table};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

/// A host and headers.
pub type Request = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

const STAGES: u8 = 3;
const DIMENSIONS: usize = 3;

/// Headers of the three dimensions: names of eight bytes, shorter ones, and longer ones that end alike.
const HEADERS: [[&str; DIMENSIONS]; 3] = [
    ["x-teller", "x-branch", "x-region"],
    ["t", "b", "x-reg"],
    ["x-bank-teller-id", "y-bank-teller-id", "x-teller-id"],
];

/// Any rule set of up to four services with three dimensions.
pub fn rule_set() -> impl Strategy<Value = RuleSet> {
    (vec(service(), 0..4), prop::sample::select(HEADERS.to_vec())).prop_map(|(mut services, headers)| {
        for (number, service) in services.iter_mut().enumerate() {
            service.name = std::format!("s{number}");
            service.hosts = std::vec![std::format!("h{number}"), std::format!("h{number}.local")];
        }
        let names = ["teller", "branch", "region"].into_iter().zip(headers);
        RuleSet {
            tenant: "retail".into(),
            dimensions: names
                .map(|(name, header)| Dimension { name: name.into(), header: header.into() })
                .collect(),
            output_header: "x-gray-version".into(),
            services,
        }
    })
}

fn service() -> impl Strategy<Value = Service> {
    (prop::option::of((version(), table())), version(), version()).prop_map(
        |(release, stable, route_default)| {
            let release = release.map(|(gray, table)| Release { gray, table: Arc::new(table) });
            Service { name: String::new(), hosts: Vec::new(), stable, route_default, release }
        },
    )
}

fn table() -> impl Strategy<Value = Table> {
    let groups = vec((0..DIMENSIONS, entry(), btree_set(id(), 0..5)), 0..8);
    (groups, prop::option::of(entry()), "p[ab]").prop_map(|(groups, all, plan)| {
        let stages = (0..STAGES).map(|stage| std::format!("stage{stage}")).collect();
        let mut table = Table { plan, stages, levels: std::vec![Vec::new(); DIMENSIONS], all };
        for (level, entry, ids) in groups.into_iter().filter(|(_, _, ids)| !ids.is_empty()) {
            table.add(level, entry, Arc::new(ids.iter().collect()));
        }
        table.levels.iter_mut().for_each(|groups| groups.sort_by_key(|group| group.entry));
        table
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let percent =
        (0..=10_000_u16).prop_filter_map("at most 100", Percent::from_hundredths).prop_map(Action::Percent);
    let action = prop_oneof![Just(Action::Exclude), Just(Action::Gray), percent];
    (action, 0..STAGES).prop_map(|(action, stage)| Entry { action, stage })
}

fn version() -> impl Strategy<Value = String> {
    "v[123]"
}

fn id() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[ABC][12]?".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 1..4).prop_filter("no blanks outside", |id| {
            !id.starts_with(b" ") && !id.starts_with(b"\t") && !id.ends_with(b" ") && !id.ends_with(b"\t")
        }),
    ]
}

/// Any request, mostly one that the rule sets above know something of.
pub fn request() -> impl Strategy<Value = Request> {
    let host = prop_oneof![8 => "[hH][0-4](.local)?(:80)?".prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..300)];
    let known = HEADERS.as_flattened().to_vec();
    let name = prop_oneof![
        8 => prop::sample::select(known.clone()).prop_map(String::from),
        2 => prop::sample::select(known).prop_map(str::to_ascii_uppercase),
        1 => "[Xx]-gray-Version",
        1 => "x-other",
    ];
    let value = prop_oneof![
        8 => id(),
        1 => id().prop_map(|id| [b" \t", id.as_slice(), b"\t "].concat()),
        1 => Just(Vec::new()),
        1 => vec(any::<u8>(), 255..259),
    ];
    (host, vec((name.prop_map(String::into_bytes), value), 0..7))
}
