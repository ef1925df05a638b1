//! Real Envoys: from the moment at which a gray version fails to the one at which nobody is sent there any more.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use graylane_wasm_tests::release::{self, GRAY};
use graylane_wasm_tests::{Mood, Release, ReleaseSettings, Testbed, TestbedSettings, wait};

use crate::figures::{self, Row, Samples};
use crate::goals::Goal;
use crate::health::Found;

const ENVOYS: usize = 10;
/// Threads that send through each Envoy, and requests a second of each: 200 in all, every other one gray.
const THREADS: usize = 2;
const RATE: u32 = 10;
/// Proxies report once a second: two reports later nothing of a round is still to come.
const REST: Duration = Duration::from_secs(2);
const SEED: u64 = 17;
const MEDIAN_MS: f64 = 3_000.0;
const P99_MS: f64 = 5_000.0;

/// What is measured in each round, from the first failing answer on.
struct Times {
    told: Samples,
    back: Samples,
}

/// Measures so many rounds.
///
/// # Errors
/// When a part does not start, or a round goes another way than it should.
pub(crate) fn measure(rounds: u32) -> Result<Found> {
    let testbed = Testbed::start(&TestbedSettings { envoys: ENVOYS, ..TestbedSettings::default() })?;
    let settings = ReleaseSettings { threads: THREADS, rate: RATE, ..ReleaseSettings::default() };
    let mut release = Release::start(testbed, &settings)?;
    let mut rng = Rng::with_seed(SEED);
    let mut times = Times {
        told: Samples::new("recovery.told", "the order is rolled back"),
        back: Samples::new("recovery.back", "every proxy sends the pilot to stable"),
    };
    for round in 1..=rounds {
        // The fault is in no step with the reports.
        run(&mut release, rng.u64(..1_000), &mut times).with_context(|| format!("round {round}"))?;
        eprintln!("  {round} of {rounds} rounds");
    }
    let rows = [times.told.row()?, times.back.row()?];
    let goals = rows.last().map(goals).into_iter().flatten().collect();
    let tables = vec![figures::table("milliseconds from the moment at which gray fails always", &rows)];
    let rows = rows.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    Ok(Found { goals, tables, rows, charts: Vec::new(), method: method() })
}

/// An order from its start to its rollback, which nobody asks for.
fn run(release: &mut Release, pause_ms: u64, times: &mut Times) -> Result<()> {
    release.start_order()?;
    release.until_found("verdict", "healthy")?;
    release.until_everywhere("v2")?;
    thread::sleep(Duration::from_millis(pause_ms));
    let begun = Instant::now();
    release.be(GRAY, Mood::Failing(100))?;
    let order = release.until_back(wait::DEADLINE)?;
    times.told.push(begun.elapsed());
    release.until_everywhere("v1")?;
    times.back.push(begun.elapsed());
    release.be(GRAY, Mood::Well)?;
    let why = release::fault(&order)?;
    ensure!(why.contains("gray requests failed"), "{why}");
    release.until_phase("RolledBack")?;
    thread::sleep(REST);
    release.check_everywhere("v1")
}

fn goals(back: &Row) -> [Goal; 2] {
    let goal = |name, quantile: &str, found_ms: f64, limit_ms: f64| Goal {
        name,
        what: format!(
            "from gray's failure to stable behind each of {ENVOYS} Envoys, {quantile} of {}",
            back.n
        ),
        goal: format!("under {} s", limit_ms / 1e3),
        found: format!("{:.2} s", found_ms / 1e3),
        is_met: found_ms < limit_ms,
    };
    [
        goal("recovery.median", "median", back.median_ms, MEDIAN_MS),
        goal("recovery.p99", "p99", back.p99_ms, P99_MS),
    ]
}

fn method() -> Vec<String> {
    vec![
        format!(
            "The real way back: the daemon and {ENVOYS} Envoys from `envoy-configs/sidecar-outbound.yaml`, which report once a second, \
             with {} requests a second over all of them, every other one by a pilot who is sent to gray. All share the machine's \
             cores.",
            ENVOYS as u32 * THREADS as u32 * RATE
        ),
        "Each round is an order of its own. When its service is found healthy, up to a second later, gray begins to fail always. The \
         order is looked at until it is rolled back, then each Envoy is asked until it sends the pilot to v1; before, the pilot got \
         v2 through each. Asking sooner would be gray traffic by which the fault is found earlier."
            .to_owned(),
        "Each round checks that the order says by which figures it was rolled back, and that two reports later every Envoy still \
         sends the pilot to v1. Quantiles are by nearest rank, so the p99 of fewer than a hundred rounds is their maximum."
            .to_owned(),
    ]
}
