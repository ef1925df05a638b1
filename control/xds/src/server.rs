//! The server: every service on one port, with its limits, until it is told to stop.

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::Router;

use crate::accept;
use crate::canary::CanaryShare;
use crate::discovery::{Ads, Discovery, Ecds};
use crate::ecds::FilterSettings;
use crate::gate::{Gate, Phase};
use crate::health;
use crate::limits::{
    GOAWAY_LEAD, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, Limits, SHUTDOWN_GRACE, TRIAL_PAUSE, TRIAL_REST,
    TRIAL_TICK,
};
use crate::metrics_service::{Metrics, Reports, Served};
use crate::proxies::{Proxies, ProxyStatus, Standing};
use crate::refusals::Refusal;
use crate::resource::{Publication, PublishError};
use crate::snapshot::{Encoded, Snapshots};
use crate::telemetry::{Offers, Telemetry};
use crate::tls::Tls;

/// A handle to the xDS server. Clones share everything.
#[derive(Clone, Debug)]
pub struct Xds {
    snapshots: Arc<Snapshots>,
    proxies: Arc<Proxies>,
    gate: Gate,
    tls: Option<Arc<Tls>>,
    reports: Option<Arc<dyn Reports>>,
}

/// What was prepared to be published.
#[derive(Debug)]
pub struct Prepared(Encoded);

