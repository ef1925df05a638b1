//! `/freezes`, and the freeze of each tenant.

use crate::api::action::{Action, answer};
use crate::api::orders::Reason;
use crate::api::problem::Problem;
use crate::api::request::{Body, Path, run};
use crate::daemon::{Daemon, FreezeView};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::mem::take;
use std::sync::Arc;
use utoipa::ToSchema;

/// How a line is stopped.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stop {
    /// Roles whose people may act all the same.
    #[serde(default)]
    exempt: BTreeSet<String>,
    /// Why, for those who wait; at most 1,024 bytes.
    #[serde(default)]
    reason: String,
}

/// List the lines that are stopped.
#[utoipa::path(get, path = "/api/v1/freezes", tag = "freezes", responses((status = 200, body = Vec<FreezeView>)))]
pub(crate) async fn list(State(daemon): State<Arc<Daemon>>) -> Result<Json<Vec<FreezeView>>, Problem> {
    run(daemon, |daemon| Ok(daemon.freezes())).await.map(Json)
}

/// Stop a tenant's line: nothing goes forward, by itself or by hand; rolling back stays possible.
#[utoipa::path(put, path = "/api/v1/tenants/{tenant}/freeze", tag = "freezes", request_body = Stop, params(("tenant" = String, Path)),
    responses((status = 200, body = FreezeView), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn on(
    State(daemon): State<Arc<Daemon>>,
    Path(tenant): Path<String>,
    action: Action<Body<Stop>>,
) -> Result<Response, Problem> {
    let action = action.unversioned()?;
    let (actor, terms, Body(Stop { exempt, .. })) = action.split_with(|Body(stop)| take(&mut stop.reason))?;
    let done = run(daemon, move |daemon| daemon.freeze(&tenant, exempt, terms, actor)).await?;
    Ok(answer(done.map(Json)))
}

/// Start a tenant's line again.
#[utoipa::path(delete, path = "/api/v1/tenants/{tenant}/freeze", tag = "freezes", request_body = Reason, params(("tenant" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn off(
    State(daemon): State<Arc<Daemon>>,
    Path(tenant): Path<String>,
    action: Action<Body<Reason>>,
) -> Result<Response, Problem> {
    let (actor, terms, _) = action.unversioned()?.split_with(|Body(Reason { reason })| take(reason))?;
    let done = run(daemon, move |daemon| daemon.unfreeze(&tenant, terms, actor)).await?;
    Ok(answer(done.map(|()| StatusCode::NO_CONTENT)))
}
