//! Actions on plans and named lists.

use crate::audit::{Deed, shown};
use crate::daemon::state::{Draft, Known, State, StoredList, StoredPlan, TenantState, list_key, plan_key};
use crate::daemon::{
    ActionError, Daemon, Done, ListView, PlanApplied, PlanSummary, PlanView, ProblemView, Terms,
};
use graylane_order::Actor;
use graylane_plan::{
    HostClaim, Metadata, Problem, PrometheusSource, ReleasePlan, Tenant, World, check, check_list, in_order,
    list_hash, parse_list, read, write_list,
};
use graylane_rules::is_name;
use serde_json::Value;
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
    /// Takes a plan, new or in place of the one of its name. Orders that run keep the plan they started with. A plan
    /// that is there already changes nothing.
    ///
    /// # Errors
    /// When the text is no plan or has problems, or the plan is not at the version of `terms`.
    pub fn apply_plan(
        &self,
        text: &str,
        terms: impl Into<Terms>,
        actor: Actor,
    ) -> Result<Done<PlanApplied>, ActionError> {
        let Terms { if_match, once, .. } = terms.into();
        let invalid = |problems| ActionError::Invalid { what: "plan", problems };
        let (plan, unread) = read(text);
        let Some(plan) = plan else { return Err(invalid(unread)) };
        let ReleasePlan { metadata: Metadata { name, tenant }, .. } = plan.clone();
        let key = plan_key(&tenant, &name);
        let done = self.change_once(once, |draft| {
            let before = draft.state.plan(&tenant, &name).ok();
            check_version("the plan", draft.version(&key), if_match)?;
            if unread.is_empty() && before.as_ref().is_some_and(|before| *before.plan == plan) {
                return Ok((false, Vec::new()));
            }
            let mut problems = unread;
            match self.ensure_tenant(draft, &tenant, &actor)? {
                // The check says it, too, where the name itself cannot be.
                Err(problem) if is_name(&tenant) => problems.push(Problem::error("metadata.tenant", problem)),
                _ => {}
            }
            problems.extend(draft.state.check(&plan, self.config.prometheus_source())?);
            let problems = in_order(problems);
            if problems.iter().any(Problem::is_error) {
                return Err(invalid(problems));
            }
            let entry = draft.state.tenant_mut(&tenant)?;
            check_count("plans", entry.plans.len(), MAX_PLANS, before.is_some())?;
            let stored = Arc::new(StoredPlan {
                plan: Arc::new(plan),
                applied_at: draft.now,
                applied_by: Some(actor.name.clone()),
            });
            entry.plans.insert(name.clone(), Arc::clone(&stored));
            draft.put(key.clone(), &*stored)?;
            draft.record(Deed {
                actor,
                action: "plan.apply",
                object: format!("plan {name} of {tenant}"),
                before: shown(&before.map(|before| before.plan.clone())),
                after: shown(&stored.plan),
            });
            Ok((true, problems.into_iter().map(ProblemView::from).collect()))
        })?;
        let version = self.known().version(&key);
        Ok(done.map(|(changed, warnings)| PlanApplied { version, tenant, name, changed, warnings }))
    }

    /// All plans.
    #[must_use]
    pub fn plans(&self) -> Vec<PlanSummary> {
        let known = self.known();
        let plans = known.state.tenants.values().flat_map(|entry| entry.plans.values());
        plans.map(|stored| known.summary(stored)).collect()
    }

    /// One plan.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn plan(&self, tenant: &str, name: &str) -> Result<PlanView, ActionError> {
        let known = self.known();
        let stored = known.state.plan(tenant, name)?;
        let plan = serde_json::to_value(&stored.plan).unwrap_or_default();
        Ok(PlanView { plan, version: known.version(&plan_key(tenant, name)), applied_at: stored.applied_at })
    }

    /// Deletes a plan that no active order runs.
    ///
    /// # Errors
    /// When there is none of this name, an order runs it, or it is not at the version of `terms`.
    pub fn delete_plan(
        &self,
        (tenant, name): (&str, &str),
        terms: impl Into<Terms>,
        actor: Actor,
    ) -> Result<Done<()>, ActionError> {
        let Terms { if_match, once, .. } = terms.into();
        self.change_once(once, |draft| {
            let before = draft.state.plan(tenant, name)?;
            check_version("the plan", draft.version(&plan_key(tenant, name)), if_match)?;
            if let Some(order) = draft.state.active_order(tenant, name) {
                let (user, cure) =
                    (format!("active order {order}"), "finish the order or roll it back first");
                return Err(ActionError::InUse { what: "plan", name: name.into(), user, cure });
            }
            draft.state.tenant_mut(tenant)?.plans.remove(name);
            draft.delete(plan_key(tenant, name));
            draft.record(Deed {
                actor,
                action: "plan.delete",
                object: format!("plan {name} of {tenant}"),
                before: shown(&before.plan),
                after: Value::Null,
            });
            Ok(())
        })
    }

    /// Takes a named list, new or in place of the one of its name. Orders that run keep the list they started with;
    /// plans that name it are checked again when they are started.
    ///
    /// # Errors
    /// When the text is no list or more than proxies load, its name is none, or the list is not at the version of `terms`.
    pub fn put_list(
        &self,
        (tenant, name): (&str, &str),
        text: String,
        terms: impl Into<Terms>,
        actor: Actor,
    ) -> Result<Done<ListView>, ActionError> {
        let Terms { if_match, once, .. } = terms.into();
        let invalid = |problems| ActionError::Invalid { what: "list", problems };
        if !is_name(name) {
            let message =
                format!("{name:?} cannot name a list; use 1 to 63 letters, digits, '-', '_' or '.'");
            return Err(invalid(vec![Problem::error("name", message)]));
        }
        let ids = Arc::new(parse_list(&text).map_err(invalid)?);
        // It may be long, and so is what is stored of it.
        drop(text);
        check_list(&ids).map_err(|problem| invalid(vec![problem]))?;
        let key = list_key(tenant, name);
        let put_by = Some(actor.name.clone());
        let stored = StoredList { hash: list_hash(&ids), ids: ids.len(), put_by };
        let done = self.change_once(once, |draft| {
            if let Err(problem) = self.ensure_tenant(draft, tenant, &actor)? {
                return Err(invalid(vec![Problem::error("tenant", problem)]));
            }
            let entry = draft.state.tenant_mut(tenant)?;
            let before = entry.lists.get(name).cloned();
            check_count("lists", entry.lists.len(), MAX_LISTS, before.is_some())?;
            check_version("the list", draft.version(&key), if_match)?;
            if before.as_ref().is_some_and(|before| before.hash == stored.hash) {
                return Ok(());
            }
            draft.state.tenant_mut(tenant)?.lists.insert(name.to_owned(), stored.clone());
            draft.state.ids_by_hash.insert(stored.hash.clone(), Arc::clone(&ids));
            draft.put_blob(stored.hash.clone(), write_list(&ids).into_bytes());
            draft.record(Deed {
                actor,
                action: "list.put",
                object: format!("list {name} of {tenant}"),
                before: shown(&before),
                after: shown(&stored),
            });
            draft.put(key.clone(), &stored)
        })?;
        Ok(done.map(|()| self.known().view(tenant, name, &stored)))
    }

    /// All named lists.
    #[must_use]
    pub fn lists(&self) -> Vec<ListView> {
        let known = self.known();
        let tenants = known.state.tenants.iter();
        let lists = tenants.flat_map(|(tenant, entry)| entry.lists.iter().map(move |list| (tenant, list)));
        lists.map(|(tenant, (name, list))| known.view(tenant, name, list)).collect()
    }

    /// The text of a named list.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn list(&self, tenant: &str, name: &str) -> Result<String, ActionError> {
        let state = &self.known().state;
        let list = state.list(tenant, name)?;
        Ok(state.ids_by_hash.get(&list.hash).map(|ids| write_list(ids)).unwrap_or_default())
    }

    /// Deletes a list that no plan names. Orders that run keep it.
    ///
    /// # Errors
    /// When there is none of this name, a plan names it, or it is not at the version of `terms`.
    pub fn delete_list(
        &self,
        (tenant, name): (&str, &str),
        terms: impl Into<Terms>,
        actor: Actor,
    ) -> Result<Done<()>, ActionError> {
        let Terms { if_match, once, .. } = terms.into();
        self.change_once(once, |draft| {
            draft.state.list(tenant, name)?;
            check_version("the list", draft.version(&list_key(tenant, name)), if_match)?;
            let entry = draft.state.tenant_mut(tenant)?;
            if let Some(plan) =
                entry.plans.values().find(|stored| stored.plan.list_names().any(|list| list == name))
            {
                let user = format!("plan {:?}", plan.plan.metadata.name);
                let cure = "take it out of the plan first";
                return Err(ActionError::InUse { what: "list", name: name.into(), user, cure });
            }
            let before = entry.lists.remove(name);
            draft.delete(list_key(tenant, name));
            draft.record(Deed {
                actor,
                action: "list.delete",
                object: format!("list {name} of {tenant}"),
                before: shown(&before),
                after: Value::Null,
            });
            Ok(())
        })
    }

    /// Makes the tenant exist, with rules that say nothing yet, when it may. The inner error says why it may not.
    fn ensure_tenant(
        &self,
        draft: &mut Draft<'_>,
        name: &str,
        actor: &Actor,
    ) -> Result<Result<(), String>, ActionError> {
        if draft.state.tenants.contains_key(name) {
            return Ok(Ok(()));
        }
        let Some(tenant) = self.config.tenant(name) else {
            return Ok(Err(match self.config.names() {
                names if names.is_empty() => {
                    format!("{name:?} cannot name a tenant; use 1 to 63 letters, digits, '-', '_' or '.'")
                }
                names => format!("there is no tenant {name:?}; the configuration has {names}"),
            }));
        };
        if draft.state.tenants.len() >= MAX_TENANTS {
            let cure = "run another daemon for the others";
            return Err(ActionError::TooMany { what: "tenants", limit: MAX_TENANTS, cure });
        }
        draft.put_tenant(tenant, actor.clone())?;
        draft.publish(name)?;
        Ok(Ok(()))
    }
}

