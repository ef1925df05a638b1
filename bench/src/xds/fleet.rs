//! Proxies as the daemon sees them: streams over HTTP/2, each of which acknowledges what it is sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Request};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::xds::wire::{Reader, acknowledgement, subscription};

const PATH: &str = "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/DeltaExtensionConfigs";

/// How a stream and a connection may fill up before they are read, as Envoy has it by default.
const WINDOW_BYTES: u32 = 16 << 20;
/// Connections that are being opened at once: more would only wait in the daemon's queue of the kernel.
const OPENING: usize = 512;
/// The rest between two looks at all proxies: the resolution of what is measured.
const PAUSE: Duration = Duration::from_micros(500);
/// How often a connection is opened before that is an error, and the rest after the first failure, which grows.
const ATTEMPTS: u32 = 20;
const BACK_OFF: Duration = Duration::from_millis(50);
/// How long a stuck reader is let speak before it is not driven any more.
const SPEAKING: Duration = Duration::from_millis(300);

/// Which proxies there are.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// How many.
    pub(crate) proxies: usize,
    /// How many share a connection. A sidecar has one of its own.
    pub(crate) per_connection: usize,
    /// What their node ids begin with.
    pub(crate) name: &'static str,
    /// The version that they hold from before.
    pub(crate) held: Option<String>,
    /// Whether they read nothing.
    pub(crate) is_stuck: bool,
}

/// Connected proxies; gone when dropped.
pub(crate) struct Fleet {
    board: Arc<Board>,
    runtime: Option<Runtime>,
}

/// What the proxies did.
struct Board {
    resource: String,
    seen: Vec<Seen>,
    /// Connections that were opened again, because the kernel's queue of new ones was full.
    reconnects: AtomicU64,
    /// What went wrong first.
    broken: Mutex<Option<String>>,
    /// The last whole response of the first proxy, and its version.
    sample: Mutex<(String, Vec<u8>)>,
}

/// What one proxy did.
#[derive(Default)]
struct Seen {
    /// The last revision that it acknowledged.
    revision: AtomicU64,
    responses: AtomicU64,
    bytes: AtomicU64,
}

// === impl Fleet ===

