//! `graylane plan`.

use crate::cli::client::{Call, path};
use crate::cli::output::{or_dash, table};
use crate::cli::tenant::Kind;
use crate::cli::{CliError, Session, Why, offline, read_input};
use crate::daemon::{PlanApplied, PlanSummary, PlanView, ProblemView};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use ureq::http::Method;

#[derive(Subcommand)]
pub(crate) enum Plan {
    /// Check a plan offline: every problem with its place
    Check {
        #[command(flatten)]
        file: PlanFile,
        /// The configuration file that the daemon has, when it has one: the tenants and their dimensions, and Prometheus
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Give a plan to the daemon, new or in place of the one of its name
    Apply {
        #[command(flatten)]
        file: PlanFile,
        /// Refuse unless the plan is at this version
        #[arg(long, value_name = "VERSION")]
        if_match: Option<u64>,
        #[command(flatten)]
        why: Why,
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
    Delete {
        #[command(flatten)]
        name: PlanName,
        #[command(flatten)]
        why: Why,
    },
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
            Self::Check { file: PlanFile { file }, config } => {
                check(session, &read_input(&file)?, config.as_deref())
            }
            Self::Apply { file: PlanFile { file }, if_match, why: Why { reason } } => {
                let body = Some(("application/yaml", read_input(&file)?.into_bytes()));
                apply(session, Call { path: "/plans".into(), body, if_match, reason, ..Call::default() })
            }
            Self::List { tenant } => list(session, tenant.as_deref()),
            Self::Get(name) => {
                let plan: PlanView = session.client.get(&name.path(session)?)?;
                session.show(&plan, |plan| serde_json::to_string_pretty(&plan.plan).unwrap_or_default())
            }
            Self::Delete { name, why: Why { reason } } => {
                let call = Call { path: name.path(session)?, reason, ..Call::default() };
                let _: Value = session.client.send(Method::DELETE, call)?;
                session.show(&json!({ "deleted": name.name }), |_| format!("plan {} deleted", name.name))
            }
        }
    }
}

// === impl PlanName ===

impl PlanName {
    fn path(&self, session: &Session) -> Result<String, CliError> {
        let tenant = session.tenant_of(self.tenant.clone(), Kind::Plan, &self.name)?;
        Ok(path(["tenants", &tenant, "plans", &self.name]))
    }
}

fn check(session: &Session, text: &str, config: Option<&Path>) -> Result<(), CliError> {
    let problems = offline::check(text, config)?;
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let shown = session.show(&json!({ "ok": errors == 0, "problems": problems }), |_| {
        let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        if errors == 0 {
            lines.push("the plan is good".into());
        }
        lines.join("\n")
    });
    // The verdict holds even when nobody reads the problems.
    match errors {
        0 => shown,
        1 => Err(CliError::refused("the plan has 1 error")),
        errors => Err(CliError::refused(format!("the plan has {errors} errors"))),
    }
}

fn apply(session: &Session, call: Call) -> Result<(), CliError> {
    let applied: PlanApplied = session.client.send(Method::POST, call)?;
    session.show(&applied, |applied| {
        let warning = |warning: &ProblemView| format!("warning: {}: {}\n", warning.path, warning.message);
        let warnings: String = applied.warnings.iter().map(warning).collect();
        let done = if applied.changed { "applied" } else { "unchanged" };
        format!(
            "{warnings}plan {} of tenant {} {done} (version {})",
            applied.name, applied.tenant, applied.version
        )
    })
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
    })
}
