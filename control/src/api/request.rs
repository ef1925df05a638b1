//! What a request carries: its body, within a limit, and the version that its caller saw.

use crate::api::problem::Problem;
use crate::daemon::{ActionError, Daemon};
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use futures::StreamExt as _;
use graylane_order::Actor;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Bytes of a body: the longest list, and more than the longest plan.
pub(crate) const MAX_BODY_BYTES: usize = graylane_plan::MAX_LIST_BYTES;

/// Bytes of a body with an action.
const MAX_ACTION_BYTES: usize = graylane_plan::MAX_PLAN_BYTES;

/// A body as text.
pub(crate) struct Text(pub(crate) String);

/// A body as JSON of a known shape.
pub(crate) struct Body<T>(pub(crate) T);

/// The version in `If-Match`, when there is one.
pub(crate) struct IfMatch(pub(crate) Option<u64>);

/// The variable parts of a path.
pub(crate) struct Path<T>(pub(crate) T);

/// The query.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = extract::Path::from_request_parts(parts, state).await;
        path.map(|extract::Path(path)| Self(path)).map_err(|error| bad_request(error.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = extract::Query::from_request_parts(parts, state).await;
        query.map(|extract::Query(query)| Self(query)).map_err(|error| bad_request(error.body_text()))
    }
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read(request, MAX_BODY_BYTES).await.map(Self)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let is_json = request
            .headers()
            .get("content-type")
            .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        if !is_json {
            let detail = "content-type has to be application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported media type", detail));
        }
        let text = read(request, MAX_ACTION_BYTES).await?;
        let invalid = |error: serde_json::Error| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", error.to_string())
        };
        serde_json::from_str(&text).map(Self).map_err(invalid)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("if-match") else { return Ok(Self(None)) };
        let version = value.to_str().ok().and_then(|value| value.trim().trim_matches('"').parse().ok());
        let detail =
            format!("if-match: {value:?} is no version; give the number, in quotes, that a read showed");
        version.map(|version| Self(Some(version))).ok_or_else(|| bad_request(detail))
    }
}

/// Reads a body. One that is too large is read on for a while, and thrown away, because a client that is still sending
/// would see a broken connection instead of the answer.
async fn read(request: Request, limit: usize) -> Result<String, Problem> {
    let mut chunks = request.into_body().into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| bad_request(format!("body: {error}")))?;
        length += chunk.len();
        match length {
            length if length <= limit => bytes.extend_from_slice(&chunk),
            length if length > 2 * limit => break,
            _ => bytes.clear(),
        }
    }
    if length > limit {
        let detail = format!(
            "body: it is over the limit of {limit} bytes; put long id lists into named lists, and split those"
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body too large", detail));
    }
    String::from_utf8(bytes)
        .map_err(|error| bad_request(format!("body: byte {} is no UTF-8", error.utf8_error().valid_up_to())))
}

fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad request", detail)
}

/// Runs an action where it may block: it compiles, and waits for the disk.
pub(crate) async fn run<T: Send + 'static>(
    daemon: Arc<Daemon>,
    action: impl FnOnce(&Daemon) -> Result<T, ActionError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(move || action(&daemon)).await {
        Ok(done) => done.map_err(Problem::from),
        Err(_) => {
            let detail = "the action ended unexpectedly; nothing changed, please report this";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error", detail))
        }
    }
}

/// Who acts. Until callers have names, it is whoever may reach the API.
pub(crate) fn actor(reason: String) -> Actor {
    Actor { name: "operator".into(), reason }
}
