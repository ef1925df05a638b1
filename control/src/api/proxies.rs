//! `/proxies`: what each should run, acknowledged and runs.

use crate::api::problem::Problem;
use crate::api::request::{Path, Query, bad_field, run};
use crate::daemon::{Daemon, ProxyFilter, ProxyPage, ProxyState, ProxyView};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Proxies that a list has unless it is asked for more or fewer.
const DEFAULT_LIMIT: usize = 100;

/// Proxies that one list may have.
const MAX_LIMIT: usize = 1_000;

/// Which proxies to list: those of which all holds that is given.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Only those with a resource of this tenant.
    tenant: Option<String>,
    /// Only those in one of these states, separated by commas: `SYNCED`, `NOT-REPORTING`, `STALE`, `NACKED`, `NO-RULES`, `GONE`.
    state: Option<String>,
    /// Only those whose node id starts so.
    node: Option<String>,
    /// Only those of this node cluster.
    cluster: Option<String>,
    /// Only those whose node id comes later: the next page is after `next` of this one.
    after: Option<String>,
    /// At most so many. The resources of one node stay together, so that a page may have more by those of its last node.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
}

/// List the proxies, by node: how each stands, what it should run, acknowledged and runs, and how many are in each state.
#[utoipa::path(get, path = "/api/v1/proxies", tag = "proxies", params(Filter),
    responses((status = 200, body = ProxyPage), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(daemon): State<Arc<Daemon>>,
    Query(filter): Query<Filter>,
) -> Result<Json<ProxyPage>, Problem> {
    let filter = filter.read()?;
    run(daemon, move |daemon| Ok(daemon.proxies(&filter))).await.map(Json)
}

/// Read what the proxy of a node holds: each of its resources.
#[utoipa::path(get, path = "/api/v1/proxies/{node}", tag = "proxies", params(("node" = String, Path)),
    responses((status = 200, body = Vec<ProxyView>), (status = 404, body = Problem)))]
pub(crate) async fn get(
    State(daemon): State<Arc<Daemon>>,
    Path(node): Path<String>,
) -> Result<Json<Vec<ProxyView>>, Problem> {
    run(daemon, move |daemon| daemon.proxy(&node)).await.map(Json)
}

// === impl Filter ===

impl Filter {
    fn read(self) -> Result<ProxyFilter, Problem> {
        let Self { tenant, state, node, cluster, after, limit } = self;
        if !(1..=MAX_LIMIT).contains(&limit) {
            let message = format!("{limit} is not 1 to {MAX_LIMIT}; read on with `after`");
            return Err(bad_field("limit", message));
        }
        let states =
            state.iter().flat_map(|states| states.split(',')).map(read_state).collect::<Result<_, _>>()?;
        Ok(ProxyFilter { tenant, states, node, cluster, after, limit })
    }
}

fn read_state(word: &str) -> Result<ProxyState, Problem> {
    let found = ProxyState::ALL.into_iter().find(|state| state.label().eq_ignore_ascii_case(word));
    let known = || ProxyState::ALL.map(ProxyState::label).join(", ");
    found.ok_or_else(|| bad_field("state", format!("{word:?} is none; the states are {}", known())))
}

const fn default_limit() -> usize {
    DEFAULT_LIMIT
}
