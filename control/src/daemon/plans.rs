//! Actions on plans and named lists.

use crate::clock;
use crate::daemon::state::{Draft, State, StoredList, StoredPlan, TenantState, list_key, plan_key};
use crate::daemon::{ActionError, Daemon, ListView, PlanApplied, PlanSummary, PlanView, ProblemView};
use graylane_plan::{HostClaim, ReleasePlan, World, check, list_hash, parse, parse_list, write_list};
use graylane_rules::is_name;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Plans of one tenant. Each is checked against the hosts of all others.
const MAX_PLANS: usize = 4_096;

/// Named lists of one tenant. Their ids are in memory.
const MAX_LISTS: usize = 1_024;

/// Tenants of one daemon.
const MAX_TENANTS: usize = 256;

// === impl Daemon ===

impl Daemon {
    /// Takes a plan, new or in place of the one of its name. Orders that run keep the plan they started with.
    ///
    /// # Errors
    /// When the text is no plan or has problems, or the plan is not at version `if_match`.
    pub fn apply_plan(&self, text: &str, if_match: Option<u64>) -> Result<PlanApplied, ActionError> {
        let invalid = |problems| ActionError::Invalid { what: "plan", problems };
        let plan = parse(text).map_err(invalid)?;
        self.change(|draft| {
            let (tenant, name) = (plan.metadata.tenant.clone(), plan.metadata.name.clone());
            self.ensure_tenant(draft, &tenant)?;
            let problems = draft.state.check(&plan)?;
            if problems.iter().any(graylane_plan::Problem::is_error) {
                return Err(invalid(problems));
            }
            let entry = draft.state.tenant_mut(&tenant)?;
            let before = entry.plans.get(&name);
            let version = before.map_or(0, |before| before.version);
            check_version("the plan", version, if_match)?;
            check_count("plans", entry.plans.len(), MAX_PLANS, before.is_some())?;
            let changed = before.is_none_or(|before| before.plan != plan);
            let version = version + u64::from(changed);
            if changed {
                let stored = Arc::new(StoredPlan { plan, version, applied_at: clock::now() });
                entry.plans.insert(name.clone(), Arc::clone(&stored));
                draft.put(plan_key(&tenant, &name), &*stored)?;
                draft.publish(&tenant)?;
            }
            let warnings = problems.into_iter().map(ProblemView::from).collect();
            Ok(PlanApplied { tenant, name, version, changed, warnings })
        })
    }

    /// All plans.
    #[must_use]
    pub fn plans(&self) -> Vec<PlanSummary> {
        let state = self.state();
        let plans = state.tenants.values().flat_map(|entry| entry.plans.values());
        plans.map(|stored| state.summary(stored)).collect()
    }

