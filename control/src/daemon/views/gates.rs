//! What the API shows of gates, and of what orders wait for.

use graylane_order::{Approval, Approved, Freeze, Order, Retention, Waiting, WaitsFor};
use graylane_plan::RetentionEnd;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The next thing that an order waits for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitsView {
    /// What kind of thing: `proxies`, `health`, `settling`, `hold`, `approval`, `window`, `thaw`, `resume`, `advance`, `finish` or
    /// `retention`.
    pub kind: String,
    /// What, in words.
    pub what: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// The stage that comes next, and its gate.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextStageView {
    /// Its name.
    pub name: String,
    /// Its number, from 1.
    pub number: usize,
    /// Since when it is entered as soon as its gate opens; none when nobody asked for that yet.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub awaited_since: Option<Timestamp>,
    /// The approvals that it needs.
    pub approvals: Vec<ApprovedView>,
    /// Its window, if it has one.
    pub window: Option<WindowView>,
}

/// How far one kind of approval is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovedView {
    /// The role of the people who have to approve.
    pub role: String,
    /// How many have to.
    pub count: usize,
    /// Who did.
    pub by: Vec<String>,
}

/// A window, now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowView {
    /// Whether it is open.
    pub open: bool,
    /// When it opens next; none when that is more than a year away.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub opens: Option<Timestamp>,
}

/// An approval that somebody gave.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalView {
    /// The stage's name.
    pub stage: String,
    /// The person.
    pub name: String,
    /// The role in which the person approved.
    pub role: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What was approved: the order's standing hash then.
    pub hash: String,
}

/// How long the old version is kept.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionView {
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// `stay` or `finish`: what happens then.
    pub at_end: String,
    /// Whether that time is over.
    pub over: bool,
}

/// A tenant's stopped line.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreezeView {
    /// The tenant.
    pub tenant: String,
    /// Who stopped it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Roles whose people may act all the same.
    pub exempt: Vec<String>,
}

// === impl WaitsView ===

impl From<Waiting> for WaitsView {
    fn from(Waiting { waits_for, since }: Waiting) -> Self {
        Self { kind: kind(&waits_for).to_owned(), what: waits_for.to_string(), since }
    }
}

const fn kind(waits_for: &WaitsFor) -> &'static str {
    match waits_for {
        WaitsFor::Proxies(_) => "proxies",
        WaitsFor::Health { .. } => "health",
        WaitsFor::Verdict { .. } => "verdict",
        WaitsFor::Settling { .. } => "settling",
        WaitsFor::Hold { .. } => "hold",
        WaitsFor::Approval { .. } => "approval",
        WaitsFor::Window { .. } => "window",
        WaitsFor::Thaw => "thaw",
        WaitsFor::Resume => "resume",
        WaitsFor::Advance { .. } => "advance",
        WaitsFor::Finish => "finish",
        WaitsFor::Retention { .. } => "retention",
    }
}

// === impl NextStageView ===

impl NextStageView {
    /// The stage that comes next in an order, if one does.
    pub(crate) fn of(order: &Order, now: Timestamp) -> Option<Self> {
        let stage = order.next_stage()?;
        let spec = order.plan.spec.stages.get(stage)?;
        let window = order.window(stage);
        Some(Self {
            name: spec.name.clone(),
            number: stage + 1,
            awaited_since: order.awaited.map(|awaited| awaited.since),
            approvals: order.approved(stage).into_iter().map(ApprovedView::from).collect(),
            window: window
                .map(|window| WindowView { open: window.is_open(now), opens: window.opens_after(now) }),
        })
    }
}

// === impl ApprovedView ===

impl From<Approved> for ApprovedView {
    fn from(Approved { role, by, count }: Approved) -> Self {
        Self { role, count, by }
    }
}

// === impl ApprovalView ===

impl ApprovalView {
    pub(crate) fn new(order: &Order, approval: &Approval) -> Self {
        let Approval { stage, name, role, at, hash } = approval.clone();
        let stage = order.plan.spec.stages.get(stage).map(|stage| stage.name.clone()).unwrap_or_default();
        Self { stage, name, role, at, hash }
    }
}

// === impl RetentionView ===

impl RetentionView {
    pub(crate) fn of(order: &Order) -> Option<Self> {
        let Retention { until, over, .. } = order.retention?;
        let at_end = match order.plan.spec.at_retention_end {
            Some(RetentionEnd::Finish) => "finish",
            Some(RetentionEnd::Stay) | None => "stay",
        };
        Some(Self { until, at_end: at_end.to_owned(), over })
    }
}

// === impl FreezeView ===

impl FreezeView {
    pub(crate) fn new(tenant: &str, freeze: &Freeze) -> Self {
        let Freeze { actor, since, exempt } = freeze.clone();
        let exempt = exempt.into_iter().collect();
        Self { tenant: tenant.to_owned(), by: actor.name, reason: actor.reason, since, exempt }
    }
}
