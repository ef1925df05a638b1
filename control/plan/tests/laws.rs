//! What holds for every plan.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use graylane_plan::{
    API_VERSION, Batch, Ids, KIND, ListRef, Metadata, Percentage, Problem, ReleasePlan, RetentionEnd, Scope,
    ServiceRules, ServiceSpec, Snapshot, Span, Spec, StageSpec, Tenant, World, check, compile, list_hash,
    parse, parse_scope, rule_set, snapshot,
};
use graylane_rules::{IdSet, Rules, encode, xxh64};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const DIMENSIONS: [&str; 3] = ["teller", "branch", "region"];
const HOST: &str = "loan.local";

type Lists = BTreeMap<String, Arc<IdSet>>;

/// One value for each dimension, where the request has it.
type Request = [Option<String>; 3];

fn lists() -> Lists {
    let list = |ids: &[&str]| Arc::new(ids.iter().collect::<IdSet>());
    BTreeMap::from([("low".to_owned(), list(&["a", "b"])), ("high".to_owned(), list(&["f", "g"]))])
}

fn plan() -> impl Strategy<Value = ReleasePlan> {
    vec(scope(), 1..5).prop_map(|scopes| {
        let stage = |(at, scope)| StageSpec { name: format!("s{at}"), scope, ..StageSpec::default() };
        let service = ServiceSpec {
            name: "loan".into(),
            hosts: vec![HOST.into()],
            stable: "v1".into(),
            gray: "v2".into(),
            depends_on: vec![],
        };
        ReleasePlan {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            metadata: Metadata { name: "p".into(), tenant: "retail".into() },
            spec: Spec {
                owner: "somebody".into(),
                batch: Batch::Serial,
                services: vec![service],
                stages: scopes.into_iter().enumerate().map(stage).collect(),
                retention: Some(Span::from_seconds(5_400)),
                at_retention_end: Some(RetentionEnd::Stay),
                ..Spec::default()
            },
        }
    })
}

/// A scope that lets somebody in. What is kept out mostly has letters of its own, so that many plans are accepted.
fn scope() -> impl Strategy<Value = Scope> {
    let ids = |ids: &'static str, list: &'static str| {
        prop_oneof![
            5 => vec(ids, 1..4).prop_map(Ids::Inline),
            1 => Just(Ids::List(ListRef { list: list.into() })),
        ]
    };
    let dimension = || proptest::sample::select(DIMENSIONS.map(str::to_owned).to_vec());
    let include = btree_map(dimension(), ids("[a-e]", "low"), 0..3);
    let exclude = btree_map(dimension(), ids("[d-g]", "high"), 0..3);
    let exclude = prop_oneof![Just(BTreeMap::new()), exclude];
    let percent = prop::option::weighted(0.4, (0..=10_000_u16).prop_map(percentage));
    (include, exclude, prop::bool::weighted(0.3), percent).prop_map(|(include, exclude, all, percent)| {
        let all = all || include.is_empty();
        Scope { include, exclude, all, percent }
    })
}

fn percentage(hundredths: u16) -> Percentage {
    Percentage::new(&format!("{}.{:02}", hundredths / 100, hundredths % 100))
}

fn request() -> impl Strategy<Value = Request> {
    let value = || prop::option::weighted(0.8, "[a-h]");
    [value(), value(), value()]
}

/// The snapshot of a plan that is accepted, and what was warned of.
fn accepted(plan: &ReleasePlan) -> Option<(Snapshot, Vec<Problem>)> {
    let (tenant, lists) = (Tenant::with_defaults("retail"), lists());
    let world = World::new(&tenant, &lists);
    Some((snapshot(plan, &world).ok()?, check(plan, &world)))
}

/// Only an exclusion can take somebody back.
fn warns_of_exclusion(warnings: &[Problem]) -> bool {
    warnings.iter().any(|warning| warning.path.contains(".exclude"))
}

fn rules(snapshot: &Snapshot, reached: usize) -> Rules {
    let service = ServiceRules {
        name: "loan".into(),
        hosts: vec![HOST.into()],
        stable: "v1".into(),
        route_default: "v1".into(),
        release: Some(("v2".into(), compile(snapshot, snapshot.scopes(), reached))),
    };
    let rules = rule_set(&Tenant::with_defaults("retail"), [service]);
    Rules::load(encode(&rules, 1).expect("a checked plan encodes")).expect("what was encoded loads")
}

