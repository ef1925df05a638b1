//! Each file of `cases` is a plan, good or bad. What is found wrong with it, and the rules of each stage, are compared
//! with what was reviewed once.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use graylane_plan::{
    Baseline, HostClaim, Problem, PrometheusSource, ServiceRules, Snapshot, Tenant, World, check, compile,
    in_order, parse, read, rule_set, snapshot,
};
use graylane_rules::{IdSet, Rules, encode};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn every_case_is_judged_as_reviewed() {
    insta::glob!("cases/*.yaml", |path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(judged(&text, &name));
        });
    });
}

fn judged(text: &str, name: &str) -> String {
    let tenant = Tenant::with_defaults("retail");
    let list = |ids: &[&str]| Arc::new(ids.iter().collect::<IdSet>());
    let lists = BTreeMap::from([
        ("pilot-branches".to_owned(), list(&["B012", "B013"])),
        ("vip-tellers".to_owned(), list(&["T0000001", "T0000002", "T0000003"])),
        ("emptied".to_owned(), list(&[])),
    ]);
    let claim = HostClaim { plan: "cards-2026-10".into(), service: "cards".into() };
    let mut world = World::new(&tenant, &lists);
    if name.starts_with("offline-") {
        world = World::offline(&tenant);
    } else {
        world.prometheus = match name.contains("prometheus") {
            true => PrometheusSource::Stale(Duration::from_secs(45)),
            false => PrometheusSource::Missing,
        };
        world.hosts.insert("cards.retail.svc.cluster.local".into(), claim);
        let hosts = vec!["audit.local".into(), "audit-2.local".into(), "audit-3.local".into()];
        world.baselines.insert("audit".into(), Baseline { version: "v7".into(), hosts });
    }
    let (plan, mut problems) = read(text);
    assert_eq!(parse(text).ok(), plan.clone().filter(|_| problems.is_empty()));
    let Some(plan) = plan else { return format!("not read\n{}", told(&problems)) };
    if !problems.is_empty() {
        problems.extend(check(&plan, &world));
        return format!("refused\n{}", told(&in_order(problems)));
    }
    let problems = check(&plan, &world);
    match snapshot(&plan, &world) {
        Ok(snapshot) => format!("accepted\n{}{}", told(&problems), staged(&snapshot, &tenant)),
        Err(refused) => {
            assert!(problems.iter().all(|problem| refused.contains(problem)));
            format!("refused\n{}", told(&refused))
        }
    }
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

fn staged(snapshot: &Snapshot, tenant: &Tenant) -> String {
    let mut out = String::new();
    for reached in 1..=snapshot.scopes().len() {
        let table = compile(snapshot, snapshot.scopes(), reached);
        let services = snapshot.plan().spec.services.iter().map(|service| ServiceRules {
            name: service.name.clone(),
            hosts: service.hosts.clone(),
            stable: service.stable.clone(),
            route_default: service.stable.clone(),
            release: Some((service.gray.clone(), Arc::clone(&table))),
        });
        let rules = Rules::load(encode(&rule_set(tenant, services), reached as u64).unwrap()).unwrap();
        write!(out, "\nstage {reached}\n{}", rules.listing()).unwrap();
    }
    out
}
