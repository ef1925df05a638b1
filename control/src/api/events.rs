//! `/orders/events`: orders as they change, by server-sent events.
//!
//! Events tell states and not steps: an event is what holds when it is sent. A reader that is slow, or was away, misses
//! steps in between and no state that still holds, and nothing is queued for it. Readers that watch at the same time
//! share one look at the orders.

use crate::api::problem::Problem;
use crate::api::request::{Path, Query, run};
use crate::daemon::{Daemon, JudgedView, Look, OrderSeen, OrderSummary, OrderView};
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream::unfold;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use utoipa::IntoParams;

/// Streams that are open at the same time. Each is a connection and a little memory.
pub const MAX_STREAMS: usize = 256;

/// The least time between two looks of a stream, so that ten thousand acknowledgements are not ten thousand events.
const LEAST_BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// The most time between two looks: a proxy that is away stops counting without a bell.
const MOST_BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// How often a stream with no news sends a comment, so that nothing on the way takes it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What all streams share.
pub struct Streams {
    slots: Arc<Semaphore>,
    proxies: watch::Receiver<u64>,
    stopped: watch::Receiver<bool>,
    last_look: Mutex<Option<(Seen, Arc<Look>)>>,
}

/// What had happened when a look was taken, and when that was.
#[derive(Clone, Copy)]
struct Seen {
    commits: u64,
    proxies: u64,
    verdicts: u64,
    at: Instant,
}

/// Which orders to watch.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Only those of this tenant.
    tenant: Option<String>,
}

/// A reader's place: it wakes when there may be news.
struct Watcher {
    daemon: Arc<Daemon>,
    streams: Arc<Streams>,
    commits: watch::Receiver<u64>,
    proxies: watch::Receiver<u64>,
    verdicts: watch::Receiver<u64>,
    stopped: watch::Receiver<bool>,
    looked: Option<Instant>,
    _slot: OwnedSemaphorePermit,
}

/// What a reader of one order was told.
struct OneOrder {
    watcher: Watcher,
    id: u64,
    told: String,
}

/// What a reader of many orders was told, and what it is being told.
struct ManyOrders {
    watcher: Watcher,
    tenant: Option<String>,
    /// The commit that the reader knows all before, when it comes back.
    since: Option<u64>,
    told: BTreeMap<u64, Arc<OrderSeen>>,
    telling: VecDeque<Event>,
    is_first: bool,
}

/// Watch an order: its state now, and again whenever it, its convergence, or the verdict on a service changed. That more requests are
/// counted is no change: the figures are those of the moment of the event. Each `order` event has an `OrderView`; its id, sent back as
/// `Last-Event-ID`, keeps a state from being told again.
#[utoipa::path(get, path = "/api/v1/orders/{id}/events", tag = "orders",
    params(("id" = u64, Path), ("Last-Event-ID" = Option<String>, Header, description = "the id of the last event that came")),
    responses((status = 200, body = OrderView, content_type = "text/event-stream"), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn one(
    State(daemon): State<Arc<Daemon>>,
    Extension(streams): Extension<Arc<Streams>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    run(Arc::clone(&daemon), move |daemon| daemon.order(id)).await?;
    let watcher = Watcher::new(daemon, streams)?;
    let reader = OneOrder { watcher, id, told: last_event_id(&headers).to_owned() };
    Ok(stream(reader, OneOrder::next))
}

/// Watch the orders: all that are active now, then a `synced` event, then each again whenever it or its convergence changed, its
/// end included. Each `order` event has an `OrderSummary`. With `Last-Event-ID` the orders that ended meanwhile come, too.
#[utoipa::path(get, path = "/api/v1/orders/events", tag = "orders",
    params(Which, ("Last-Event-ID" = Option<String>, Header, description = "the id of the last event that came with one")),
    responses((status = 200, body = OrderSummary, content_type = "text/event-stream"), (status = 503, body = Problem)))]
pub(crate) async fn many(
    State(daemon): State<Arc<Daemon>>,
    Extension(streams): Extension<Arc<Streams>>,
    Query(Which { tenant }): Query<Which>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let watcher = Watcher::new(daemon, streams)?;
    let since = last_event_id(&headers).parse().ok();
    let (told, telling) = (BTreeMap::new(), VecDeque::new());
    Ok(stream(ManyOrders { watcher, tenant, since, told, telling, is_first: true }, ManyOrders::next))
}

// === impl Streams ===

impl Streams {
    /// No stream yet. `proxies` wakes when a proxy moved; all streams end when `stopped` says so.
    #[must_use]
    pub fn new(proxies: watch::Receiver<u64>, stopped: watch::Receiver<bool>) -> Self {
        Self { slots: Arc::new(Semaphore::new(MAX_STREAMS)), proxies, stopped, last_look: Mutex::default() }
    }

    /// A look at what there is when `seen` happened; the last one, when nothing happened since.
    fn look(&self, daemon: &Daemon, seen: Seen) -> Arc<Look> {
        let mut last = self.last_look.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |(had, _): &&(Seen, Arc<Look>)| {
            had.commits >= seen.commits
                && had.proxies >= seen.proxies
                && had.verdicts >= seen.verdicts
                && had.at + MOST_BETWEEN_LOOKS > seen.at
        };
        if let Some((_, look)) = last.as_ref().filter(fresh) {
            return Arc::clone(look);
        }
        let look = Arc::new(daemon.look());
        *last = Some((seen, Arc::clone(&look)));
        look
    }
}

