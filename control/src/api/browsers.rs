//! What keeps browsers from harm: no cache holds an answer, and no page of somebody else acts with a visitor's reach.

use crate::api::problem::Problem;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// Refuses what pages of other origins ask, and says that nobody should keep the answer.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match is_foreign(request.headers()) {
        false => next.run(request).await,
        true => {
            let detail = "a page of another origin asks; the API is for its own pages and for programs";
            Problem::new(StatusCode::FORBIDDEN, "foreign origin", detail).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether a browser says that the page which asks came from elsewhere. Programs say nothing of the kind. The daemon is
/// reached on loopback, and any page that somebody looks at could post there.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    !origin.zip(host).is_some_and(|((_, origin), host)| origin.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_the_daemon_itself_or_a_program_may_ask() {
        let ask = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("127.0.0.1:18080"))]);
            headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
            is_foreign(&headers)
        };
        assert!(!ask(None) && !ask(Some("http://127.0.0.1:18080")));
        for foreign in ["null", "https://evil.example", "http://127.0.0.1:8080", "http://127.0.0.1"] {
            assert!(ask(Some(foreign)), "{foreign}");
        }
    }
}
