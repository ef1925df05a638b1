//! How long a plan with a named list of a million ids takes from its text to its rules. Run it with `--release`.

use graylane_plan::{
    Problem, ServiceRules, Snapshot, Tenant, World, check, compile, parse, parse_list, rule_set, snapshot,
};
use graylane_rules::{Rules, encode};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

const IDS: usize = 1_000_000;

const HEAD: &str = "
apiVersion: graylane.dev/v1alpha1
kind: ReleasePlan
metadata: { name: million, tenant: retail }
spec:
  owner: release-manager
  services: [ { name: loan, hosts: [loan.local], stable: v1, gray: v2 } ]
  stages:
    - { name: whole-bank, scope: { all: true, exclude: { teller: [X1, X2, X3] } } }
";

fn main() -> Result<(), String> {
    let ids = |from: usize, count: usize| (from..from + count).map(|id| format!("T{id:07}"));
    // Every second id comes early, so that the lists are not in order.
    let mut csv = String::new();
    for id in ids(0, IDS).step_by(2).chain(ids(0, IDS).skip(1).step_by(2)) {
        let _ = writeln!(csv, "{id}");
    }
    let stage = "    - { name: pilot, scope: { include: { teller: { list: million } }, percent: 20 } }";
    let named = format!(
        "{HEAD}{stage}\n    - {{ name: rest, scope: {{ include: {{ teller: {{ list: million }} }} }} }}\n"
    );
    let list: Vec<String> = ids(0, IDS).map(|id| format!("\"{id}\"")).collect();
    let inline =
        format!("{HEAD}    - {{ name: pilot, scope: {{ include: {{ teller: [{}] }} }} }}\n", list.join(","));

    let tenant = Tenant::with_defaults("retail");
    let list = timed("parse_list, 1,000,000 lines", || parse_list(&csv)).map_err(told)?;
    let lists = BTreeMap::from([("million".to_owned(), Arc::new(list))]);
    let world = World::new(&tenant, &lists);
    for (what, text) in [("named", &named), ("inline", &inline)] {
        println!("{what}: {} bytes of YAML", text.len());
        let plan = timed("  parse", || parse(text)).map_err(told)?;
        let problems = timed("  check", || check(&plan, &world));
        println!("  {} problems", problems.len());
        let snapshot = timed("  snapshot (checks too)", || snapshot(&plan, &world)).map_err(told)?;
        publish(&snapshot, &tenant)?;
    }
    Ok(())
}

fn publish(snapshot: &Snapshot, tenant: &Tenant) -> Result<(), String> {
    let stages = snapshot.scopes().len();
    let table = timed("  compile", || compile(snapshot, snapshot.scopes(), stages));
    let service = ServiceRules {
        name: "loan".into(),
        hosts: vec!["loan.local".into()],
        stable: "v1".into(),
        route_default: "v1".into(),
        release: Some(("v2".into(), table)),
    };
    let bytes =
        timed("  encode", || encode(&rule_set(tenant, [service]), 1)).map_err(|error| error.to_string())?;
    let rules = timed("  load", || Rules::load(bytes)).map_err(|error| error.to_string())?;
    println!("  {} bytes of rules", rules.bytes().len());
    Ok(())
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    println!("{what}: {:.1} ms", start.elapsed().as_secs_f64() * 1_000.0);
    result
}

fn told(problems: Vec<Problem>) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
