//! Every size has a limit, and what is past it is told.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use graylane_plan::{
    Ids, ListRef, MAX_PLAN_BYTES, Problem, ReleasePlan, Tenant, World, check, check_list, in_order, parse,
    parse_scope, read,
};
use graylane_rules::IdSet;
use graylane_rules::limits::{MAX_HOSTS, MAX_SERVICES, MAX_STAGES};
use std::collections::BTreeMap;
use std::sync::Arc;

const PLAN: &str = "
apiVersion: graylane.dev/v1alpha1
kind: ReleasePlan
metadata: { name: p, tenant: retail }
spec:
  owner: somebody
  services: [ { name: loan, hosts: [loan.local], stable: v1, gray: v2 } ]
  stages: [ { name: s, scope: { all: true } } ]
";

fn plan_with(edit: impl FnOnce(&mut ReleasePlan)) -> ReleasePlan {
    let mut plan = parse(PLAN).unwrap();
    edit(&mut plan);
    plan
}

fn told(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn checked(plan: &ReleasePlan) -> Vec<String> {
    let tenant = Tenant::with_defaults("retail");
    told(&check(plan, &World::offline(&tenant)))
}

fn with_stages(count: usize) -> ReleasePlan {
    plan_with(|plan| {
        plan.spec.stages = (0..count)
            .map(|at| {
                let mut stage = plan.spec.stages[0].clone();
                stage.name = format!("s{at}");
                stage
            })
            .collect();
    })
}

fn with_services(count: usize, hosts: usize) -> ReleasePlan {
    plan_with(|plan| {
        plan.spec.services = (0..count)
            .map(|at| {
                let mut service = plan.spec.services[0].clone();
                service.name = format!("loan{at}");
                service.hosts = (0..hosts).map(|host| format!("loan{at}-{host}")).collect();
                // A chain as long as the plan: following it must not need a stack as deep.
                service.depends_on =
                    (at + 1 < count).then(|| format!("loan{}", at + 1)).into_iter().collect();
                service
            })
            .collect();
    })
}

#[test]
fn as_many_stages_services_and_hosts_as_the_limits_are_accepted_and_one_more_is_not() {
    assert_eq!(checked(&with_stages(MAX_STAGES)), [""; 0]);
    assert_eq!(
        checked(&with_stages(MAX_STAGES + 1)),
        ["spec.stages: 65 stages are over the limit of 64; merge some"]
    );
    assert_eq!(checked(&with_services(MAX_SERVICES, 1)), [""; 0]);
    assert_eq!(
        checked(&with_services(MAX_SERVICES + 1, 1)),
        ["spec.services: 4097 services are over the limit of 4096; split the plan"]
    );
    assert_eq!(checked(&with_services(2, MAX_HOSTS / 2)), [""; 0]);
    assert_eq!(
        checked(&with_services(3, MAX_HOSTS / 2)),
        ["spec.services: 24576 hosts of all services are over the limit of 16384; split the plan"]
    );
}

#[test]
fn a_long_circle_is_named_by_its_ends() {
    let plan = plan_with(|plan| {
        *plan = with_services(MAX_SERVICES, 1);
        plan.spec.services[MAX_SERVICES - 1].depends_on = vec!["loan0".into()];
    });
    let told = checked(&plan);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("loan6 -> loan7 -> ... -> loan4089 -> loan4090") && told[0].contains("-> loan0;")
    );
}

/// Ids of 256 bytes that no form makes shorter.
fn long_ids(from: u64, count: u64) -> IdSet {
    (from..from + count)
        .map(|id| format!("{:016x}x", id.wrapping_mul(0x9E37_79B9_7F4A_7C15)).repeat(15) + "x")
        .collect()
}

/// What a plan is told that lets in a list at each stage.
fn told_of_lists(lists: impl IntoIterator<Item = IdSet>) -> Vec<String> {
    let lists: BTreeMap<String, Arc<IdSet>> =
        lists.into_iter().enumerate().map(|(at, ids)| (format!("l{at}"), Arc::new(ids))).collect();
    let mut plan = with_stages(lists.len());
    for (stage, list) in plan.spec.stages.iter_mut().zip(lists.keys()) {
        stage.scope.all = false;
        let ids = Ids::List(ListRef { list: list.clone() });
        stage.scope.include = BTreeMap::from([("teller".to_owned(), ids)]);
    }
    let tenant = Tenant::with_defaults("retail");
    let mut told = told(&check(&plan, &World::new(&tenant, &lists)));
    told.retain(|told| !told.contains("finishing after this last stage"));
    told
}

