//! Problem details, after RFC 9457.

use crate::daemon::{ActionError, ProblemView};
use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use graylane_order::Refused;
use graylane_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

/// When to come again to a daemon that cannot do it now: nothing here heals faster.
const RETRY_SECONDS: &str = "10";

/// Why a request was refused or failed. Nothing changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The HTTP status.
    status: u16,
    /// What kind of problem it is, the same for all of its kind.
    title: &'static str,
    /// What is wrong, and what to do.
    detail: String,
    /// Each wrong field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ProblemView>,
}

// === impl Problem ===

impl Problem {
    pub(crate) fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status: status.as_u16(), title, detail: detail.into(), errors: Vec::new() }
    }

    /// A problem of one field; the path is empty when it is of the whole.
    pub(crate) fn of_field(status: StatusCode, title: &'static str, field: ProblemView) -> Self {
        let detail = match field.path.as_str() {
            "" => field.message.clone(),
            path => format!("{path}: {}", field.message),
        };
        Self { errors: vec![field], ..Self::new(status, title, detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (status, [("content-type", "application/problem+json")], Json(self)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"graylane\""));
        }
        response
    }
}

impl From<ActionError> for Problem {
    fn from(error: ActionError) -> Self {
        use StatusCode as S;
        let (status, title) = match &error {
            ActionError::NotFound { .. } => (S::NOT_FOUND, "not found"),
            ActionError::Invalid { .. } => (S::UNPROCESSABLE_ENTITY, "invalid"),
            ActionError::Held { .. } => (S::CONFLICT, "service held by another order"),
            ActionError::InUse { .. } => (S::CONFLICT, "in use"),
            ActionError::Stale { .. } => (S::PRECONDITION_FAILED, "stale version"),
            ActionError::KeyReused => (S::UNPROCESSABLE_ENTITY, "idempotency key reused"),
            ActionError::TooMany { .. } => (S::CONFLICT, "limit reached"),
            ActionError::Refused(
                Refused::UnknownService { .. } | Refused::Reason { .. } | Refused::Figures { .. },
            ) => (S::UNPROCESSABLE_ENTITY, "invalid"),
            ActionError::Refused(Refused::Author { .. } | Refused::Role { .. }) => {
                (S::FORBIDDEN, "not theirs to approve")
            }
            ActionError::Refused(Refused::OtherContent { .. }) => (S::PRECONDITION_FAILED, "other content"),
            ActionError::Refused(Refused::Frozen { .. }) => (S::CONFLICT, "line stopped"),
            ActionError::Refused(_) => (S::CONFLICT, "refused in this phase"),
            ActionError::Rules { .. } => (S::UNPROCESSABLE_ENTITY, "rules cannot be compiled"),
            ActionError::TenantChanged { .. } => (S::CONFLICT, "tenant changed"),
            ActionError::Publish(_) => (S::UNPROCESSABLE_ENTITY, "cannot be published"),
            ActionError::Store(StoreError::Conflict { .. }) => (S::CONFLICT, "changed in the meantime"),
            ActionError::Store(StoreError::Full { .. }) => (S::INSUFFICIENT_STORAGE, "store full"),
            ActionError::Store(StoreError::TooLarge { .. }) => (S::UNPROCESSABLE_ENTITY, "too large"),
            ActionError::Store(_) => (S::SERVICE_UNAVAILABLE, "store failed"),
            ActionError::Unloadable { .. } | ActionError::Unreadable { .. } => {
                (S::INTERNAL_SERVER_ERROR, "internal error")
            }
        };
        if status.is_server_error() {
            tracing::error!(error = %chain(&error), "an action failed");
        }
        let detail = chain(&error);
        let errors = match error {
            ActionError::Invalid { problems, .. } => problems.into_iter().map(ProblemView::from).collect(),
            _ => Vec::new(),
        };
        Self { errors, ..Self::new(status, title, detail) }
    }
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

pub(crate) async fn no_such_path(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}; see /api/v1/openapi.json", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not found", detail)
}

pub(crate) async fn method_not_allowed(uri: Uri) -> Problem {
    let detail = format!("{} does not know this method; see /api/v1/openapi.json", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed", detail)
}