    /// One plan.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn plan(&self, tenant: &str, name: &str) -> Result<PlanView, ActionError> {
        let state = self.state();
        let stored = state.plan(tenant, name)?;
        let plan = serde_json::to_value(&stored.plan).unwrap_or_default();
        Ok(PlanView { plan, version: stored.version, applied_at: stored.applied_at })
    }

    /// Deletes a plan that no active order runs.
    ///
    /// # Errors
    /// When there is none of this name, an order runs it, or it is not at version `if_match`.
    pub fn delete_plan(&self, tenant: &str, name: &str, if_match: Option<u64>) -> Result<(), ActionError> {
        self.change(|draft| {
            let stored = draft.state.plan(tenant, name)?;
            check_version("the plan", stored.version, if_match)?;
            if let Some(order) = draft.state.active_order(tenant, name) {
                let (user, cure) =
                    (format!("active order {order}"), "finish the order or roll it back first");
                return Err(ActionError::InUse { what: "plan", name: name.into(), user, cure });
            }
            draft.state.tenant_mut(tenant)?.plans.remove(name);
            draft.delete(plan_key(tenant, name));
            Ok(())
        })
    }

    /// Takes a named list, new or in place of the one of its name. Orders that run keep the list they started with.
    ///
    /// # Errors
    /// When the text is no list, its name is none, a plan that names it would no longer pass its check, or the list is
    /// not at version `if_match`.
    pub fn put_list(
        &self,
        (tenant, name): (&str, &str),
        text: &str,
        if_match: Option<u64>,
    ) -> Result<ListView, ActionError> {
        let invalid = |problems| ActionError::Invalid { what: "list", problems };
        if !is_name(name) {
            let message =
                format!("{name:?} cannot name a list; use 1 to 63 letters, digits, '-', '_' or '.'");
            return Err(invalid(vec![graylane_plan::Problem::error("name", message)]));
        }
        let ids = Arc::new(parse_list(text).map_err(invalid)?);
        self.change(|draft| {
            self.ensure_tenant(draft, tenant)?;
            let entry = draft.state.tenant_mut(tenant)?;
            let before = entry.lists.get(name);
            check_version("the list", before.map_or(0, |before| before.version), if_match)?;
            check_count("lists", entry.lists.len(), MAX_LISTS, before.is_some())?;
            let hash = list_hash(&ids);
            if let Some(same) = before.filter(|before| before.hash == hash) {
                return Ok(view(tenant, name, same));
            }
            let version = before.map_or(0, |before| before.version) + 1;
            let stored = StoredList { hash: hash.clone(), ids: ids.len(), version };
            entry.lists.insert(name.to_owned(), stored.clone());
            draft.state.ids_by_hash.insert(hash.clone(), Arc::clone(&ids));
            draft.put_blob(hash, write_list(&ids).into_bytes());
            draft.put(list_key(tenant, name), &stored)?;
            draft.publish(tenant)?;
            Ok(view(tenant, name, &stored))
        })
    }

    /// All named lists.
    #[must_use]
    pub fn lists(&self) -> Vec<ListView> {
        let state = self.state();
        let lists = state
            .tenants
            .iter()
            .flat_map(|(tenant, entry)| entry.lists.iter().map(move |list| (tenant, list)));
        lists.map(|(tenant, (name, list))| view(tenant, name, list)).collect()
    }

    /// The text of a named list.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn list(&self, tenant: &str, name: &str) -> Result<String, ActionError> {
        let state = self.state();
        let list = state.list(tenant, name)?;
        Ok(state.ids_by_hash.get(&list.hash).map(|ids| write_list(ids)).unwrap_or_default())
    }

    /// Deletes a list that no plan names. Orders that run keep it.
    ///
    /// # Errors
    /// When there is none of this name, a plan names it, or it is not at version `if_match`.
    pub fn delete_list(&self, tenant: &str, name: &str, if_match: Option<u64>) -> Result<(), ActionError> {
        self.change(|draft| {
            check_version("the list", draft.state.list(tenant, name)?.version, if_match)?;
            let entry = draft.state.tenant_mut(tenant)?;
            if let Some(plan) =
                entry.plans.values().find(|stored| stored.plan.list_names().any(|list| list == name))
            {
                let user = format!("plan {:?}", plan.plan.metadata.name);
                let cure = "take it out of the plan first";
                return Err(ActionError::InUse { what: "list", name: name.into(), user, cure });
            }
            entry.lists.remove(name);
            draft.delete(list_key(tenant, name));
            Ok(())
        })
    }

    /// Makes the tenant exist, when it may.
    fn ensure_tenant(&self, draft: &mut Draft, name: &str) -> Result<(), ActionError> {
        if draft.state.tenants.contains_key(name) {
            return Ok(());
        }
        let Some(tenant) = self.config.tenant(name) else {
            let message = match self.config.names() {
                names if names.is_empty() => {
                    format!("{name:?} cannot name a tenant; use 1 to 63 letters, digits, '-', '_' or '.'")
                }
                names => format!("there is no tenant {name:?}; the configuration has {names}"),
            };
            let problems = vec![graylane_plan::Problem::error("metadata.tenant", message)];
            return Err(ActionError::Invalid { what: "plan", problems });
        };
        check_count("tenants", draft.state.tenants.len(), MAX_TENANTS, false)?;
        draft.state.tenants.insert(name.to_owned(), TenantState::new(tenant));
        Ok(())
    }
}

// === impl State ===

