//! The laws of the rule set. They run natively and, by wasm-bindgen-test, in V8, where the filter lives.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use graylane_rules::{Edit, Incoming, RuleSet, Rules, Values, cases, encode, encode_few, naive, strategies};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Runs a law over many inputs. In V8 there is no source of randomness, so the inputs are the same each time.
fn check<S: Strategy>(input: S, law: impl Fn(S::Value)) {
    let config = Config { cases: 512, failure_persistence: None, ..Config::default() };
    let mut runner = match cfg!(target_family = "wasm") {
        true => TestRunner::deterministic(),
        false => TestRunner::new(config),
    };
    let law = |value| {
        law(value);
        Ok(())
    };
    runner.run(&input, law).unwrap();
}

fn load(rules: &RuleSet) -> Rules {
    Rules::load(encode(rules, 7).unwrap()).unwrap()
}

fn values<'a>(rules: &Rules, headers: &'a [(Vec<u8>, Vec<u8>)]) -> Values<'a> {
    rules.values(headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())))
}

#[test]
fn decide_equals_naive() {
    check((strategies::rule_set(), vec(strategies::request(), 1..20)), |(plain, requests)| {
        let rules = load(&plain);
        for (host, headers) in requests {
            let values = values(&rules, &headers);
            let decision = rules.decide(&host, &values);
            let (header, _) = naive::decide(&plain, &host, &headers);
            assert_eq!(decision.header, header.as_deref(), "{host:?} {headers:?}\n{}", rules.listing());
        }
    });
}

#[test]
fn explain_tells_what_naive_found() {
    check((strategies::rule_set(), vec(strategies::request(), 1..20)), |(plain, requests)| {
        let rules = load(&plain);
        for (host, headers) in requests {
            let explanation = rules.explain(&host, &values(&rules, &headers));
            let ending = explanation.steps.iter().find(|step| step.ends);
            let (_, found) = naive::decide(&plain, &host, &headers);
            let expected = found.map(|(level, entry)| {
                let level = level.map_or("all", |level| plain.dimensions[level].name.as_str());
                (level.to_owned(), entry.action.to_string(), format!("stage{}", entry.stage))
            });
            let told = ending.map(|step| (step.level.clone(), step.action.clone(), step.stage.clone()));
            assert_eq!(told, expected, "{host:?} {headers:?}\n{}", rules.listing());
        }
    });
}

#[test]
fn load_undoes_either_encoder() {
    check((strategies::rule_set(), any::<u64>()), |(plain, revision)| {
        for encode in [encode, encode_few] {
            let rules = Rules::load(encode(&plain, revision).unwrap()).unwrap();
            assert_eq!(rules.to_rule_set(), plain);
            assert_eq!(rules.revision(), revision);
        }
    });
}

#[test]
fn equal_content_gives_equal_bytes_in_any_order() {
    let shuffled = strategies::rule_set().prop_flat_map(|plain| {
        let services = Just(plain.services.clone()).prop_shuffle();
        (Just(plain), services, any::<bool>())
    });
    check(shuffled, |(plain, services, reverse)| {
        let mut other = RuleSet { services, ..plain.clone() };
        for service in &mut other.services {
            service.hosts.reverse();
            if let Some(release) = service.release.as_mut().filter(|_| reverse) {
                let mut table = (*release.table).clone();
                table.levels.iter_mut().for_each(|groups| groups.reverse());
                release.table = table.into();
            }
        }
        assert_eq!(encode(&plain, 1).unwrap(), encode(&other, 1).unwrap());
    });
}

#[test]
fn the_content_hash_forgets_the_revision() {
    check(strategies::rule_set(), |plain| {
        let [one, two] = [1, 2].map(|revision| Rules::load(encode(&plain, revision).unwrap()).unwrap());
        assert_eq!(one.content_hash(), two.content_hash());
    });
}

#[test]
fn loading_any_bytes_never_panics() {
    check(vec(any::<u8>(), 0..200), |bytes| drop(Rules::load(bytes)));
}

