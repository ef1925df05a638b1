//! `/webhooks`.

use crate::api::action::Action;
use crate::api::problem::Problem;
use crate::api::request::Path;
use crate::webhooks::{NotTried, WebhookTried, WebhookView, Webhooks};
use axum::http::StatusCode;
use axum::{Extension, Json};
use std::sync::Arc;

/// List the webhooks of the configuration, and how each of them stands.
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "webhooks", responses((status = 200, body = Vec<WebhookView>)))]
pub(crate) async fn list(Extension(webhooks): Extension<Arc<Webhooks>>) -> Json<Vec<WebhookView>> {
    Json(webhooks.views())
}

/// Try a webhook: its receiver is told that somebody tries it, in the place of an event. That is done between two deliveries, so it may
/// take a minute when the receiver hangs and others try it, too.
#[utoipa::path(post, path = "/api/v1/webhooks/{name}/test", tag = "webhooks", params(("name" = String, Path)),
    responses((status = 200, body = WebhookTried), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn test(
    Extension(webhooks): Extension<Arc<Webhooks>>,
    Path(name): Path<String>,
    action: Action<()>,
) -> Result<Json<WebhookTried>, Problem> {
    let action = action.unversioned()?;
    webhooks.test(&name, &action.caller.name).await.map(Json).map_err(Problem::from)
}

impl From<NotTried> for Problem {
    fn from(error: NotTried) -> Self {
        let (status, title) = match &error {
            NotTried::Unknown { .. } => (StatusCode::NOT_FOUND, "not found"),
            NotTried::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "tried already"),
            NotTried::Ending => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
        };
        Self::new(status, title, error.to_string())
    }
}
