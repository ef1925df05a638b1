//! From a snapshot to the rules that the filter reads.

use crate::snapshot::{ResolvedIds, ResolvedScope, Snapshot};
use crate::world::Tenant;
use graylane_rules::{Action, Entry, Release, RuleSet, Service, Table};
use std::sync::Arc;

/// What the rules of a tenant say of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRules {
    /// Its name.
    pub name: String,
    /// The hosts by which it is called.
    pub hosts: Vec<String>,
    /// The version of requests that are not gray.
    pub stable: String,
    /// The version that routes choose with no header.
    pub route_default: String,
    /// The gray version and who gets it, while there is one.
    pub release: Option<(String, Arc<Table>)>,
}

/// The union of the scopes of the first `stages_reached` stages.
///
/// `scopes` are those of `snapshot`, or what adjusting made of them. Equal scopes give an equal table, whatever the
/// order in which their ids were written.
#[must_use]
pub fn compile(snapshot: &Snapshot, scopes: &[ResolvedScope], stages_reached: usize) -> Arc<Table> {
    let plan = snapshot.plan();
    let names = plan.spec.stages.iter().map(|stage| stage.name.as_str());
    let stages: Vec<(&str, &ResolvedScope)> = names.zip(scopes).take(stages_reached).collect();
    Arc::new(table(&plan.metadata.name, snapshot.dimensions(), &stages))
}

/// The rule set of a tenant.
pub fn rule_set(tenant: &Tenant, services: impl IntoIterator<Item = ServiceRules>) -> RuleSet {
    RuleSet {
        tenant: tenant.name.clone(),
        dimensions: tenant.dimensions.clone(),
        output_header: tenant.output_header.clone(),
        services: services.into_iter().map(Service::from).collect(),
    }
}

/// The table of these stages, all of them reached.
pub(crate) fn table(plan: &str, dimensions: usize, stages: &[(&str, &ResolvedScope)]) -> Table {
    let mut table = Table {
        plan: plan.to_owned(),
        stages: stages.iter().map(|(name, _)| (*name).to_owned()).collect(),
        levels: vec![Vec::new(); dimensions],
        all: None,
    };
    for (stage, (_, scope)) in (0..=u8::MAX).zip(stages) {
        add(&mut table, stage, scope);
    }
    for groups in &mut table.levels {
        groups.sort_by_key(|group| group.entry);
    }
    table
}

fn add(table: &mut Table, stage: u8, scope: &ResolvedScope) {
    let let_in = Entry { action: scope.percent.map_or(Action::Gray, Action::Percent), stage };
    let kept_out = Entry { action: Action::Exclude, stage };
    for ResolvedIds { level, ids, .. } in &scope.include {
        table.add(*level, let_in, Arc::clone(ids));
    }
    for ResolvedIds { level, ids, .. } in &scope.exclude {
        table.add(*level, kept_out, Arc::clone(ids));
    }
    if scope.all {
        table.add_all(let_in);
    }
}

// === impl ServiceRules ===

impl From<ServiceRules> for Service {
    fn from(rules: ServiceRules) -> Self {
        let ServiceRules { name, hosts, stable, route_default, release } = rules;
        let release = release.map(|(gray, table)| Release { gray, table });
        Self { name, hosts, stable, route_default, release }
    }
}