#[test]
fn a_flipped_bit_or_a_cut_is_refused() {
    check((strategies::rule_set(), any::<prop::sample::Index>(), 0..8_u32), |(plain, at, bit)| {
        let mut bytes = encode(&plain, 1).unwrap();
        let at = at.index(bytes.len());
        Rules::load(bytes[..at].to_vec()).unwrap_err();
        bytes[at] ^= 1_u8 << bit;
        Rules::load(bytes).unwrap_err();
    });
}

/// Whoever forges the hashes too gets past them: then every field has to be checked for itself.
#[test]
fn forged_bytes_never_panic() {
    let forged = (strategies::rule_set(), vec((any::<prop::sample::Index>(), any::<u8>()), 1..4));
    check((forged, strategies::request()), |((plain, edits), (host, headers))| {
        let mut bytes = encode(&plain, 1).unwrap();
        for (at, byte) in edits {
            let at = 40 + at.index(bytes.len() - 40);
            bytes[at] = byte;
        }
        let content_hash = graylane_rules::xxh64(0, &bytes[40..]);
        bytes[24..32].copy_from_slice(&content_hash.to_le_bytes());
        let header_hash = graylane_rules::xxh64(0, &bytes[..32]);
        bytes[32..40].copy_from_slice(&header_hash.to_le_bytes());
        if let Ok(rules) = Rules::load(bytes) {
            let _ = rules.explain(&host, &values(&rules, &headers));
            rules.listing().to_string();
            encode(&rules.to_rule_set(), 1).unwrap();
        }
    });
}

#[test]
fn raising_a_percentage_only_adds_people() {
    use graylane_rules::{Action, Entry, Percent, Release, Service, Table};
    let rules_at = |hundredths| {
        let entry =
            Entry { action: Action::Percent(Percent::from_hundredths(hundredths).unwrap()), stage: 0 };
        let table = Table { plan: "p".into(), stages: vec!["s".into()], levels: vec![], all: Some(entry) };
        let release = Some(Release { gray: "v2".into(), table: table.into() });
        let version = "v1".to_owned();
        let service = Service {
            name: "s".into(),
            hosts: vec!["h".into()],
            stable: version.clone(),
            route_default: version,
            release,
        };
        load(&RuleSet { services: vec![service], ..cases::load().rules })
    };
    check((0..=10_000_u16, 0..=10_000_u16, vec(any::<u8>(), 1..20)), |(a, b, key)| {
        let headers = [(b"x-teller".to_vec(), key)];
        let [low, high] = [a.min(b), a.max(b)].map(|hundredths| {
            let rules = rules_at(hundredths);
            rules.decide(b"h", &values(&rules, &headers)).reason.is_gray()
        });
        assert!(!low || high);
    });
}

#[test]
fn the_case_table_holds() {
    let cases::Cases { rules: plain, cases } = cases::load();
    let rules = load(&plain);
    for case in &cases {
        let headers = case.headers();
        let values = values(&rules, &headers);
        let decision = rules.decide(case.host.as_bytes(), &values);
        let explanation = rules.explain(case.host.as_bytes(), &values);
        let ending = explanation.steps.iter().find(|step| step.ends);
        let edit = match values.edit(&decision) {
            Edit::Keep => "keep",
            Edit::Remove => "remove",
            Edit::Set(version) => version,
        };
        let name = &case.name;
        assert_eq!(explanation.verdict.label(), case.verdict, "{name}");
        assert_eq!(explanation.version, case.version, "{name}");
        assert_eq!(explanation.is_gray, case.is_gray(), "{name}");
        assert_eq!(ending.map(|step| &step.level), case.level.as_ref(), "{name}");
        assert_eq!(ending.map(|step| &step.stage), case.stage.as_ref(), "{name}");
        assert_eq!(values.is_oversize(), case.oversize, "{name}");
        assert_eq!(edit, case.edit(), "{name}");
        assert_eq!(
            decision.header,
            naive::decide(&plain, case.host.as_bytes(), &headers).0.as_deref(),
            "{name}"
        );
    }
    assert!(cases.len() > 30 && Incoming::default() == Incoming::Absent);
}