// === impl Known ===

impl Known {
    fn view(&self, tenant: &str, name: &str, list: &StoredList) -> ListView {
        let StoredList { hash, ids, .. } = list.clone();
        let version = self.version(&list_key(tenant, name));
        ListView { tenant: tenant.to_owned(), name: name.to_owned(), ids, hash, version }
    }

    fn summary(&self, stored: &StoredPlan) -> PlanSummary {
        let ReleasePlan { metadata, spec, .. } = &*stored.plan;
        PlanSummary {
            tenant: metadata.tenant.clone(),
            name: metadata.name.clone(),
            version: self.version(&plan_key(&metadata.tenant, &metadata.name)),
            applied_at: stored.applied_at,
            owner: spec.owner.clone(),
            services: spec.services.iter().map(|service| service.name.clone()).collect(),
            stages: spec.stages.iter().map(|stage| stage.name.clone()).collect(),
            active_order: self.state.active_order(&metadata.tenant, &metadata.name),
        }
    }
}

// === impl State ===

impl State {
    /// Everything that is wrong with a plan, in the world as it is. A tenant that may not be has the default headers.
    fn check(&self, plan: &ReleasePlan, prometheus: PrometheusSource) -> Result<Vec<Problem>, ActionError> {
        let Metadata { name, tenant } = &plan.metadata;
        if !self.tenants.contains_key(tenant) {
            let tenant = Tenant::with_defaults(tenant);
            return Ok(check(plan, &World { prometheus, ..World::offline(&tenant) }));
        }
        self.with_world((tenant, name), prometheus, |world| check(plan, world))
    }

