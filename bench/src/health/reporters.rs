//! Proxies that tell what they counted, on metrics streams over few connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::sleep_until;

use crate::health::report::report;
use crate::xds::wire::frame;

const PATH: &str = "/envoy.service.metrics.v3.MetricsService/StreamMetrics";
const CONNECTIONS: usize = 4;
/// How long Envoy waits between two reports, if it is not told otherwise.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Reports of each proxy; the first one is what the others are compared with.
pub(crate) const REPORTS: u64 = 7;
/// One proxy of so many sees an error of each cluster between two reports.
pub(crate) const FAILING_EVERY: usize = 10;
/// How late the last report may be.
const LATE: Duration = Duration::from_secs(20);

/// Proxies that report; gone when dropped.
pub(crate) struct Reporters {
    board: Arc<Board>,
    begun: Instant,
    runtime: Option<Runtime>,
}

/// What all streams share.
struct Board {
    proxies: usize,
    /// What their node ids begin with.
    name: &'static str,
    /// What their filters run.
    revision: u64,
    sent: AtomicU64,
    bytes: AtomicU64,
    /// What went wrong first.
    broken: Mutex<Option<String>>,
}

// === impl Reporters ===

impl Reporters {
    /// Begins to report. The reports of different proxies are spread over the interval.
    ///
    /// # Errors
    /// When no thread can be had for it.
    pub(crate) fn start(
        daemon: SocketAddr,
        name: &'static str,
        proxies: usize,
        revision: u64,
    ) -> Result<Self> {
        let (sent, bytes, broken) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::default());
        let board = Arc::new(Board { proxies, name, revision, sent, bytes, broken });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let begun = Instant::now();
        for connection in 0..CONNECTIONS {
            let board = board.clone();
            runtime.spawn(async move {
                let ended = board.connect(daemon, connection, begun).await;
                board.break_with(format!("a connection of reports ended: {ended:?}"));
            });
        }
        Ok(Self { board, begun, runtime: Some(runtime) })
    }

    /// Waits until every proxy has sent so many reports, and the next ones are due.
    ///
    /// # Errors
    /// When one cannot, or does so too late.
    pub(crate) fn until_sent(&self, reports: u64) -> Result<()> {
        let due = self.begun + INTERVAL * reports as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let wanted = reports * self.board.proxies as u64;
        loop {
            if let Some(broken) = &*self.board.broken.lock().unwrap_or_else(PoisonError::into_inner) {
                bail!("{broken}");
            }
            let sent = self.board.sent.load(Relaxed);
            if sent >= wanted {
                return Ok(());
            }
            ensure!(due.elapsed() < LATE, "{sent} of {wanted} reports were sent");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// How many bytes a report has on average.
    pub(crate) fn report_bytes(&self) -> u64 {
        self.board.bytes.load(Relaxed) / self.board.sent.load(Relaxed).max(1)
    }
}

impl Drop for Reporters {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl Board ===

impl Board {
    async fn connect(self: &Arc<Self>, daemon: SocketAddr, first: usize, begun: Instant) -> Result<()> {
        let socket = TcpStream::connect(daemon).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        let (requests, connection) = h2::client::handshake(socket).await.context("no HTTP/2")?;
        for index in (first..self.proxies).step_by(CONNECTIONS) {
            let (board, requests) = (self.clone(), requests.clone());
            tokio::spawn(async move {
                if let Err(error) = board.speak(requests, index, begun).await {
                    board.break_with(format!("{}-{index}: {error:#}", board.name));
                }
            });
        }
        drop(requests);
        connection.await.context("the connection failed")
    }

    async fn speak(&self, requests: SendRequest<Bytes>, index: usize, begun: Instant) -> Result<()> {
        let mut requests = requests.ready().await.context("no room for a stream")?;
        let request = Request::builder().method(Method::POST).uri(format!("http://daemon{PATH}"));
        let request = request.header("content-type", "application/grpc").header("te", "trailers").body(())?;
        let (response, mut outbound) = requests.send_request(request, false)?;
        let node = format!("{}-{index}", self.name);
        let errors = u64::from(index.is_multiple_of(FAILING_EVERY));
        let first = begun + INTERVAL.mul_f64(index as f64 / self.proxies as f64);
        for number in 0..REPORTS {
            sleep_until((first + INTERVAL * number as u32).into()).await;
            let message = frame(&report(&node, number, self.revision, errors));
            self.bytes.fetch_add(message.len() as u64, Relaxed);
            outbound.send_data(message, false)?;
            self.sent.fetch_add(1, Relaxed);
        }
        // The stream stays open. The daemon answers when it ends, which is too early.
        let response = response.await?;
        bail!("answered with {}", response.status())
    }

    fn break_with(&self, how: String) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(how);
    }
}