/// Why the server stopped before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("the xds server failed")]
pub struct ServeError(#[from] tonic::transport::Error);

// === impl Xds ===

impl Xds {
    /// A server with nothing published. What it publishes, a `share` of the proxies tries first.
    pub fn new(settings: FilterSettings, share: CanaryShare, limits: Limits) -> Self {
        let telemetry = Arc::<Telemetry>::default();
        let proxies = Arc::new(Proxies::new(limits.proxies, telemetry.clone()));
        let snapshots = Arc::new(Snapshots::new(settings, share));
        Self { snapshots, proxies, gate: Gate::new(limits, telemetry), tls: None, reports: None }
    }

    /// Has every client show a certificate, which says what it may be served. Call it before [`Xds::serve`].
    #[must_use]
    pub fn secured(self, tls: Tls) -> Self {
        self.gate.telemetry.certificate(tls.ends());
        Self { tls: Some(Arc::new(tls)), ..self }
    }

    /// Hands on what proxies count of their clusters. Call it before [`Xds::serve`].
    #[must_use]
    pub fn reporting_to(self, reports: Arc<dyn Reports>) -> Self {
        Self { reports: Some(reports), ..self }
    }

    /// Checks and encodes what is to be published, so that [`Xds::publish`] cannot fail. Blocks while it encodes and hashes
    /// what is new.
    ///
    /// # Errors
    /// Any publication that [`PublishError`] names.
    pub fn prepare(&self, publications: &[Publication]) -> Result<Prepared, PublishError> {
        // Nobody may have looked since the group answered, and what did well is what the next one falls back on.
        self.snapshots.follow_trials(&*self.proxies, Instant::now());
        self.snapshots.prepare(publications).map(Prepared)
    }

    /// Replaces everything published by exactly what was prepared, for all streams at once; a proxy is sent only what changed
    /// for it. A tenant that is left out keeps the rules it has, and its new proxies are sent none. One publisher has to
    /// prepare and publish by turns: of two that were prepared at once, the later one wins whole.
    pub fn publish(&self, Prepared(encoded): Prepared) {
        let now = Instant::now();
        self.gate.telemetry.publishes(encoded.versions(), now);
        self.snapshots.swap(encoded, &*self.proxies, now);
    }

    /// Takes in that every proxy of a tenant accepted the revision that is wanted: this is what proxies get when one refuses
    /// a later one.
    pub fn accept(&self, tenant: &str, revision: u64) {
        self.snapshots.accept(tenant, revision);
    }

    /// The rules that are held back, because a proxy refused them before all had accepted them. Proxies that lack them get what did
    /// well before.
    pub fn held_back(&self) -> Vec<Refusal> {
        self.snapshots.held_back()
    }

    /// Forgets what was refused of a tenant, so that it is sent when it is published again under another revision.
    pub fn forgive(&self, tenant: &str) {
        self.snapshots.forgive(tenant);
    }

    /// Whether a later revision of a tenant falls back on this one, while it is on trial or held back.
    pub fn is_fallback(&self, tenant: &str, revision: u64) -> bool {
        self.snapshots.is_fallback(tenant, revision)
    }

    /// Remembers what did well before this process began: proxies get it while the first rules of its tenant that are published
    /// are on trial or held back. Call it before anything is published.
    pub fn recall_fallback(&self, publication: &Publication) {
        self.snapshots.recall_fallback(publication);
    }

    /// Remembers what a proxy refused before this process began. Call it before anything is published.
    pub fn recall(&self, refusal: Refusal) {
        self.snapshots.recall(refusal);
    }

    /// Every proxy that is connected, or was within the last 10 minutes, sorted by node, then resource.
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        self.proxies.list(&self.snapshots.current(), Instant::now())
    }

    /// Adds what is measured here to what is scraped, under names that begin with `xds_` or `proxy_`.
    pub fn register(&self, registry: &mut Registry) {
        self.gate.telemetry.register(registry);
        registry.register_collector(Box::new(Offers(self.snapshots.clone())));
    }

    /// How each of [`Xds::proxies`] of one tenant stands.
    pub fn standings(&self, tenant: &str) -> Vec<Standing> {
        self.proxies.standings(tenant, &self.snapshots.current(), Instant::now())
    }

    /// A receiver that wakes when a proxy connects, disconnects, acknowledges, rejects, or reports something new. The number only
    /// counts; read [`Xds::proxies`] for the state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.proxies.changes()
    }

    /// Says that the server is about to end: its health is not serving, and new streams are refused with `UNAVAILABLE`, so that
    /// proxies and load balancers turn to another replica. Who is there is served on until `shutdown` of [`Xds::serve`].
    pub fn drain(&self) {
        self.gate.go_on(Phase::Draining);
    }

    /// Serves until `shutdown` is ready. Then it tells clients to open no stream on their connections (GOAWAY), hands out the
    /// responses that it began, ends the streams with `UNAVAILABLE`, and waits at most 5 s for all that to be read.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let incoming = accept::incoming(listener, self.tls.clone(), self.gate.clone());
        let (reporter, health_service) = health::service().await;
        let router = self.router().add_service(health_service);
        let gate = self.gate.clone();
        let leaving = async move { gate.reached(Phase::Leaving).await };
        let serving = router.serve_with_incoming_shutdown(incoming, leaving);
        let follow_health = health::follow(reporter, self.gate.clone());
        let end = Self::end(self.gate.clone(), shutdown);
        let follow_files = follow_files(self.tls.clone(), self.gate.telemetry.clone());
        let follow_trials = self.follow_trials();
        tokio::select! {
            served = serving => Ok(served?),
            // Neither ends before the server.
            ((), (), ()) = async { tokio::join!(follow_trials, follow_health, follow_files) } => Ok(()),
            () = end => Ok(()),
        }
    }

    /// Goes through the phases to the end, once `shutdown` is ready.
    async fn end(gate: Gate, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        gate.go_on(Phase::Leaving);
        tokio::time::sleep(GOAWAY_LEAD).await;
        gate.go_on(Phase::Closing);
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    }

    /// Goes on with trials as proxies answer, and never ends.
    async fn follow_trials(self) {
        let mut changes = self.proxies.changes();
        loop {
            // The sender is this server's own, so only time or a change ends this.
            let _ = tokio::time::timeout(TRIAL_TICK, changes.changed()).await;
            let begun = Instant::now();
            self.snapshots.follow_trials(&*self.proxies, begun);
            tokio::time::sleep(TRIAL_PAUSE.max(begun.elapsed() * TRIAL_REST)).await;
        }
    }

    fn router(&self) -> Router {
        let discovery = Arc::new(Discovery {
            snapshots: self.snapshots.clone(),
            proxies: self.proxies.clone(),
            gate: self.gate.clone(),
        });
        let metrics = Served::new(Metrics {
            reports: self.reports.clone(),
            snapshots: self.snapshots.clone(),
            proxies: self.proxies.clone(),
            gate: self.gate.clone(),
        });
        Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(self.gate.limits.streams_per_connection)
            .add_service(Ecds::new(discovery.clone()))
            .add_service(Ads::new(discovery))
            .add_service(metrics)
    }
}

/// Takes in certificates that are replaced, and never ends.
async fn follow_files(tls: Option<Arc<Tls>>, telemetry: Arc<Telemetry>) {
    match tls {
        Some(tls) => tls.follow(telemetry).await,
        None => std::future::pending().await,
    }
}
