//! `/plans`.

use crate::api::action::{Action, answer};
use crate::api::problem::Problem;
use crate::api::request::{Path, Text, run};
use crate::daemon::{Daemon, PlanApplied, PlanSummary, PlanView};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use std::sync::Arc;

type Answer<T> = Result<Json<T>, Problem>;

/// Take a plan, in YAML or JSON: new, or in place of the one of its name.
#[utoipa::path(post, path = "/api/v1/plans", tag = "plans",
    request_body(content = String, content_type = "application/yaml"),
    params(("If-Match" = Option<String>, Header, description = "the version that the plan must have")),
    responses((status = 200, body = PlanApplied), (status = 412, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn apply(
    State(daemon): State<Arc<Daemon>>,
    action: Action<Text>,
) -> Result<Response, Problem> {
    let (actor, terms, Text(text)) = action.split()?;
    let done = run(daemon, move |daemon| daemon.apply_plan(&text, terms, actor)).await?;
    Ok(answer(done.map(Json)))
}

/// List all plans.
#[utoipa::path(get, path = "/api/v1/plans", tag = "plans", responses((status = 200, body = Vec<PlanSummary>)))]
pub(crate) async fn list(State(daemon): State<Arc<Daemon>>) -> Answer<Vec<PlanSummary>> {
    run(daemon, |daemon| Ok(daemon.plans())).await.map(Json)
}

/// Read a plan.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/plans/{name}", tag = "plans",
    params(("tenant" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = PlanView), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(daemon): State<Arc<Daemon>>,
    Path((tenant, name)): Path<(String, String)>,
) -> Answer<PlanView> {
    run(daemon, move |daemon| daemon.plan(&tenant, &name)).await.map(Json)
}

/// Delete a plan that no active order runs.
#[utoipa::path(delete, path = "/api/v1/tenants/{tenant}/plans/{name}", tag = "plans",
    params(("tenant" = String, Path), ("name" = String, Path), ("If-Match" = Option<String>, Header, description = "the version that the plan must have")),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem)))]
pub(crate) async fn delete(
    State(daemon): State<Arc<Daemon>>,
    Path((tenant, name)): Path<(String, String)>,
    action: Action<()>,
) -> Result<Response, Problem> {
    let (actor, terms, ()) = action.split()?;
    let done = run(daemon, move |daemon| daemon.delete_plan((&tenant, &name), terms, actor)).await?;
    Ok(answer(done.map(|()| StatusCode::NO_CONTENT)))
}
