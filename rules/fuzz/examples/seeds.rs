//! Writes what the fuzzer starts from, valid in today's format: `seeds DIR` fills `DIR/load` and `DIR/configuration`.

use graylane_rules::{Action, Entry, Group, IdSet, Percent, Release, RuleSet, Service, Table, cases, encode};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

fn main() -> io::Result<()> {
    let dir = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: seeds DIR"))?;
    let (load, configuration) = (Path::new(&dir).join("load"), Path::new(&dir).join("configuration"));
    fs::create_dir_all(&load)?;
    fs::create_dir_all(&configuration)?;
    for (name, rules) in rule_sets() {
        let bytes = encode(&rules, 7).map_err(|error| io::Error::other(format!("{name}: {error}")))?;
        fs::write(configuration.join(name), &bytes)?;
        fs::write(load.join(name), bytes)?;
    }
    for (name, json) in JSON {
        fs::write(configuration.join(name), json)?;
    }
    Ok(())
}

/// Envelopes and hand-written rules. The base64 is not of a rule set, but the way to it is the same.
const JSON: [(&str, &str); 4] = [
    ("json-envelope", r#"{"rulesBase64":"iUdMUlVMRVMBAAEAAAAAAA=="}"#),
    ("json-least", r#"{"services":[{"name":"a","hosts":["a"],"gray":"v2","all":true}]}"#),
    (
        "json-most",
        r#"{"revision":3,"outputHeader":"x-v","dimensions":[{"name":"employee","header":"x-employee"}],"services":[{"name":"loan","hosts":["loan.local","l"],"stable":"v1","gray":"v2","employee":["E1","E2"],"exclude":{"employee":["E9"]},"percent":12.5}]}"#,
    ),
    (
        "json-escapes",
        r#" {"services":[{"name":"\u0061","hosts":["a"],"gray":"v\u0032","teller":["\ud83d\ude00"]}]} "#,
    ),
];

fn rule_sets() -> Vec<(&'static str, RuleSet)> {
    let no_services = RuleSet { services: Vec::new(), ..cases::load().rules };
    let mut all = vec![("cases", cases::load().rules), ("empty", no_services)];
    all.extend(shapes().map(|(name, ids)| (name, of_groups(vec![group(Action::Gray, 0, ids)]))));
    let percent = |hundredths| Action::Percent(Percent::from_hundredths(hundredths).unwrap_or(Percent::FULL));
    let groups = vec![
        group(Action::Exclude, 1, ["T0000099", "T0000100"].map(String::from).into()),
        group(Action::Gray, 0, numbers("T", 7, 0..20)),
        group(percent(2_050), 1, numbers("T", 7, 20..60)),
        group(percent(10_000), 0, ["chief".to_owned()].into()),
    ];
    all.push(("actions", of_groups(groups)));
    all
}

/// Ids for each way in which a set can lie in the bytes.
fn shapes() -> impl Iterator<Item = (&'static str, Vec<String>)> {
    let spread = |step: u64, count| (0..count).map(move |at: u64| at * step + at * at % step);
    let text = |at: u64| {
        format!("{:x}", at.wrapping_mul(0x9E37_79B9_7F4A_7C15)).replace(|c: char| c.is_ascii_digit(), "x")
    };
    [
        ("bitmap", numbers("T", 7, spread(3, 200))),
        ("runs", numbers("T", 7, (0..10).flat_map(|run| run * 40_000..run * 40_000 + 50))),
        ("elias-fano", numbers("T", 8, spread(90_001, 60))),
        ("elias-fano-wide", numbers("", 19, spread(90_000_000_000_000, 40))),
        ("hashed", (1..60).map(text).collect()),
        ("one", numbers("", 1, [7])),
        ("lengths", (1..12).flat_map(|digits| numbers("B", digits, [0, 1, 5])).collect()),
        ("prefixes", (0..20).flat_map(|at| numbers(&format!("P{}-", text(at + 1)), 3, 0..4)).collect()),
        ("longest", vec!["x".repeat(256), format!("{}7", "y".repeat(255))]),
    ]
    .into_iter()
}

fn numbers(prefix: &str, digits: usize, numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("{prefix}{number:0digits$}")).collect()
}

fn group(action: Action, stage: u8, ids: Vec<String>) -> Group {
    Group { entry: Entry { action, stage }, ids: Arc::new(ids.iter().collect::<IdSet>()) }
}

/// Rules of one service, with these groups at its first level.
fn of_groups(groups: Vec<Group>) -> RuleSet {
    let stages = vec!["pilot".to_owned(), "rest".to_owned()];
    let mut table = Table { plan: "p".into(), stages, ..Table::default() };
    groups.into_iter().for_each(|group| table.add(0, group.entry, group.ids));
    let service = Service {
        name: "loan".into(),
        hosts: vec!["loan.local".into()],
        stable: "v1".into(),
        route_default: "v1".into(),
        release: Some(Release { gray: "v2".into(), table: Arc::new(table) }),
    };
    RuleSet { services: vec![service], ..cases::load().rules }
}