#[test]
fn what_proxies_do_not_load_is_refused_with_its_bytes_and_what_nearly_is_is_warned_of() {
    assert_eq!(told_of_lists([long_ids(0, 50_000)]), [""; 0]);
    let near = told_of_lists([long_ids(0, 30_000), long_ids(30_000, 30_000)]);
    assert_eq!(near.len(), 1, "{near:?}");
    assert!(
        near[0].starts_with("warning: spec.stages: the rules of the last stage take 15")
            && near[0].contains("near the limit of 16777216 that proxies load"),
        "{near:?}"
    );
    let over = told_of_lists([long_ids(0, 35_000), long_ids(35_000, 35_000)]);
    assert_eq!(over.len(), 1, "{over:?}");
    assert!(
        over[0].starts_with("spec.stages: the rules of the last stage take 17")
            && over[0]
                .contains("bytes, over the limit of 16777216 that proxies load; use shorter or fewer ids"),
        "{over:?}"
    );
}

#[test]
fn a_list_is_refused_when_no_plan_could_serve_it_whatever_its_text_takes() {
    assert_eq!(check_list(&Arc::new(long_ids(0, 60_000))), Ok(()));
    let over = check_list(&Arc::new(long_ids(0, 70_000))).unwrap_err().to_string();
    assert!(
        over.starts_with("list: rules with these 70000 ids take 17")
            && over.contains("bytes, over the limit of 16777216 that proxies load; use shorter or fewer ids"),
        "{over}"
    );
    let dense = (0..1_500_000).map(|id| format!("{id:012}")).collect();
    assert_eq!(check_list(&Arc::new(dense)), Ok(()), "18 MB of text are little as numbers");
}

#[test]
fn three_million_ids_over_three_stages_are_accepted() {
    let ids =
        |letter: char| (0..1_000_000).map(move |id| format!("{letter}{:08}", id * 7)).collect::<IdSet>();
    assert_eq!(told_of_lists([ids('T'), ids('U'), ids('V')]), [""; 0]);
}

#[test]
fn more_ids_than_are_compared_are_refused_before_that() {
    let over = told_of_lists((0..3).map(|list| long_ids(list * 200_000, 200_000)));
    assert_eq!(
        over,
        [
            "spec.stages: all stages have 153600000 bytes of ids, over the limit of 134217728; use shorter or fewer ids, or \
          branches or a percentage in their place"
        ]
    );
}

#[test]
fn a_list_that_all_stages_share_counts_once() {
    let ids: IdSet = (0..300_000).map(|id| format!("{id:08}")).collect();
    let lists = BTreeMap::from([("large".to_owned(), Arc::new(ids))]);
    let tenant = Tenant::with_defaults("retail");
    let mut plan = with_stages(MAX_STAGES);
    for (stage, percent) in plan.spec.stages.iter_mut().zip(1..) {
        let large = Ids::List(ListRef { list: "large".into() });
        stage.scope.include = BTreeMap::from([("teller".to_owned(), large)]);
        stage.scope.percent = Some(graylane_plan::Percentage::new(&format!("{percent}")));
        stage.scope.all = false;
    }
    let told = told(&check(&plan, &World::new(&tenant, &lists)));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("warning: spec.stages[63].scope: finishing"), "{told:?}");
}

