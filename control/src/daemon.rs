//! The daemon: takes actions, makes them last, and publishes what follows.
//!
//! Every action works on a copy of the state, is written to the store in one transaction, and only then becomes the
//! state and reaches the proxies. What is refused or fails on the way changes nothing.

mod baselines;
mod compile;
mod deliveries;
mod error;
mod fallbacks;
mod freezes;
mod laggards;
mod look;
mod named_lists;
mod once;
mod order_filter;
mod orders;
mod outcome;
mod plans;
mod proxies;
mod queries;
mod refusals;
mod state;
mod tenant_record;
mod verdicts;
mod views;
mod watching;

pub use error::ActionError;
pub use look::{Look, OrderSeen};
pub use once::{Done, Once, Terms};
pub use order_filter::OrderFilter;
pub use orders::{OrderAction, StartOrder};
pub use proxies::ProxyFilter;
pub use views::{
    ApprovalView, ApprovedView, AuditPage, BaselineView, Convergence, ExplainView, FaultView, FiguresView,
    FreezeView, JudgedView, ListView, NackView, NextStageView, OrderSummary, OrderView, PlanApplied,
    PlanSummary, PlanView, PointView, ProblemView, ProxyPage, ProxyState, ProxyView, RetentionView,
    RulesView, SeriesView, ServiceView, StageSummary, StageView, StepView, UnheardView, WaitsView,
    WindowView,
};

use crate::audit::Record;
use crate::clock::Clock;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::health::Vitals;
use graylane_order::{Actor, Event, Order, Sight};
use graylane_plan::Tenant;
use graylane_rules::Rules;
use graylane_store::{Store, StoreError};
use graylane_xds::{ProxyStatus, Standing};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use state::{Draft, Known, Proxies, State};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use views::TenantSeen;
use watching::Watch;

/// How often orders are looked at even though no proxy moved: hold times pass.
const TICK: Duration = Duration::from_secs(1);

/// The least time between two looks, so that ten thousand acknowledgements are not ten thousand looks.
const PAUSE: Duration = Duration::from_millis(20);

/// How many times as long as a look takes the next one is put off at least: with ten thousand proxies it takes milliseconds.
const REST: u32 = 9;

/// How long after its start the daemon waits for as many proxies as there were at the last publish, before it takes
/// those that are there for all.
const RECONNECT_GRACE: Duration = Duration::from_secs(30);

/// Owns everything the daemon knows.
pub struct Daemon {
    known: Mutex<Known>,
    store: Arc<dyn Store>,
    config: Config,
    fleet: Arc<dyn Fleet>,
    clock: Arc<dyn Clock>,
    watch: Mutex<Watch>,
    /// What the clock had counted when the daemon was opened.
    opened: Duration,
    /// How the gray versions do.
    vitals: Arc<Vitals>,
    /// The bell for those who watch: it counts commits.
    commits: watch::Sender<u64>,
    /// Whether the store failed.
    store_failed: watch::Sender<bool>,
}

// === impl Daemon ===

