//! `graylane explain`.

use crate::cli::client::escaped;
use crate::cli::offline::{load, read_config, rules_at};
use crate::cli::{CliError, Session, read_input};
use crate::daemon::{ExplainView, StepView};
use clap::Args;
use graylane_plan::did_you_mean;
use graylane_rules::Rules;
use std::fmt::Write as _;
use std::path::PathBuf;

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
    /// The configuration file that the daemon has, when it has one: the tenants and their dimensions
    #[arg(long, value_name = "FILE", requires = "file")]
    config: Option<PathBuf>,
}

// === impl Explain ===

impl Explain {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        let view = match (&self.rules, &self.file, &self.stage) {
            (Some(path), _, _) => self.ask(&load(path)?)?,
            (_, Some(path), Some(stage)) => {
                let config = read_config(self.config.as_deref())?;
                self.ask(&rules_at(&read_input(path)?, stage, &config)?)?
            }
            _ => session.client.get(&self.path())?,
        };
        session.show(&view, text)
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
            let unknown = || {
                let names = rules.dimensions().iter().map(|dimension| dimension.name.as_str());
                format!("there is no dimension {name:?}{}", did_you_mean(name, names))
            };
            let known = known.ok_or_else(|| CliError::refused(unknown()))?;
            headers.push((known.header.as_bytes(), value.as_bytes()));
        }
        Ok(rules.explain(self.host.as_bytes(), &rules.values(headers)).into())
    }
}

fn parse_dimension(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has to be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
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
