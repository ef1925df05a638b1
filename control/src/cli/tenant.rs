//! Which tenant is meant when none is named.

use crate::cli::client::ClientError;
use crate::cli::{CliError, Session};
use crate::daemon::{BaselineView, ListView, PlanSummary};
use std::collections::BTreeSet;

/// What a tenant has by name.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Plan,
    List,
    Baseline,
}

/// A name, and the tenant that has it.
struct Owned {
    tenant: String,
    name: String,
}

// === impl Session ===

impl Session {
    /// The tenant that was given; or the only one that has a thing of this kind and name; or the only one there is, so
    /// that the daemon can say which name it has instead.
    ///
    /// # Errors
    /// When several tenants could be meant, or there is none.
    pub(crate) fn tenant_of(
        &self,
        given: Option<String>,
        kind: Kind,
        name: &str,
    ) -> Result<String, CliError> {
        if let Some(tenant) = given {
            return Ok(tenant);
        }
        let all = self.owned(kind)?;
        let owners: BTreeSet<&str> =
            all.iter().filter(|owned| owned.name == name).map(|owned| owned.tenant.as_str()).collect();
        let what = kind.label();
        match owners.iter().copied().collect::<Vec<_>>().as_slice() {
            [tenant] => Ok((*tenant).to_owned()),
            [] => self.only_tenant(None).map_err(|error| match error {
                CliError::Refused(several) => {
                    let nearest =
                        graylane_plan::did_you_mean(name, all.iter().map(|owned| owned.name.as_str()));
                    let detail = several.detail;
                    CliError::refused(format!("no tenant has a {what} {name:?}{nearest}; {detail}"))
                }
                error => error,
            }),
            several => Err(CliError::refused(format!(
                "tenants {} have a {what} {name:?}; say which with --tenant",
                several.join(", ")
            ))),
        }
    }

    /// The tenant that was given, or the only one that has anything.
    ///
    /// # Errors
    /// When there are several, or none.
    pub(crate) fn only_tenant(&self, given: Option<String>) -> Result<String, CliError> {
        if let Some(tenant) = given {
            return Ok(tenant);
        }
        let mut tenants = BTreeSet::new();
        for kind in [Kind::Plan, Kind::List, Kind::Baseline] {
            tenants.extend(self.owned(kind)?.into_iter().map(|owned| owned.tenant));
        }
        match tenants.into_iter().collect::<Vec<_>>().as_slice() {
            [tenant] => Ok(tenant.clone()),
            [] => Err(CliError::refused("there is no tenant yet; name one with --tenant")),
            several => Err(CliError::refused(format!(
                "there are tenants {}; say which with --tenant",
                several.join(", ")
            ))),
        }
    }

    fn owned(&self, kind: Kind) -> Result<Vec<Owned>, ClientError> {
        Ok(match kind {
            Kind::Plan => {
                self.client.get::<Vec<PlanSummary>>("/plans")?.into_iter().map(Owned::from).collect()
            }
            Kind::List => self.client.get::<Vec<ListView>>("/lists")?.into_iter().map(Owned::from).collect(),
            Kind::Baseline => {
                self.client.get::<Vec<BaselineView>>("/baselines")?.into_iter().map(Owned::from).collect()
            }
        })
    }
}

// === impl Kind ===

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::List => "list",
            Self::Baseline => "baseline",
        }
    }
}

// === impl Owned ===

impl From<PlanSummary> for Owned {
    fn from(plan: PlanSummary) -> Self {
        Self { tenant: plan.tenant, name: plan.name }
    }
}

impl From<ListView> for Owned {
    fn from(list: ListView) -> Self {
        Self { tenant: list.tenant, name: list.name }
    }
}

impl From<BaselineView> for Owned {
    fn from(baseline: BaselineView) -> Self {
        Self { tenant: baseline.tenant, name: baseline.service }
    }
}
