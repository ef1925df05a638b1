//! `/orders`.

use crate::api::action::{Action, answer};
use crate::api::problem::Problem;
use crate::api::request::{Body, Path, run};
use crate::daemon::{Daemon, OrderAction, OrderView, StartOrder};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use graylane_order::Health;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

type Answer = Result<Json<OrderView>, Problem>;
type Acted = Result<Response, Problem>;

/// Why something is done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    /// In the person's words, for the timeline; at most 1,024 bytes.
    #[serde(default)]
    pub(crate) reason: String,
}

/// Another scope for the current stage.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adjustment {
    /// The scope, in YAML or JSON.
    scope: String,
    /// Why, for the timeline.
    #[serde(default)]
    reason: String,
}

/// What is approved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    /// The stage's name: it has to be the one that comes next.
    stage: String,
    /// The role in which the caller approves; none takes one that is still needed.
    #[serde(default)]
    role: Option<String>,
    /// What is approved: the order's `standingHash`, as the caller saw it.
    content: String,
    /// Why, for the timeline.
    #[serde(default)]
    reason: String,
}

/// How the gray version of a service does.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Judgement {
    /// The service.
    service: String,
    /// `Healthy`, `Faulty` or `Unknown`.
    #[schema(value_type = String)]
    health: Health,
    /// The figures that say so; at most 1,024 bytes.
    #[serde(default)]
    figures: String,
    /// Why, for the timeline.
    #[serde(default)]
    reason: String,
}

/// What to roll back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Rollback {
    /// The services; none means all.
    #[serde(default)]
    services: Vec<String>,
    /// Whether services that depend on a chosen one stay where they are.
    #[serde(default)]
    keep_dependents: bool,
    /// Why, for the timeline.
    #[serde(default)]
    reason: String,
}

/// Start an order: its first stage is published.
#[utoipa::path(post, path = "/api/v1/orders", tag = "orders", request_body = StartOrder,
    responses((status = 200, body = OrderView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn start(State(daemon): State<Arc<Daemon>>, action: Action<Body<StartOrder>>) -> Acted {
    let action = action.unversioned()?;
    let (actor, terms, Body(start)) = action.split_with(|Body(start)| std::mem::take(&mut start.reason))?;
    let done = run(daemon, move |daemon| daemon.start_order(start, terms, actor)).await?;
    Ok(answer(done.map(Json)))
}

/// Read an order.
#[utoipa::path(get, path = "/api/v1/orders/{id}", tag = "orders", params(("id" = u64, Path)),
    responses((status = 200, body = OrderView), (status = 404, body = Problem)))]
pub(crate) async fn get(State(daemon): State<Arc<Daemon>>, Path(id): Path<u64>) -> Answer {
    run(daemon, move |daemon| daemon.order(id)).await.map(Json)
}

/// Approve the stage that comes next, as it stands. An order that waits for it goes on.
#[utoipa::path(post, path = "/api/v1/orders/{id}/approve", tag = "orders", request_body = Approval,
    params(("id" = u64, Path), ("If-Match" = Option<String>, Header, description = "the version that the order must have")),
    responses((status = 200, body = OrderView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem)))]
pub(crate) async fn approve(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<u64>,
    action: Action<Body<Approval>>,
) -> Acted {
    act(daemon, id, action, |Body(Approval { stage, role, content: hash, reason })| {
        (OrderAction::Approve { stage, role, hash }, reason)
    })
    .await
}

/// Go to the next stage, once its gate is open.
#[utoipa::path(post, path = "/api/v1/orders/{id}/advance", tag = "orders", request_body = Reason,
    params(("id" = u64, Path), ("If-Match" = Option<String>, Header, description = "the version that the order must have")),
    responses((status = 200, body = OrderView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem)))]
pub(crate) async fn advance(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<u64>,
    action: Action<Body<Reason>>,
) -> Acted {
    act(daemon, id, action, |Body(Reason { reason })| (OrderAction::Advance, reason)).await
}

