//! One round: an advance, and observers that see it arrive.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use graylane_wasm_tests::{Client, Daemon, LOAN_HOST, Request};

use crate::api::{Api, field};
use crate::push::release::Stage;

/// When an observer gives up; then something is broken.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// Requests through each proxy that must go on being steered after the first.
const CONFIRMATIONS: usize = 3;

/// What to advance, and how it is observed.
pub(crate) struct Round<'a> {
    /// The daemon.
    pub(crate) api: &'a Api,
    /// A client of each proxy.
    pub(crate) clients: &'a [Client],
    /// The stage to enter.
    pub(crate) stage: &'a Stage,
    /// How long an observer rests between two questions.
    pub(crate) pause: Duration,
}

/// What advances the order.
#[derive(Clone, Copy)]
pub(crate) enum Trigger<'a> {
    /// The HTTP API, on a kept connection.
    Http,
    /// A process of the command line.
    CommandLine(&'a Daemon),
}

/// When something was first seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// After the start of the round.
    pub(crate) after: Duration,
    /// After the last look at which it was not there yet.
    pub(crate) gap: Duration,
}

/// What one round took.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    /// Until the trigger was done.
    pub(crate) answered: Duration,
    /// Until the last proxy had acknowledged.
    pub(crate) last_ack: Seen,
    /// Until a request was steered, by proxy.
    pub(crate) steered: Vec<Seen>,
}

/// What the threads of a round share.
struct Start {
    /// All pass it at the same time.
    ready: Barrier,
    /// Set when the trigger failed, so that nobody waits for what cannot come.
    is_in_vain: AtomicBool,
    pause: Duration,
}

/// When an observer saw the old state last, and the new state first.
struct Change {
    old: Instant,
    new: Instant,
}

// === impl Round ===

impl Round<'_> {
    /// Advances and observes.
    ///
    /// # Errors
    /// When an answer is wrong, or nothing changes in time.
    pub(crate) fn run(&self, trigger: Trigger<'_>) -> Result<Times> {
        self.check_versions("v1")?;
        let ready = Barrier::new(self.clients.len() + 2);
        let start = Start { ready, is_in_vain: AtomicBool::new(false), pause: self.pause };
        let poller = self.api.apart();
        let times = thread::scope(|scope| {
            let probes: Vec<_> = self
                .clients
                .iter()
                .map(|client| scope.spawn(|| self.until_steered(client, &start)))
                .collect();
            let poll = scope.spawn(|| self.until_acknowledged(&poller, &start));
            start.ready.wait();
            let started = Instant::now();
            let advanced = self.advance(trigger);
            let answered = started.elapsed();
            start.is_in_vain.store(advanced.is_err(), Ordering::Relaxed);
            let revision = advanced?;
            let (acknowledged, last_ack) = joined(poll)?;
            let steered = probes.into_iter().map(|probe| Ok(joined(probe)?.since(started)));
            let steered = steered.collect::<Result<Vec<Seen>>>()?;
            ensure!(revision == acknowledged, "the proxies acknowledged another revision: {acknowledged}");
            Ok(Times { answered, last_ack: last_ack.since(started), steered })
        })?;
        self.check_versions("v2")?;
        Ok(times)
    }

    fn advance(&self, trigger: Trigger<'_>) -> Result<u64> {
        let order = self.stage.order;
        let view = match trigger {
            Trigger::Http => self.api.post(&format!("/orders/{order}/advance"), "application/json", "{}")?,
            Trigger::CommandLine(daemon) => daemon.cli(&["order", "advance", &order.to_string()])?,
        };
        field(field(&view, "convergence"), "wanted").as_u64().with_context(|| format!("no revision: {view}"))
    }

    /// Sends the new teller's request until v2 answers, and then some more.
    fn until_steered(&self, client: &Client, start: &Start) -> Result<Change> {
        let request = Request::to(LOAN_HOST).teller(&self.stage.teller);
        start.ready.wait();
        let change = start.until(|| match client.version_for(&request)?.as_str() {
            "v1" => Ok(None),
            "v2" => Ok(Some(())),
            other => bail!("{other:?} answered"),
        });
        let ((), change) = change.context("the new teller is not steered")?;
        for _ in 0..CONFIRMATIONS {
            let version = client.version_for(&request)?;
            ensure!(version == "v2", "after v2, {version} answered");
        }
        Ok(change)
    }

    /// Asks until every proxy has acknowledged a newer revision, and gives that.
    fn until_acknowledged(&self, api: &Api, start: &Start) -> Result<(u64, Change)> {
        let before = Some(self.stage.revision_before);
        // Opens the connection before anything is measured, and makes sure that there is something to wait for.
        let proxies = api.proxies();
        start.ready.wait();
        let proxies = proxies?;
        ensure!(
            proxies.iter().all(|acknowledged| *acknowledged == before),
            "{proxies:?} before, not {before:?}"
        );
        let change = start.until(|| {
            let proxies = api.proxies()?;
            ensure!(proxies.len() == self.clients.len(), "{} proxies are connected", proxies.len());
            Ok(proxies.into_iter().min().flatten().filter(|oldest| Some(*oldest) > before))
        });
        change.context("a proxy does not acknowledge")
    }

    /// The teller must get this version through every proxy, and the bystander v1.
    fn check_versions(&self, expected: &str) -> Result<()> {
        let Stage { teller, bystander, .. } = self.stage;
        for (proxy, client) in self.clients.iter().enumerate() {
            for (who, expected) in [(teller, expected), (bystander, "v1")] {
                let version = client.version_for(&Request::to(LOAN_HOST).teller(who))?;
                ensure!(
                    version == expected,
                    "{who} through proxy {proxy}: expected {expected}, got {version}"
                );
            }
        }
        Ok(())
    }
}

// === impl Start ===

impl Start {
    /// Asks until there is an answer.
    fn until<T>(&self, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<(T, Change)> {
        let begun = Instant::now();
        let mut old = begun;
        while begun.elapsed() < GIVE_UP_AFTER {
            // The old state held at least until the question was sent.
            let asked = Instant::now();
            if let Some(answer) = ask()? {
                return Ok((answer, Change { old, new: Instant::now() }));
            }
            ensure!(!self.is_in_vain.load(Ordering::Relaxed), "the advance failed");
            old = asked;
            thread::sleep(self.pause);
        }
        bail!("nothing changed within {} s", GIVE_UP_AFTER.as_secs())
    }
}

// === impl Change ===

impl Change {
    fn since(&self, started: Instant) -> Seen {
        Seen {
            after: self.new.saturating_duration_since(started),
            gap: self.new.saturating_duration_since(self.old.max(started)),
        }
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("an observer panicked"))?
}
