//! The thread of one webhook.

#[cfg(test)]
mod tests;

use crate::audit::Record;
use crate::clock::Clock;
use crate::config::WebhookSettings;
use crate::daemon::{AuditPage, Daemon};
use crate::remote::{Call, Remote};
use crate::secret::read_secret;
use crate::webhooks::WebhookError;
use crate::webhooks::backoff::delay;
use crate::webhooks::format::Failure;
use crate::webhooks::message::Message;
use crate::webhooks::standing::{Standing, WebhookTried};
use jiff::SignedDuration;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use ureq::http::Method;

/// How old an event is when it is given up: what nobody was told for a day is in the audit log.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// How long a message is tried that the receiver does not want, before it makes way for the next one.
const REFUSED_FOR: Duration = Duration::from_secs(15 * 60);

/// Records of the audit log that are read at once.
const PAGE: usize = 32;

/// Records that may be passed over before the store is told: so many are read again after a start at most.
const PASSED_OVER: u64 = 1_000;

/// The thread of one webhook.
pub(super) struct Courier {
    settings: WebhookSettings,
    remote: Remote,
    standing: Arc<Standing>,
    daemon: Arc<Daemon>,
    clock: Arc<dyn Clock>,
    /// The record up to which everything was told or given up, and the one up to which the store knows that.
    passed: u64,
    kept: u64,
    /// Records that were read, and come next.
    page: VecDeque<(u64, String)>,
}

/// Somebody who tries the webhook, and waits for what comes of it.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) by: String,
    pub(super) answer: oneshot::Sender<WebhookTried>,
}

/// What may call a courier from what it waits for.
struct Calls {
    tests: mpsc::Receiver<Test>,
    stopped: watch::Receiver<bool>,
}

/// Why a courier does not wait any more.
enum Woken {
    /// What it waited for is there.
    Done,
    /// Somebody tries the webhook.
    Asked(Test),
    /// The daemon ends.
    Stopped,
}

// === impl Courier ===