impl Fleet {
    /// Starts to connect, and does not wait.
    ///
    /// # Errors
    /// When no thread can be had for it.
    pub(crate) fn connect(daemon: SocketAddr, tenant: &str, shape: &Shape) -> Result<Self> {
        let board = Arc::new(Board {
            resource: format!("graylane.v1.{tenant}"),
            seen: (0..shape.proxies).map(|_| Seen::default()).collect(),
            reconnects: AtomicU64::new(0),
            broken: Mutex::default(),
            sample: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let opening = Arc::new(Semaphore::new(OPENING));
        for first in (0..shape.proxies).step_by(shape.per_connection) {
            let last = shape.proxies.min(first + shape.per_connection);
            let (board, shape, opening) = (board.clone(), shape.clone(), opening.clone());
            runtime.spawn(async move {
                board.stay_connected(daemon, first..last, &shape, &opening).await;
            });
        }
        Ok(Self { board, runtime: Some(runtime) })
    }

    /// Waits until every proxy acknowledged a revision, and gives when that was.
    ///
    /// # Errors
    /// When a proxy fails, or it takes longer than this.
    pub(crate) fn until_all(&self, revision: u64, limit: Duration) -> Result<Instant> {
        let begun = Instant::now();
        loop {
            self.check()?;
            let there = self.board.seen.iter().filter(|seen| seen.revision.load(Relaxed) >= revision).count();
            if there == self.board.seen.len() {
                return Ok(Instant::now());
            }
            ensure!(begun.elapsed() < limit, "{there} of {} run revision {revision}", self.board.seen.len());
            thread::sleep(PAUSE);
        }
    }

    /// Responses that the proxies got so far: the fewest and the most that one got, and the sum of their bytes.
    pub(crate) fn received(&self) -> (u64, u64, u64) {
        let responses = || self.board.seen.iter().map(|seen| seen.responses.load(Relaxed));
        let bytes = self.board.seen.iter().map(|seen| seen.bytes.load(Relaxed)).sum();
        (responses().min().unwrap_or(0), responses().max().unwrap_or(0), bytes)
    }

    /// Connections that had to be opened again.
    pub(crate) fn reconnects(&self) -> u64 {
        self.board.reconnects.load(Relaxed)
    }

    /// The version of the last response to the first proxy, and its bytes.
    pub(crate) fn sample(&self) -> (String, Vec<u8>) {
        self.board.sample.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An error if a proxy failed.
    pub(crate) fn check(&self) -> Result<()> {
        match &*self.board.broken.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(broken) => bail!("{broken}"),
            None => Ok(()),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // All at once, as a network that goes away.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl Board ===

impl Board {
    /// Connects, and again when that fails before the first response came, as Envoy does.
    async fn stay_connected(
        self: &Arc<Self>,
        daemon: SocketAddr,
        proxies: std::ops::Range<usize>,
        shape: &Shape,
        opening: &Semaphore,
    ) {
        let is_served = || proxies.clone().any(|index| self.is_served(index));
        for attempt in 1.. {
            let Err(error) = self.connect(daemon, proxies.clone(), shape, opening).await else { return };
            if attempt == ATTEMPTS || is_served() {
                return self.break_with(format!("{}-{}: {error:#}", shape.name, proxies.start));
            }
            self.reconnects.fetch_add(1, Relaxed);
            sleep(BACK_OFF * attempt).await;
        }
    }

    fn is_served(&self, index: usize) -> bool {
        self.seen.get(index).is_some_and(|seen| seen.responses.load(Relaxed) > 0)
    }

    async fn connect(
        self: &Arc<Self>,
        daemon: SocketAddr,
        proxies: std::ops::Range<usize>,
        shape: &Shape,
        opening: &Semaphore,
    ) -> Result<()> {
        let turn = opening.acquire().await?;
        let socket = TcpStream::connect(daemon).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let (requests, connection) = builder.handshake::<_, Bytes>(socket).await.context("no HTTP/2")?;
        drop(turn);
        if shape.is_stuck {
            return self.be_stuck(requests, connection, proxies.start, shape).await;
        }
        for index in proxies {
            let (board, requests, shape) = (self.clone(), requests.clone(), shape.clone());
            tokio::spawn(async move {
                // Of one that was never served the connection is heard.
                if let Err(error) = board.speak(requests, index, &shape).await
                    && board.is_served(index)
                {
                    board.break_with(format!("{}-{index}: {error:#}", shape.name));
                }
            });
        }
        drop(requests);
        connection.await.context("the connection failed")
    }

    /// Asks, and reads nothing from then on.
    async fn be_stuck(
        &self,
        requests: SendRequest<Bytes>,
        mut connection: Connection<TcpStream, Bytes>,
        index: usize,
        shape: &Shape,
    ) -> Result<()> {
        let asking = async {
            let asked = self.ask(requests, index, shape).await;
            sleep(SPEAKING).await;
            asked
        };
        let asked = tokio::select! {
            asked = asking => asked?,
            ended = &mut connection => bail!("the connection ended: {ended:?}"),
        };
        // What is not polled reads nothing, and what is not dropped stays open.
        std::future::pending::<()>().await;
        drop((asked, connection));
        Ok(())
    }

    async fn ask(
        &self,
        requests: SendRequest<Bytes>,
        index: usize,
        shape: &Shape,
    ) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>)> {
        let mut requests = requests.ready().await.context("no room for a stream")?;
        let request = Request::builder().method(Method::POST).uri(format!("http://daemon{PATH}"));
        let request = request.header("content-type", "application/grpc").header("te", "trailers").body(())?;
        let (response, mut outbound) = requests.send_request(request, false)?;
        let node = format!("{}-{index}", shape.name);
        outbound.send_data(subscription(node, &self.resource, shape.held.as_deref()), false)?;
        Ok((response, outbound))
    }

    async fn speak(&self, requests: SendRequest<Bytes>, index: usize, shape: &Shape) -> Result<()> {
        let (response, outbound) = self.ask(requests, index, shape).await?;
        let response = response.await.context("no answer")?;
        ensure!(response.status().is_success(), "answered with {}", response.status());
        self.answer(index, response.into_body(), outbound).await
    }

    async fn answer(
        &self,
        index: usize,
        mut inbound: RecvStream,
        mut outbound: SendStream<Bytes>,
    ) -> Result<()> {
        let seen = self.seen.get(index).context("no such proxy")?;
        let mut reader = if index == 0 { Reader::keeping() } else { Reader::default() };
        while let Some(piece) = inbound.data().await {
            let piece = piece?;
            inbound.flow_control().release_capacity(piece.len())?;
            let Some(response) = reader.take(piece)? else { continue };
            let before = seen.revision.load(Relaxed);
            ensure!(before < response.revision, "revision {} after {before}", response.revision);
            seen.responses.fetch_add(1, Relaxed);
            seen.bytes.fetch_add(response.bytes as u64, Relaxed);
            if let Some(whole) = reader.whole() {
                let mut sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
                *sample = (response.version, whole.to_vec());
            }
            outbound.send_data(acknowledgement(response.nonce), false)?;
            seen.revision.store(response.revision, Relaxed);
        }
        let trailers = inbound.trailers().await?;
        bail!("the stream ended: {trailers:?}")
    }

    fn break_with(&self, how: String) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(how);
    }
}
