//! What the API shows of orders.

use crate::config::{LaggardPolicy, Laggards};
use crate::daemon::FreezeView;
use crate::daemon::views::JudgedView;
use crate::daemon::views::gates::{ApprovalView, NextStageView, RetentionView, WaitsView};
use graylane_order::{Actor, Fault, Freeze, Health, Order, Phase, Seen, Sight, TimelineEntry};
use graylane_xds::Standing;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

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
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub phase_since: Timestamp,
    /// What stands now, which approvals name: what was started, and the scopes that it was adjusted to since.
    pub standing_hash: String,
    /// The people whose work this is, who do not approve it.
    pub authors: Vec<String>,
    /// The names of all stages.
    pub stages: Vec<String>,
    /// The current stage.
    pub stage: StageView,
    /// The stage that comes next, if one does.
    pub next_stage: Option<NextStageView>,
    /// The approvals that were given and not made void, those of stages that were entered among them.
    pub approvals: Vec<ApprovalView>,
    /// The next thing that it waits for; none when it goes on at once, or came to its end.
    pub waits_for: Option<WaitsView>,
    /// How long the old version is kept, once all stages are done and if the plan says so.
    pub retention: Option<RetentionView>,
    /// The tenant's stopped line, while it is.
    pub freeze: Option<FreezeView>,
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
    /// The next thing that it waits for; none when it goes on at once, or came to its end.
    pub waits_for: Option<WaitsView>,
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
    /// How its gray version does: `Unknown`, `Healthy` or `Faulty`.
    #[schema(value_type = String)]
    pub health: Health,
    /// What is found of it now, while it is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<JudgedView>,
    /// Its last fault, if it had one: also when it was rolled back since, or found to do well again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fault: Option<FaultView>,
    /// Proxies that run the rules that the service should have.
    pub converged: usize,
    /// Proxies that should.
    pub total: usize,
}

/// A fault of a service, as its order was told.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FaultView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// By whom: `graylane` when it was found by figures.
    pub by: String,
    /// Why a person said so, in the person's words.
    pub reason: String,
    /// The figures that say so, in a sentence.
    pub figures: String,
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
    /// Connected proxies that acknowledged it, and do not report to run another or not to have read it.
    pub converged: usize,
    /// Connected proxies, and those that were a moment ago: within a minute, if the configuration says nothing else.
    pub total: usize,
    /// Connected proxies that lag for so long that the configuration does not count them any more.
    #[serde(default)]
    pub ignored: usize,
}

/// What the orders of a tenant see at one moment.
#[derive(Clone, Default)]
pub(crate) struct TenantSeen {
    pub(crate) convergence: Convergence,
    pub(crate) sight: Sight,
    /// The tenant's stopped line, while it is.
    pub(crate) freeze: Option<Arc<Freeze>>,
    /// When that was.
    pub(crate) at: Timestamp,
}

// === impl OrderView ===

impl OrderView {
    pub(crate) fn new(order: &Order, seen: &TenantSeen) -> Self {
        let TenantSeen { convergence, sight, ref freeze, at: now } = *seen;
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
                health: state.health,
                judged: None,
                last_fault: order.faults.get(&service.name).map(FaultView::from),
                converged: convergence.converged,
                total: convergence.total,
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
            phase_since: order.phase_since,
            standing_hash: order.standing_hash().to_owned(),
            authors: order.authors.iter().cloned().collect(),
            stages: stages.iter().map(|stage| stage.name.clone()).collect(),
            stage,
            next_stage: NextStageView::of(order, now),
            approvals: order.approvals.iter().map(|approval| ApprovalView::new(order, approval)).collect(),
            waits_for: order.waits_for(sight, now).map(WaitsView::from),
            retention: RetentionView::of(order),
            freeze: freeze.as_ref().map(|freeze| FreezeView::new(order.tenant(), freeze)),
            services: services.collect(),
            convergence,
            timeline: order.timeline.clone(),
            version: order.version,
        }
    }
}

// === impl FaultView ===

impl From<&Fault> for FaultView {
    fn from(Fault { at, actor: Actor { name, reason }, figures }: &Fault) -> Self {
        Self { at: *at, by: name.clone(), reason: reason.clone(), figures: figures.clone() }
    }
}

// === impl OrderSummary ===

impl OrderSummary {
    pub(crate) fn new(order: &Order, seen: &TenantSeen) -> Self {
        let TenantSeen { convergence, sight, at: now, .. } = *seen;
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
            waits_for: order.waits_for(sight, now).map(WaitsView::from),
            convergence,
            version: order.version,
        }
    }
}

// === impl Convergence ===

impl Convergence {
    /// Counts the proxies of a tenant, whose rules are wanted for so long.
    pub(crate) fn of(
        wanted: u64,
        proxies: impl IntoIterator<Item = Standing>,
        laggards: Laggards,
        wanted_for: Duration,
    ) -> Self {
        let mut counts = Self { wanted, ..Self::default() };
        let mut late = 0;
        for proxy in proxies.into_iter().filter(|proxy| laggards.counts(proxy)) {
            let is_connected = proxy.connected_for.is_some();
            let acknowledged = is_connected && proxy.acknowledged == Some(wanted) && !proxy.has_refused;
            let reads = !proxy.rejected_config;
            let applied = proxy.applied.map(|applied| applied == wanted && reads);
            let converged = acknowledged && reads && applied != Some(false);
            counts.total += 1;
            counts.acknowledged += usize::from(acknowledged);
            counts.applied += usize::from(applied == Some(true));
            counts.converged += usize::from(converged);
            if let LaggardPolicy::Ignore(after) = laggards.policy {
                late += usize::from(!converged && Laggards::is_late(&proxy, wanted_for, after));
            }
        }
        // Where nobody runs it, it is not the proxies that are late.
        if counts.converged > 0 {
            counts.ignored = late;
            counts.total -= late;
        }
        counts
    }

    /// Whether there are proxies, and every one of them runs it.
    pub(crate) fn is_complete(self) -> bool {
        self.total > 0 && self.converged >= self.total
    }

    pub(crate) fn seen(self) -> Seen {
        Seen { converged: self.converged, total: self.total }
    }
}
