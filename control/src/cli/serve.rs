//! `graylane serve`.

use crate::api::{self, Readiness, Streams};
use crate::cli::CliError;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::health::Prometheus;
use crate::measured_store::{MeasuredStore, StoreFigures};
use crate::metrics::Metrics;
use crate::webhooks::Webhooks;
use anyhow::Context as _;
use clap::Args;
use graylane_plan::Span;
use graylane_store::RedbStore;
use graylane_xds::{FilterSettings, Tls, Xds};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinError;
use tracing_subscriber::EnvFilter;

#[derive(Args)]
pub(crate) struct Serve {
    /// The directory with everything that has to survive; created when it is missing
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the HTTP API listens. It speaks no TLS: keep it on loopback, or behind something that does
    #[arg(long, default_value = "127.0.0.1:18080")]
    http: SocketAddr,
    /// Where proxies fetch their rules and report their metrics, by gRPC
    #[arg(long, default_value = "127.0.0.1:18000")]
    xds: SocketAddr,
    /// The filter module's path, as the proxies see it
    #[arg(long, value_name = "PATH", default_value = "/etc/graylane/graylane_filter.wasm")]
    filter_wasm: String,
    /// A file with the tenants and their dimensions, and with the tokens of those who may call the API. Without tenants there
    /// every tenant that a plan names exists; without tokens everybody may do everything, as `operator`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long to go on serving after SIGTERM or SIGINT, up to 10m, while the probes say that it is not ready and load balancers turn
    /// to other replicas. A second signal ends it at once
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_drain)]
    drain: Duration,
}

/// The longest drain. Kubernetes gives a pod 30 seconds in all unless it is told otherwise.
const MAX_DRAIN: Duration = Duration::from_secs(600);

/// How long work that nobody waits for any more may take when the process ends: a commit that was begun.
const LAST_WORK: Duration = Duration::from_secs(1);

/// The signals by which somebody ends this process politely.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Connections that wait to be accepted: all sidecars come back at once after a restart, and one that finds no room is reset or
/// waits a second for its next try. The kernel may allow fewer (`net.core.somaxconn`, 4096 by default).
const BACKLOG: u32 = 16_384;

/// Threads for what takes a while, as an action with its commit. They wait for each other most of the time, and each keeps memory of
/// its own, of which a large rule set takes tens of megabytes.
const BLOCKING_THREADS: usize = 8;

// === impl Serve ===

impl Serve {
    pub(crate) fn run(self) -> Result<(), CliError> {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.max_blocking_threads(BLOCKING_THREADS).enable_all().build();
        let runtime = runtime.context("cannot start the runtime").map_err(CliError::Serve)?;
        let ended = runtime.block_on(self.serve()).map_err(CliError::Serve);
        runtime.shutdown_timeout(LAST_WORK);
        ended
    }

    /// The xDS server, which wants certificates if there is something to check them with.
    fn secured(address: SocketAddr, xds: Xds, config: &Config) -> anyhow::Result<Xds> {
        let Some(files) = config.xds().tls else {
            if !address.ip().is_loopback() {
                tracing::warn!(xds = %address, "everybody who reaches it gets every tenant's rules, and says for any proxy what it \
                    runs; see `xds.tls` of the configuration");
            }
            return Ok(xds);
        };
        Ok(xds.secured(Tls::load(files, config.grants()).context("xds.tls")?))
    }