impl Daemon {
    /// Reads the store, compiles the rules of every tenant and hands them to the `fleet`. Only then may proxies be served, or
    /// they would be told that there are no rules.
    ///
    /// # Errors
    /// When the store cannot be read, what it holds cannot be compiled, or the configuration has other headers for a
    /// tenant in use.
    pub fn open(
        store: Arc<dyn Store>,
        config: Config,
        fleet: Arc<dyn Fleet>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ActionError> {
        let (known, mut published) = Known::load(&*store)?;
        let opened = clock.elapsed();
        let last_deed = last_deed(&*store)?;
        let daemon = Self {
            known: Mutex::new(known),
            store,
            vitals: Arc::new(Vitals::new(config.clone())),
            config,
            fleet,
            watch: Mutex::new(Watch::new(&*clock, last_deed)),
            clock,
            opened,
            commits: watch::Sender::new(0),
            store_failed: watch::Sender::new(false),
        };
        daemon.recall_refusals();
        daemon.recall_fallbacks();
        daemon.change(|draft| {
            let tenants: Vec<Arc<Tenant>> =
                draft.state.tenants.values().map(|entry| Arc::clone(&entry.tenant)).collect();
            for stored in tenants {
                daemon.reconcile(draft, &stored)?;
                draft.republish(&stored.name, published.remove(&stored.name))?;
            }
            Ok(())
        })?;
        Ok(daemon)
    }

    /// Gives a stored tenant the headers of the configuration, if no rules depend on those that it had.
    fn reconcile(&self, draft: &mut Draft<'_>, stored: &Tenant) -> Result<(), ActionError> {
        let configured = self.config.tenant(&stored.name);
        if configured.as_ref() == Some(stored) {
            return Ok(());
        }
        let is_used = draft.state.active_orders(&stored.name).next().is_some()
            || draft.state.tenant(&stored.name).is_ok_and(|entry| !entry.baselines.is_empty());
        match configured {
            Some(configured) if !is_used => draft.put_tenant(configured, Actor::daemon()),
            None if !is_used => Ok(()),
            configured => Err(ActionError::TenantChanged {
                tenant: stored.name.clone(),
                stored: headers(stored),
                configured: configured.as_ref().map_or_else(|| "no such tenant".to_owned(), headers),
            }),
        }
    }

    /// Follows the proxies: orders go on by themselves where they may. `changes` wakes it when a proxy moved; it returns when
    /// nobody does that any more.
    pub async fn observe(&self, mut changes: watch::Receiver<u64>) {
        loop {
            let moved = tokio::time::timeout(TICK, changes.changed()).await;
            if matches!(moved, Ok(Err(_))) {
                return;
            }
            let begun = self.clock.elapsed();
            tokio::task::block_in_place(|| self.observe_orders());
            let took = self.clock.elapsed().saturating_sub(begun);
            tokio::time::sleep(PAUSE.max(took * REST)).await;
        }
    }

    /// Waits until the store fails. Only a new start can tell what is on disk then, so this process has to end.
    pub async fn store_failure(&self) {
        let mut failed = self.store_failed.subscribe();
        // The sender is this daemon's own.
        let _ = failed.wait_for(|failed| *failed).await;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic while the lock was held left everything as it was: the state is replaced whole, at the end.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one action on a copy of the state. What it changed is made ready for the proxies, written to the store,
    /// becomes the state, and is published, in this order and under one lock. Only the steps before the store can fail,
    /// and the store itself.
    fn change<T>(
        &self,
        action: impl FnOnce(&mut Draft<'_>) -> Result<T, ActionError>,
    ) -> Result<T, ActionError> {
        let mut known = self.known();
        let proxies = Proxies::new(&*self.fleet, self.config.proxies().laggards, self.is_awaiting());
        let mut draft = Draft::new(&known, proxies, self.clock.now());
        let done = action(&mut draft)?;
        let prepared = match draft.has_new_rules {
            true => Some(self.fleet.prepare(&draft.state.publications())?),
            false => None,
        };
        self.keep_fallbacks(&mut draft, &known.state)?;
        let drafted = draft.finish()?;
        let committed = known.commit(drafted, &*self.store);
        self.store_failed
            .send_if_modified(|failed| std::mem::replace(failed, known.is_uncertain()) != *failed);
        committed?;
        if let Some(publish) = prepared {
            publish();
        }
        self.commits.send_modify(|commits| *commits += 1);
        Ok(done)
    }

    /// Runs one action like [`Self::change`], but not again when it was done before. It goes by clocks that were looked at:
    /// after a jump that was not followed yet, a hold would seem over that is not.
    fn change_once<T: Serialize + DeserializeOwned>(
        &self,
        once: Option<Once>,
        action: impl FnOnce(&mut Draft<'_>) -> Result<T, ActionError>,
    ) -> Result<Done<T>, ActionError> {
        self.look_at_clocks();
        self.change(|draft| draft.once(once, &*self.store, action))
    }

    /// Whether proxies that were there before the start are still waited for.
    fn is_awaiting(&self) -> bool {
        self.clock.elapsed().saturating_sub(self.opened) < RECONNECT_GRACE
    }

    /// How far the tenant's published rules got. Right after a start, proxies that were there at the last publish are
    /// missing until they are back.
    fn convergence(
        &self,
        state: &State,
        tenant: &str,
        proxies: impl IntoIterator<Item = Standing>,
    ) -> Convergence {
        let published = state.tenants.get(tenant).and_then(|entry| entry.published.as_ref());
        let revision = published.map_or(0, |published| published.rules.revision());
        let wanted_for = self.watch().wanted_for(tenant, revision, &*self.clock);
        let laggards = self.config.proxies().laggards;
        let mut convergence = Convergence::of(revision, proxies, laggards, wanted_for);
        if self.is_awaiting() {
            let before = published.map_or(0, |published| published.proxies);
            convergence.total = convergence.total.max(before.saturating_sub(convergence.ignored));
        }
        convergence
    }

    /// What the orders of a tenant see now.
    fn tenant_seen_now(&self, state: &State, tenant: &str) -> TenantSeen {
        self.tenant_seen(state, tenant, self.fleet.standings(tenant))
    }

    /// What the orders of a tenant see when its proxies stand so.
    fn tenant_seen(
        &self,
        state: &State,
        tenant: &str,
        proxies: impl IntoIterator<Item = Standing>,
    ) -> TenantSeen {
        let convergence = self.convergence(state, tenant, proxies);
        let freeze = state.tenants.get(tenant).and_then(|entry| entry.freeze.clone());
        let sight = self.sight(state, tenant, &convergence);
        TenantSeen { convergence, sight, freeze, at: self.clock.now() }
    }

    fn sight(&self, state: &State, tenant: &str, convergence: &Convergence) -> Sight {
        let freeze = state.tenants.get(tenant).and_then(|entry| entry.freeze.as_ref());
        self.watch().sight(tenant, convergence, freeze.map(|freeze| freeze.since), &*self.clock)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        // Each change of it is complete in itself.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at everything: at the clocks, and at every active order with what was observed of its proxies.
    pub fn observe_orders(&self) {
        self.look_at_clocks();
        self.follow_refusals();
        let proxies = self.fleet.proxies();
        self.follow_laggards(&proxies);
        let now = self.clock.now();
        let moving: Vec<u64> = {
            let known = self.known();
            let mut sight_by_tenant = BTreeMap::new();
            for tenant in known.state.tenants.keys() {
                let convergence = self.convergence(&known.state, tenant, of_tenant(&proxies, tenant));
                if convergence.is_complete() && convergence.ignored == 0 {
                    self.fleet.accept(tenant, convergence.wanted);
                }
                self.watch().saw(tenant, &convergence);
                sight_by_tenant.insert(tenant.as_str(), self.sight(&known.state, tenant, &convergence));
            }
            let active = known.state.orders.active();
            let moves = |order: &&Arc<Order>| {
                let sight = sight_by_tenant.get(order.tenant()).copied().unwrap_or_default();
                order.observed(sight, now).is_some()
            };
            active.filter(moves).map(|order| order.id).collect()
        };
        for id in moving {
            if let Err(error) = self.observe_order(id) {
                tracing::error!(order = id, %error, "an order cannot go on");
            }
        }
    }

    /// Looks at the clocks, and follows a jump of the wall clock. One that cannot be written down is found again at the
    /// next look.
    fn look_at_clocks(&self) {
        let jump = self.watch().look(&*self.clock);
        if let Some(by) = jump
            && let Err(error) = self.follow_clock(by)
        {
            self.watch().owe(by);
            tracing::error!(%error, "the clock jumped, which cannot be written down");
        }
    }

    /// Lets what has to last last as long as before, after the wall clock jumped, and writes the jump down.
    fn follow_clock(&self, by: SignedDuration) -> Result<(), ActionError> {
        self.change(|draft| {
            let active = draft.state.orders.active().cloned();
            for order in active.collect::<Vec<_>>() {
                let (next, effects) = order.step(Event::ClockJumped { by }, draft.now)?;
                draft.apply(Some(&order), next, &effects, "order.follow")?;
            }
            let before = draft.now.saturating_sub(by).unwrap_or(draft.now);
            draft.record_jump(before);
            Ok(())
        })
    }

    /// Loads bytes as the filter does.
    fn load(tenant: &str, bytes: Vec<u8>) -> Result<Rules, ActionError> {
        Rules::load(bytes).map_err(|error| ActionError::Unloadable {
            tenant: tenant.to_owned(),
            message: error.to_string(),
        })
    }
}

/// How the proxies of one tenant stand, of these.
fn of_tenant<'a>(proxies: &'a [ProxyStatus], tenant: &'a str) -> impl Iterator<Item = Standing> + 'a {
    proxies.iter().filter(move |proxy| *proxy.tenant == *tenant).map(ProxyStatus::standing)
}

/// When the last record of the audit log was written, if it can be read.
fn last_deed(store: &dyn Store) -> Result<Option<Timestamp>, StoreError> {
    let last = store.log(store.log_end()?.saturating_sub(1), 1)?;
    let record = last.first().and_then(|(_, line)| serde_json::from_slice::<Record>(line).ok());
    Ok(record.map(|record| record.at))
}

/// The headers of a tenant, for people.
fn headers(tenant: &Tenant) -> String {
    let dimensions =
        tenant.dimensions.iter().map(|dimension| format!("{} from {}", dimension.name, dimension.header));
    format!("{}, version to {}", dimensions.collect::<Vec<_>>().join(", "), tenant.output_header)
}