impl Courier {
    /// One that goes on behind what was told last.
    ///
    /// # Errors
    /// When the secret cannot be used.
    pub(super) fn new(
        settings: WebhookSettings,
        remote: Remote,
        standing: Arc<Standing>,
        daemon: Arc<Daemon>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, WebhookError> {
        if let Some(path) = &settings.secret {
            settings.format.check_secret(&read_secret(path)?)?;
        }
        let passed = daemon.delivered_up_to(&settings.name);
        standing.passed(passed);
        Ok(Self { settings, remote, standing, daemon, clock, passed, kept: passed, page: VecDeque::new() })
    }

    /// Tells what happened and what happens, until the daemon ends. Blocks its thread.
    pub(super) async fn run(mut self, tests: mpsc::Receiver<Test>, stopped: watch::Receiver<bool>) {
        let mut calls = Calls { tests, stopped };
        let mut commits = self.daemon.commits();
        loop {
            commits.mark_unchanged();
            let goes_on = match self.next() {
                Some(message) => self.deliver(&message, &mut calls).await,
                // The sender is the daemon's own, which this holds.
                None => self.wait(&mut calls, async { drop(commits.changed().await) }).await,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// The next thing to tell, of what the audit log has.
    fn next(&mut self) -> Option<Message> {
        loop {
            let Some((number, line)) = self.page.pop_front() else {
                self.read_on()?;
                continue;
            };
            self.passed = number;
            // A log that was changed from outside may have lines that are no records: whoever verifies it finds the place.
            let record = serde_json::from_str::<Record>(&line).ok();
            match record.and_then(|record| Message::of(&record, &self.settings)) {
                Some(message) => return Some(message),
                None => self.standing.passed(number),
            }
        }
    }

    /// Reads what comes next in the audit log; none when there is nothing, or it cannot be read now.
    fn read_on(&mut self) -> Option<()> {
        if self.passed >= self.kept + PASSED_OVER {
            self.keep();
        }
        let page = self.daemon.audit(self.passed, PAGE);
        let page = page.inspect_err(|error| {
            tracing::error!(webhook = self.settings.name, %error, "audit log cannot be read");
        });
        let AuditPage { records, last, .. } = page.ok()?;
        let first = (last + 1).checked_sub(records.len() as u64)?;
        // By the log's own numbers and not by those in the records, which somebody may have changed.
        self.page.extend((first..).zip(records));
        (!self.page.is_empty()).then_some(())
    }

    /// Tells the receiver, until it takes the message or that is given up. Gives whether to go on: not when the daemon ends.
    async fn deliver(&mut self, message: &Message, calls: &mut Calls) -> bool {
        self.standing.begin(message.at);
        let begun = self.clock.elapsed();
        let mut failures = 0;
        while self.clock.now().duration_since(message.at) < GIVEN_UP_AFTER {
            let Err(failure) = self.attempt(message) else {
                self.standing.delivered();
                self.keep();
                return true;
            };
            failures += 1;
            self.standing.failed(&failure.to_string());
            let webhook = &self.settings.name;
            tracing::warn!(webhook, id = message.id, failures, problem = %failure, "webhook is not taken");
            let tried_for = self.clock.elapsed().saturating_sub(begun);
            let asked = match failure {
                Failure::Refused(_) if tried_for >= REFUSED_FOR => break,
                Failure::Refused(_) => None,
                Failure::Later { asked, .. } => asked,
            };
            let next = Instant::now() + delay(failures, fastrand::f64(), asked);
            if !self.wait(calls, sleep_until(next)).await {
                return false;
            }
        }
        tracing::error!(
            webhook = self.settings.name,
            id = message.id,
            text = message.text,
            "webhook gives up"
        );
        self.standing.gave_up();
        self.keep();
        true
    }

    /// Waits for something, and meanwhile lets people try the webhook. Gives whether to go on: not when the daemon ends.
    async fn wait(&self, calls: &mut Calls, done: impl Future<Output = ()>) -> bool {
        let mut done = std::pin::pin!(done);
        loop {
            // In this order: when the daemon ends, nothing else is to be waited for any more.
            let woken = tokio::select! {
                biased;
                _ = calls.stopped.wait_for(|stopped| *stopped) => Woken::Stopped,
                asked = calls.tests.recv() => asked.map_or(Woken::Stopped, Woken::Asked),
                () = &mut done => Woken::Done,
            };
            match woken {
                Woken::Done => return true,
                Woken::Asked(test) => self.test(test),
                Woken::Stopped => return false,
            }
        }
    }

    fn test(&self, Test { by, answer }: Test) {
        let name = self.settings.name.clone();
        let message = Message::test(&name, &by, fastrand::u64(..), self.clock.now());
        let problem = self.attempt(&message).err().map(|failure| failure.to_string());
        tracing::info!(webhook = name, by, problem, "webhook was tried");
        // Whoever asked may have left.
        let _ =
            answer.send(WebhookTried { name, host: self.remote.host(), taken: problem.is_none(), problem });
    }

    /// Tells the receiver once. Blocks.
    fn attempt(&self, message: &Message) -> Result<(), Failure> {
        let later = |problem: &dyn ToString| Failure::Later { problem: problem.to_string(), asked: None };
        let secret = self.settings.secret.as_deref().map(read_secret).transpose();
        let secret = secret.map_err(|error| later(&error))?;
        let format = self.settings.format;
        let prepared = format.prepare(message, secret.as_deref(), self.clock.now());
        let prepared = prepared.map_err(|error| later(&error))?;
        let call = Call {
            method: Method::POST,
            path: "",
            query: &prepared.query,
            headers: &prepared.headers,
            body: &prepared.body,
        };
        let answer = self.remote.call(&call).map_err(|error| later(&error))?;
        format.judge(&answer, self.clock.now())
    }

    /// Has the store remember how far it got. What it cannot remember is told again after a start.
    fn keep(&mut self) {
        self.standing.passed(self.passed);
        match self.daemon.delivered(&self.settings.name, self.passed) {
            Ok(()) => self.kept = self.passed,
            Err(error) => {
                tracing::warn!(webhook = self.settings.name, %error, "what was told is not remembered");
            }
        }
    }
}
