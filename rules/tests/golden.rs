//! Rule sets in the bytes of each released format: `golden/v1/` and, one day, its successors. Filters and daemons of any two releases
//! meet in a mesh, so every release reads them, and decides by them what it decided.
//!
//! These bytes never change. When this fails, the format did: either that was not meant, or it is a new format. Then raise `FORMAT`
//! in `wire.rs`, and `MIN_READER` if older filters cannot read it, keep the old folder, and run
//! `NEW_FORMAT=1 cargo test -p graylane-rules --test golden`, which writes the folder of a format that has none yet.

#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use graylane_rules::{
    Action, Entry, Group, IdSet, LoadError, Release, RuleSet, Rules, Service, Table, cases, encode, forge,
    naive,
};

const REVISION: u64 = 7;

fn folder(format: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("v{format}"))
}

/// What is released under a name: the case table of the day, and ids in each way in which a set can lie in the bytes.
fn models() -> Vec<(&'static str, RuleSet)> {
    let ids = |prefix: &str, digits: usize, numbers: &mut dyn Iterator<Item = u64>| -> Vec<String> {
        numbers.map(|number| format!("{prefix}{number:0digits$}")).collect()
    };
    let words = (1..60u64).map(|at| format!("{:x}", at.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let text = |word: String| word.replace(|c: char| c.is_ascii_digit(), "x");
    vec![
        ("cases", cases::load().rules),
        ("bitmap", of_ids(&ids("T", 7, &mut (0..200).map(|at| at * 3)))),
        ("runs", of_ids(&ids("T", 7, &mut (0..10).flat_map(|run| run * 40_000..run * 40_000 + 50)))),
        ("distances", of_ids(&ids("T", 8, &mut (0..60).map(|at| at * 90_001 + at * at)))),
        ("hashed", of_ids(&words.map(text).collect::<Vec<_>>())),
    ]
}

fn of_ids(ids: &[String]) -> RuleSet {
    let mut table = Table { plan: "p".into(), stages: vec!["pilot".into()], ..Table::default() };
    let group = Group {
        entry: Entry { action: Action::Gray, stage: 0 },
        ids: Arc::new(ids.iter().collect::<IdSet>()),
    };
    table.add(0, group.entry, group.ids);
    let service = Service {
        name: "loan".into(),
        hosts: vec!["loan.local".into()],
        stable: "v1".into(),
        route_default: "v1".into(),
        release: Some(Release { gray: "v2".into(), table: Arc::new(table) }),
    };
    RuleSet { services: vec![service], ..cases::load().rules }
}

fn format_of(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[8], bytes[9]])
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(folder(1).join(format!("{name}.rules"))).unwrap()
}

/// The same bytes as a later format would have them: with something behind what today's reader knows.
fn later(name: &str, oldest_reader: u16) -> Vec<u8> {
    let mut bytes = golden(name);
    bytes[8..10].copy_from_slice(&2u16.to_le_bytes());
    bytes[10..12].copy_from_slice(&oldest_reader.to_le_bytes());
    bytes.extend(b"what format 2 has and format 1 has not");
    forge::seal(&mut bytes);
    bytes
}

#[test]
fn what_was_released_is_written_in_the_same_bytes() {
    let format = format_of(&encode(&cases::load().rules, REVISION).unwrap());
    if std::env::var_os("NEW_FORMAT").is_some() && !folder(format).exists() {
        fs::create_dir_all(folder(format)).unwrap();
        for (name, rules) in models() {
            let bytes = encode(&rules, REVISION).unwrap();
            let listing = Rules::load(bytes.clone()).unwrap().listing().to_string();
            fs::write(folder(format).join(format!("{name}.rules")), bytes).unwrap();
            fs::write(folder(format).join(format!("{name}.txt")), listing).unwrap();
        }
    }
    for (name, _) in models() {
        let bytes = fs::read(folder(format).join(format!("{name}.rules"))).unwrap();
        let rules = Rules::load(bytes.clone()).unwrap();
        let again = encode(&rules.to_rule_set(), rules.revision()).unwrap();
        assert!(again == bytes, "{name}: format {format} is written otherwise; see the head of this file");
    }
}

#[test]
fn what_was_released_says_and_decides_what_it_did() {
    for (name, _) in models() {
        let rules = Rules::load(golden(name)).unwrap();
        let listing = fs::read_to_string(folder(1).join(format!("{name}.txt"))).unwrap();
        assert_eq!(rules.listing().to_string(), listing, "{name}");
        decides_alike(&rules, &rules.to_rule_set());
    }
}

#[test]
fn a_later_format_that_names_this_reader_is_read() {
    for (name, _) in models() {
        let rules = Rules::load(later(name, 1)).unwrap();
        decides_alike(&rules, &Rules::load(golden(name)).unwrap().to_rule_set());
    }
}

#[test]
fn a_later_format_that_does_not_is_refused_by_its_number() {
    assert_eq!(Rules::load(later("cases", 2)).err(), Some(LoadError::Format { needed: 2, supported: 1 }));
}

/// For the requests of the case table, and for ids that the sets have.
fn decides_alike(rules: &Rules, plain: &RuleSet) {
    let ids = ["T0000003", "T0000004", "T0040001", "T00090002", "xex"].map(|id| id.as_bytes().to_vec());
    let header = plain.dimensions[0].header.clone().into_bytes();
    let mut requests: Vec<_> = ids.map(|id| (b"loan.local".to_vec(), vec![(header.clone(), id)])).into();
    requests.extend(cases::load().cases.iter().map(|case| (case.host.clone().into_bytes(), case.headers())));
    for (host, headers) in requests {
        let values = rules.values(headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
        let expected = naive::decide(plain, &host, &headers).0;
        assert_eq!(rules.decide(&host, &values).header, expected.as_deref(), "{headers:?}");
    }
}
