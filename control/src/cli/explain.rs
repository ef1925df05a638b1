//! `graylane explain`.

use crate::cli::client::Problem;
use crate::cli::plan::parse_offline;
use crate::cli::{CliError, Session, read_input};
use crate::daemon::{ExplainView, StepView};
use clap::Args;
use graylane_plan::{ReleasePlan, ServiceRules, Tenant, World, compile, rule_set, snapshot};
use graylane_rules::{Rules, encode};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct Explain {
    /// The request's host (`:authority`)
    #[arg(long)]
    host: String,
    /// The request's teller
    #[arg(long)]
    teller: Option<String>,
    /// The request's branch
    #[arg(long)]
    branch: Option<String>,
    /// The request's region
    #[arg(long)]
    region: Option<String>,
    /// The value of any other dimension; may be given more than once
    #[arg(long = "dimension", value_name = "NAME=VALUE", value_parser = parse_dimension)]
    dimensions: Vec<(String, String)>,
    /// The tenant whose rules are asked; needed when there are several
    #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
    tenant: Option<String>,
    /// Ask these rules and no daemon: a file with a rule set as the proxies get it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "tenant"])]
    rules: Option<PathBuf>,
    /// Ask this plan and no daemon
    #[arg(short, long, requires = "stage", conflicts_with = "tenant")]
    file: Option<PathBuf>,
    /// The plan's stage to ask, by name
    #[arg(long, requires = "file")]
    stage: Option<String>,
}

// === impl Explain ===

impl Explain {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        let view = match (&self.rules, &self.file, &self.stage) {
            (Some(path), _, _) => self.ask(&load(path)?)?,
            (_, Some(path), Some(stage)) => self.ask(&rules_at(&read_input(path)?, stage)?)?,
            _ => session.client.get(&self.path())?,
        };
        session.show(&view, text);
        Ok(())
    }

    fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = [("teller", &self.teller), ("branch", &self.branch), ("region", &self.region)];
        let named = named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        named.chain(self.dimensions.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    fn path(&self) -> String {
        let mut path = format!("/explain?host={}", escaped(&self.host));
        let tenant = self.tenant.as_deref().map(|tenant| ("tenant", tenant));
        for (name, value) in tenant.into_iter().chain(self.values()) {
            let _ = write!(path, "&{}={}", escaped(name), escaped(value));
        }
        path
    }

    fn ask(&self, rules: &Rules) -> Result<ExplainView, CliError> {
        let mut headers = Vec::new();
        for (name, value) in self.values() {
            let known = rules.dimensions().iter().find(|dimension| dimension.name == name);
            let known =
                known.ok_or_else(|| CliError::Refused(format!("the rules have no dimension {name:?}")))?;
            headers.push((known.header.as_bytes(), value.as_bytes()));
        }
        Ok(rules.explain(self.host.as_bytes(), &rules.values(headers)).into())
    }
}

fn parse_dimension(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has to be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn load(path: &Path) -> Result<Rules, CliError> {
    let bytes = std::fs::read(path).map_err(|source| CliError::Read { path: path.into(), source })?;
    Rules::load(bytes).map_err(|error| CliError::Refused(format!("{}: {error}", path.display())))
}

/// The rules of a plan at a stage, as the daemon would compile them for its services alone.
fn rules_at(text: &str, stage: &str) -> Result<Rules, CliError> {
    let refused = |problems: Vec<graylane_plan::Problem>| {
        let errors = problems.into_iter().map(|problem| (problem.path, problem.message)).collect();
        CliError::Refused(Problem { detail: "the plan has problems".into(), errors }.to_string())
    };
    let (plan, problems) = parse_offline(text);
    let Some(plan) = plan else { return Err(refused(problems)) };
    let tenant = Tenant::with_defaults(&plan.metadata.tenant);
    let taken = snapshot(&plan, &World::offline(&tenant)).map_err(refused)?;
    let reached = plan.spec.stages.iter().position(|known| known.name == stage);
    let reached = reached.ok_or_else(|| CliError::Refused(no_stage(&plan, stage)))? + 1;
    let table = compile(&taken, taken.scopes(), reached);
    let services = plan.spec.services.iter().map(|service| ServiceRules {
        name: service.name.clone(),
        hosts: service.hosts.clone(),
        stable: service.stable.clone(),
        route_default: service.stable.clone(),
        release: Some((service.gray.clone(), table.clone())),
    });
    let bytes =
        encode(&rule_set(&tenant, services), 0).map_err(|error| CliError::Refused(error.to_string()))?;
    Rules::load(bytes).map_err(|error| CliError::Refused(error.to_string()))
}

fn no_stage(plan: &ReleasePlan, stage: &str) -> String {
    let known: Vec<&str> = plan.spec.stages.iter().map(|stage| stage.name.as_str()).collect();
    format!("the plan has no stage {stage:?}; its stages are {}", known.join(", "))
}

/// Percent-encodes what a query may not carry (RFC 3986, section 3.4).
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

fn text(view: &ExplainView) -> String {
    let side = if view.gray { "gray" } else { "stable" };
    let mut out = match (&view.service, &view.version) {
        (Some(service), Some(version)) => format!("{service}: {side} {version} ({})", view.reason),
        _ => format!("{side}, by the routes' default ({})", view.reason),
    };
    match &view.header {
        Some((name, value)) => drop(write!(out, "\n  the filter sets {name}: {value}")),
        None => out.push_str("\n  the filter sets no header"),
    }
    for StepView { level, value, action, stage, decides } in &view.steps {
        let id = if value.is_empty() { level.clone() } else { format!("{level} {value}") };
        let plan = view.plan.as_deref().unwrap_or_default();
        let outcome = if *decides { "this decides" } else { "does not take it, go on" };
        let _ = write!(out, "\n  {id}: {action} by stage {stage} of plan {plan}; {outcome}");
    }
    let _ = write!(out, "\n  revision {}", view.revision);
    out
}