    /// Gives the world as a plan of a tenant sees it.
    pub(crate) fn with_world<T>(
        &self,
        (tenant, plan): (&str, &str),
        prometheus: PrometheusSource,
        look: impl FnOnce(&World<'_>) -> T,
    ) -> Result<T, ActionError> {
        let entry = self.tenant(tenant)?;
        let lists = self.lists(tenant);
        let mut world = World { prometheus, ..World::new(&entry.tenant, &lists) };
        world.hosts = self.host_claims(tenant, entry, plan);
        world.baselines =
            entry.baselines.iter().map(|(service, baseline)| (service.clone(), baseline.into())).collect();
        Ok(look(&world))
    }

    /// The hosts that plans other than `plan`, active orders and baselines claim.
    fn host_claims(&self, tenant: &str, entry: &TenantState, plan: &str) -> BTreeMap<String, HostClaim> {
        let plans =
            entry.plans.values().map(|stored| &*stored.plan).filter(|other| other.metadata.name != plan);
        let plans = plans.map(|plan| (format!("plan {}", plan.metadata.name), plan));
        let orders = self.active_orders(tenant).map(|order| (format!("order {}", order.id), &*order.plan));
        let mut claims = BTreeMap::new();
        for (holder, plan) in plans.chain(orders) {
            for service in &plan.spec.services {
                let claim = || HostClaim { plan: holder.clone(), service: service.name.clone() };
                claims.extend(service.hosts.iter().map(|host| (host.clone(), claim())));
            }
        }
        for (service, baseline) in &entry.baselines {
            let claim = || HostClaim {
                plan: "a finished order (see `graylane baseline list`)".into(),
                service: service.clone(),
            };
            claims.extend(baseline.hosts.iter().map(|host| (host.clone(), claim())));
        }
        claims
    }

    pub(crate) fn tenant(&self, name: &str) -> Result<&TenantState, ActionError> {
        let found = self.tenants.get(name).map(Arc::as_ref);
        found.ok_or_else(|| ActionError::not_found("tenant", name, self.tenants.keys()))
    }

    pub(crate) fn tenant_mut(&mut self, name: &str) -> Result<&mut TenantState, ActionError> {
        let not_found = ActionError::not_found("tenant", name, self.tenants.keys());
        self.tenants.get_mut(name).map(Arc::make_mut).ok_or(not_found)
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
