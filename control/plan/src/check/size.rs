//! What is right must also fit: the rules of the last stage are the largest that a plan leads to.

use crate::compile::{ServiceRules, rule_set, table};
use crate::list::{MAX_LIST_BYTES, written_bytes};
use crate::model::ReleasePlan;
use crate::problem::{Problem, Problems};
use crate::snapshot::{ResolvedIds, ResolvedScope};
use crate::world::Tenant;
use graylane_rules::limits::{MAX_RULES_BYTES, MAX_SET_IDS};
use graylane_rules::{EncodeError, IdSet, encode};
use std::collections::BTreeSet;
use std::sync::Arc;

const PATH: &str = "spec.stages";

/// Ids of all stages. Comparing them takes time and memory in proportion.
const MAX_PLAN_IDS: usize = 2 * MAX_SET_IDS;

/// Bytes of those ids.
const MAX_PLAN_ID_BYTES: usize = 2 * MAX_LIST_BYTES;

/// Bytes of rules from which on a plan is warned: all plans of a tenant share the limit.
const MANY_RULES_BYTES: usize = MAX_RULES_BYTES / 5 * 4;

/// More bytes than an id takes beside its own, in whatever form.
const MOST_BESIDE_ID: usize = 4;

/// Bytes of the line that a written list may begin with.
const MOST_OF_HEADING: usize = 3;

/// What to do about rules that are too large.
const CURE: &str = "use shorter or fewer ids, or branches or a percentage in their place";

/// Refuses a list that alone is more than proxies load.
///
/// # Errors
/// When rules with these ids and no others are over [`MAX_RULES_BYTES`], or the list as it is stored, with quotes where ids
/// need them, is over [`MAX_LIST_BYTES`] and could not be read again. The path is always `list`.
pub fn check_list(ids: &Arc<IdSet>) -> Result<(), Problem> {
    // A heading may come on top.
    let stored = written_bytes(ids) + MOST_OF_HEADING;
    if stored > MAX_LIST_BYTES {
        let message = format!(
            "stored with quotes around its ids, the list takes {stored} bytes, over the limit of {MAX_LIST_BYTES}; {CURE}"
        );
        return Err(Problem::error("list", message));
    }
    let most: usize = ids.iter().map(|id| id.len() + MOST_BESIDE_ID).sum();
    if most <= MANY_RULES_BYTES {
        return Ok(());
    }
    let tenant = Tenant::with_defaults("tenant");
    let levels = vec![ResolvedIds { dimension: String::new(), level: 0, ids: Arc::clone(ids), list: None }];
    let scope = ResolvedScope { include: levels, ..ResolvedScope::default() };
    let service = ServiceRules {
        name: "service".into(),
        hosts: Vec::new(),
        stable: "stable".into(),
        route_default: "stable".into(),
        release: Some(("gray".into(), Arc::new(table("plan", 1, &[("stage", &scope)])))),
    };
    let problem = |message| Err(Problem::error("list", message));
    match encode(&rule_set(&tenant, [service]), 0) {
        Ok(_) => Ok(()),
        Err(EncodeError::OverLimit { value, limit: MAX_RULES_BYTES, .. }) => {
            problem(too_large(value, &format!("rules with these {} ids take", ids.len())))
        }
        Err(error) => problem(format!("the list cannot be turned into rules: {error}")),
    }
}

/// Refuses more ids than are compared or copied. Whether there are not.
pub(super) fn check_ids(scopes: &[ResolvedScope], problems: &mut Problems) -> bool {
    let sets: BTreeSet<&IdSet> = scopes.iter().flat_map(ResolvedScope::ids).map(|ids| &*ids.ids).collect();
    let ids: usize = sets.iter().map(|set| set.len()).sum();
    let bytes: usize = sets.iter().flat_map(|set| set.iter()).map(<[u8]>::len).sum();
    for (what, value, limit) in [("ids", ids, MAX_PLAN_IDS), ("bytes of ids", bytes, MAX_PLAN_ID_BYTES)] {
        if value > limit {
            let message = format!("all stages have {value} {what}, over the limit of {limit}; {CURE}");
            problems.error(PATH, message);
            return false;
        }
    }
    true
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
        Ok(bytes) if bytes.len() > MANY_RULES_BYTES => {
            let message = format!(
                "the rules of the last stage take {} bytes, near the limit of {MAX_RULES_BYTES} that proxies load, and \
                 all plans of the tenant share it; {CURE}",
                bytes.len()
            );
            problems.warning(PATH, message);
        }
        Ok(_) => {}
        Err(EncodeError::OverLimit { value, limit: MAX_RULES_BYTES, .. }) => {
            problems.error(PATH, too_large(value, "the rules of the last stage take"));
        }
        Err(error) => problems.error("spec", format!("the plan cannot be turned into rules: {error}")),
    }
}

fn too_large(bytes: usize, what: &str) -> String {
    format!("{what} {bytes} bytes, over the limit of {MAX_RULES_BYTES} that proxies load; {CURE}")
}
