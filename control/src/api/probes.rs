//! Whether new callers should come: `/readyz`, and what those hear who are there.

use axum::extract::{Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the daemon wants new callers: from the opening of its port until it is told to end. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    has_left: Arc<AtomicBool>,
}

// === impl Readiness ===

impl Readiness {
    /// Says that nobody should come any more. Who comes all the same is served.
    pub fn leave(&self) {
        self.has_left.store(true, Ordering::Relaxed);
    }

    fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Relaxed)
    }
}

/// Lets whoever asks on a connection that is kept open ask elsewhere next time. It would hear of the end in the middle of a call.
pub(crate) async fn send_away(State(readiness): State<Readiness>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if readiness.has_left() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pub(crate) async fn ready(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    match readiness.has_left() {
        false => (StatusCode::OK, "ok"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    }
}
