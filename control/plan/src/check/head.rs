//! What stands above services and stages: kind, names, owner.

use crate::model::{API_VERSION, KIND, ReleasePlan};
use crate::problem::{Problems, shown};
use crate::world::Tenant;
use graylane_rules::is_name;
use graylane_rules::limits::MAX_NAME_BYTES;

/// Bytes of an owner: a name or an address.
const MAX_OWNER_BYTES: usize = 256;

pub(super) fn check(plan: &ReleasePlan, tenant: &Tenant, problems: &mut Problems) {
    check_fixed("apiVersion", &plan.api_version, API_VERSION, problems);
    check_fixed("kind", &plan.kind, KIND, problems);
    check_name("metadata.name", "plan", &plan.metadata.name, problems);
    check_name("metadata.tenant", "tenant", &plan.metadata.tenant, problems);
    if plan.metadata.tenant != tenant.name && is_name(&plan.metadata.tenant) {
        let message = format!(
            "the plan is of tenant {}, but it came in for {}; send it to its own tenant",
            shown(&plan.metadata.tenant),
            shown(&tenant.name)
        );
        problems.error("metadata.tenant", message);
    }
    check_owner(&plan.spec.owner, problems);
}

/// Refuses what cannot name `what`.
pub(super) fn check_name(path: &str, what: &str, name: &str, problems: &mut Problems) {
    if name.is_empty() {
        problems.error(path, format!("is missing or empty; name the {what}"));
    } else if !is_name(name) {
        let message = format!(
            "{} cannot name a {what}; use 1 to {MAX_NAME_BYTES} of the letters a-z and A-Z, digits, \"-\", \"_\" and \".\", \
             with a letter or digit at both ends",
            shown(name)
        );
        problems.error(path, message);
    }
}

fn check_fixed(path: &str, value: &str, supported: &str, problems: &mut Problems) {
    if value.is_empty() {
        problems.error(path, format!("is missing; write {supported}"));
    } else if value != supported {
        problems.error(path, format!("{} is not supported; write {supported}", shown(value)));
    }
}

fn check_owner(owner: &str, problems: &mut Problems) {
    const PATH: &str = "spec.owner";
    if owner.trim().is_empty() {
        problems.error(PATH, "is missing or empty; say who answers for the release");
    } else if owner.len() > MAX_OWNER_BYTES {
        let bytes = owner.len();
        problems.error(
            PATH,
            format!("the owner has {bytes} bytes, over the limit of {MAX_OWNER_BYTES}; shorten it"),
        );
    } else if owner.chars().any(char::is_control) {
        problems.error(PATH, format!("{} has a control character; remove it", shown(owner)));
    }
}
