//! `/metrics`: what Prometheus reads. It wants no token, as the probes do: there are figures in it, of
//! tenants and judged services too, and no name of a person or a proxy.

use crate::api::problem::Problem;
use crate::metrics::{Format, Metrics};
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use tokio::sync::Mutex;

/// What is scraped. One scrape is answered at a time: each counts all proxies and orders, and anybody may ask.
#[derive(Clone)]
pub(crate) struct Scraped(Arc<Mutex<Arc<Metrics>>>);

// === impl Scraped ===

impl Scraped {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(metrics))))
    }
}

pub(crate) async fn get(
    State(Scraped(metrics)): State<Scraped>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = format(&headers);
    let metrics = metrics.lock().await;
    let counted = Arc::clone(&metrics);
    let written = tokio::task::spawn_blocking(move || counted.write(format)).await;
    drop(metrics);
    match written {
        Ok(Ok(text)) => Ok(([(CONTENT_TYPE, format.content_type())], text).into_response()),
        _ => {
            let detail = "the figures cannot be written; please report this";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error", detail))
        }
    }
}

/// OpenMetrics for whoever names it, whatever else he takes: Prometheus likes it best.
fn format(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    match accepted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.trim().starts_with("application/openmetrics-text"))
    {
        true => Format::OpenMetrics,
        false => Format::Text,
    }
}
