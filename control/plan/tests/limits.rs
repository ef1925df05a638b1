//! Every size has a limit, and what is past it is told.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use graylane_plan::{
    Ids, ListRef, MAX_PLAN_BYTES, Problem, ReleasePlan, Tenant, World, check, in_order, parse, parse_scope,
    read,
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

#[test]
fn more_bytes_of_ids_than_proxies_load_are_refused_without_comparing_them() {
    let ids: IdSet = (0..1_200_000).map(|id| format!("{id:012}")).collect();
    let lists = BTreeMap::from([("huge".to_owned(), Arc::new(ids))]);
    let tenant = Tenant::with_defaults("retail");
    let plan = plan_with(|plan| {
        let huge = Ids::List(ListRef { list: "huge".into() });
        plan.spec.stages[0].scope.include = BTreeMap::from([("teller".to_owned(), huge)]);
    });
    let told = told(&check(&plan, &World::new(&tenant, &lists)));
    assert_eq!(
        told,
        [
            "spec.stages: the 1200000 ids of all stages take 19200000 bytes, over the limit of 16777216 that proxies \
          load; use shorter or fewer ids, or branches or a percentage in their place"
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