impl State {
    /// Everything that is wrong with a plan, in the world as it is.
    pub(crate) fn check(&self, plan: &ReleasePlan) -> Result<Vec<graylane_plan::Problem>, ActionError> {
        let entry = self.tenant(&plan.metadata.tenant)?;
        let lists = self.lists(&plan.metadata.tenant);
        let mut world = World::new(&entry.tenant, &lists);
        world.hosts = entry.host_claims(&plan.metadata.name);
        world.baselines = entry.baseline_versions();
        Ok(check(plan, &world))
    }

    pub(crate) fn tenant(&self, name: &str) -> Result<&TenantState, ActionError> {
        self.tenants.get(name).ok_or_else(|| ActionError::not_found("tenant", name, self.tenants.keys()))
    }

    pub(crate) fn tenant_mut(&mut self, name: &str) -> Result<&mut TenantState, ActionError> {
        let not_found = ActionError::not_found("tenant", name, self.tenants.keys());
        self.tenants.get_mut(name).ok_or(not_found)
    }

    pub(crate) fn plan(&self, tenant: &str, name: &str) -> Result<Arc<StoredPlan>, ActionError> {
        let plans = &self.tenant(tenant)?.plans;
        plans.get(name).cloned().ok_or_else(|| ActionError::not_found("plan", name, plans.keys()))
    }

    fn list(&self, tenant: &str, name: &str) -> Result<&StoredList, ActionError> {
        let lists = &self.tenant(tenant)?.lists;
        lists.get(name).ok_or_else(|| ActionError::not_found("list", name, lists.keys()))
    }

    fn active_order(&self, tenant: &str, plan: &str) -> Option<u64> {
        self.active_orders(tenant).find(|order| order.plan.metadata.name == plan).map(|order| order.id)
    }

    fn summary(&self, stored: &StoredPlan) -> PlanSummary {
        let ReleasePlan { metadata, spec, .. } = &stored.plan;
        PlanSummary {
            tenant: metadata.tenant.clone(),
            name: metadata.name.clone(),
            version: stored.version,
            applied_at: stored.applied_at,
            owner: spec.owner.clone(),
            services: spec.services.iter().map(|service| service.name.clone()).collect(),
            stages: spec.stages.iter().map(|stage| stage.name.clone()).collect(),
            active_order: self.active_order(&metadata.tenant, &metadata.name),
        }
    }
}

// === impl TenantState ===

impl TenantState {
    /// The hosts that plans other than `plan`, and baselines, claim.
    pub(crate) fn host_claims(&self, plan: &str) -> BTreeMap<String, HostClaim> {
        let others = self.plans.iter().filter(|(name, _)| *name != plan);
        let of_plans = others.flat_map(|(name, stored)| {
            let services = stored.plan.spec.services.iter();
            services
                .flat_map(move |service| service.hosts.iter().map(move |host| (name, &service.name, host)))
        });
        let baseline = &"a baseline".to_owned();
        let of_baselines = self.baselines.iter().flat_map(|(service, baseline_of)| {
            baseline_of.hosts.iter().map(move |host| (baseline, service, host))
        });
        let claim = |(plan, service, host): (&String, &String, &String)| {
            (host.clone(), HostClaim { plan: plan.clone(), service: service.clone() })
        };
        of_plans.chain(of_baselines).map(claim).collect()
    }

    pub(crate) fn baseline_versions(&self) -> BTreeMap<String, String> {
        self.baselines.iter().map(|(service, baseline)| (service.clone(), baseline.version.clone())).collect()
    }
}

fn view(tenant: &str, name: &str, list: &StoredList) -> ListView {
    let StoredList { hash, ids, version } = list.clone();
    ListView { tenant: tenant.to_owned(), name: name.to_owned(), ids, hash, version }
}

/// Refuses a caller that saw an older version.
pub(crate) fn check_version(what: &str, found: u64, if_match: Option<u64>) -> Result<(), ActionError> {
    match if_match {
        Some(expected) if expected != found => {
            Err(ActionError::Stale { what: what.to_owned(), expected, found })
        }
        _ => Ok(()),
    }
}

/// Refuses one more than there may be.
fn check_count(what: &'static str, count: usize, limit: usize, replaces: bool) -> Result<(), ActionError> {
    match count >= limit && !replaces {
        true => Err(ActionError::TooMany { what, limit, cure: "delete what is no longer needed" }),
        false => Ok(()),
    }
}
