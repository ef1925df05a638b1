//! What is right must also fit: the rules of the last stage are the largest that a plan leads to.

use crate::compile::{ServiceRules, rule_set, table};
use crate::model::ReleasePlan;
use crate::problem::Problems;
use crate::snapshot::ResolvedScope;
use crate::world::Tenant;
use graylane_rules::limits::MAX_RULES_BYTES;
use graylane_rules::{EncodeError, IdSet, encode};
use std::collections::BTreeSet;
use std::sync::Arc;

const PATH: &str = "spec.stages";

/// Refuses ids that alone are too many bytes, before anything compares or copies them. Whether they fit.
pub(super) fn check_ids(scopes: &[ResolvedScope], problems: &mut Problems) -> bool {
    let sets: BTreeSet<&IdSet> = scopes.iter().flat_map(ResolvedScope::ids).map(|ids| &*ids.ids).collect();
    // Each id costs its bytes, and four that say where it ends.
    let bytes: usize = sets.iter().flat_map(|set| set.iter()).map(|id| id.len() + 4).sum();
    if bytes > MAX_RULES_BYTES {
        let ids: usize = sets.iter().map(|set| set.len()).sum();
        too_large(bytes, format!("the {ids} ids of all stages take"), problems);
    }
    bytes <= MAX_RULES_BYTES
}

/// Encodes the rules of the last stage, so that nothing is accepted that cannot be served.
pub(super) fn check(plan: &ReleasePlan, scopes: &[ResolvedScope], tenant: &Tenant, problems: &mut Problems) {
    let names = plan.spec.stages.iter().map(|stage| stage.name.as_str());
    let stages: Vec<(&str, &ResolvedScope)> = names.zip(scopes).collect();
    let table = Arc::new(table(&plan.metadata.name, tenant.dimensions.len(), &stages));
    let services = plan.spec.services.iter().map(|service| ServiceRules {
        name: service.name.clone(),
        hosts: service.hosts.clone(),
        stable: service.stable.clone(),
        route_default: service.stable.clone(),
        release: Some((service.gray.clone(), Arc::clone(&table))),
    });
    match encode(&rule_set(tenant, services), 0) {
        Ok(_) => {}
        Err(EncodeError::OverLimit { value, limit: MAX_RULES_BYTES, .. }) => {
            too_large(value, "the rules of the last stage take".to_owned(), problems);
        }
        Err(error) => problems.error("spec", format!("the plan cannot be turned into rules: {error}")),
    }
}

fn too_large(bytes: usize, what: String, problems: &mut Problems) {
    let message = format!(
        "{what} {bytes} bytes, over the limit of {MAX_RULES_BYTES} that proxies load; use shorter or fewer ids, or \
         branches or a percentage in their place"
    );
    problems.error(PATH, message);
}
