//! Releases that are not there: how often a healthy one is blamed, and how soon a faulty one is found.

mod release;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use anyhow::{Result, anyhow, ensure};
use graylane_health::TICK;
use graylane_health::sequential::ALPHA;
use plotters::style::RGBColor;
use serde_json::{Value, json};

use crate::chart::{Line, draw_log};
use crate::goals::Goal;
use crate::health::Found;
use crate::report::Chart;
use crate::table::Table;
use release::{BUCKETS, Buckets, Fault, Healthy, Release};

/// Requests a second to gray; stable has four times as many.
const RATES: [f64; 3] = [1.0, 10.0, 100.0];
/// Kinds of healthy releases.
const HEALTHY: [Healthy; 6] = [
    Healthy { share: 0.0, times: 1.0, has_bursts: false },
    Healthy { share: 0.001, times: 1.0, has_bursts: false },
    Healthy { share: 0.01, times: 1.0, has_bursts: false },
    Healthy { share: 0.0, times: 1.0, has_bursts: true },
    Healthy { share: 0.0, times: ALLOWED_TIMES, has_bursts: true },
    Healthy { share: 0.0, times: ALLOWED_TIMES, has_bursts: false },
];
/// A little less than how much slower gray may be.
const ALLOWED_TIMES: f64 = 1.4;
/// Shares that fail in a faulty one; of stable, and before the fault, it is [`BEFORE`].
const FAULTY: [f64; 6] = [0.04, 0.06, 0.1, 0.2, 0.5, 1.0];
const BEFORE: f64 = 0.001;
/// How many times as long gray takes in a slow release, and how many requests a second it gets.
const SLOW: [f64; 4] = [1.5, 2.0, 3.0, 5.0];
const SLOW_RATES: [f64; 2] = [10.0, 100.0];
/// Alarms of a service that are tests of their own: errors, errors over stable's, latency.
const TESTS: f64 = 3.0;
/// How long a healthy release is watched: a minute.
const RELEASE_TICKS: u64 = 240;
/// How long a release is healthy before its fault: a window.
const WARM_UP_TICKS: u64 = 240;
/// Ticks after which a fault is not found: an hour, and ten minutes where gray is slow, since many of these are not found at all.
const PATIENCE_TICKS: u64 = 14_400;
const SLOW_PATIENCE_TICKS: u64 = 2_400;
const COLORS: [RGBColor; 3] = [RGBColor(213, 94, 0), RGBColor(0, 114, 178), RGBColor(0, 158, 115)];

/// How much is simulated.
struct Size {
    releases: usize,
    /// Of each release.
    ticks: u64,
    /// Faults of each kind.
    faults: usize,
}

/// How long faults of one size are there until they are found.
struct Delays {
    rate: f64,
    fault: Fault,
    buckets: Buckets,
    /// Sorted; none for one that is not found.
    ticks: Vec<Option<u64>>,
}

/// Simulates all of it.
///
/// # Errors
/// When a release is blamed before its fault.
pub(crate) fn measure(is_quick: bool) -> Result<Found> {
    let size = Size::of(is_quick);
    let blamed = size.blamed()?;
    let failing = RATES.map(|rate| FAULTY.map(|share| (rate, Fault::Fails(share), BUCKETS[0])));
    let slow =
        SLOW_RATES.map(|rate| BUCKETS.map(|buckets| SLOW.map(|times| (rate, Fault::IsSlow(times), buckets))));
    let delays = |kinds: &[(f64, Fault, Buckets)]| {
        kinds
            .iter()
            .map(|(rate, fault, buckets)| size.delays(*rate, *fault, *buckets))
            .collect::<Result<Vec<_>>>()
    };
    let (failing, slow) = (delays(failing.as_flattened())?, delays(slow.as_flattened().as_flattened())?);
    Ok(Found {
        goals: vec![size.goal(blamed)],
        tables: vec![table(&failing), slow_table(&slow)],
        rows: failing.iter().chain(&slow).map(Delays::row).collect(),
        charts: vec![chart(&failing, &size.said(blamed))?],
        method: size.method(),
    })
}

// === impl Size ===

impl Size {
    fn of(is_quick: bool) -> Self {
        match is_quick {
            false => Self { releases: 10_000, ticks: RELEASE_TICKS, faults: 200 },
            true => Self { releases: 100, ticks: RELEASE_TICKS, faults: 20 },
        }
    }

    /// How many healthy releases are blamed, of which there are as many of each kind.
    fn blamed(&self) -> Result<usize> {
        let kinds = RATES.map(|rate| HEALTHY.map(|healthy| BUCKETS.map(|buckets| (rate, healthy, buckets))));
        let kinds = kinds.as_flattened().as_flattened();
        let is_blamed = in_parallel(self.releases, |number| {
            kinds.get(number % kinds.len()).is_some_and(|(rate, healthy, buckets)| {
                let mut release = Release::new(number as u64, *rate, *buckets);
                (0..self.ticks).any(|tick| release.do_well(*healthy, tick))
            })
        })?;
        Ok(is_blamed.into_iter().filter(|is_blamed| *is_blamed).count())
    }

