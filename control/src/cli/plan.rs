//! `graylane plan`.

use crate::cli::client::Call;
use crate::cli::output::{or_dash, table};
use crate::cli::{CliError, Session, read_input};
use crate::daemon::{PlanApplied, PlanSummary, PlanView, ProblemView};
use clap::{Args, Subcommand};
use graylane_plan::{Problem, ReleasePlan, Tenant, World};
use serde_json::{Value, json};
use std::path::PathBuf;
use ureq::http::Method;

#[derive(Subcommand)]
pub(crate) enum Plan {
    /// Check a plan offline: every problem with its place
    Check(PlanFile),
    /// Give a plan to the daemon, new or in place of the one of its name
    Apply {
        #[command(flatten)]
        file: PlanFile,
        /// Refuse unless the plan is at this version
        #[arg(long, value_name = "VERSION")]
        if_match: Option<u64>,
    },
    /// List the plans
    List {
        /// Only those of this tenant
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
        tenant: Option<String>,
    },
    /// Print a plan
    Get(PlanName),
    /// Delete a plan that no active order runs
    Delete(PlanName),
}

#[derive(Args)]
pub(crate) struct PlanFile {
    /// The plan, as YAML or JSON; `-` for standard input
    #[arg(short, long)]
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct PlanName {
    /// The plan's name
    name: String,
    /// The plan's tenant; needed when several tenants have a plan of this name
    #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
    tenant: Option<String>,
}

// === impl Plan ===

impl Plan {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::Check(PlanFile { file }) => check(session, &read_input(&file)?),
            Self::Apply { file: PlanFile { file }, if_match } => {
                apply(session, &read_input(&file)?, if_match)
            }
            Self::List { tenant } => list(session, tenant.as_deref()),
            Self::Get(name) => {
                let plan: PlanView = session.client.get(&name.path(session)?)?;
                session.show(&plan, |plan| serde_json::to_string_pretty(&plan.plan).unwrap_or_default());
                Ok(())
            }
            Self::Delete(name) => {
                let call = Call { path: name.path(session)?, ..Call::default() };
                let _: Value = session.client.send(Method::DELETE, call)?;
                session.show(&json!({ "deleted": name.name }), |_| format!("plan {} deleted", name.name));
                Ok(())
            }
        }
    }
}

// === impl PlanName ===

impl PlanName {
    /// The plan's path; its tenant is looked up when it was not given.
    fn path(&self, session: &Session) -> Result<String, CliError> {
        let tenant = match &self.tenant {
            Some(tenant) => tenant.clone(),
            None => {
                let plans: Vec<PlanSummary> = session.client.get("/plans")?;
                let mut tenants =
                    plans.into_iter().filter(|plan| plan.name == self.name).map(|plan| plan.tenant);
                match (tenants.next(), tenants.next()) {
                    (Some(tenant), None) => tenant,
                    (Some(_), Some(_)) => {
                        return Err(CliError::Refused(format!(
                            "several tenants have a plan {:?}; say which with --tenant",
                            self.name
                        )));
                    }
                    (None, _) => return Err(CliError::Refused(format!("there is no plan {:?}", self.name))),
                }
            }
        };
        Ok(format!("/tenants/{tenant}/plans/{}", self.name))
    }
}

/// Parses a plan and checks all that can be checked with no daemon.
pub(crate) fn parse_offline(text: &str) -> (Option<ReleasePlan>, Vec<Problem>) {
    match graylane_plan::parse(text) {
        Err(problems) => (None, problems),
        Ok(plan) => {
            let tenant = Tenant::with_defaults(&plan.metadata.tenant);
            let problems = graylane_plan::check(&plan, &World::offline(&tenant));
            (Some(plan), problems)
        }
    }
}

fn check(session: &Session, text: &str) -> Result<(), CliError> {
    let (_, problems) = parse_offline(text);
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    session.show(&json!({ "ok": errors == 0, "problems": problems }), |_| {
        let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        if errors == 0 {
            lines.push("the plan is good".into());
        }
        lines.join("\n")
    });
    match errors {
        0 => Ok(()),
        1 => Err(CliError::Refused("the plan has 1 error".into())),
        errors => Err(CliError::Refused(format!("the plan has {errors} errors"))),
    }
}

fn apply(session: &Session, text: &str, if_match: Option<u64>) -> Result<(), CliError> {
    let body = Some(("application/yaml", text.as_bytes().to_vec()));
    let applied: PlanApplied =
        session.client.send(Method::POST, Call { path: "/plans".into(), body, if_match })?;
    session.show(&applied, |applied| {
        let warning = |warning: &ProblemView| format!("warning: {}: {}\n", warning.path, warning.message);
        let warnings: String = applied.warnings.iter().map(warning).collect();
        let done = if applied.changed { "applied" } else { "unchanged" };
        format!(
            "{warnings}plan {} of tenant {} {done} (version {})",
            applied.name, applied.tenant, applied.version
        )
    });
    Ok(())
}

fn list(session: &Session, tenant: Option<&str>) -> Result<(), CliError> {
    let mut plans: Vec<PlanSummary> = session.client.get("/plans")?;
    plans.retain(|plan| tenant.is_none_or(|tenant| plan.tenant == tenant));
    session.show(&plans, |plans| {
        table(
            ["PLAN", "TENANT", "OWNER", "SERVICES", "STAGES", "VERSION", "ACTIVE ORDER"],
            plans.iter().map(|plan| {
                [
                    plan.name.clone(),
                    plan.tenant.clone(),
                    plan.owner.clone(),
                    plan.services.join(","),
                    plan.stages.len().to_string(),
                    plan.version.to_string(),
                    or_dash(plan.active_order),
                ]
            }),
        )
    });
    Ok(())
}
