//! Whole releases in simulated time: random plans, operators, proxies, faults and crashes through the real state machine,
//! compiler and store, with every promise checked after each step. A seed is a whole life, and gives the same one always.
//!
//! `GRAYLANE_SIM_SEED=7` replays one seed and tells every step; `GRAYLANE_SIM_STEPS=1000000` and `GRAYLANE_SIM_MINUTES=60`
//! run longer, from fresh seeds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod actions;
mod bank;
mod disk;
mod faults;
mod judge;
mod memory;
mod moment;
mod operators;
mod plan;
mod proxies;
mod run;
mod scripted;
mod shadow;
mod story;
mod tally;
mod time;
mod window;

use run::{Simulation, Violation, WAITS};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tally::Tally;

/// Steps that every run of the tests takes.
const STEPS: u64 = 100_000;

/// Steps of one life: enough for some releases, and soon replayed.
const STEPS_OF_LIFE: u64 = 400;

/// What has to happen in every run.
const HAPPENS: [&str; 27] = [
    "repeats",
    "orders started",
    "orders that went on",
    "adjusted",
    "paused",
    "resumed",
    "rolled back",
    "finished",
    "baselines cleared",
    "actions that a fault undid",
    "actions that a fault only hid",
    "actions that a fault came after",
    "crashes while recovering",
    "approved",
    "stages entered after approvals",
    "stages entered in their window",
    "judged faulty",
    "judged otherwise",
    "lines stopped",
    "lines started again",
    "moved by an exempt person",
    "finished by itself",
    "paused by a fault",
    "rolled back by a fault",
    "openings let pass",
    "jumps of the wall clock",
    "jumps of the wall clock while no daemon runs",
];

/// Takes all steps of a life. Gives what happened in it.
fn live(seed: u64, is_verbose: bool) -> Result<Tally, String> {
    let mut life = Simulation::new(seed, is_verbose).map_err(|broken| failure(seed, "", 0, &broken))?;
    for step in 1..=STEPS_OF_LIFE {
        life.story.step = step;
        let taken = catch_unwind(AssertUnwindSafe(|| life.step())).unwrap_or_else(|panic| {
            let how = panic.downcast::<String>().map_or_else(|_| "see above".to_owned(), |how| *how);
            Err(Violation { promise: "nothing panics", how })
        });
        taken.map_err(|broken| failure(seed, &life.story.end(), step, &broken))?;
    }
    Ok(life.tally)
}

fn failure(seed: u64, story: &str, step: u64, Violation { promise, how }: &Violation) -> String {
    format!(
        "broken: {promise}\n  {how}\n\nseed {seed}, step {step}, after\n{story}\n\
         replay: GRAYLANE_SIM_SEED={seed} cargo test -p graylane --test simulation -- --nocapture\n"
    )
}

/// How long to run, and from which seed on.
struct Course {
    first: u64,
    steps: u64,
    deadline: Option<Instant>,
}

// === impl Course ===

impl Course {
    fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
        let (steps, minutes) = (number("GRAYLANE_SIM_STEPS"), number("GRAYLANE_SIM_MINUTES"));
        match (steps, minutes) {
            (None, None) => Self { first: 1, steps: STEPS, deadline: None },
            (steps, minutes) => Self {
                first: fastrand::u64(..1 << 48),
                steps: steps.unwrap_or(u64::MAX),
                deadline: minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes)),
            },
        }
    }

    /// Lives one life after the other, on each core. Gives how many steps were taken, and what happened in them.
    fn run(&self) -> Result<(u64, Tally), String> {
        let (lives, failed, total) =
            (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Tally::default()));
        let is_over = |life: u64| {
            life.saturating_mul(STEPS_OF_LIFE) >= self.steps
                || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
                || failed.load(Ordering::Relaxed)
        };
        let worker = || {
            loop {
                let life = lives.fetch_add(1, Ordering::Relaxed);
                if is_over(life) {
                    lives.fetch_sub(1, Ordering::Relaxed);
                    return Ok::<(), String>(());
                }
                let lived = live(self.first + life, false);
                total.lock().unwrap().add(&lived.inspect_err(|_| failed.store(true, Ordering::Relaxed))?);
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().unwrap())
        })?;
        Ok((lives.into_inner() * STEPS_OF_LIFE, total.into_inner().unwrap()))
    }
}

#[test]
fn no_promise_is_broken_in_a_hundred_thousand_steps() {
    if let Ok(seed) = std::env::var("GRAYLANE_SIM_SEED") {
        let lived = live(seed.parse().expect("GRAYLANE_SIM_SEED is a number"), true);
        println!("{}", lived.unwrap_or_else(|failure| panic!("\n{failure}")));
        return;
    }
    let (course, begun) = (Course::from_environment(), Instant::now());
    let (steps, tally) = course.run().unwrap_or_else(|failure| panic!("\n{failure}"));
    println!(
        "{steps} steps from seed {} on, in {:.1} s:\n{tally}",
        course.first,
        begun.elapsed().as_secs_f64()
    );
    for what in HAPPENS.into_iter().chain(WAITS) {
        assert!(tally.of(what) > 0, "a simulation without {what} proves little\n{tally}");
    }
}

#[test]
fn a_seed_gives_the_same_life_always() {
    let end = || {
        let mut life = Simulation::new(7, false).map_err(|broken| broken.how).unwrap();
        (0..STEPS_OF_LIFE).try_for_each(|_| life.step()).map_err(|broken| broken.how).unwrap();
        life.story.end()
    };
    assert_eq!(end(), end());
}
