//! What the API shows. Every field says what was observed, and nothing more.

mod gates;
mod health;
mod orders;
mod proxies;

pub use gates::{
    ApprovalView, ApprovedView, FreezeView, NextStageView, RetentionView, WaitsView, WindowView,
};
pub use health::{FiguresView, JudgedView, PointView, SeriesView, UnheardView};
pub(crate) use orders::TenantSeen;
pub use orders::{Convergence, FaultView, OrderSummary, OrderView, ServiceView, StageSummary, StageView};
pub use proxies::{NackView, ProxyPage, ProxyState, ProxyView};

use crate::audit::Head;
use graylane_plan::Problem;
use graylane_rules::{Explanation, Step};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Some records of the audit log, and its end.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// The end of the whole log.
    pub head: Head,
    /// The number of the last record here; the next page is behind it.
    pub last: u64,
    /// The records, oldest first, each the line of JSON that is stored: its hash is over these very bytes.
    pub records: Vec<String>,
}

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
