//! Plans of a size that a bank has: two or three services, four stages, some hundred ids.

use serde_json::{Value, json};

/// Tellers that the first stage names, or the named list in its place.
const TELLERS: usize = 60;
/// Branches that the second stage names.
const BRANCHES: usize = 200;
/// Tellers that the second stage keeps out.
const EXCLUDED: usize = 20;
/// Ids of a named list.
const LIST_IDS: usize = 2_000;

/// The names of the stages.
pub(crate) const STAGES: [&str; 4] = ["tellers", "branches", "region", "bank"];
/// The named lists of each tenant.
pub(crate) const LISTS: usize = 4;
/// Of so many plans, one names a list.
const PLANS_PER_LIST: usize = 4;

/// A plan to be written.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Whose it is.
    pub(crate) tenant: String,
    /// Its number, over all tenants.
    pub(crate) number: usize,
    /// How often its services got a new version for good.
    pub(crate) generation: usize,
    /// Something that makes its text another one.
    pub(crate) owner: String,
}

// === impl Plan ===

impl Plan {
    /// A plan that nobody ran yet.
    pub(crate) fn new(tenant: impl Into<String>, number: usize) -> Self {
        Self { tenant: tenant.into(), number, generation: 1, owner: "bench".to_owned() }
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        format!("release-{:04}", self.number)
    }

    /// The names of its services; nothing depends on the last.
    pub(crate) fn services(&self) -> Vec<String> {
        let service = |number| format!("svc-{:04}-{number}", self.number);
        (0..2 + self.number % 2).map(service).collect()
    }

    /// As it is posted.
    pub(crate) fn text(&self) -> String {
        let Self { tenant, number, generation, owner } = self;
        let services = self.services();
        let service = |(at, name): (usize, &String)| {
            let needs: Vec<&String> = services.get(at.wrapping_sub(1)).into_iter().collect();
            json!({
                "name": name,
                "hosts": [format!("{name}.{tenant}.svc.cluster.local")],
                "stable": format!("v{generation}"),
                "gray": format!("v{}", generation + 1),
                "dependsOn": needs,
            })
        };
        let tellers = match number % PLANS_PER_LIST {
            0 => json!({ "list": list_name(number / PLANS_PER_LIST % LISTS) }),
            _ => json!(ids('T', number * 1_000, TELLERS)),
        };
        let branches = ids('B', number * 10, BRANCHES);
        let excluded = ids('T', number * 1_000 + 500, EXCLUDED);
        let scopes = [
            json!({ "include": { "teller": tellers } }),
            json!({ "include": { "branch": branches }, "exclude": { "teller": excluded } }),
            json!({ "include": { "region": [format!("R-{:02}", number % 31)] }, "percent": 20 }),
            json!({ "all": true }),
        ];
        let stages = STAGES.iter().zip(scopes).map(|(name, scope)| json!({ "name": name, "scope": scope }));
        let plan = json!({
            "apiVersion": "graylane.dev/v1alpha1",
            "kind": "ReleasePlan",
            "metadata": { "name": self.name(), "tenant": tenant },
            "spec": {
                "owner": owner,
                "batch": "parallel",
                "services": services.iter().enumerate().map(service).collect::<Vec<Value>>(),
                "stages": stages.collect::<Vec<Value>>(),
                "retention": "72h",
            },
        });
        plan.to_string()
    }
}

/// The name of a tenant's list.
pub(crate) fn list_name(number: usize) -> String {
    format!("pilot-{number}")
}

/// The text of a tenant's list.
pub(crate) fn list(number: usize) -> String {
    ids('T', 9_000_000 + number * LIST_IDS, LIST_IDS).join("\n")
}

fn ids(kind: char, first: usize, count: usize) -> Vec<String> {
    (first..first + count).map(|number| format!("{kind}{number:07}")).collect()
}
