//! `/lists`.

use crate::api::action::{Action, answer};
use crate::api::problem::Problem;
use crate::api::request::{Path, Text, run};
use crate::daemon::{Daemon, ListView};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use std::sync::Arc;

/// Take a named list, one id per line, or CSV with the ids in its first column: new, or in place of the one of its name.
#[utoipa::path(put, path = "/api/v1/tenants/{tenant}/lists/{name}", tag = "lists",
    request_body(content = String, content_type = "text/csv"),
    params(("tenant" = String, Path), ("name" = String, Path), ("If-Match" = Option<String>, Header, description = "the version that the list must have")),
    responses((status = 200, body = ListView), (status = 412, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn put(
    State(daemon): State<Arc<Daemon>>,
    Path((tenant, name)): Path<(String, String)>,
    action: Action<Text>,
) -> Result<Response, Problem> {
    let (actor, terms, Text(text)) = action.split()?;
    let done = run(daemon, move |daemon| daemon.put_list((&tenant, &name), text, terms, actor)).await?;
    Ok(answer(done.map(Json)))
}

/// List all named lists.
#[utoipa::path(get, path = "/api/v1/lists", tag = "lists", responses((status = 200, body = Vec<ListView>)))]
pub(crate) async fn list(State(daemon): State<Arc<Daemon>>) -> Result<Json<Vec<ListView>>, Problem> {
    run(daemon, |daemon| Ok(daemon.lists())).await.map(Json)
}

/// Read the ids of a named list, one per line.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/lists/{name}", tag = "lists",
    params(("tenant" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = String, content_type = "text/csv"), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(daemon): State<Arc<Daemon>>,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<([(&'static str, &'static str); 1], String), Problem> {
    let text = run(daemon, move |daemon| daemon.list(&tenant, &name)).await?;
    Ok(([("content-type", "text/csv; charset=utf-8")], text))
}

/// Delete a list that no plan names.
#[utoipa::path(delete, path = "/api/v1/tenants/{tenant}/lists/{name}", tag = "lists",
    params(("tenant" = String, Path), ("name" = String, Path), ("If-Match" = Option<String>, Header, description = "the version that the list must have")),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem)))]
pub(crate) async fn delete(
    State(daemon): State<Arc<Daemon>>,
    Path((tenant, name)): Path<(String, String)>,
    action: Action<()>,
) -> Result<Response, Problem> {
    let (actor, terms, ()) = action.split()?;
    let done = run(daemon, move |daemon| daemon.delete_list((&tenant, &name), terms, actor)).await?;
    Ok(answer(done.map(|()| StatusCode::NO_CONTENT)))
}
