//! What can be asked of the published rules.

use crate::daemon::state::Published;
use crate::daemon::{ActionError, AuditPage, BaselineView, Daemon, ExplainView, RulesView};
use bytes::Bytes;
use graylane_order::Phase;
use std::collections::BTreeMap;
use std::sync::Arc;

// === impl Daemon ===

impl Daemon {
    /// Which version a request to `host` gets, and why. `dimensions` are values by the dimension's name.
    ///
    /// # Errors
    /// When the tenant has no rules, or no such dimension.
    pub fn explain(
        &self,
        tenant: &str,
        host: &str,
        dimensions: &[(String, String)],
    ) -> Result<ExplainView, ActionError> {
        let published = self.published(tenant)?;
        let rules = &published.rules;
        let mut headers = Vec::new();
        for (name, value) in dimensions {
            let known = || rules.dimensions().iter().map(|dimension| &dimension.name);
            let found = rules.dimensions().iter().find(|dimension| dimension.name == *name);
            let found = found.ok_or_else(|| ActionError::not_found("dimension", name, known()))?;
            headers.push((found.header.as_bytes(), value.as_bytes()));
        }
        Ok(rules.explain(host.as_bytes(), &rules.values(headers)).into())
    }

    /// At most `limit` records of the audit log, oldest first, from the one behind number `after` on, and its head.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn audit(&self, after: u64, limit: usize) -> Result<AuditPage, ActionError> {
        let known = self.known();
        let entries = self.store.log(after, limit)?;
        let last = entries.last().map_or(after, |(number, _)| *number);
        let records = entries.iter().map(|(_, line)| String::from_utf8_lossy(line).into_owned());
        Ok(AuditPage { head: known.state.audit.clone(), last, records: records.collect() })
    }

    /// The tenant that was given, or the only one there is.
    ///
    /// # Errors
    /// When none was given and there is none, or more than one.
    pub fn only_tenant(&self, tenant: Option<String>) -> Result<String, ActionError> {
        if let Some(tenant) = tenant {
            return Ok(tenant);
        }
        let state = &self.known().state;
        let names: Vec<&String> = state.tenants.keys().collect();
        match names.as_slice() {
            [tenant] => Ok((*tenant).clone()),
            _ => {
                let message = format!("there are {} tenants; say which", names.len());
                let problems = vec![graylane_plan::Problem::error("tenant", message)];
                Err(ActionError::Invalid { what: "request", problems })
            }
        }
    }

    /// The published rules of a tenant.
    ///
    /// # Errors
    /// When the tenant has none.
    pub fn rules(&self, tenant: &str) -> Result<RulesView, ActionError> {
        let published = self.published(tenant)?;
        let rules = &published.rules;
        Ok(RulesView {
            tenant: tenant.to_owned(),
            revision: rules.revision(),
            content_hash: format!("{:016x}", rules.content_hash()),
            bytes: rules.bytes().len(),
            listing: rules.listing().to_string(),
        })
    }

    /// The bytes that the tenant's proxies get.
    ///
    /// # Errors
    /// When the tenant has none.
    pub fn rules_bytes(&self, tenant: &str) -> Result<Bytes, ActionError> {
        Ok(self.published(tenant)?.bytes())
    }

    /// How many orders there are in each phase.
    #[must_use]
    pub fn order_counts(&self) -> BTreeMap<Phase, usize> {
        let mut counts = Phase::ALL.map(|phase| (phase, 0)).into_iter().collect::<BTreeMap<_, _>>();
        for order in self.known().state.orders.values() {
            *counts.entry(order.phase).or_default() += 1;
        }
        counts
    }

    /// The baselines that finished orders left.
    #[must_use]
    pub fn baselines(&self) -> Vec<BaselineView> {
        let state = &self.known().state;
        let baselines = state.tenants.iter().flat_map(|(tenant, entry)| {
            entry.baselines.iter().map(move |(service, baseline)| (tenant, service, baseline))
        });
        let view =
            |(tenant, service, baseline): (&String, &String, &crate::daemon::state::Baseline)| BaselineView {
                tenant: tenant.clone(),
                service: service.clone(),
                version: baseline.version.clone(),
                route_default: baseline.route_default.clone(),
            };
        baselines.map(view).collect()
    }

    fn published(&self, tenant: &str) -> Result<Arc<Published>, ActionError> {
        let state = &self.known().state;
        let published = state.tenant(tenant)?.published.clone();
        published.ok_or_else(|| ActionError::NotFound {
            what: "rule set",
            name: tenant.to_owned(),
            nearest: String::new(),
        })
    }
}
