//! Plans as people write them: most are sound, and some are not.

use crate::bank::{DIMENSIONS, IDS, Ids, LISTS, Named, SERVICES, Scope};
use crate::operators::ROLES;
use crate::window::{Calendar, Window};
use fastrand::Rng;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A plan as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub tenant: &'static str,
    pub name: &'static str,
    pub is_serial: bool,
    pub is_auto: bool,
    pub services: Vec<Service>,
    pub stages: Vec<Stage>,
    pub settle_seconds: u64,
    pub retention_seconds: Option<u64>,
    /// `stay` or `finish`.
    pub at_retention_end: Option<&'static str>,
    pub on_fault: Option<OnFault>,
    /// Whether a daemon has to say how its gray versions do.
    pub is_judged: bool,
    pub calendar: Option<Calendar>,
}

/// What a plan wants when a service is faulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFault {
    Pause,
    RollbackService,
    RollbackOrder,
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
    /// How many people of which roles have to approve.
    pub approvals: Vec<(&'static str, usize)>,
    pub window: Option<Window>,
}

/// The names of plans.
pub const PLANS: [&str; 3] = ["spring", "summer", "autumn"];

/// The versions of services.
const VERSIONS: [&str; 4] = ["v1", "v2", "v3", "v4"];

// === impl Plan ===

impl Plan {
    /// A plan that is sound as far as its author knows: `baseline` tells what a service runs.
    pub fn random(
        tenant: &'static str,
        baseline: impl Fn(&str) -> Option<String>,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Self {
        let faults = [OnFault::Pause, OnFault::RollbackService, OnFault::RollbackOrder];
        Self {
            tenant,
            name: PLANS[rng.usize(..PLANS.len())],
            is_serial: rng.bool(),
            is_auto: rng.u8(..3) == 0,
            services: services(baseline, rng),
            stages: stages(now, rng),
            settle_seconds: [0, 3, 20, 60][rng.usize(..4)],
            retention_seconds: [None, None, Some(20), Some(90)][rng.usize(..4)],
            at_retention_end: [None, Some("stay"), Some("finish"), Some("finish")][rng.usize(..4)],
            on_fault: faults.get(rng.usize(..4)).copied(),
            is_judged: rng.u8(..3) == 0,
            calendar: (rng.u8(..3) == 0).then(|| Calendar::random(now, rng)),
        }
    }

    /// The plan as people write it.
    pub fn to_json(&self) -> Value {
        let spec = json!({
            "owner": "release-manager",
            "batch": if self.is_serial { "serial" } else { "parallel" },
            "advance": if self.is_auto { "auto" } else { "manual" },
            "services": self.services.iter().map(Service::to_json).collect::<Vec<_>>(),
            "stages": self.stages.iter().map(Stage::to_json).collect::<Vec<_>>(),
            "settle": (self.settle_seconds > 0).then(|| format!("{}s", self.settle_seconds)),
            "retention": self.retention_seconds.map(|seconds| format!("{seconds}s")),
            "atRetentionEnd": self.at_retention_end,
            "health": {
                "onFault": self.on_fault.map(OnFault::word),
                "errors": self.is_judged.then(|| json!({ "max": "2%" })),
            },
            "calendar": self.calendar.as_ref().map(Calendar::to_json),
        });
        json!({
            "apiVersion": "graylane.dev/v1alpha1",
            "kind": "ReleasePlan",
            "metadata": { "name": self.name, "tenant": self.tenant },
            "spec": without_nulls(spec),
        })
    }

    /// Whether its orders go by what a daemon saw for a while.
    pub fn goes_by_looks(&self) -> bool {
        self.settle_seconds > 0 || self.stages.iter().any(|stage| stage.window.is_some())
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

// === impl Service ===

impl Service {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "hosts": self.hosts,
            "stable": self.stable,
            "gray": self.gray,
            "dependsOn": self.depends_on,
        })
    }
}

// === impl Stage ===

impl Stage {
    fn to_json(&self) -> Value {
        let wanted = |(role, count): &(&str, usize)| json!({ "role": role, "count": count });
        let gate = json!({
            "approvals": self.approvals.iter().map(wanted).collect::<Vec<_>>(),
            "window": self.window.as_ref().map(Window::to_json),
        });
        json!({
            "name": self.name,
            "scope": self.scope.to_json(),
            "hold": format!("{}s", self.hold_seconds),
            "gate": without_nulls(gate),
        })
    }

    /// The roles whose people have to approve.
    pub fn roles(&self) -> Vec<&'static str> {
        self.approvals.iter().map(|(role, _)| *role).collect()
    }
}

// === impl OnFault ===

impl OnFault {
    const fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::RollbackService => "rollback-service",
            Self::RollbackOrder => "rollback-order",
        }
    }
}

fn without_nulls(mut fields: Value) -> Value {
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    fields
}

fn services(baseline: impl Fn(&str) -> Option<String>, rng: &mut Rng) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    let mut pool = SERVICES.to_vec();
    rng.shuffle(&mut pool);
    for (name, hosts) in pool.into_iter().take(rng.usize(1..=3)) {
        let stable = baseline(name).unwrap_or_else(|| VERSIONS[0].to_owned());
        let other: Vec<&str> = VERSIONS.into_iter().filter(|version| *version != stable).collect();
        let gray = other[rng.usize(..other.len())].to_owned();
        let depends_on = services.iter().filter(|_| rng.u8(..3) == 0).map(|service| service.name).collect();
        services.push(Service { name, hosts, stable, gray, depends_on });
    }
    rng.shuffle(&mut services);
    services
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
fn stages(now: Timestamp, rng: &mut Rng) -> Vec<Stage> {
    let kept_out: Vec<Ids> = IDS.iter().map(|ids| some(ids, 9, rng)).collect();
    let count = rng.usize(1..=4);
    let mut hundredths = rng.u16(1..=2_000);
    let stage = |at: usize| {
        hundredths += rng.u16(1..=2_000);
        let is_last = at + 1 == count && rng.u8(..3) > 0;
        let scope =
            if is_last { Scope { all: true, ..Scope::default() } } else { scope(&kept_out, hundredths, rng) };
        let window = (rng.u8(..3) == 0).then(|| Window::random(now, rng));
        let hold_seconds = [0, 0, 5, 30][rng.usize(..4)];
        Stage { name: format!("stage-{at}"), scope, hold_seconds, approvals: approvals(rng), window }
    };
    (0..count).map(stage).collect()
}

/// What most gates ask for is nothing.
fn approvals(rng: &mut Rng) -> Vec<(&'static str, usize)> {
    let mut roles = ROLES.to_vec();
    rng.shuffle(&mut roles);
    let kinds = [0, 0, 0, 1, 1, 2][rng.usize(..6)];
    roles.into_iter().take(kinds).map(|role| (role, rng.usize(1..=2))).collect()
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
