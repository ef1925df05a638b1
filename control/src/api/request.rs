//! What a request carries: its body, within a limit, and the version that its caller saw.

use crate::api::problem::Problem;
use crate::daemon::{ActionError, Daemon, ProblemView};
use axum::extract::{self, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a body: the longest list, and more than the longest plan.
pub(crate) const MAX_BODY_BYTES: usize = graylane_plan::MAX_LIST_BYTES;

/// Bytes of a body with an action.
const MAX_ACTION_BYTES: usize = graylane_plan::MAX_PLAN_BYTES;

/// How long a body may take to come: the longest list on a slow line. Clients that send nothing are not waited for, and
/// what an action takes after that is just awaited.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// What a body may be.
pub(crate) trait Carried: Sized {
    /// Its bytes; 0 when there is none to be read.
    const MAX_BYTES: usize;

    /// Refuses what the headers say already.
    fn check(_: &HeaderMap) -> Result<(), Problem> {
        Ok(())
    }

    /// What it says.
    fn read(text: String) -> Result<Self, Problem>;
}

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

impl Carried for () {
    const MAX_BYTES: usize = 0;

    fn read(_: String) -> Result<Self, Problem> {
        Ok(())
    }
}

impl Carried for Text {
    const MAX_BYTES: usize = MAX_BODY_BYTES;

    fn read(text: String) -> Result<Self, Problem> {
        Ok(Self(text))
    }
}

impl<T: DeserializeOwned> Carried for Body<T> {
    const MAX_BYTES: usize = MAX_ACTION_BYTES;

    fn check(headers: &HeaderMap) -> Result<(), Problem> {
        let is_json = headers
            .get("content-type")
            .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        let detail = "content-type has to be application/json";
        let refused = || Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported media type", detail);
        is_json.then_some(()).ok_or_else(refused)
    }

    fn read(text: String) -> Result<Self, Problem> {
        parse(&text)
            .map(Self)
            .map_err(|field| Problem::of_field(StatusCode::UNPROCESSABLE_ENTITY, "invalid", field))
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

/// Parses JSON, and names the field that is wrong.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ProblemView> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| ProblemView {
        // The whole is written as a dot, and a place that has no name as a question mark.
        path: error.path().to_string().trim_end_matches(['.', '?']).to_owned(),
        message: error.inner().to_string(),
    })?;
    json.end().map_err(|error| ProblemView { path: String::new(), message: error.to_string() })?;
    Ok(value)
}

/// Reads a body that has to be there in time.
pub(crate) async fn read_in(time: Duration, request: Request, limit: usize) -> Result<String, Problem> {
    tokio::time::timeout(time, read(request, limit)).await.unwrap_or_else(|_| {
        let detail = format!(
            "body: it did not come whole within {} s; nothing changed, send it again",
            time.as_secs()
        );
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body too slow", detail))
    })
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
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let (byte, line) = (valid.len(), 1 + valid.iter().filter(|byte| **byte == b'\n').count());
        let cure = "save it as UTF-8, which spreadsheets call \"CSV UTF-8\"";
        bad_request(format!("body: byte {byte}, in line {line}, is no UTF-8; {cure}"))
    })
}

/// Reads a body on for a while and throws it away, so that its sender sees the answer.
pub(crate) async fn discard(request: Request) {
    let mut chunks = request.into_body().into_data_stream();
    let reading = async {
        let mut length = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            length += chunk.len();
            if length > MAX_BODY_BYTES {
                break;
            }
        }
    };
    // Whoever is slower than that will not miss the answer.
    let _ = tokio::time::timeout(BODY_TIMEOUT, reading).await;
}

fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad request", detail)
}

/// A request with one bad parameter.
pub(crate) fn bad_field(path: &str, message: impl Into<String>) -> Problem {
    let field = ProblemView { path: path.into(), message: message.into() };
    Problem::of_field(StatusCode::BAD_REQUEST, "bad request", field)
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body as Bytes, to_bytes};
    use axum::response::IntoResponse as _;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let stalled = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        let request = Request::new(Bytes::from_stream(stalled));
        let refused = read_in(Duration::from_millis(1), request, 10).await.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(refused.headers().get("content-type").unwrap(), "application/problem+json");
        let problem: Value =
            serde_json::from_slice(&to_bytes(refused.into_body(), 1_000).await.unwrap()).unwrap();
        assert_eq!((&problem["status"], &problem["title"]), (&json!(408), &json!("body too slow")));
    }
}
