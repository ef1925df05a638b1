//! Releases that are not there: how often a healthy one is blamed, and how soon a faulty one is found.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use graylane_health::sequential::ALPHA;
use graylane_health::{ErrorLimits, Freshness, Judge, LatencyLimit, Observed, Policy, TICK, Verdict};
use plotters::style::RGBColor;
use serde_json::{Value, json};

use crate::chart::{Line, draw_log};
use crate::goals::Goal;
use crate::health::Found;
use crate::health::traffic::Traffic;
use crate::report::Chart;
use crate::table::Table;

/// Requests a second to gray; stable has four times as many.
const RATES: [f64; 3] = [1.0, 10.0, 100.0];
const STABLE_TIMES: f64 = 4.0;
/// Shares of requests that fail in a healthy release, of gray and of stable alike.
const HEALTHY: [f64; 3] = [0.0, 0.001, 0.01];
/// Shares that fail in a faulty one; of stable, and before the fault, it is [`BEFORE`].
const FAULTY: [f64; 6] = [0.04, 0.06, 0.1, 0.2, 0.5, 1.0];
const BEFORE: f64 = 0.001;
/// Alarms of a service that are tests of their own: errors, errors over stable's, latency.
const TESTS: f64 = 3.0;
/// How long a healthy release is watched: a minute. Ten minutes of ten thousand releases would take two cores ten minutes, too.
const RELEASE_TICKS: u64 = 240;
/// How long a release is healthy before its fault: a window.
const WARM_UP_TICKS: u64 = 240;
/// Ticks after which a fault is not found: an hour.
const PATIENCE_TICKS: u64 = 14_400;
const COLORS: [RGBColor; 3] = [RGBColor(213, 94, 0), RGBColor(0, 114, 178), RGBColor(0, 158, 115)];

/// How much is simulated.
struct Size {
    releases: usize,
    /// Of each release.
    ticks: u64,
    /// Faults of each kind.
    faults: usize,
}

/// A release that is not there.
struct Release {
    judge: Judge,
    gray: Traffic,
    stable: Traffic,
    rate: f64,
}

/// How long faults of one size are there until they are found.
struct Delays {
    rate: f64,
    share: f64,
    /// Sorted; none for one that is not found.
    ticks: Vec<Option<u64>>,
}

/// Simulates all of it.
///
/// # Errors
/// When a release is blamed before its fault.
pub(crate) fn measure(is_quick: bool) -> Result<Found> {
    let size = Size::of(is_quick);
    let blamed: usize =
        in_parallel(size.releases, |number| usize::from(size.is_blamed(number)))?.iter().sum();
    let kinds = RATES.iter().flat_map(|rate| FAULTY.iter().map(|share| (*rate, *share)));
    let delays = kinds.map(|(rate, share)| size.delays(rate, share)).collect::<Result<Vec<_>>>()?;
    Ok(Found {
        goals: vec![size.goal(blamed)],
        tables: vec![table(&delays)],
        rows: delays.iter().map(Delays::row).collect(),
        charts: vec![chart(&delays)?],
        method: size.method(),
    })
}

/// What the example of a plan says.
fn policy() -> Policy {
    Policy {
        window: Duration::from_secs(60),
        min_requests: 50,
        errors: Some(ErrorLimits { max: Some(0.02), over_stable: Some(0.01) }),
        latency: Some(LatencyLimit { percentile: 99.0, max_ratio: 1.5 }),
        ..Policy::default()
    }
}

// === impl Size ===

impl Size {
    fn of(is_quick: bool) -> Self {
        match is_quick {
            false => Self { releases: 10_000, ticks: RELEASE_TICKS, faults: 200 },
            true => Self { releases: 100, ticks: RELEASE_TICKS, faults: 20 },
        }
    }

    /// Whether a healthy release is blamed.
    fn is_blamed(&self, number: usize) -> bool {
        let of = |list: &[f64], at: usize| list.get(at % list.len()).copied().unwrap_or_default();
        let (rate, share) = (of(&RATES, number), of(&HEALTHY, number / RATES.len()));
        let mut release = Release::new(number as u64, rate);
        (0..self.ticks).any(|_| release.tick(share, share))
    }

    fn delays(&self, rate: f64, share: f64) -> Result<Delays> {
        let found = in_parallel(self.faults, |number| {
            let mut release = Release::new((self.releases + number) as u64, rate);
            let is_blamed = (0..WARM_UP_TICKS).any(|_| release.tick(BEFORE, BEFORE));
            (is_blamed, (1..=PATIENCE_TICKS).find(|_| release.tick(share, BEFORE)))
        })?;
        ensure!(!found.iter().any(|(is_blamed, _)| *is_blamed), "a release is blamed before its fault");
        let mut ticks: Vec<_> = found.into_iter().map(|(_, ticks)| ticks).collect();
        ticks.sort_unstable_by_key(|ticks| ticks.unwrap_or(u64::MAX));
        Ok(Delays { rate, share, ticks })
    }

