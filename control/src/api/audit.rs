//! `/audit`.

use crate::api::problem::Problem;
use crate::api::request::{Query, bad_field, run};
use crate::daemon::{AuditPage, Daemon};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Records that a page has unless it is asked for more or fewer.
const DEFAULT_LIMIT: usize = 100;

/// Records that one page may have; it has fewer when they are large.
const MAX_LIMIT: usize = 1_000;

/// Which records to read.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    /// Those behind the record of this number.
    #[serde(default)]
    after: u64,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
}

/// Read the audit log, oldest records first, and its head.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(Range),
    responses((status = 200, body = AuditPage), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(daemon): State<Arc<Daemon>>,
    Query(Range { after, limit }): Query<Range>,
) -> Result<Json<AuditPage>, Problem> {
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(bad_field("limit", format!("{limit} is not 1 to {MAX_LIMIT}; read on with `after`")));
    }
    run(daemon, move |daemon| daemon.audit(after, limit)).await.map(Json)
}

const fn default_limit() -> usize {
    DEFAULT_LIMIT
}
