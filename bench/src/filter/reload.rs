//! What a request suffers while new rules arrive.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use graylane_rules::{RuleSet, encode};
use graylane_wasm_tests::{Staged, wait};
use serde::Serialize;

use crate::filter::contender::Contender;
use crate::filter::cores;
use crate::filter::costs::quartile;
use crate::filter::ids::Ids;
use crate::filter::load::{Connection, Waiting};
use crate::filter::requests::Requests;
use crate::filter::stand::Stand;
use crate::filter::wiring::textbook_rules;

/// Time between two requests: 1,000 a second.
const INTERVAL: Duration = Duration::from_millis(1);
/// A sleep ends late by about this, so the rest is spent looking at the clock.
const SLEEP_SLACK: Duration = Duration::from_micros(150);
/// Between two reloads: what the one before left behind is done by then.
const BETWEEN_RELOADS: Duration = Duration::from_millis(250);
/// How long new rules may take to steer.
const SERVED_DEADLINE: Duration = Duration::from_secs(60);

/// Two rule sets that have nothing in common, given out in turn, each time under a new revision.
pub(crate) struct Changing {
    variants: Variants,
    revision: u64,
    /// A teller that every odd revision steers, and no even one.
    pub(crate) teller: String,
}

enum Variants {
    Graylane([RuleSet; 2]),
    Textbook([Ids; 2]),
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// Windows with reloads; as many without lie between them.
    pub(crate) windows: usize,
    /// Reloads in each.
    pub(crate) reloads: usize,
}

/// The row that the issue asks for. Worst requests are medians over the windows.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stall {
    /// Who.
    pub(crate) contender: &'static str,
    /// How many tellers are gray.
    pub(crate) ids: usize,
    /// The slowest request of a window with reloads.
    pub(crate) reload_worst_ms: f64,
    /// The slowest request of a window of the same length without.
    pub(crate) baseline_worst_ms: f64,
    /// Requests with no answer, or with another status than 200.
    pub(crate) failed: u64,
    /// The slowest request of all windows with reloads.
    #[serde(skip)]
    pub(crate) reload_worst_of_all_ms: f64,
    /// The slowest request of all windows without.
    #[serde(skip)]
    pub(crate) baseline_worst_of_all_ms: f64,
    /// Requests in all windows.
    #[serde(skip)]
    pub(crate) requests: u64,
}

/// What the sender and the one that reloads tell each other.
#[derive(Default)]
struct Watch {
    stop: AtomicBool,
    /// How often the answer was another than before.
    changes: AtomicU64,
}

#[derive(Default)]
struct Window {
    worst: Duration,
    requests: u64,
    failed: u64,
}

// === impl Changing ===

impl Changing {
    /// Two sets of this size. `first` is the one of odd revisions, from 1 on.
    pub(crate) fn new(contender: Contender, first: &Ids) -> Result<Self> {
        let size = first.tellers.len();
        let second = Ids::random(size, u64::MAX - size as u64);
        let in_second: HashSet<_> = second.tellers.iter().collect();
        let teller =
            first.tellers.iter().find(|id| !in_second.contains(id)).context("both sets are the same")?;
        let teller = teller.clone();
        let variants = match contender {
            Contender::Graylane => Variants::Graylane([second.rule_set(), first.rule_set()]),
            Contender::Textbook => Variants::Textbook([second, Ids::random(size, size as u64)]),
            other => return Err(anyhow!("{} cannot be given other rules", other.as_str())),
        };
        Ok(Self { variants, revision: 1, teller })
    }

    /// The configuration of the next revision.
    pub(crate) fn next(&mut self) -> Result<Vec<u8>> {
        self.revision += 1;
        let is_even = self.revision.is_multiple_of(2);
        match &self.variants {
            Variants::Graylane([even, odd]) => Ok(encode(if is_even { even } else { odd }, self.revision)?),
            Variants::Textbook([even, odd]) => {
                textbook_rules(if is_even { even } else { odd }, self.revision)
            }
        }
    }