// === impl Watcher ===

impl Watcher {
    /// A place for one more reader, if there is one.
    fn new(daemon: Arc<Daemon>, streams: Arc<Streams>) -> Result<Self, Problem> {
        let Ok(slot) = Arc::clone(&streams.slots).try_acquire_owned() else {
            let detail = format!(
                "{MAX_STREAMS} streams of events are open, which is the limit; close some, or ask now and then"
            );
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many streams", detail));
        };
        let (commits, verdicts) = (daemon.commits(), daemon.verdicts());
        let (proxies, stopped) = (streams.proxies.clone(), streams.stopped.clone());
        Ok(Self { daemon, streams, commits, proxies, verdicts, stopped, looked: None, _slot: slot })
    }

    /// Waits until there may be news, and looks; at once the first time. None when the daemon stops.
    async fn look(&mut self) -> Option<Arc<Look>> {
        if let Some(looked) = self.looked {
            let Self { commits, proxies, verdicts, stopped, .. } = self;
            let news = async {
                tokio::select! {
                    changed = commits.changed() => changed.is_ok(),
                    changed = proxies.changed() => changed.is_ok(),
                    changed = verdicts.changed() => changed.is_ok(),
                }
            };
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return None,
                news = timeout(MOST_BETWEEN_LOOKS, news) => if news == Ok(false) { return None },
            }
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return None,
                () = sleep_until(looked + LEAST_BETWEEN_LOOKS) => {}
            }
        }
        let at = Instant::now();
        self.looked = Some(at);
        let seen = Seen {
            commits: *self.commits.borrow_and_update(),
            proxies: *self.proxies.borrow_and_update(),
            verdicts: *self.verdicts.borrow_and_update(),
            at,
        };
        let (streams, daemon) = (Arc::clone(&self.streams), Arc::clone(&self.daemon));
        let look = move || streams.look(&daemon, seen);
        tokio::task::spawn_blocking(look).await.ok()
    }
}

// === impl OneOrder ===

impl OneOrder {
    /// The next state of the order that its reader was not told.
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            let look = self.watcher.look().await?;
            let order = self.watcher.daemon.order_seen(self.id, &look).ok()?;
            let id = state_id(&order);
            if id != self.told {
                let event = event(&serde_json::to_string(&order).ok()?).id(&id);
                self.told = id;
                return Some((event, self));
            }
        }
    }
}

// === impl ManyOrders ===

impl ManyOrders {
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            if let Some(event) = self.telling.pop_front() {
                return Some((event, self));
            }
            let look = self.watcher.look().await?;
            self.compare(&look);
        }
    }

    /// Finds what the reader was not told. Only the last event has an id: who loses the stream before it is told all again.
    fn compare(&mut self, look: &Look) {
        let is_wanted = |order: &OrderSeen| self.tenant.as_ref().is_none_or(|tenant| order.tenant == *tenant);
        let daemon = &self.watcher.daemon;
        let mut now = match self.since.take().filter(|since| *since <= look.revision) {
            Some(since) => daemon.ended_since(since, look),
            None => BTreeMap::new(),
        };
        let ended = self.told.keys().filter(|id| !look.active.contains_key(id));
        now.extend(ended.filter_map(|id| Some((*id, daemon.summary_seen(*id, look)?))));
        now.extend(look.active.iter().map(|(id, order)| (*id, Arc::clone(order))));
        now.retain(|_, order| is_wanted(order));
        let mut events = Vec::new();
        for (id, order) in &now {
            if self.told.get(id).is_none_or(|told| told.summary != order.summary) {
                events.push(event(&order.summary));
            }
        }
        now.retain(|_, order| !order.has_ended);
        self.told = now;
        if std::mem::take(&mut self.is_first) {
            events.push(Event::default().event("synced").data("{}"));
        }
        let last = events.pop().map(|last| last.id(look.revision.to_string()));
        self.telling.extend(events.into_iter().chain(last));
    }
}

/// Names a state of an order. What only counts down is no other state, and neither are more requests with the same verdict.
fn state_id(order: &OrderView) -> String {
    let mut order = order.clone();
    order.stage.hold_left_seconds = 0;
    for service in &mut order.services {
        service.judged = service.judged.take().map(JudgedView::settled);
    }
    let hash = Sha256::digest(serde_json::to_vec(&order).unwrap_or_default());
    format!("{hash:.16x}")
}

fn event(order: &str) -> Event {
    Event::default().event("order").data(order)
}

fn last_event_id(headers: &HeaderMap) -> &str {
    headers.get("last-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default()
}

/// The response that tells what `next` finds, as long as somebody reads.
fn stream<R, N>(reader: R, next: impl Fn(R) -> N + Send + 'static) -> Response
where
    R: Send + 'static,
    N: Future<Output = Option<(Event, R)>> + Send + 'static,
{
    let events = unfold(reader, move |reader| {
        let next = next(reader);
        async move { next.await.map(|(event, reader)| (Ok::<_, Infallible>(event), reader)) }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
}
