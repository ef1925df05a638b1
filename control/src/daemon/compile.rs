//! From orders and baselines to the published rules of a tenant.

use crate::daemon::state::{Baseline, Draft, Published, PublishedRecord, State, rules_key};
use crate::daemon::{ActionError, Daemon};
use graylane_order::{Order, Phase};
use graylane_plan::{ReleasePlan, ServiceRules, Snapshot, compile, rule_set};
use graylane_rules::{RuleSet, Table, encode};
use graylane_xds::Publication;
use std::collections::BTreeMap;
use std::sync::Arc;

// === impl Draft ===

impl Draft<'_> {
    /// Compiles the tenant's rules, and publishes them under the next revision if their content changed.
    pub(crate) fn publish(&mut self, tenant: &str) -> Result<(), ActionError> {
        let last = self.state.published(tenant);
        self.republish(tenant, last)
    }

    /// Publishes what is published under the next revision, though it says the same.
    pub(crate) fn publish_anew(&mut self, tenant: &str) -> Result<(), ActionError> {
        // The hash of something else.
        let other = |last: PublishedRecord| PublishedRecord { content_hash: !last.content_hash, ..last };
        let last = self.state.published(tenant).map(other);
        self.republish(tenant, last)
    }

    /// Compiles the tenant's rules. Content that was published before keeps its revision.
    pub(crate) fn republish(
        &mut self,
        tenant: &str,
        last: Option<PublishedRecord>,
    ) -> Result<(), ActionError> {
        let rules = self.state.rule_set(tenant)?;
        let encoded = |revision| {
            encode(&rules, revision)
                .map_err(|source| ActionError::Rules { tenant: tenant.to_owned(), source })
        };
        let last_revision = last.as_ref().map_or(0, |last| last.revision);
        let awaited = last.as_ref().filter(|_| self.proxies.is_awaiting).map_or(0, |last| last.proxies);
        let mut loaded = Daemon::load(tenant, encoded(last_revision + 1)?)?;
        let known = last.filter(|last| last.content_hash == loaded.content_hash());
        let is_known = known.is_some();
        let (proxies, is_firm) = match known {
            Some(known) => (known.proxies, known.is_firm),
            None => (self.proxies.count(tenant).max(awaited), self.is_rescue),
        };
        if !is_known {
            let (revision, content_hash) = (loaded.revision(), loaded.content_hash());
            self.put(rules_key(tenant), &PublishedRecord { revision, content_hash, proxies, is_firm })?;
        }
        let Some(entry) = self.state.tenants.get_mut(tenant).map(Arc::make_mut) else { return Ok(()) };
        if !is_known || entry.published.is_none() {
            if is_known {
                loaded = Daemon::load(tenant, encoded(last_revision)?)?;
            }
            entry.published = Some(Arc::new(Published { rules: Arc::new(loaded), proxies, is_firm }));
            self.has_new_rules = true;
        }
        Ok(())
    }
}

// === impl State ===

impl State {
    /// What is published for a tenant.
    fn published(&self, tenant: &str) -> Option<PublishedRecord> {
        let published = self.tenants.get(tenant)?.published.as_ref()?;
        Some(PublishedRecord {
            revision: published.rules.revision(),
            content_hash: published.rules.content_hash(),
            proxies: published.proxies,
            is_firm: published.is_firm,
        })
    }

    /// The rules of every tenant, for the proxies.
    pub(crate) fn publications(&self) -> Vec<Publication> {
        let rules =
            self.tenants.iter().filter_map(|(tenant, entry)| Some((tenant, entry.published.as_ref()?)));
        let publication = |(tenant, published): (&String, &Arc<Published>)| Publication {
            tenant: tenant.clone(),
            revision: published.rules.revision(),
            rules: published.bytes(),
            content_hash: published.rules.content_hash(),
            is_firm: published.is_firm,
        };
        rules.map(publication).collect()
    }

    /// What the tenant's orders and baselines say now: the services of active orders, and those whose baseline is not
    /// what routes choose by themselves.
    fn rule_set(&self, tenant: &str) -> Result<RuleSet, ActionError> {
        let Some(entry) = self.tenants.get(tenant) else {
            return Err(ActionError::not_found("tenant", tenant, self.tenants.keys()));
        };
        let mut by_service: BTreeMap<&str, ServiceRules> = BTreeMap::new();
        for (name, baseline) in &entry.baselines {
            let Baseline { hosts, version, route_default } = baseline.clone();
            let rules =
                ServiceRules { name: name.clone(), hosts, stable: version, route_default, release: None };
            by_service.insert(name, rules);
        }
        for order in self.active_orders(tenant).filter(|order| has_rules(order)) {
            let tables = self.tables(order)?;
            for service in &order.plan.spec.services {
                let route_default =
                    entry.baselines.get(&service.name).map(|baseline| baseline.route_default.clone());
                let rules = ServiceRules {
                    name: service.name.clone(),
                    hosts: service.hosts.clone(),
                    stable: service.stable.clone(),
                    route_default: route_default.unwrap_or_else(|| service.stable.clone()),
                    release: tables
                        .get(service.name.as_str())
                        .map(|table| (service.gray.clone(), Arc::clone(table))),
                };
                by_service.insert(&service.name, rules);
            }
        }
        Ok(rule_set(&entry.tenant, by_service.into_values()))
    }

    /// The table of each gray service of an order. Services at the same stage share one.
    fn tables<'a>(&self, order: &'a Order) -> Result<BTreeMap<&'a str, Arc<Table>>, ActionError> {
        let Some(entry) = self.tenants.get(order.tenant()) else { return Ok(BTreeMap::new()) };
        let plan = as_it_holds(order);
        let snapshot = Snapshot::restore(&plan, &entry.tenant, &self.lists(order.tenant()))
            .map_err(|problems| ActionError::Invalid { what: "order's plan", problems })?;
        let mut by_stages: BTreeMap<usize, Arc<Table>> = BTreeMap::new();
        let table = |(service, stages): (&'a graylane_plan::ServiceSpec, usize)| {
            let table =
                by_stages.entry(stages).or_insert_with(|| compile(&snapshot, snapshot.scopes(), stages));
            (service.name.as_str(), Arc::clone(table))
        };
        Ok(order.gray_services().map(table).collect())
    }
}

/// Whether an order says anything in the rules. One that waits for its first gate does not yet: so its start changes no
/// rules. One that rolls back everything does not any more: so its end changes none.
fn has_rules(order: &Order) -> bool {
    order.phase != Phase::RollingBack && order.services.values().any(|state| state.stages_entered > 0)
}

/// The order's plan as it holds now: with the scopes that were adjusted, and with every list named by its content.
pub(crate) fn as_it_holds(order: &Order) -> ReleasePlan {
    let mut plan = ReleasePlan::clone(&order.plan);
    for (number, stage) in plan.spec.stages.iter_mut().enumerate() {
        if let Some(scope) = order.adjusted.get(&number) {
            stage.scope = scope.clone();
        }
        if let Some(hash_by_name) = order.lists_by_stage.get(number) {
            stage.scope.rename_lists(|name| hash_by_name.get(name).cloned());
        }
    }
    plan
}
