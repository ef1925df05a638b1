//! What the command line can tell of a plan with no daemon.

use crate::cli::CliError;
use crate::cli::problem::Problem;
use crate::config::Config;
use crate::daemon::ProblemView;
use graylane_plan::{
    PrometheusSource, ReleasePlan, ServiceRules, Tenant, World, compile, rule_set, snapshot,
};
use graylane_rules::{Rules, encode};
use std::path::Path;

/// Reads the configuration that a daemon has; with none, every tenant has the default dimensions.
pub(crate) fn read_config(path: Option<&Path>) -> Result<Config, CliError> {
    Ok(path.map(Config::read).transpose().map_err(CliError::Config)?.unwrap_or_default())
}

/// Parses a plan and checks all that can be checked with no daemon, but with its configuration, if that is there.
pub(crate) fn check(text: &str, config: Option<&Path>) -> Result<Vec<graylane_plan::Problem>, CliError> {
    let file = config.is_some();
    let config = read_config(config)?;
    let prometheus = if file { config.prometheus_source() } else { PrometheusSource::Unknown };
    Ok(match read_plan(text, &config) {
        Ok((plan, tenant)) => graylane_plan::check(&plan, &World { prometheus, ..World::offline(&tenant) }),
        Err(problems) => problems,
    })
}

/// The rules of a plan at a stage, as the daemon would compile them for its services alone.
pub(crate) fn rules_at(text: &str, stage: &str, config: &Config) -> Result<Rules, CliError> {
    let (plan, tenant) = read_plan(text, config).map_err(refused)?;
    let taken = snapshot(&plan, &World::offline(&tenant)).map_err(refused)?;
    let reached = plan.spec.stages.iter().position(|known| known.name == stage);
    let reached = reached.ok_or_else(|| CliError::refused(no_stage(&plan, stage)))? + 1;
    let table = compile(&taken, taken.scopes(), reached);
    let services = plan.spec.services.iter().map(|service| ServiceRules {
        name: service.name.clone(),
        hosts: service.hosts.clone(),
        stable: service.stable.clone(),
        route_default: service.stable.clone(),
        release: Some((service.gray.clone(), table.clone())),
    });
    let bytes =
        encode(&rule_set(&tenant, services), 0).map_err(|error| CliError::refused(error.to_string()))?;
    Rules::load(bytes).map_err(|error| CliError::refused(error.to_string()))
}

/// The rules of a file as the proxies get them.
pub(crate) fn load(path: &Path) -> Result<Rules, CliError> {
    let bytes = std::fs::read(path).map_err(|source| CliError::Read { path: path.into(), source })?;
    Rules::load(bytes).map_err(|error| CliError::refused(format!("{}: {error}", path.display())))
}

/// Parses a plan, and finds its tenant.
fn read_plan(text: &str, config: &Config) -> Result<(ReleasePlan, Tenant), Vec<graylane_plan::Problem>> {
    let plan = graylane_plan::parse(text)?;
    let name = &plan.metadata.tenant;
    match (config.tenant(name), config.names()) {
        (Some(tenant), _) => Ok((plan, tenant)),
        // A name that cannot be is a problem that the check finds, beside all the others.
        (None, names) if names.is_empty() => {
            let tenant = Tenant::with_defaults(name);
            Ok((plan, tenant))
        }
        (None, names) => {
            let message = format!("there is no tenant {name:?}; the configuration has {names}");
            Err(vec![graylane_plan::Problem::error("metadata.tenant", message)])
        }
    }
}

fn refused(problems: Vec<graylane_plan::Problem>) -> CliError {
    let errors = problems.into_iter().map(ProblemView::from).collect();
    CliError::Refused(Problem::new("the plan has problems", errors))
}

fn no_stage(plan: &ReleasePlan, stage: &str) -> String {
    let known: Vec<&str> = plan.spec.stages.iter().map(|stage| stage.name.as_str()).collect();
    format!("the plan has no stage {stage:?}; its stages are {}", known.join(", "))
}