/// Each stage has less than the one before, of the same ids or of others. Two thousand pairs of stages share ids, and
/// each of the ids is looked at once.
#[test]
fn a_million_ids_whose_percentages_fall_are_told_once_for_each_stage() {
    let ids = |from: usize| (from..from + 500_000).map(|id| format!("{id:07}")).collect::<IdSet>();
    let lists =
        BTreeMap::from([("one".to_owned(), Arc::new(ids(0))), ("other".to_owned(), Arc::new(ids(499_900)))]);
    let tenant = Tenant::with_defaults("retail");
    let mut plan = with_stages(MAX_STAGES);
    for (stage, falling) in plan.spec.stages.iter_mut().zip(0..) {
        let name = if falling % 2 == 0 { "one" } else { "other" };
        let list = Ids::List(ListRef { list: name.into() });
        stage.scope.include = BTreeMap::from([("teller".to_owned(), list)]);
        stage.scope.percent = Some(graylane_plan::Percentage::new(&format!("{}", 100 - falling)));
        stage.scope.all = false;
    }
    let told = told(&check(&plan, &World::new(&tenant, &lists)));
    assert_eq!(
        told[0],
        "spec.stages[1].scope.include.teller: \"0499900\" and 99 more were let in at 100% by stage \"s0\" already, \
         which letting in at 99% does not take back: stages only widen; leave percent out, or remove here what is let \
         in already"
    );
    // Stage 2 repeats all ids of stage 0, stage 3 those of stages 0 and 1, and so on; and the last one is not all.
    assert!(
        told[1].starts_with("spec.stages[2].scope.include.teller: \"0000000\" and 499999 more were let in")
    );
    assert!(
        told[3].starts_with("spec.stages[3].scope.include.teller: \"0500000\" and 499899 more were let in")
    );
    assert_eq!(told.len(), 1 + 31 + 2 * 31 + 1);
}

#[test]
fn what_reading_and_checking_find_comes_in_one_order_and_the_counts_last() {
    let fields: String = (0..150).map(|at| format!("x{at}: 1\n")).collect();
    let (plan, mut problems) = read(&format!("{PLAN}{fields}").replace("tenant: retail", "tenant: -retail"));
    let plan = plan.unwrap();
    let tenant = Tenant::with_defaults(plan.metadata.tenant.clone());
    problems.extend(check(&plan, &World::offline(&tenant)));
    let told = told(&in_order(problems));
    assert_eq!(told.len(), graylane_plan::MAX_PROBLEMS + 2);
    assert!(told[0].starts_with("metadata.tenant: \"-retail\" cannot name a tenant; "), "{told:?}");
    assert_eq!(told.last().unwrap(), "and 50 more errors; cure those above first");
}

#[test]
fn a_flood_of_bad_ids_is_counted() {
    let plan = plan_with(|plan| {
        let ids = Ids::Inline(vec![String::new(); 100_000]);
        plan.spec.stages[0].scope.include = BTreeMap::from([("teller".to_owned(), ids)]);
    });
    let told = checked(&plan);
    assert_eq!(told.len(), graylane_plan::MAX_PROBLEMS + 1);
    assert_eq!(told.last().unwrap(), "and 99900 more errors; cure those above first");
}

#[test]
fn long_texts_and_alias_bombs_are_refused() {
    let long = format!("{PLAN}#{}", "x".repeat(MAX_PLAN_BYTES));
    assert!(parse(&long).unwrap_err()[0].message.contains("over the limit of 16777216"));

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert!(parse(&bomb).is_err());
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(parse(&"a: ".repeat(100_000)).is_err());
}

#[test]
fn a_scope_alone_is_read_with_paths_that_begin_with_scope() {
    let scope = parse_scope("include: { teller: [T1] }\npercent: 5").unwrap();
    assert_eq!(scope.include["teller"], Ids::Inline(vec!["T1".into()]));
    assert_eq!(
        told(&parse_scope(" ").unwrap_err()),
        ["scope: the text is empty; write a scope, like { include: { teller: [T1] } }"]
    );
    let told = told(&parse_scope("{ inclde: {}, include: { teller: T1 } }").unwrap_err());
    assert!(told[0].starts_with("scope.inclde: is no known field; did you mean \"include\"?"), "{told:?}");
    assert!(told[1].starts_with("scope.include.teller: string \"T1\" is not what belongs here"), "{told:?}");
}

#[test]
fn a_list_that_quotes_make_too_long_to_be_read_again_is_refused() {
    let ids: IdSet = (0..3_600_000).map(|at| format!("A\"{at:013}")).collect();
    let refusal = check_list(&Arc::new(ids)).unwrap_err().to_string();
    assert!(refusal.contains("68400003 bytes, over the limit of 67108864"), "{refusal}");
}
