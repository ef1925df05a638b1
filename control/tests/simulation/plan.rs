//! Plans as people write them: most are sound, and some are not.

use crate::bank::{DIMENSIONS, IDS, Ids, LISTS, Named, SERVICES, Scope};
use fastrand::Rng;
use serde_json::{Value, json};

/// A plan as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub tenant: &'static str,
    pub name: &'static str,
    pub is_serial: bool,
    pub services: Vec<Service>,
    pub stages: Vec<Stage>,
}

/// A service of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: &'static str,
    pub hosts: &'static [&'static str],
    pub stable: String,
    pub gray: String,
    pub depends_on: Vec<&'static str>,
}

/// A stage of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub name: String,
    pub scope: Scope,
    pub hold_seconds: u64,
}

/// The names of plans.
pub const PLANS: [&str; 3] = ["spring", "summer", "autumn"];

/// The versions of services.
const VERSIONS: [&str; 4] = ["v1", "v2", "v3", "v4"];

// === impl Plan ===

impl Plan {
    /// A plan that is sound as far as its author knows: `baseline` tells what a service runs.
    pub fn random(tenant: &'static str, baseline: impl Fn(&str) -> Option<String>, rng: &mut Rng) -> Self {
        let mut services: Vec<Service> = Vec::new();
        let mut pool = SERVICES.to_vec();
        rng.shuffle(&mut pool);
        for (name, hosts) in pool.into_iter().take(rng.usize(1..=3)) {
            let stable = baseline(name).unwrap_or_else(|| VERSIONS[0].to_owned());
            let other: Vec<&str> = VERSIONS.into_iter().filter(|version| *version != stable).collect();
            let gray = other[rng.usize(..other.len())].to_owned();
            let depends_on =
                services.iter().filter(|_| rng.u8(..3) == 0).map(|service| service.name).collect();
            services.push(Service { name, hosts, stable, gray, depends_on });
        }
        rng.shuffle(&mut services);
        let stages = stages(rng);
        let name = PLANS[rng.usize(..PLANS.len())];
        Self { tenant, name, is_serial: rng.bool(), services, stages }
    }

    /// The plan as people write it.
    pub fn to_json(&self) -> Value {
        let service = |service: &Service| {
            json!({
                "name": service.name,
                "hosts": service.hosts,
                "stable": service.stable,
                "gray": service.gray,
                "dependsOn": service.depends_on,
            })
        };
        let stage = |stage: &Stage| json!({ "name": stage.name, "scope": stage.scope.to_json(), "hold": format!("{}s", stage.hold_seconds) });
        json!({
            "apiVersion": "graylane.dev/v1alpha1",
            "kind": "ReleasePlan",
            "metadata": { "name": self.name, "tenant": self.tenant },
            "spec": {
                "owner": "release-manager",
                "batch": if self.is_serial { "serial" } else { "parallel" },
                "services": self.services.iter().map(service).collect::<Vec<_>>(),
                "stages": self.stages.iter().map(stage).collect::<Vec<_>>(),
            },
        })
    }

    /// The services that go back with `chosen` ones, all when none is chosen.
    pub fn rolled_back(&self, chosen: &[String], keeps_dependents: bool) -> Ids {
        let all = || self.services.iter().map(|service| service.name.to_owned()).collect();
        let mut found: Ids = if chosen.is_empty() { all() } else { chosen.iter().cloned().collect() };
        // Once for each service is more than enough to reach all that depend on one another.
        for service in self.services.iter().cycle().take(self.services.len().pow(2)) {
            if !keeps_dependents && service.depends_on.iter().any(|on| found.contains(*on)) {
                found.insert(service.name.to_owned());
            }
        }
        found
    }
}

/// Something is wrong with the text of the plan, and it has to be refused.
pub fn spoil(text: &str, rng: &mut Rng) -> String {
    let spoilers: [(&str, &str); 6] = [
        ("ReleasePlan", "ReleasePlans"),
        ("\"owner\":\"release-manager\"", "\"owner\":\"\""),
        ("\"scope\"", "\"scoop\""),
        (".bank\"", ".bank:80\""),
        ("\"hold\":\"", "\"hold\":\"-"),
        ("\"services\":[", "\"services\":[{\"name\":\"\"},"),
    ];
    let (from, to) = spoilers[rng.usize(..spoilers.len())];
    text.replacen(from, to, 1)
}

/// One to four stages that widen.
fn stages(rng: &mut Rng) -> Vec<Stage> {
    let kept_out: Vec<Ids> = IDS.iter().map(|ids| some(ids, 9, rng)).collect();
    let count = rng.usize(1..=4);
    let mut hundredths = rng.u16(1..=2_000);
    let stage = |at: usize| {
        hundredths += rng.u16(1..=2_000);
        let is_last = at + 1 == count && rng.u8(..3) > 0;
        let scope =
            if is_last { Scope { all: true, ..Scope::default() } } else { scope(&kept_out, hundredths, rng) };
        Stage { name: format!("stage-{at}"), scope, hold_seconds: [0, 0, 5, 30][rng.usize(..4)] }
    };
    (0..count).map(stage).collect()
}

/// A scope that lets in some ids, but none of those that are kept out.
pub fn scope(kept_out: &[Ids], hundredths: u16, rng: &mut Rng) -> Scope {
    let mut scope = Scope::default();
    for level in 0..DIMENSIONS.len() {
        let ids: Ids = some(IDS[level], 3, rng).difference(&kept_out[level]).cloned().collect();
        if !ids.is_empty() && rng.bool() {
            scope.include[level] = Some(Named::Inline(ids));
        }
        if !kept_out[level].is_empty() && rng.u8(..4) == 0 {
            scope.exclude[level] = Some(Named::Inline(kept_out[level].clone()));
        }
    }
    // Lists hold tellers and branches; operators put one in place of the ids now and then.
    let level = rng.usize(..LISTS.len());
    if rng.u8(..4) == 0 && scope.exclude[level].is_none() {
        scope.include[level] = Some(Named::List(LISTS[level]));
    }
    scope.all = scope.include.iter().all(Option::is_none);
    scope.hundredths = (rng.u8(..3) == 0).then_some(hundredths);
    scope
}

/// About one in `of` ids.
pub fn some(ids: &[&str], of: u8, rng: &mut Rng) -> Ids {
    ids.iter().filter(|_| rng.u8(..of) == 0).map(|id| (*id).to_owned()).collect()
}
