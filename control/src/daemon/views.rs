//! What the API shows. Every field says what was observed, and nothing more.

use crate::daemon::LAGGARD_GRACE;
use graylane_order::{Order, Phase, Seen, TimelineEntry};
use graylane_plan::Problem;
use graylane_rules::{Explanation, Step};
use graylane_xds::ProxyStatus;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A plan in a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// Its tenant.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Grows with each change.
    pub version: u64,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    pub applied_at: Timestamp,
    /// Who answers for it.
    pub owner: String,
    /// The names of its services.
    pub services: Vec<String>,
    /// The names of its stages.
    pub stages: Vec<String>,
    /// The active order of it, if there is one.
    pub active_order: Option<u64>,
}

/// A plan and its version.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// The plan.
    #[schema(value_type = Object)]
    pub plan: Value,
    /// Grows with each change.
    pub version: u64,
    /// When it was changed last.
    #[schema(value_type = String, format = DateTime)]
    pub applied_at: Timestamp,
}

/// What applying a plan did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanApplied {
    /// Its tenant.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Its version now.
    pub version: u64,
    /// Whether anything changed.
    pub changed: bool,
    /// What somebody should look at.
    pub warnings: Vec<ProblemView>,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemView {
    /// Which field.
    pub path: String,
    /// What is wrong, the limit, and what to do.
    pub message: String,
}

/// A named list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListView {
    /// Its tenant.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// How many ids it has.
    pub ids: usize,
    /// SHA-256 of its content.
    pub hash: String,
    /// Grows with each change.
    pub version: u64,
}

/// An order as it stands.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderView {
    /// Its number.
    pub id: u64,
    /// Its tenant.
    pub tenant: String,
    /// Its plan's name.
    pub plan: String,
    /// SHA-256 of what was started: plan and lists.
    pub content_hash: String,
    /// `AwaitingApproval`, `Running`, `Paused`, `Retained`, `RollingBack`, `RolledBack` or `Finished`.
    #[schema(value_type = String)]
    pub phase: Phase,
    /// The current stage.
    pub stage: StageView,
    /// Its services in the plan's order.
    pub services: Vec<ServiceView>,
    /// How far the tenant's published rules got.
    pub convergence: Convergence,
    /// What happened, oldest first.
    #[schema(value_type = Vec<Object>)]
    pub timeline: Vec<TimelineEntry>,
    /// Grows with each change.
    pub version: u64,
}

/// An order in a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderSummary {
    /// Its number.
    pub id: u64,
    /// Its tenant.
    pub tenant: String,
    /// Its plan's name.
    pub plan: String,
    /// `AwaitingApproval`, `Running`, `Paused`, `Retained`, `RollingBack`, `RolledBack` or `Finished`.
    #[schema(value_type = String)]
    pub phase: Phase,
    /// The current stage.
    pub stage: StageSummary,
    /// How far the tenant's published rules got.
    pub convergence: Convergence,
    /// Grows with each change.
    pub version: u64,
}

/// The current stage of an order in a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StageSummary {
    /// Its name.
    pub name: String,
    /// Its number, from 1.
    pub number: usize,
    /// How many stages the plan has.
    pub of: usize,
}

/// The current stage of an order.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageView {
    /// Its name.
    pub name: String,
    /// Its number, from 1.
    pub number: usize,
    /// How many stages the plan has.
    pub of: usize,
    /// Since when it is the current one.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Seconds that it has still to be held.
    pub hold_left_seconds: u64,
    /// Its scope as it holds now.
    #[schema(value_type = Object)]
    pub scope: Value,
}

/// A service of an order.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// The version of requests that are not gray.
    pub stable: String,
    /// The version of gray requests.
    pub gray: String,
    /// The last stage that it entered, if it entered one.
    pub stage: Option<String>,
    /// Whether it was rolled back.
    pub rolled_back: bool,
}

/// How far a revision got: three figures, each as it was observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Convergence {
    /// The revision that every proxy should run.
    pub wanted: u64,
    /// Connected proxies that acknowledged it.
    pub acknowledged: usize,
    /// Connected proxies whose filter reports to run it.
    pub applied: usize,
    /// Connected proxies that acknowledged it and do not report to run another.
    pub converged: usize,
    /// Connected proxies, and those that were within the last minute.
    pub total: usize,
}

/// A proxy and what it runs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyView {
    /// Its node id.
    pub node: String,
    /// Its node cluster.
    pub cluster: String,
    /// The tenant whose rules it asks for.
    pub tenant: String,
    /// How it asks.
    pub protocol: String,
    /// Whether its stream is open.
    pub connected: bool,
    /// The revision that it should run.
    pub wanted: Option<u64>,
    /// The revision that it acknowledged last.
    pub acknowledged: Option<u64>,
    /// The revision that its filter reports to run.
    pub applied: Option<u64>,
    /// Whether its filter reports a configuration that it could not read.
    pub rejected_config: bool,
    /// What it refused last, and why.
    pub last_error: Option<String>,
    /// Seconds since its last message.
    pub age_seconds: f64,
}

/// Why a request gets its version.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplainView {
    /// The revision that decided; 0 when nothing is published yet.
    pub revision: u64,
    /// The service, when the host is known.
    pub service: Option<String>,
    /// The version; none for an unknown host, which gets what its route says.
    pub version: Option<String>,
    /// Whether that is the gray version.
    pub gray: bool,
    /// The header that the filter sets, and its value.
    pub header: Option<(String, String)>,
    /// `no-service`, `ambiguous`, `no-entry`, `excluded`, `included` or `percent`.
    pub reason: String,
    /// The plan whose rules were asked.
    pub plan: Option<String>,
    /// The entries that the request met, in order.
    pub steps: Vec<StepView>,
}