fn is_gray(rules: &Rules, request: &Request) -> bool {
    let headers = DIMENSIONS
        .iter()
        .zip(request)
        .filter_map(|(name, value)| Some((format!("x-{name}").into_bytes(), value.clone()?.into_bytes())));
    let headers: Vec<_> = headers.collect();
    let values = rules.values(headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
    rules.decide(HOST.as_bytes(), &values).reason.is_gray()
}

/// Whether a percentage, in hundredths, comes after something larger. Plain gray is larger than 100%.
fn narrows(shares: &[u16]) -> bool {
    let follows_larger = |(at, share): (usize, &u16)| shares.iter().take(at).any(|before| before > share);
    shares.iter().enumerate().any(follows_larger)
}

fn holds(ids: &Ids, id: &str) -> bool {
    match ids {
        Ids::Inline(ids) => ids.iter().any(|known| known == id),
        Ids::List(list) => lists()[&list.list].contains(id.as_bytes()),
    }
}

/// Sections 3 and 4 of the semantics, straight from the plan.
fn is_gray_naive(plan: &ReleasePlan, reached: usize, request: &Request) -> bool {
    let scopes: Vec<&Scope> = plan.spec.stages.iter().take(reached).map(|stage| &stage.scope).collect();
    let key = request.iter().flatten().next();
    let takes = |percent: &Option<Percentage>| match (percent, key) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(percent), Some(key)) => {
            let bucket = xxh64(0, format!("p\0{key}").as_bytes()) % 10_000;
            bucket < u64::from(percent.get().unwrap().hundredths())
        }
    };
    for (dimension, value) in DIMENSIONS.iter().zip(request) {
        let Some(value) = value else { continue };
        let names = |ids: &BTreeMap<String, Ids>| ids.get(*dimension).is_some_and(|ids| holds(ids, value));
        if scopes.iter().any(|scope| names(&scope.exclude)) {
            return false;
        }
        if scopes.iter().any(|scope| names(&scope.include) && takes(&scope.percent)) {
            return true;
        }
    }
    scopes.iter().any(|scope| scope.all && takes(&scope.percent))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compiled_rules_decide_as_the_plan_says(plan in plan(), requests in vec(request(), 1..20)) {
        if let Some((snapshot, _)) = accepted(&plan) {
            for reached in 0..=plan.spec.stages.len() {
                let rules = rules(&snapshot, reached);
                for request in &requests {
                    let naive = is_gray_naive(&plan, reached, request);
                    prop_assert_eq!(is_gray(&rules, request), naive, "{:?}\n{}", request, rules.listing());
                }
            }
        }
    }

    #[test]
    fn a_later_stage_takes_nobody_back(plan in plan(), requests in vec(request(), 1..20)) {
        if let Some((snapshot, _)) = accepted(&plan).filter(|(_, warnings)| !warns_of_exclusion(warnings)) {
            let by_stage: Vec<Rules> = (0..=plan.spec.stages.len()).map(|at| rules(&snapshot, at)).collect();
            for request in &requests {
                let gray: Vec<bool> = by_stage.iter().map(|rules| is_gray(rules, request)).collect();
                prop_assert!(gray.is_sorted(), "{request:?} is gray by stage: {gray:?}");
            }
        }
    }

    #[test]
    fn a_plan_is_refused_exactly_when_an_id_is_let_in_and_kept_out_or_let_in_at_less_than_before(plan in plan()) {
        let scopes: Vec<&Scope> = plan.spec.stages.iter().map(|stage| &stage.scope).collect();
        let both = |dimension: &str, id: &str| {
            let any = |side: fn(&Scope) -> &BTreeMap<String, Ids>| {
                scopes.iter().any(|scope| side(scope).get(dimension).is_some_and(|ids| holds(ids, id)))
            };
            any(|scope| &scope.include) && any(|scope| &scope.exclude)
        };
        let contested = DIMENSIONS.iter().any(|dimension| {
            ["a", "b", "c", "d", "e", "f", "g"].iter().any(|id| both(dimension, id))
        });
        let share = |scope: &Scope| scope.percent.as_ref().map_or(10_001, |percent| percent.get().unwrap().hundredths());
        let share_of = |scope: &Scope, dimension: &str, id: &str| {
            scope.include.get(dimension).filter(|ids| holds(ids, id)).map(|_| share(scope))
        };
        let of_ids = DIMENSIONS.iter().flat_map(|dimension| {
            let ids = ["a", "b", "c", "d", "e"].into_iter();
            ids.map(|id| scopes.iter().filter_map(|scope| share_of(scope, dimension, id)).collect::<Vec<u16>>())
        });
        let of_all = scopes.iter().filter(|scope| scope.all).map(|scope| share(scope)).collect();
        let narrows = of_ids.chain([of_all]).any(|shares| narrows(&shares));
        prop_assert_eq!(accepted(&plan).is_none(), contested || narrows);
    }

    #[test]
    fn the_order_of_ids_changes_nothing(plan in plan()) {
        let mut other = plan.clone();
        for stage in &mut other.spec.stages {
            for ids in stage.scope.include.values_mut().chain(stage.scope.exclude.values_mut()) {
                if let Ids::Inline(ids) = ids {
                    ids.reverse();
                    ids.extend_from_within(..);
                }
            }
        }
        if let Some((snapshot, _)) = accepted(&plan) {
            let (other, _) = accepted(&other).unwrap();
            prop_assert_eq!(snapshot.content_hash(), other.content_hash());
            for reached in 0..=plan.spec.stages.len() {
                let table = compile(&snapshot, snapshot.scopes(), reached);
                prop_assert_eq!(&table, &compile(&other, other.scopes(), reached));
                prop_assert_eq!(table.stages.len(), reached);
            }
        }
    }

    #[test]
    fn another_plan_or_list_has_another_hash(one in plan(), two in plan()) {
        if let (Some((one, _)), Some((two, _))) = (accepted(&one), accepted(&two)) {
            let same = one.scopes() == two.scopes() && one.lists() == two.lists();
            prop_assert!(same || one.content_hash() != two.content_hash());
        }
    }

    #[test]
    fn a_snapshot_is_restored_from_what_is_kept_of_it(plan in plan()) {
        if let Some((snapshot, _)) = accepted(&plan) {
            let pinned = snapshot.lists().iter().map(|(name, list)| (name.clone(), Arc::clone(&list.ids)));
            let pinned: Lists = pinned.collect();
            let tenant = Tenant::with_defaults("retail");
            let restored = Snapshot::restore(snapshot.plan(), &tenant, &pinned).unwrap();
            prop_assert_eq!(&restored, &snapshot);
            prop_assert_eq!(restored.lists(), snapshot.lists());
            prop_assert_eq!(restored.content_hash(), snapshot.content_hash());
            prop_assert!(snapshot.lists().values().all(|list| list.hash == list_hash(&list.ids)));
        }
    }

    // Without control characters: no id has them, and YAML refuses some that JSON lets pass.
    #[test]
    fn a_written_plan_reads_the_same(mut plan in plan(), odd in r"\PC{0,20}", number in r"[0-9._+-]{1,5}|null|~|yes|\.nan") {
        plan.spec.owner.clone_from(&odd);
        plan.spec.stages[0].scope.include.insert("teller".into(), Ids::Inline(vec![odd, number]));
        let yaml = serde_saphyr::to_string(&plan).unwrap();
        prop_assert_eq!(parse(&yaml).unwrap(), plan.clone(), "{}", yaml);
        let json = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<ReleasePlan>(&json).unwrap(), plan.clone());
        prop_assert_eq!(parse(&json).unwrap(), plan.clone(), "{}", json);
        let scope = plan.spec.stages.remove(0).scope;
        prop_assert_eq!(parse_scope(&serde_saphyr::to_string(&scope).unwrap()).unwrap(), scope);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "([a-z:\\[\\]{}\",&*! \n-]|spec|stages|scope|include|<<){0,40}") {
        let tenant = Tenant::with_defaults("retail");
        match parse(&text) {
            Ok(plan) => prop_assert!(!check(&plan, &World::offline(&tenant)).is_empty()),
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }
}

/// Laws over accepted plans would hold for nothing if all were refused.
#[test]
fn many_plans_are_accepted_and_many_refused() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let plans: Vec<_> = (0..500).map(|_| plan().new_tree(&mut runner).unwrap().current()).collect();
    let accepted: Vec<_> = plans.iter().filter_map(accepted).collect();
    let unwarned = accepted.iter().filter(|(_, warnings)| !warns_of_exclusion(warnings)).count();
    assert!((100..450).contains(&accepted.len()), "{} of 500 accepted", accepted.len());
    assert!(unwarned > 100 && unwarned < accepted.len(), "{unwarned} without a warning");
}
