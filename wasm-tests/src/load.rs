//! Constant load in the background, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::client::{Answer, Client, Request};
use crate::wait;

/// Failures that a report quotes; further ones are only counted.
const FAILURES_QUOTED_MAX: usize = 8;
/// Latencies that a thread keeps; at 200 requests a second this is more than an hour.
const LATENCIES_KEPT_MAX: usize = 1_000_000;
/// The header that carries the filter's decision.
const VERSION_HEADER: &str = "x-gray-version";

/// What load to make.
#[derive(Debug, Clone)]
pub struct LoadSettings {
    /// The requests, each with a name for the report; they are sent in turn.
    pub requests: Vec<(String, Request)>,
    /// The version of a request that carries no decision.
    pub stable: String,
    /// Connections that send at the same time.
    pub threads: usize,
    /// Requests a second of each thread.
    pub rate: u32,
}

/// Load that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<LoadReport>>,
}

/// What came of the load.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Requests sent.
    pub requests: u64,
    /// Requests with no answer, or with another status than 200.
    pub failures: u64,
    /// Requests whose version is not the one that the decision in their headers names.
    pub mixed: u64,
    /// The first failures and mixed decisions in words.
    pub complaints: Vec<String>,
    /// Answers, by the request's name and then by version.
    pub versions_by_request: BTreeMap<String, BTreeMap<String, u64>>,
    latencies_us: Vec<u32>,
}

// === impl Load ===

impl Load {
    /// Starts sending.
    pub fn start(client: &Client, settings: &LoadSettings) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sender = |index: usize| {
            // A connection of its own for each thread; each starts at another request.
            let (client, settings) = (client.on_its_own(), settings.clone());
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            thread::spawn(move || {
                send_until(&stop, &sent, |turn| settings.send(&client, index + turn), &settings)
            })
        };
        let threads = (0..settings.threads).map(sender).collect();
        Self { stop, sent, threads }
    }

    /// Requests sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until `count` more requests were sent.
    pub fn until_sent_more(&self, count: u64) -> Result<()> {
        let wanted = self.sent() + count;
        wait::until("load", || {
            ensure!(self.sent() >= wanted, "{} of {wanted} requests sent", self.sent());
            Ok(())
        })
    }

    /// Stops, and gives the report of all threads.
    pub fn stop(mut self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        let mut whole = LoadReport::default();
        for thread in self.threads.drain(..) {
            whole.add(thread.join().expect("a sender does not panic"));
        }
        whole.latencies_us.sort_unstable();
        whole
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

// === impl LoadSettings ===

impl LoadSettings {
    fn send(&self, client: &Client, turn: usize) -> (&str, Result<Answer>) {
        let (name, request) = &self.requests[turn % self.requests.len()];
        (name, client.send(request))
    }
}

fn send_until<'a>(
    stop: &AtomicBool,
    sent: &AtomicU64,
    send: impl Fn(usize) -> (&'a str, Result<Answer>),
    settings: &LoadSettings,
) -> LoadReport {
    let interval = Duration::from_secs(1) / settings.rate;
    let mut report = LoadReport::default();
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += interval;
        let begun = Instant::now();
        let (name, outcome) = send(usize::try_from(report.requests).expect("64 bits"));
        report.record(name, outcome, begun.elapsed(), &settings.stable);
        sent.fetch_add(1, Ordering::Relaxed);
    }
    report
}

// === impl LoadReport ===

impl LoadReport {
    /// The time that this share of the answers took at most, as 0.99; zero when there was none.
    pub fn latency(&self, share: f64) -> Duration {
        let last = self.latencies_us.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        Duration::from_micros(self.latencies_us.get(index).copied().unwrap_or_default().into())
    }

    fn record(&mut self, name: &str, outcome: Result<Answer>, took: Duration, stable: &str) {
        self.requests += 1;
        match outcome {
            Ok(answer) if answer.status == 200 => self.record_answer(name, &answer, took, stable),
            Ok(answer) => self.fail(format!("{name}: status {}", answer.status)),
            Err(error) => self.fail(format!("{name}: {error:#}")),
        }
    }

    fn record_answer(&mut self, name: &str, answer: &Answer, took: Duration, stable: &str) {
        let decided = answer.values_seen(VERSION_HEADER);
        if decided != [answer.version.as_str()] && !(decided.is_empty() && answer.version == stable) {
            self.mixed += 1;
            self.complain(format!(
                "{name}: {} answered, though the decision was {decided:?}",
                answer.version
            ));
        }
        let versions = self.versions_by_request.entry(name.to_owned()).or_default();
        *versions.entry(answer.version.clone()).or_default() += 1;
        if self.latencies_us.len() < LATENCIES_KEPT_MAX {
            self.latencies_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
    }

    fn fail(&mut self, complaint: String) {
        self.failures += 1;
        self.complain(complaint);
    }

    fn complain(&mut self, complaint: String) {
        if self.complaints.len() < FAILURES_QUOTED_MAX {
            self.complaints.push(complaint);
        }
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.mixed += other.mixed;
        other.complaints.into_iter().for_each(|complaint| self.complain(complaint));
        for (name, versions) in other.versions_by_request {
            let mine = self.versions_by_request.entry(name).or_default();
            versions.into_iter().for_each(|(version, count)| *mine.entry(version).or_default() += count);
        }
        self.latencies_us.extend(other.latencies_us);
    }
}
