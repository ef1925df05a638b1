//! The daemon: takes actions, makes them last, and publishes what follows.
//!
//! Every action works on a copy of the state, is written to the store in one transaction, and only then becomes the
//! state and reaches the proxies. What is refused or fails on the way changes nothing.

mod compile;
mod error;
mod orders;
mod plans;
mod queries;
mod state;
mod views;

pub use error::ActionError;
pub use orders::{OrderAction, StartOrder};
pub use views::{
    BaselineView, Convergence, ExplainView, ListView, OrderView, PlanApplied, PlanSummary, PlanView,
    ProblemView, ProxyView, RulesView, ServiceView, StageView, StepView,
};

use crate::clock;
use crate::config::Config;
use crate::store::Store;
use graylane_plan::Tenant;
use graylane_rules::Rules;
use graylane_xds::{Publication, Xds};
use state::{Draft, State};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often orders are looked at even though no proxy moved: hold times pass.
const TICK: Duration = Duration::from_secs(1);

/// The least time between two looks, so that ten thousand acknowledgements are not ten thousand looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Owns everything the daemon knows.
pub struct Daemon {
    state: Mutex<State>,
    store: Store,
    xds: Xds,
    config: Config,
}

// === impl Daemon ===

impl Daemon {
    /// Reads the store, compiles the rules of every tenant and hands them to `xds`. Only then may proxies be served, or
    /// they would be told that there are no rules.
    ///
    /// # Errors
    /// When the store cannot be read, or what it holds cannot be compiled.
    pub fn open(store: Store, config: Config, xds: Xds) -> Result<Self, ActionError> {
        let tenant = |name: &str| config.tenant(name).unwrap_or_else(|| Tenant::with_defaults(name));
        let state = State::load(&store, tenant)?;
        let mut draft = Draft::new(&state);
        for name in state.tenants.keys() {
            let record = store
                .list(&state::rules_key(name))?
                .into_iter()
                .find(|(key, _)| *key == state::rules_key(name));
            let record = record.map(|(key, stored)| state::read(&key, &stored.bytes)).transpose()?;
            draft.republish(name, record)?;
        }
        let daemon = Self { state: Mutex::new(state), store, xds, config };
        daemon.commit(&mut daemon.state(), draft)?;
        Ok(daemon)
    }

    /// Follows the proxies: orders go on by themselves where they may. Returns when the xDS server is gone.
    pub async fn observe(&self) {
        let mut changes = self.xds.changes();
        loop {
            let moved = tokio::time::timeout(TICK, changes.changed()).await;
            if matches!(moved, Ok(Err(_))) {
                return;
            }
            if let Err(error) = tokio::task::block_in_place(|| self.observe_orders()) {
                tracing::error!(%error, "cannot follow the orders");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What the proxies do.
    #[must_use]
    pub fn proxies(&self) -> Vec<ProxyView> {
        self.xds.proxies().into_iter().map(ProxyView::from).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held left the state as it was: it is replaced whole, at the end.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one action on a copy of the state and commits it.
    fn change<T>(&self, action: impl FnOnce(&mut Draft) -> Result<T, ActionError>) -> Result<T, ActionError> {
        let mut state = self.state();
        let mut draft = Draft::new(&state);
        let done = action(&mut draft)?;
        self.commit(&mut state, draft)?;
        Ok(done)
    }

    /// Writes the draft to the store, then makes it the state and publishes its rules. The state's lock is held all the
    /// while, so that publishes keep the order of commits.
    fn commit(&self, state: &mut State, draft: Draft) -> Result<(), ActionError> {
        let has_new_rules = draft.has_new_rules;
        *state = draft.commit(&self.store)?;
        if !has_new_rules {
            return Ok(());
        }
        let rules =
            state.tenants.iter().filter_map(|(tenant, entry)| Some((tenant, entry.published.as_ref()?)));
        let publications = rules.map(|(tenant, published)| Publication {
            tenant: tenant.clone(),
            revision: published.rules.revision(),
            rules: published.bytes.clone(),
        });
        // Names, sizes and revisions were checked on the way here: what is refused now is a bug, and no proxy sees it.
        Ok(self.xds.publish(publications.collect())?)
    }

    /// Steps every active order with what was observed of its proxies.
    fn observe_orders(&self) -> Result<(), ActionError> {
        let proxies = self.xds.proxies();
        let now = clock::now();
        let active: Vec<u64> = {
            let state = self.state();
            state.orders.values().filter(|order| order.is_active()).map(|order| order.id).collect()
        };
        active.into_iter().try_for_each(|id| self.observe_order(id, &proxies, now))
    }

    /// Loads bytes as the filter does.
    fn load(tenant: &str, bytes: Vec<u8>) -> Result<Rules, ActionError> {
        Rules::load(bytes).map_err(|error| ActionError::Unloadable {
            tenant: tenant.to_owned(),
            message: error.to_string(),
        })
    }
}
