//! The published rules.

use crate::api::action::{Action, answer};
use crate::api::problem::Problem;
use crate::api::request::{Path, Query, bad_field, run};
use crate::daemon::{BaselineView, Daemon, ExplainView, RulesView};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Tell which version a request gets, and why. `host` is its `:authority`; every other parameter but `tenant` is the
/// value of the dimension of that name, e.g. `teller`.
#[utoipa::path(get, path = "/api/v1/explain", tag = "rules",
    params(("host" = String, Query), ("tenant" = Option<String>, Query, description = "may be left out while there is one tenant"),
        ("teller" = Option<String>, Query), ("branch" = Option<String>, Query), ("region" = Option<String>, Query)),
    responses((status = 200, body = ExplainView), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn explain(
    State(daemon): State<Arc<Daemon>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<ExplainView>, Problem> {
    let (mut host, mut tenant, mut dimensions) = (None, None, Vec::new());
    for (name, value) in query {
        match name.as_str() {
            "host" => host = Some(value),
            "tenant" => tenant = Some(value),
            _ => dimensions.push((name, value)),
        }
    }
    let missing = || bad_field("host", "it is missing; give the request's :authority");
    let host = host.ok_or_else(missing)?;
    let explain = move |daemon: &Daemon| daemon.explain(&daemon.only_tenant(tenant)?, &host, &dimensions);
    run(daemon, explain).await.map(Json)
}

/// Read a tenant's published rules, for people.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/rules", tag = "rules", params(("tenant" = String, Path)),
    responses((status = 200, body = RulesView), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(daemon): State<Arc<Daemon>>,
    Path(tenant): Path<String>,
) -> Result<Json<RulesView>, Problem> {
    run(daemon, move |daemon| daemon.rules(&tenant)).await.map(Json)
}

/// Read a tenant's published rules, as the proxies get them.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/rules/bytes", tag = "rules", params(("tenant" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 404, body = Problem)))]
pub(crate) async fn bytes(
    State(daemon): State<Arc<Daemon>>,
    Path(tenant): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    run(daemon, move |daemon| daemon.rules_bytes(&tenant)).await
}

/// Publish a tenant's rules anew that a proxy refused, because what was wrong with the proxy is mended.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/rules/retry", tag = "rules", params(("tenant" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn retry(
    State(daemon): State<Arc<Daemon>>,
    Path(tenant): Path<String>,
    action: Action<()>,
) -> Result<Response, Problem> {
    let (actor, terms, ()) = action.unversioned()?.split()?;
    let done = run(daemon, move |daemon| daemon.retry_rules(&tenant, terms, actor)).await?;
    Ok(answer(done.map(|()| StatusCode::NO_CONTENT)))
}

/// List the baselines that finished orders left.
#[utoipa::path(get, path = "/api/v1/baselines", tag = "rules", responses((status = 200, body = Vec<BaselineView>)))]
pub(crate) async fn baselines(State(daemon): State<Arc<Daemon>>) -> Result<Json<Vec<BaselineView>>, Problem> {
    run(daemon, |daemon| Ok(daemon.baselines())).await.map(Json)
}

/// Forget a service's baseline: its routes choose that version with no header now.
#[utoipa::path(delete, path = "/api/v1/tenants/{tenant}/baselines/{service}", tag = "rules",
    params(("tenant" = String, Path), ("service" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn clear_baseline(
    State(daemon): State<Arc<Daemon>>,
    Path((tenant, service)): Path<(String, String)>,
    action: Action<()>,
) -> Result<Response, Problem> {
    let (actor, terms, ()) = action.unversioned()?.split()?;
    let done = run(daemon, move |daemon| daemon.clear_baseline(&tenant, &service, terms, actor)).await?;
    Ok(answer(done.map(|()| StatusCode::NO_CONTENT)))
}