    fn goal(&self, blamed: usize) -> Goal {
        let Self { releases, ticks, .. } = *self;
        let promised = releases as f64 * ticks as f64 * TESTS * ALPHA;
        let bound = match blamed {
            // The rule of three.
            0 => format!("; fewer than {:.2} % with 95 % confidence", 300.0 / releases as f64),
            _ => String::new(),
        };
        Goal {
            name: "false_alarms",
            what: format!(
                "healthy releases that are blamed, of {releases} with {:.0} s each: {:.0} hours",
                seconds(ticks),
                seconds(ticks) * releases as f64 / 3_600.0
            ),
            goal: format!("none ({promised:.4} may be expected)"),
            found: format!("{blamed} of {releases}{bound}"),
            is_met: blamed as f64 <= promised,
        }
    }

    fn method(&self) -> Vec<String> {
        vec![
            format!(
                "Simulated releases: the daemon's own judge, tick after tick of {} ms, with the limits of the example: a window of \
                 60 s, 50 requests, 2 % of errors and 1 % more than stable, and percentile 99 of the time at most 1.5 times stable's.",
                TICK.as_millis()
            ),
            "Requests come by a Poisson process, 1, 10 or 100 a second to gray and four times as many to stable; each fails by chance \
             and takes a time from a distribution with a long tail (log-logistic, median 20 ms, p99 199 ms), counted in Envoy's \
             default buckets. The seeds are fixed."
                .to_owned(),
            format!(
                "A false alarm has at most a probability of {ALPHA:e} per tick and test. Healthy releases fail at 0, 0.1 % and 1 %, \
                 gray and stable alike; every rate has as many releases with every share."
            ),
            format!(
                "A fault begins after a healthy minute (0.1 % of errors) and is waited for {:.0} s; {} faults of each kind. A proxy \
                 tells of an error only with its next report, which comes on top.",
                seconds(PATIENCE_TICKS),
                self.faults
            ),
        ]
    }
}

// === impl Release ===

impl Release {
    fn new(seed: u64, rate: f64) -> Self {
        let (gray, stable) = (Traffic::with_seed(2 * seed), Traffic::with_seed(2 * seed + 1));
        Self { judge: Judge::new(policy()), gray, stable, rate }
    }

    /// Goes on for one tick, with these shares of errors; whether gray is blamed.
    fn tick(&mut self, gray: f64, stable: f64) -> bool {
        let gray = self.gray.tick(self.rate, gray);
        let stable = self.stable.tick(self.rate * STABLE_TIMES, stable);
        let observed = Observed {
            gray: &gray,
            stable: &stable,
            endpoints: None,
            freshness: Freshness::Fresh,
            is_alone: false,
        };
        matches!(self.judge.tick(&observed), Verdict::Unhealthy(_))
    }
}

// === impl Delays ===

impl Delays {
    /// What so many of a hundred do not exceed, by nearest rank, in seconds.
    fn quantile(&self, percent: usize) -> Option<f64> {
        let rank = (self.ticks.len() * percent).div_ceil(100);
        self.ticks.get(rank.saturating_sub(1)).copied().flatten().map(seconds)
    }

    fn row(&self) -> Value {
        json!({
            "what": "delay", "gray_per_second": self.rate, "errors_percent": self.share * 100.0, "n": self.ticks.len(),
            "median_s": self.quantile(50), "p90_s": self.quantile(90),
        })
    }
}

fn table(delays: &[Delays]) -> Table {
    let mut table = Table::new(
        "seconds from the beginning of a fault to its alarm",
        "Median / what nine of ten do not exceed, by the share of gray requests that fail.",
        &["gray requests/s", "4 %", "6 %", "10 %", "20 %", "50 %", "100 %"],
    );
    let shown = |found: Option<f64>| found.map_or("none".to_owned(), |seconds| format!("{seconds}"));
    for delays in delays.chunks(FAULTY.len()) {
        let rate = delays.first().map(|delays| delays.rate.to_string());
        let cell =
            |delays: &Delays| format!("{} / {}", shown(delays.quantile(50)), shown(delays.quantile(90)));
        table.push(rate.into_iter().chain(delays.iter().map(cell)));
    }
    table
}

fn chart(delays: &[Delays]) -> Result<Chart> {
    let line = |(delays, color): (&[Delays], RGBColor)| {
        let rate = delays.first().map(|delays| delays.rate).unwrap_or_default();
        let point = |delays: &Delays| Some((delays.share * 100.0, delays.quantile(50)?));
        let points = delays.iter().filter_map(point).collect();
        Line { name: format!("{rate} gray requests/s"), color, width: 3, is_constant: false, points }
    };
    let lines = delays.chunks(FAULTY.len()).zip(COLORS).map(line).collect();
    let svg = draw_log(
        "from the beginning of a fault to its alarm",
        lines,
        "% of gray requests that fail",
        "seconds, median",
    )?;
    let caption =
        "How long it takes until a fault is found, by how much of gray fails and how much of it there is";
    Ok(Chart { file: "health-delay.svg", caption: caption.to_owned(), svg })
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 * TICK.as_secs_f64()
}

/// Calls for each number on all cores. The results are in the order of the numbers.
fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let run = || {
        let numbers =
            std::iter::from_fn(|| Some(next.fetch_add(1, Relaxed)).filter(|number| *number < count));
        numbers.map(|number| (number, work(number))).collect::<Vec<_>>()
    };
    let mut done = Vec::with_capacity(count);
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(run)).collect();
        for thread in threads {
            done.extend(thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        }
        anyhow::Ok(())
    })?;
    done.sort_unstable_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