    async fn serve(self) -> anyhow::Result<()> {
        let config = self.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        let tokens = config.tokens();
        if tokens.is_empty() && !self.http.ip().is_loopback() {
            tracing::warn!(http = %self.http, "everybody who reaches the API may do everything; see `graylane token`");
        }
        let prometheus = config.prometheus().map(|settings| Prometheus::new(settings));
        let prometheus = prometheus.transpose().context("prometheus")?;
        let figures = StoreFigures::default();
        let store = MeasuredStore::new(RedbStore::open(&self.data)?, figures.clone());
        let settings = FilterSettings { module_path: self.filter_wasm, ..FilterSettings::default() };
        let xds = Xds::new(settings, config.proxies().canary, config.xds().limits);
        let xds = Self::secured(self.xds, xds, &config)?;
        let clock: Arc<dyn Clock> = Arc::<SystemClock>::default();
        let webhook_settings = config.webhooks();
        let daemon = Daemon::open(Arc::new(store), config, Arc::new(xds.clone()), Arc::clone(&clock));
        let daemon = Arc::new(daemon.context("cannot load the stored state")?);
        let changes = xds.changes();

        // From here on a signal is heard.
        let mut signals = Signals::new()?;
        let listen = |address| listen(address).with_context(|| format!("cannot listen on {address}"));
        let (http_listener, xds_listener) = (listen(self.http)?, listen(self.xds)?);
        tracing::info!(http = %http_listener.local_addr()?, xds = %xds_listener.local_addr()?, "serving");

        let (stop, stopped) = watch::channel(false);
        let until_stopped = || {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|stopped| *stopped).await) }
        };
        let readiness = Readiness::default();
        let streams = Streams::new(changes.clone(), stopped.clone());
        let webhooks = Webhooks::start(webhook_settings, &daemon, &clock, &stopped)?;
        let metrics = Metrics::new(Arc::clone(&daemon), &xds, &figures, &webhooks);
        let router =
            api::router(Arc::clone(&daemon), tokens, streams, Arc::new(webhooks), metrics, readiness.clone());
        let mut http =
            tokio::spawn(api::serve(http_listener, router, api::Limits::default(), until_stopped()));
        let leaving = xds.clone();
        let xds = xds.reporting_to(daemon.vitals());
        let mut xds = tokio::spawn(xds.serve(xds_listener, until_stopped()));
        let observed = Arc::clone(&daemon);
        let mut observer = tokio::spawn(async move {
            let asking = async {
                match prometheus {
                    Some(prometheus) => prometheus.read(observed.vitals()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = observed.observe(changes) => {}
                () = observed.judge() => {}
                () = asking => {}
            }
        });

        let ended = tokio::select! {
            asked = signals.drain(self.drain, || {
                readiness.leave();
                leaving.drain();
            }) => asked,
            () = daemon.store_failure() => Err(anyhow::anyhow!(
                "the store failed; nothing is taken any more, as nobody knows what is on disk: see the error above, mend the \
                 disk and start again"
            )),
            ended = &mut http => Err(unexpected("the HTTP server", ended.map(Ok::<(), Infallible>))),
            ended = &mut xds => Err(unexpected("the xDS server", ended)),
            ended = &mut observer => Err(unexpected("the order observer", ended.map(Ok::<(), Infallible>))),
        };
        tracing::info!("stopping");
        observer.abort();
        stop.send_replace(true);
        ended?;
        tokio::select! {
            finished = async { http.await?; Ok(xds.await??) } => finished,
            () = signals.next() => Err(ended_at_once()),
        }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Why the daemon cannot go on: a part of it ended, failed or panicked before anybody asked it to.
fn unexpected<E>(part: &str, ended: Result<Result<(), E>, JoinError>) -> anyhow::Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    let cause = match ended {
        Ok(Ok(())) => return anyhow::anyhow!("{part} ended"),
        Ok(Err(error)) => anyhow::Error::new(error),
        Err(panicked) => anyhow::Error::new(panicked),
    };
    cause.context(format!("{part} ended"))
}

/// Reads how long to drain.
fn parse_drain(text: &str) -> Result<Duration, String> {
    let drain = Span::new(text).seconds().map(Duration::from_secs).map_err(ToString::to_string)?;
    match drain <= MAX_DRAIN {
        true => Ok(drain),
        false => Err(format!("{text} is over the limit of 10m; a supervisor would have killed it before")),
    }
}

// === impl Signals ===

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits until somebody wants this process to end.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits until this process shall end, tells so by `leave`, and waits for those who turn elsewhere.
    async fn drain(&mut self, time: Duration, leave: impl FnOnce()) -> anyhow::Result<()> {
        self.next().await;
        tracing::info!(seconds = time.as_secs(), "draining; a second signal ends it at once");
        leave();
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.next() => Err(ended_at_once()),
        }
    }
}

fn ended_at_once() -> anyhow::Error {
    anyhow::anyhow!(
        "a second signal ended it at once; what was acknowledged is on disk, and some callers have no answer"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_a_span_of_at_most_ten_minutes() {
        for (text, seconds) in [("0s", 0), ("5s", 5), ("1m30s", 90), ("10m", 600)] {
            assert_eq!(parse_drain(text), Ok(Duration::from_secs(seconds)));
        }
        for (wrong, says) in
            [("10m1s", "limit of 10m"), ("5", "like 30m"), ("-5s", "like 30m"), ("", "like 30m")]
        {
            assert!(parse_drain(wrong).unwrap_err().contains(says), "{wrong}");
        }
    }
}