    fn delays(&self, rate: f64, fault: Fault, buckets: Buckets) -> Result<Delays> {
        let found = in_parallel(self.faults, |number| {
            let mut release = Release::new((self.releases + number) as u64, rate, buckets);
            let is_blamed = (0..WARM_UP_TICKS).any(|_| release.tick(BEFORE, BEFORE));
            let share = release.suffer(fault).unwrap_or(BEFORE);
            (is_blamed, (1..=patience_ticks(fault)).find(|_| release.tick(share, BEFORE)))
        })?;
        ensure!(!found.iter().any(|(is_blamed, _)| *is_blamed), "a release is blamed before its fault");
        let mut ticks: Vec<_> = found.into_iter().map(|(_, ticks)| ticks).collect();
        ticks.sort_unstable_by_key(|ticks| ticks.unwrap_or(u64::MAX));
        Ok(Delays { rate, fault, buckets, ticks })
    }

    /// How many healthy releases are blamed, in words.
    fn said(&self, blamed: usize) -> String {
        let bound = match blamed {
            // The rule of three.
            0 => format!("; fewer than {:.2} % with 95 % confidence", 300.0 / self.releases as f64),
            _ => String::new(),
        };
        format!("{blamed} of {}{bound}", self.releases)
    }

    fn goal(&self, blamed: usize) -> Goal {
        let Self { releases, ticks, .. } = *self;
        let promised = releases as f64 * ticks as f64 * TESTS * ALPHA;
        Goal {
            name: "false_alarms",
            what: format!(
                "healthy releases that are blamed, of {releases} with {:.0} s each: {:.0} hours",
                seconds(ticks),
                seconds(ticks) * releases as f64 / 3_600.0
            ),
            goal: format!("none ({promised:.4} may be expected)"),
            found: self.said(blamed),
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
             default buckets where nothing else is said. The seeds are fixed."
                .to_owned(),
            format!(
                "A false alarm has at most a probability of {ALPHA:e} per tick and test. Healthy releases fail at 0, 0.1 % and 1 %, gray \
                 and stable alike; or both are hit by bursts (for 2 s of every 15 s a fifth fails and all take five times as long); or \
                 gray takes {ALLOWED_TIMES} times as long as stable, with bursts and without. Every rate has as many releases of each \
                 kind, and as many in Envoy's default buckets as in those of our files."
            ),
            format!(
                "A fault begins after a healthy minute (0.1 % of errors): gray fails more or takes longer. It is waited for {:.0} s, or {:.0} s where it \
                 is slow; {} faults of each kind. A proxy tells of an error only with its next report, which comes on top.",
                seconds(PATIENCE_TICKS),
                seconds(SLOW_PATIENCE_TICKS),
                self.faults
            ),
        ]
    }
}

// === impl Delays ===

impl Delays {
    /// What so many of a hundred do not exceed, by nearest rank, in seconds.
    fn quantile(&self, percent: usize) -> Option<f64> {
        let rank = (self.ticks.len() * percent).div_ceil(100);
        self.ticks.get(rank.saturating_sub(1)).copied().flatten().map(seconds)
    }

    /// Median and what nine of ten do not exceed, as in a table.
    fn cell(&self) -> String {
        let shown =
            |percent| self.quantile(percent).map_or("none".to_owned(), |seconds| format!("{seconds}"));
        format!("{} / {}", shown(50), shown(90))
    }

    fn row(&self) -> Value {
        let (fault, size) = self.fault.figure();
        json!({
            "what": "delay", "gray_per_second": self.rate, fault: size, "buckets": self.buckets.name, "n": self.ticks.len(),
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
    for delays in delays.chunk_by(|a, b| a.rate == b.rate) {
        let rate = delays.first().map(|delays| delays.rate.to_string());
        table.push(rate.into_iter().chain(delays.iter().map(Delays::cell)));
    }
    table
}

fn slow_table(delays: &[Delays]) -> Table {
    let mut table = Table::new(
        "seconds from the moment at which gray gets slow to its alarm",
        "Median / what nine of ten do not exceed, by how many times as long gray takes as stable, where 1.5 times is allowed. Only times \
         in buckets that lie wholly above the limit count.",
        &["gray requests/s", "buckets", "1.5", "2", "3", "5"],
    );
    for delays in delays.chunks(SLOW.len()) {
        let names = delays.first().map(|delays| [delays.rate.to_string(), delays.buckets.name.to_owned()]);
        table.push(names.into_iter().flatten().chain(delays.iter().map(Delays::cell)));
    }
    table
}

fn chart(delays: &[Delays], false_alarms: &str) -> Result<Chart> {
    let line = |(delays, color): (&[Delays], RGBColor)| {
        let rate = delays.first().map(|delays| delays.rate).unwrap_or_default();
        let point = |delays: &Delays| Some((delays.fault.figure().1, delays.quantile(50)?));
        let points = delays.iter().filter_map(point).collect();
        Line { name: format!("{rate} gray requests/s"), color, width: 3, is_constant: false, points }
    };
    let lines = delays.chunks(FAULTY.len()).zip(COLORS).map(line).collect();
    let svg = draw_log(
        "from the beginning of a fault to its alarm",
        lines,
        ("% of gray requests that fail", "seconds, median"),
        &format!("Healthy releases that are blamed: {false_alarms}."),
    )?;
    let caption =
        "How long it takes until a fault is found, by how much of gray fails and how much of it there is";
    Ok(Chart { file: "health-delay.svg", caption: caption.to_owned(), svg })
}

const fn patience_ticks(fault: Fault) -> u64 {
    match fault {
        Fault::Fails(_) => PATIENCE_TICKS,
        Fault::IsSlow(_) => SLOW_PATIENCE_TICKS,
    }
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
