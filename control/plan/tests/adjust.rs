//! Adjusting the scope of a running stage: the same checks, but narrowing is warned of and not refused.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use graylane_plan::{
    ReleasePlan, Snapshot, Tenant, World, check, check_scope, compile, parse, parse_scope, snapshot,
};
use graylane_rules::{Action, IdSet};
use std::collections::BTreeMap;
use std::sync::Arc;

const PLAN: &str = "
apiVersion: graylane.dev/v1alpha1
kind: ReleasePlan
metadata: { name: p, tenant: retail }
spec:
  owner: somebody
  services: [ { name: loan, hosts: [loan.local], stable: v1, gray: v2 } ]
  stages:
    - { name: one, scope: { include: { teller: [T1, T2] }, exclude: { teller: [T8] } } }
    - { name: two, scope: { include: { branch: [B1] } } }
    - { name: three, scope: { include: { teller: [T3], region: [R1] }, percent: 20 } }
    - { name: four, scope: { all: true } }
";

fn plan() -> ReleasePlan {
    parse(PLAN).unwrap()
}

fn adjusted(stage: usize, scope: &str) -> Vec<String> {
    let tenant = Tenant::with_defaults("retail");
    let lists = BTreeMap::from([("pilot".to_owned(), Arc::new(["T2"].iter().collect::<IdSet>()))]);
    let world = World::new(&tenant, &lists);
    assert_eq!(check(&plan(), &world), []);
    let problems = check_scope(&plan(), stage, &parse_scope(scope).unwrap(), &world);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn narrowing_is_warned_of() {
    assert_eq!(adjusted(1, "include: { branch: [B1, B2] }"), [""; 0]);
    assert_eq!(adjusted(0, "include: { teller: [T1] }"), [""; 0]);
    assert_eq!(
        adjusted(1, "{ include: { branch: [B1] }, exclude: { teller: [T9, T2, T3] } }"),
        [
            "warning: scope.exclude.teller[1]: \"T2\" is let in by stage \"one\"; what is excluded here goes back to stable",
            "warning: scope.exclude.teller[2]: \"T3\" is let in by stage \"three\"; what is excluded here stays on stable",
        ]
    );
    assert_eq!(
        adjusted(2, "{ all: true, exclude: { teller: { list: pilot } } }"),
        [
            "warning: scope.exclude.teller: \"T2\" is let in by stage \"one\"; what is excluded here goes back to stable",
            "warning: scope.exclude.teller: stage \"two\" let in branch ids before: a teller among them that is excluded \
             only here goes back to stable; better exclude it from that stage on",
        ]
    );
}

#[test]
fn what_is_wrong_in_itself_or_does_nothing_is_refused() {
    assert_eq!(
        adjusted(1, "include: { teller: [T8] }"),
        [
            "scope.include.teller[0]: \"T8\" is excluded by stage \"one\", so that including does nothing; remove one of \
          the two"
        ]
    );
    assert_eq!(
        adjusted(0, "{ include: { teller: [T1] }, exclude: { teller: [T1] } }"),
        [
            "scope.include.teller[0]: \"T1\" is excluded by this stage too, so that including does nothing; remove one \
          of the two"
        ]
    );
    assert_eq!(adjusted(1, "{}"), ["scope: is empty: it lets nobody in; add include with ids, or all: true"]);
    assert_eq!(
        adjusted(1, "{ include: { branch: { list: pilto } }, percent: 101 }"),
        [
            "scope.include.branch.list: there is no list \"pilto\"; did you mean \"pilot\"?; upload it with \"graylane \
             list put\", or correct the name",
            "scope.percent: 101 is outside 0 to 100; give a percentage of people, like 20 or 12.5",
        ]
    );
    assert_eq!(adjusted(4, "all: true"), ["scope: the plan has no stage at index 4; it has 4"]);
}

#[test]
fn a_percentage_may_fall_below_the_planned_one_but_not_below_an_earlier_stage() {
    assert_eq!(adjusted(2, "{ include: { teller: [T3], region: [R1] }, percent: 5 }"), [""; 0]);
    assert_eq!(
        adjusted(2, "{ include: { teller: [T3, T2, T1] }, percent: 5 }"),
        [
            "scope.include.teller[2]: \"T1\" and 1 more were let in without a percentage by stage \"one\" already, \
             which letting in at 5% does not take back: stages only widen; leave percent out, or remove here what is \
             let in already",
        ]
    );
    assert_eq!(
        adjusted(1, "{ include: { region: [R2, R1] }, percent: 20.5 }"),
        [
            "warning: scope.include.region[1]: \"R1\" is let in at 20% by stage \"three\", which adds nobody to what \
             is let in at 20.5% here"
        ]
    );
    assert_eq!(adjusted(1, "{ include: { region: [R1] }, percent: 19.99 }"), [""; 0]);
}

#[test]
fn an_adjusted_scope_takes_the_place_of_the_planned_one() {
    let tenant = Tenant::with_defaults("retail");
    let lists = BTreeMap::from([("pilot".to_owned(), Arc::new(["T2"].iter().collect::<IdSet>()))]);
    let snapshot = snapshot(&plan(), &World::new(&tenant, &lists)).unwrap();
    let mut adjusted = plan();
    adjusted.spec.stages[1].scope =
        parse_scope("{ all: true, exclude: { teller: { list: pilot } }, percent: 5 }").unwrap();
    let restored = Snapshot::restore(&adjusted, &tenant, &lists).unwrap();
    let table = compile(&restored, restored.scopes(), 2);
    assert_eq!(table, compile(&snapshot, restored.scopes(), 2));
    assert_eq!(table.stages, ["one", "two"]);
    assert!(table.levels[1].is_empty());
    let excluded = table.levels[0].iter().find(|group| group.entry.stage == 1).unwrap();
    assert_eq!(excluded.entry.action, Action::Exclude);
    assert!(excluded.ids.contains(b"T2"));
    assert_eq!(table.all.unwrap().action.to_string(), "5%");
    assert!(Snapshot::restore(&adjusted, &tenant, &BTreeMap::new()).is_err());
}
