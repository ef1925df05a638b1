//! `/readyz`: whether new callers should come.

use axum::extract::State;
use axum::http::StatusCode;
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
}

pub(crate) async fn ready(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    match readiness.has_left.load(Ordering::Relaxed) {
        false => (StatusCode::OK, "ok"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    }
}