/// Change the current stage's scope now, to any other.
#[utoipa::path(post, path = "/api/v1/orders/{id}/adjust", tag = "orders", request_body = Adjustment,
    params(("id" = u64, Path), ("If-Match" = Option<String>, Header, description = "the version that the order must have")),
    responses((status = 200, body = OrderView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn adjust(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<u64>,
    action: Action<Body<Adjustment>>,
) -> Acted {
    act(daemon, id, action, |Body(Adjustment { scope, reason })| (OrderAction::Adjust { scope }, reason))
        .await
}

/// Advance no more; the published rules stay.
#[utoipa::path(post, path = "/api/v1/orders/{id}/pause", tag = "orders", request_body = Reason,
    params(("id" = u64, Path), ("If-Match" = Option<String>, Header, description = "the version that the order must have")),
    responses((status = 200, body = OrderView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem)))]
pub(crate) async fn pause(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<u64>,
    action: Action<Body<Reason>>,
) -> Acted {
    act(daemon, id, action, |Body(Reason { reason })| (OrderAction::Pause, reason)).await
}

/// End a pause.
#[utoipa::path(post, path = "/api/v1/orders/{id}/resume", tag = "orders", request_body = Reason,
    params(("id" = u64, Path), ("If-Match" = Option<String>, Header, description = "the version that the order must have")),
    responses((status = 200, body = OrderView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem)))]
pub(crate) async fn resume(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<u64>,
    action: Action<Body<Reason>>,
) -> Acted {
    act(daemon, id, action, |Body(Reason { reason })| (OrderAction::Resume, reason)).await
}

/// Put services back to their baseline, in one publish.
#[utoipa::path(post, path = "/api/v1/orders/{id}/rollback", tag = "orders", request_body = Rollback,
    params(("id" = u64, Path), ("If-Match" = Option<String>, Header, description = "the version that the order must have")),
    responses((status = 200, body = OrderView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn rollback(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<u64>,
    action: Action<Body<Rollback>>,
) -> Acted {
    act(daemon, id, action, |Body(Rollback { services, keep_dependents, reason })| {
        (OrderAction::Rollback { services, keep_dependents }, reason)
    })
    .await
}

/// End the gray period: the gray versions become the baselines.
#[utoipa::path(post, path = "/api/v1/orders/{id}/finish", tag = "orders", request_body = Reason,
    params(("id" = u64, Path), ("If-Match" = Option<String>, Header, description = "the version that the order must have")),
    responses((status = 200, body = OrderView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem)))]
pub(crate) async fn finish(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<u64>,
    action: Action<Body<Reason>>,
) -> Acted {
    act(daemon, id, action, |Body(Reason { reason })| (OrderAction::Finish, reason)).await
}

/// Judge how the gray version of a service does. A fault stops the order, and does what its plan says of faults.
#[utoipa::path(post, path = "/api/v1/orders/{id}/health", tag = "orders", request_body = Judgement,
    params(("id" = u64, Path), ("If-Match" = Option<String>, Header, description = "the version that the order must have")),
    responses((status = 200, body = OrderView), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn health(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<u64>,
    action: Action<Body<Judgement>>,
) -> Acted {
    act(daemon, id, action, |Body(Judgement { service, health, figures, reason })| {
        (OrderAction::Health { service, health, figures, judged: None }, reason)
    })
    .await
}

/// Does with an order what the body says, for the reason that it gives.
async fn act<T>(
    daemon: Arc<Daemon>,
    id: u64,
    asked: Action<T>,
    read: impl FnOnce(T) -> (OrderAction, String),
) -> Acted {
    let (actor, terms, (action, _)) = asked.map(read).split_with(|(_, reason)| std::mem::take(reason))?;
    let done = run(daemon, move |daemon| daemon.act(id, action, actor, terms)).await?;
    Ok(answer(done.map(Json)))
}
