//! A rule set whose bytes were changed, and whose length and hashes were made to fit again: loading it, and whatever
//! loads, must not panic, hang or grow. The input is such bytes.
#![no_main]

use graylane_rules::{Action, RuleSet, Rules, encode, forge};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;

/// A forged set may claim millions of ids. Those of rule sets with more than this are asked for, but not listed.
const MAX_IDS_LISTED: usize = 2_000;

/// Hosts that are asked for.
const MAX_HOSTS_ASKED: usize = 2;

/// Ids that are asked for, of those listed and of those cut out of the input.
const MAX_IDS_ASKED: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    drop(Rules::load(bytes.to_vec()));
    let mut sealed = bytes.to_vec();
    forge::seal(&mut sealed);
    let Ok(rules) = Rules::load(sealed) else { return };
    let mut ids = cut(bytes);
    if rules.ids_claimed() <= MAX_IDS_LISTED {
        drop(rules.listing().to_string());
        let plain = rules.to_rule_set();
        ids.extend(some_ids(&plain));
        encode_again(&plain, rules.revision());
    }
    let hosts: Vec<&[u8]> = rules.hosts().take(MAX_HOSTS_ASKED).map(str::as_bytes).collect();
    for host in hosts {
        ids.iter().for_each(|id| ask(&rules, host, id));
    }
    ask(&rules, bytes, bytes);
});

/// What was read back encodes, unless it has what no encoder writes, like a dimension twice. Then it is what it was.
fn encode_again(plain: &RuleSet, revision: u64) {
    if let Ok(bytes) = encode(plain, revision) {
        let again = Rules::load(bytes.clone()).expect("what was encoded loads");
        assert_eq!(encode(&again.to_rule_set(), revision), Ok(bytes));
    }
}

/// The same id in all dimensions, in one after the other alone, and twice in the first.
fn ask(rules: &Rules, host: &[u8], id: &[u8]) {
    let headers = rules.dimensions().iter().map(|dimension| (dimension.header.as_bytes(), id));
    let all = rules.values(headers.clone());
    let decision = rules.decide(host, &all);
    let _ = all.edit(&decision);
    let explanation = rules.explain(host, &all);
    assert_eq!(explanation.version.as_deref(), decision.version);
    assert_eq!(explanation.is_gray, decision.reason.is_gray());
    let twice = rules.values(headers.clone().take(1).chain(headers.clone().take(1)));
    let _ = rules.decide(host, &twice).version;
    for header in headers.skip(1) {
        let _ = rules.decide(host, &rules.values([header])).version;
    }
}

/// Some ids that the rules have, and their neighbours.
fn some_ids(plain: &RuleSet) -> BTreeSet<Vec<u8>> {
    let tables = plain.services.iter().filter_map(|service| service.release.as_ref());
    let groups = tables.flat_map(|release| release.table.levels.iter().flatten());
    let excluded_first = |group: &&graylane_rules::Group| group.entry.action != Action::Exclude;
    let mut groups: Vec<_> = groups.collect();
    groups.sort_by_key(excluded_first);
    let ids = groups.iter().flat_map(|group| group.ids.iter().take(MAX_IDS_ASKED / 4)).take(MAX_IDS_ASKED);
    ids.flat_map(|id| [0, 1, u8::MAX].map(|step| stepped(id, step))).collect()
}

fn stepped(id: &[u8], step: u8) -> Vec<u8> {
    let mut id = id.to_vec();
    if let Some(last) = id.last_mut() {
        *last = last.wrapping_add(step);
    }
    id
}

/// Pieces of the input, as they are and as digits, so that forged sets are asked for what they may claim.
fn cut(bytes: &[u8]) -> BTreeSet<Vec<u8>> {
    let step = bytes.len() / MAX_IDS_ASKED + 1;
    let pieces = bytes.chunks(step).zip([1, 2, 8, 9, 12, 19].into_iter().cycle());
    let as_digits = |piece: &[u8]| piece.iter().map(|byte| b'0' + byte % 10).collect::<Vec<u8>>();
    let with_letter = |piece: &[u8]| [b"T".as_slice(), &as_digits(piece)].concat();
    let ids = pieces.map(|(piece, len)| piece.get(..len).unwrap_or(piece));
    ids.flat_map(|piece| [piece.to_vec(), as_digits(piece), with_letter(piece)])
        .chain([bytes.to_vec()])
        .collect()
}
