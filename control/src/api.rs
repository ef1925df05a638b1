//! The HTTP API: `/api/v1`, with problem details after RFC 9457 for everything that is refused.

mod action;
mod audit;
mod browsers;
mod caller;
mod connections;
mod description;
mod events;
mod freezes;
mod lists;
mod metrics;
mod order_list;
mod orders;
mod plans;
mod probes;
mod problem;
mod proxies;
mod request;
mod rules;
mod webhooks;

use crate::caller::Tokens;
use crate::daemon::Daemon;
use crate::metrics::Metrics;
use crate::webhooks::Webhooks;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Router};
pub use connections::{Limits, serve};
use description::Everywhere;
pub use events::{MAX_STREAMS, Streams};
pub use probes::Readiness;
use std::sync::Arc;
use utoipa::OpenApi;

/// The description of the API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Graylane",
        version = "v1",
        description = "Release plans and orders for gray releases in an Envoy mesh. A change may carry `If-Match` with the \
            version that its caller saw; an older one is refused with 412. What is refused changed nothing. A daemon that has \
            tokens in its configuration wants one of them with every request, and takes its name for the audit log; \
            with none, everybody is `operator`."
    ),
    security((), ("bearer" = [])),
    modifiers(&Everywhere),
    paths(
        plans::apply,
        plans::list,
        plans::get,
        plans::delete,
        lists::put,
        lists::list,
        lists::get,
        lists::delete,
        orders::start,
        order_list::list,
        orders::get,
        events::many,
        events::one,
        orders::approve,
        orders::advance,
        orders::adjust,
        orders::rollback,
        orders::pause,
        orders::resume,
        orders::finish,
        orders::health,
        freezes::list,
        freezes::on,
        freezes::off,
        rules::explain,
        rules::get,
        rules::bytes,
        rules::retry,
        rules::baselines,
        rules::clear_baseline,
        proxies::list,
        proxies::get,
        audit::list,
        webhooks::list,
        webhooks::test,
    )
)]
struct ApiDoc;

/// The description of the API as JSON.
#[must_use]
pub fn openapi_json() -> String {
    ApiDoc::openapi().to_pretty_json().unwrap_or_default()
}

/// The API of `daemon` for the callers that `tokens` knows, with the streams of events that watch it and the webhooks that tell of
/// it; and its figures and its readiness, for everybody.
pub fn router(
    daemon: Arc<Daemon>,
    tokens: Arc<Tokens>,
    streams: Streams,
    webhooks: Arc<Webhooks>,
    metrics: Metrics,
    readiness: Readiness,
) -> Router {
    let v1 = Router::new()
        .route("/plans", post(plans::apply).get(plans::list))
        .route("/tenants/{tenant}/plans/{name}", get(plans::get).delete(plans::delete))
        .route("/lists", get(lists::list))
        .route("/tenants/{tenant}/lists/{name}", get(lists::get).put(lists::put).delete(lists::delete))
        .route("/orders", post(orders::start).get(order_list::list))
        .route("/orders/events", get(events::many))
        .route("/orders/{id}/events", get(events::one))
        .route("/orders/{id}", get(orders::get))
        .route("/orders/{id}/approve", post(orders::approve))
        .route("/orders/{id}/advance", post(orders::advance))
        .route("/orders/{id}/health", post(orders::health))
        .route("/freezes", get(freezes::list))
        .route("/tenants/{tenant}/freeze", put(freezes::on).delete(freezes::off))
        .route("/orders/{id}/adjust", post(orders::adjust))
        .route("/orders/{id}/rollback", post(orders::rollback))
        .route("/orders/{id}/pause", post(orders::pause))
        .route("/orders/{id}/resume", post(orders::resume))
        .route("/orders/{id}/finish", post(orders::finish))
        .route("/explain", get(rules::explain))
        .route("/tenants/{tenant}/rules", get(rules::get))
        .route("/tenants/{tenant}/rules/bytes", get(rules::bytes))
        .route("/tenants/{tenant}/rules/retry", post(rules::retry))
        .route("/baselines", get(rules::baselines))
        .route("/tenants/{tenant}/baselines/{service}", delete(rules::clear_baseline))
        .route("/proxies", get(proxies::list))
        .route("/proxies/{node}", get(proxies::get))
        .route("/audit", get(audit::list))
        .route("/webhooks", get(webhooks::list))
        .route("/webhooks/{name}/test", post(webhooks::test))
        .route_layer(from_fn_with_state(tokens, caller::authenticate))
        .route("/openapi.json", get(async || ([("content-type", "application/json")], openapi_json())))
        .layer(Extension(Arc::new(streams)))
        .layer(Extension(webhooks));
    Router::new()
        .nest("/api/v1", v1)
        .route("/metrics", get(metrics::get).with_state(metrics::Scraped::new(metrics)))
        .route_layer(from_fn(browsers::guard))
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(probes::ready).with_state(readiness.clone()))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(readiness, probes::send_away))
        .layer(tower_http::trace::TraceLayer::new_for_http())
        .with_state(daemon)
}
