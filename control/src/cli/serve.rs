//! `graylane serve`.

use crate::api::{self, Streams};
use crate::cli::CliError;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::measured_store::{MeasuredStore, StoreFigures};
use crate::metrics::Metrics;
use anyhow::Context as _;
use clap::Args;
use graylane_store::RedbStore;
use graylane_xds::{FilterSettings, Xds};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
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
}

// === impl Serve ===

impl Serve {
    pub(crate) fn run(self) -> Result<(), CliError> {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime").map_err(CliError::Serve)?;
        runtime.block_on(self.serve()).map_err(CliError::Serve)
    }

    async fn serve(self) -> anyhow::Result<()> {
        let config = self.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
        let tokens = config.tokens();
        if tokens.is_empty() && !self.http.ip().is_loopback() {
            tracing::warn!(http = %self.http, "everybody who reaches the API may do everything; see `graylane token`");
        }
        let figures = StoreFigures::default();
        let store = MeasuredStore::new(RedbStore::open(&self.data)?, figures.clone());
        let settings = FilterSettings { module_path: self.filter_wasm, ..FilterSettings::default() };
        let xds = Xds::new(settings, config.proxies().canary);
        let daemon =
            Daemon::open(Arc::new(store), config, Arc::new(xds.clone()), Arc::<SystemClock>::default());
        let daemon = Arc::new(daemon.context("cannot load the stored state")?);
        let changes = xds.changes();

        let listen = |address: SocketAddr| async move {
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
        };
        let (http_listener, xds_listener) = (listen(self.http).await?, listen(self.xds).await?);
        tracing::info!(http = %http_listener.local_addr()?, xds = %xds_listener.local_addr()?, "serving");

        let (stop, stopped) = watch::channel(false);
        let until_stopped = || {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|stopped| *stopped).await) }
        };
        let streams = Streams::new(changes.clone(), stopped.clone());
        let metrics = Metrics::new(Arc::clone(&daemon), &xds, &figures);
        let router = api::router(Arc::clone(&daemon), tokens, streams, metrics);
        let mut http =
            tokio::spawn(api::serve(http_listener, router, api::Limits::default(), until_stopped()));
        let mut xds = tokio::spawn(xds.serve(xds_listener, until_stopped()));
        let observed = Arc::clone(&daemon);
        let mut observer = tokio::spawn(async move { observed.observe(changes).await });

        let ended = tokio::select! {
            signal = terminated() => signal,
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
        if ended.is_ok() {
            http.await?;
            xds.await??;
        }
        ended
    }
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

/// Waits until somebody ends this process politely.
async fn terminated() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
