//! `/orders`: which there are.

use crate::api::problem::Problem;
use crate::api::request::{Query, bad_field, run};
use crate::daemon::{Daemon, OrderFilter, OrderSummary};
use axum::Json;
use axum::extract::State;
use graylane_order::Phase;
use jiff::Timestamp;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Orders that a list has unless it is asked for more or fewer.
const DEFAULT_LIMIT: usize = 100;

/// Orders that one list may have.
const MAX_LIMIT: usize = 1_000;

/// Which orders to list: those of which all holds that is given.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Only those of this tenant.
    tenant: Option<String>,
    /// Only those of this plan.
    plan: Option<String>,
    /// Only those that have this service.
    service: Option<String>,
    /// Only those in one of these phases, separated by commas.
    phase: Option<String>,
    /// Only those that are not rolled back or finished.
    #[serde(default)]
    active: bool,
    /// Only those that were started then or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Only those that were started before.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Only those with a lower number: the next page is before the last order of this one.
    before: Option<u64>,
    /// At most so many.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
}

/// List orders, newest first.
#[utoipa::path(get, path = "/api/v1/orders", tag = "orders", params(Filter),
    responses((status = 200, body = Vec<OrderSummary>), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(daemon): State<Arc<Daemon>>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<OrderSummary>>, Problem> {
    let filter = filter.read()?;
    run(daemon, move |daemon| Ok(daemon.orders(&filter))).await.map(Json)
}

// === impl Filter ===

impl Filter {
    fn read(self) -> Result<OrderFilter, Problem> {
        let Self { tenant, plan, service, phase, active, since, until, before, limit } = self;
        if !(1..=MAX_LIMIT).contains(&limit) {
            let message = format!("{limit} is not 1 to {MAX_LIMIT}; read on with `before`");
            return Err(bad_field("limit", message));
        }
        let phases =
            phase.iter().flat_map(|phases| phases.split(',')).map(read_phase).collect::<Result<_, _>>()?;
        Ok(OrderFilter { tenant, plan, service, phases, active, since, until, before, limit })
    }
}

fn read_phase(name: &str) -> Result<Phase, Problem> {
    let found = Phase::ALL.into_iter().find(|phase| phase.label().eq_ignore_ascii_case(name));
    let known = || Phase::ALL.map(Phase::label).join(", ");
    found.ok_or_else(|| bad_field("phase", format!("{name:?} is none; the phases are {}", known())))
}

const fn default_limit() -> usize {
    DEFAULT_LIMIT
}