    /// The body of the teller's answer by the revision given out last.
    pub(crate) const fn body(&self) -> &'static str {
        if self.revision.is_multiple_of(2) { "stable" } else { "gray" }
    }
}

/// Measures windows with reloads and windows without, in turn.
pub(crate) fn stall(stand: &mut Stand, changing: &mut Changing, effort: Windows) -> Result<Stall> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..effort.windows {
        let mut staged = Vec::new();
        for _ in 0..effort.reloads {
            let rules = stand.rules.as_mut().context("its rules are in no file")?;
            staged.push(rules.stage(&changing.next()?)?);
        }
        let started = Instant::now();
        with.push(window(stand.envoy.listener(), &changing.teller, |watch| reload(staged, watch))?);
        let took = started.elapsed();
        let rest = |_: &Watch| {
            thread::sleep(took);
            Ok(())
        };
        without.push(window(stand.envoy.listener(), &changing.teller, rest)?);
    }
    Ok(sum_up(stand, &with, &without))
}

fn sum_up(stand: &Stand, with: &[Window], without: &[Window]) -> Stall {
    let worst = |windows: &[Window]| -> Vec<f64> {
        windows.iter().map(|window| (window.worst.as_secs_f64() * 1e6).round() / 1e3).collect()
    };
    let (with_ms, without_ms) = (worst(with), worst(without));
    let all = || with.iter().chain(without);
    Stall {
        contender: stand.contender.as_str(),
        ids: stand.ids,
        reload_worst_ms: quartile(&with_ms, 2),
        baseline_worst_ms: quartile(&without_ms, 2),
        failed: all().map(|window| window.failed).sum(),
        reload_worst_of_all_ms: quartile(&with_ms, 4),
        baseline_worst_of_all_ms: quartile(&without_ms, 4),
        requests: all().map(|window| window.requests).sum(),
    }
}

fn reload(staged: Vec<Staged>, watch: &Watch) -> Result<()> {
    for staged in staged {
        let before = watch.changes.load(Ordering::Relaxed);
        staged.publish()?;
        wait::until_within(SERVED_DEADLINE, "the new rules steer", || {
            ensure!(watch.changes.load(Ordering::Relaxed) > before, "the old ones still do");
            Ok(())
        })?;
        thread::sleep(BETWEEN_RELOADS);
    }
    Ok(())
}

/// Sends at a constant rate while something is done.
fn window(to: SocketAddr, teller: &str, work: impl FnOnce(&Watch) -> Result<()>) -> Result<Window> {
    let watch = Watch::default();
    thread::scope(|scope| {
        let sender = scope.spawn(|| cores::on(cores::LOAD, || send(to, teller, &watch)));
        let worked = work(&watch);
        watch.stop.store(true, Ordering::Relaxed);
        let window = sender.join().map_err(|_| anyhow!("the sender panicked"))??;
        worked.map(|()| window)
    })
}

/// Each latency counts from when the request was due, so that those that a stall held back count in full.
fn send(to: SocketAddr, teller: &str, watch: &Watch) -> Result<Window> {
    let mut requests = Requests::of_teller(teller);
    let mut connection = Connection::open(to, Waiting::Sleeping)?;
    let mut window = Window::default();
    let mut last: Option<Vec<u8>> = None;
    let mut due = Instant::now();
    while !watch.stop.load(Ordering::Relaxed) {
        due += INTERVAL;
        sleep_until(due);
        window.requests += 1;
        let answered = connection.send(requests.next()).and_then(|()| Ok(connection.answer()?.to_vec()));
        window.worst = window.worst.max(due.elapsed());
        match answered {
            Ok(body) => {
                if last.as_ref().is_some_and(|last| *last != body) {
                    watch.changes.fetch_add(1, Ordering::Relaxed);
                }
                last = Some(body);
            }
            Err(_) => {
                window.failed += 1;
                connection = Connection::open(to, Waiting::Sleeping)?;
            }
        }
    }
    Ok(window)
}

fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()).saturating_sub(SLEEP_SLACK));
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}
