//! Webhooks: receivers elsewhere are told what happens to orders.
//!
//! The audit log is the queue. A webhook follows it record by record, and the store keeps how far it got: so every event comes
//! at least once and in order, over restarts and over outages of its receiver, and nothing is queued in memory. Each webhook
//! has a thread of its own, so a receiver that hangs holds up nobody else.

mod backoff;
mod courier;
mod figures;
mod format;
mod message;
mod signature;
mod standing;

pub use format::Format;
pub(crate) use format::Signing;
pub use standing::{WebhookTried, WebhookView};

use crate::clock::Clock;
use crate::config::WebhookSettings;
use crate::daemon::Daemon;
use crate::remote::{CallLimits, Remote, RemoteError};
use crate::secret::SecretError;
use courier::{Courier, Test};
use figures::{Figures, Lags};
use prometheus_client::registry::Registry;
use signature::SignatureError;
use standing::Standing;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

/// Webhooks of one daemon: each has a thread.
pub const MAX_WEBHOOKS: usize = 16;

/// What a receiver may take for one delivery, as the specification of Standard Webhooks recommends.
const LIMITS: CallLimits =
    CallLimits { connect: Duration::from_secs(5), call: Duration::from_secs(15), answer_bytes: 64 << 10 };

/// Tests of one webhook that wait for each other.
const MAX_TESTS: usize = 4;

/// All webhooks of a daemon.
pub struct Webhooks {
    by_name: BTreeMap<String, Webhook>,
    figures: Figures,
    clock: Arc<dyn Clock>,
}

/// A webhook, as others see it.
#[derive(Debug)]
struct Webhook {
    settings: WebhookSettings,
    host: String,
    standing: Arc<Standing>,
    tests: mpsc::Sender<Test>,
}

/// A webhook cannot be started.
#[derive(Debug, Error)]
#[error("webhook {name:?}")]
pub struct NotStarted {
    /// Which one.
    name: String,
    /// Why.
    source: WebhookError,
}

/// Why a webhook cannot be started.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// Its endpoint cannot be called.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Its secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Its secret is none.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It gets no thread.
    #[error("there is no thread for it: {0}")]
    Thread(#[from] io::Error),
}

/// Why a webhook was not tried.
#[derive(Debug, Error)]
pub enum NotTried {
    /// There is none of this name.
    #[error("webhook {name:?} is not in the configuration; it has {}", or_none(known))]
    Unknown {
        /// The name.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// It is being tried already.
    #[error("{MAX_TESTS} tests of webhook {0:?} are under way; wait for them")]
    Busy(String),
    /// The daemon ends.
    #[error("the daemon ends")]
    Ending,
}

// === impl Webhooks ===

impl Webhooks {
    /// Starts them. Each goes on behind what it told last, and a new one begins now; they end when `stopped` says so.
    ///
    /// # Errors
    /// When the endpoint or the secret of one cannot be used.
    pub fn start(
        settings: Vec<WebhookSettings>,
        daemon: &Arc<Daemon>,
        clock: &Arc<dyn Clock>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Self, NotStarted> {
        daemon.begin_deliveries(&settings.iter().map(|settings| settings.name.clone()).collect());
        let figures = Figures::default();
        let mut by_name = BTreeMap::new();
        for settings in settings {
            let (name, clock) = (settings.name.clone(), Arc::clone(clock));
            let standing = Arc::new(Standing::new(&name, &figures));
            let webhook = Webhook::start(settings, standing, Arc::clone(daemon), clock, stopped.clone());
            match webhook {
                Ok(webhook) => drop(by_name.insert(name, webhook)),
                Err(source) => return Err(NotStarted { name, source }),
            }
        }
        Ok(Self { by_name, figures, clock: Arc::clone(clock) })
    }

    /// Adds what is counted of them to what is scraped.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let standings = self.by_name.iter();
        let standings = standings.map(|(name, webhook)| (name.clone(), Arc::clone(&webhook.standing)));
        let lags = Lags::new(standings.collect(), Arc::clone(&self.clock));
        self.figures.register(registry, lags);
    }

    /// How each of them stands, by name.
    #[must_use]
    pub fn views(&self) -> Vec<WebhookView> {
        let view = |webhook: &Webhook| webhook.standing.view(&webhook.settings, &webhook.host);
        self.by_name.values().map(view).collect()
    }

    /// Tells the receiver of a webhook that `by` tries it, and gives what it says. That is done between two deliveries and behind other
    /// tests, so it may take five times as long as one call.
    ///
    /// # Errors
    /// When there is no such webhook, or it is being tried.
    pub async fn test(&self, name: &str, by: &str) -> Result<WebhookTried, NotTried> {
        let known = || self.by_name.keys().cloned().collect();
        let unknown = || NotTried::Unknown { name: name.to_owned(), known: known() };
        let webhook = self.by_name.get(name).ok_or_else(unknown)?;
        let (answer, answered) = oneshot::channel();
        let test = Test { by: by.to_owned(), answer };
        webhook.tests.try_send(test).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => NotTried::Busy(name.to_owned()),
            mpsc::error::TrySendError::Closed(_) => NotTried::Ending,
        })?;
        answered.await.map_err(|_| NotTried::Ending)
    }
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

// === impl Webhook ===

impl Webhook {
    fn start(
        settings: WebhookSettings,
        standing: Arc<Standing>,
        daemon: Arc<Daemon>,
        clock: Arc<dyn Clock>,
        stopped: watch::Receiver<bool>,
    ) -> Result<Self, WebhookError> {
        let remote = Remote::new(settings.endpoint.clone(), LIMITS)?;
        let host = remote.host();
        let (tests, asked) = mpsc::channel(MAX_TESTS);
        let (kept, runtime) = (settings.clone(), Handle::current());
        let courier = Courier::new(settings, remote, Arc::clone(&standing), daemon, clock)?;
        let thread = thread::Builder::new().name(format!("webhook {}", kept.name));
        thread.spawn(move || runtime.block_on(courier.run(asked, stopped)))?;
        Ok(Self { settings: kept, host, standing, tests })
    }
}