/// One entry that a request met.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// The dimension, or `all`.
    pub level: String,
    /// The request's value there.
    pub value: String,
    /// `exclude`, `gray` or a percentage.
    pub action: String,
    /// The stage that says so.
    pub stage: String,
    /// Whether it decided.
    pub decides: bool,
}

/// A published rule set.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RulesView {
    /// Its tenant.
    pub tenant: String,
    /// Its revision.
    pub revision: u64,
    /// XXH64 of its content in hexadecimal.
    pub content_hash: String,
    /// Its size in bytes.
    pub bytes: usize,
    /// Its content, for people.
    pub listing: String,
}

/// The baseline of a service, where an order changed it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BaselineView {
    /// Its tenant.
    pub tenant: String,
    /// The service.
    pub service: String,
    /// The version that requests get.
    pub version: String,
    /// The version that routes choose with no header.
    pub route_default: String,
}

// === impl OrderView ===

impl OrderView {
    pub(crate) fn new(order: &Order, convergence: Convergence, now: Timestamp) -> Self {
        let stages = &order.plan.spec.stages;
        let stage_name = |number: usize| stages.get(number).map(|stage| stage.name.clone());
        let services = order.plan.spec.services.iter().map(|service| {
            let state = order.services.get(&service.name).copied().unwrap_or_default();
            ServiceView {
                name: service.name.clone(),
                stable: service.stable.clone(),
                gray: service.gray.clone(),
                stage: state.stages_entered.checked_sub(1).and_then(stage_name),
                rolled_back: state.rolled_back,
            }
        });
        let stage = StageView {
            name: stage_name(order.stage).unwrap_or_default(),
            number: order.stage + 1,
            of: stages.len(),
            since: order.stage_since,
            hold_left_seconds: order.hold_left(now).as_secs().unsigned_abs(),
            scope: order
                .scope(order.stage)
                .and_then(|scope| serde_json::to_value(scope).ok())
                .unwrap_or_default(),
        };
        Self {
            id: order.id,
            tenant: order.tenant().to_owned(),
            plan: order.plan.metadata.name.clone(),
            content_hash: order.content_hash.clone(),
            phase: order.phase,
            stage,
            services: services.collect(),
            convergence,
            timeline: order.timeline.clone(),
            version: order.version,
        }
    }
}

// === impl OrderSummary ===

impl OrderSummary {
    pub(crate) fn new(order: &Order, convergence: Convergence) -> Self {
        let stage = StageSummary {
            name: order.current_stage().map(|stage| stage.name.clone()).unwrap_or_default(),
            number: order.stage + 1,
            of: order.plan.spec.stages.len(),
        };
        Self {
            id: order.id,
            tenant: order.tenant().to_owned(),
            plan: order.plan.metadata.name.clone(),
            phase: order.phase,
            stage,
            convergence,
            version: order.version,
        }
    }
}

// === impl Convergence ===

impl Convergence {
    /// Counts the proxies that ask for the rules of `tenant`: those that are connected, and those that were a moment ago.
    pub(crate) fn of(tenant: &str, wanted: u64, proxies: &[ProxyStatus]) -> Self {
        let mut counts = Self { wanted, ..Self::default() };
        let counts_still = |proxy: &&ProxyStatus| proxy.gone_for.is_none_or(|gone| gone < LAGGARD_GRACE);
        for proxy in proxies.iter().filter(|proxy| proxy.tenant == tenant).filter(counts_still) {
            let acknowledged =
                proxy.connected && proxy.acknowledged == Some(wanted) && proxy.last_error.is_none();
            let applied = proxy.applied.map(|applied| applied == wanted && !proxy.rejected_config);
            counts.total += 1;
            counts.acknowledged += usize::from(acknowledged);
            counts.applied += usize::from(applied == Some(true));
            counts.converged += usize::from(acknowledged && applied != Some(false));
        }
        counts
    }

    pub(crate) fn seen(self) -> Seen {
        Seen { converged: self.converged, total: self.total }
    }
}

impl From<ProxyStatus> for ProxyView {
    fn from(proxy: ProxyStatus) -> Self {
        let last_error = proxy.last_error.map(|nack| format!("revision {}: {}", nack.revision, nack.message));
        Self {
            node: proxy.node,
            cluster: proxy.cluster,
            tenant: proxy.tenant,
            protocol: proxy.protocol.to_string(),
            connected: proxy.connected,
            wanted: proxy.wanted,
            acknowledged: proxy.acknowledged,
            applied: proxy.applied,
            rejected_config: proxy.rejected_config,
            last_error,
            age_seconds: proxy.age.as_secs_f64(),
        }
    }
}

impl From<Explanation> for ExplainView {
    fn from(explanation: Explanation) -> Self {
        let step = |step: Step| {
            let Step { level, value, action, stage, ends } = step;
            StepView { level, value, action, stage, decides: ends }
        };
        Self {
            revision: explanation.revision,
            service: explanation.service,
            version: explanation.version,
            gray: explanation.is_gray,
            header: explanation.header,
            reason: explanation.verdict.label().to_owned(),
            plan: explanation.plan,
            steps: explanation.steps.into_iter().map(step).collect(),
        }
    }
}

impl From<Problem> for ProblemView {
    fn from(problem: Problem) -> Self {
        let message = match (problem.line, problem.column) {
            (Some(line), Some(column)) => format!("{} (line {line}, column {column})", problem.message),
            (Some(line), None) => format!("{} (line {line})", problem.message),
            _ => problem.message,
        };
        Self { path: problem.path, message }
    }
}
