//! Each way to do badly behind real Envoys: what is found, and when.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use graylane_wasm_tests::{Mood, wait};
use serde_json::{Value, json};

use crate::api::field;
use crate::health::Found;
use crate::health::bank::{Bank, GRAY, STABLE, Settings, judged};
use crate::table::Table;

/// Of a case with much traffic: 3 Envoys with 40 requests a second each, every other one gray.
const ENVOYS: usize = 3;
const THREADS: usize = 2;
const RATE: u32 = 20;
/// Of one with little: one Envoy with 4 a second, of which one in 12 s is gray, which makes five a minute.
const FEW_RATE: u32 = 4;
const FEW_EVERY: usize = 48;
/// How long an order that has to stay is watched: at much traffic a window and a half, at little one and a bit.
const STAYS: Duration = Duration::from_secs(15);
const STAYS_WITH_FEW: Duration = Duration::from_secs(70);
/// How long a fault may take to be found.
const SOON: Duration = Duration::from_secs(30);
const FEW_PATIENCE: Duration = Duration::from_secs(300);
const SLOW: Duration = Duration::from_millis(200);
/// How often an order that has to stay is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Something that happens to a gray version, and what has to follow.
struct Case {
    what: &'static str,
    settings: Settings,
    /// Whether it is waited for that gray is found healthy before.
    begins_well: bool,
    happens: fn(&mut Bank) -> Result<()>,
    outcome: Outcome,
}

/// What has to follow.
#[derive(Clone, Copy)]
enum Outcome {
    /// The order is rolled back within this time.
    Back(Duration),
    /// This is the cause of the verdict, and the order stays for this long, and refuses to advance.
    Stays(&'static str, Duration),
}

/// What was seen.
struct Seen {
    what: &'static str,
    gray_per_minute: u32,
    /// The verdict with its figures.
    verdict: String,
    /// From the moment at which it happened to the verdict, and to stable behind every proxy.
    found: Duration,
    back: Option<Duration>,
}

/// Goes through all cases: those with little traffic beside the others, because they take minutes; or not at all.
///
/// # Errors
/// When a part does not start, or anything else follows than has to.
pub(crate) fn measure(is_quick: bool) -> Result<Found> {
    let (many, mut few): (Vec<_>, Vec<_>) = cases().into_iter().partition(|case| case.begins_well);
    few.retain(|_| !is_quick);
    let seen = thread::scope(|scope| {
        let few: Vec<_> = few.iter().map(|case| scope.spawn(|| case.run())).collect();
        let mut seen = many.iter().map(Case::run).collect::<Result<Vec<_>>>()?;
        for thread in few {
            seen.push(thread.join().map_err(|_| anyhow!("a case panicked"))??);
        }
        anyhow::Ok(seen)
    })?;
    let rows = seen.iter().map(Seen::row).collect();
    Ok(Found { tables: vec![table(&seen)], rows, method: method(), ..Found::default() })
}

fn cases() -> Vec<Case> {
    let busy = |health| Settings { envoys: ENVOYS, threads: THREADS, rate: RATE, gray_every: 2, health };
    let few =
        Settings { envoys: 1, threads: 1, rate: FEW_RATE, gray_every: FEW_EVERY, health: errors("60s") };
    vec![
        Case {
            what: "gray starts to fail, always",
            settings: busy(errors("10s")),
            begins_well: true,
            happens: |bank| bank.be(GRAY, Mood::Failing(100)),
            outcome: Outcome::Back(SOON),
        },
        Case {
            what: "gray gets slow: 200 ms more",
            settings: busy(latency()),
            begins_well: true,
            happens: |bank| bank.be(GRAY, Mood::Slow(SLOW)),
            outcome: Outcome::Back(SOON),
        },
        Case {
            what: "gray dies",
            settings: busy(errors("10s")),
            begins_well: true,
            happens: |bank| {
                bank.end(GRAY);
                Ok(())
            },
            outcome: Outcome::Back(SOON),
        },
        Case {
            what: "gray and stable fail alike, half of the requests",
            settings: busy(errors("10s")),
            begins_well: true,
            happens: |bank| [GRAY, STABLE].iter().try_for_each(|version| bank.be(version, Mood::Failing(50))),
            outcome: Outcome::Stays("stable-fails-too", STAYS),
        },
        Case {
            what: "gray does well, and gets five requests a minute",
            settings: few.clone(),
            begins_well: false,
            happens: |_| Ok(()),
            outcome: Outcome::Stays("too-few-requests", STAYS_WITH_FEW),
        },
        Case {
            what: "gray gets five requests a minute, and all fail",
            settings: few,
            begins_well: false,
            happens: |bank| bank.be(GRAY, Mood::Failing(100)),
            outcome: Outcome::Back(FEW_PATIENCE),
        },
    ]
}

fn errors(window: &str) -> Value {
    json!({
        "window": window,
        "minRequests": 20,
        "errors": { "max": "2%", "overStable": "1%" },
        "endpoints": { "min": 1 },
        "onFault": "rollback-order",
    })
}

fn latency() -> Value {
    json!({
        "window": "10s",
        "minRequests": 20,
        "latency": { "percentile": 99, "maxRatio": 3 },
        "onFault": "rollback-order",
    })
}

// === impl Case ===

impl Case {
    fn run(&self) -> Result<Seen> {
        let seen = self.see().with_context(|| self.what)?;
        eprintln!("  {}: {:.1} s", self.what, seen.found.as_secs_f64());
        Ok(seen)
    }

    fn see(&self) -> Result<Seen> {
        let mut bank = Bank::start(&self.settings)?;
        let order = bank.start_order()?;
        if self.begins_well {
            bank.until_found(order, "healthy")?;
            bank.until_everywhere("v2")?;
        }
        let begun = Instant::now();
        (self.happens)(&mut bank)?;
        let (verdict, found, back) = match self.outcome {
            Outcome::Back(within) => {
                let view = bank.until_phase_within(within, order, &["RollingBack", "RolledBack"])?;
                let found = begun.elapsed();
                bank.until_everywhere("v1")?;
                (fault(&view)?, found, Some(begun.elapsed()))
            }
            Outcome::Stays(cause, how_long) => {
                until_cause(&bank, order, cause)?;
                let found = begun.elapsed();
                (check_it_stays(&bank, order, cause, how_long)?, found, None)
            }
        };
        let Settings { envoys, threads, rate, gray_every, .. } = self.settings;
        let per_minute = 60 * rate * (envoys * threads) as u32 / gray_every as u32;
        Ok(Seen { what: self.what, gray_per_minute: per_minute, verdict, found, back })
    }
}

/// What the order says of the fault that took it back.
fn fault(order: &Value) -> Result<String> {
    let entries = field(order, "timeline").as_array().map(Vec::as_slice).unwrap_or_default();
    let mut said =
        entries.iter().filter_map(|entry| field(entry, "what").as_str()?.split_once(" is faulty: "));
    let (_, why) = said.next_back().with_context(|| format!("no fault in {order}"))?;
    Ok(why.to_owned())
}

fn until_cause(bank: &Bank, order: u64, cause: &str) -> Result<()> {
    wait::until(cause, || {
        let judged = judged(&bank.order(order)?);
        ensure!(field(&judged, "cause") == cause, "{judged}");
        Ok(())
    })
}

/// Checks that an order stays where it is, and gives the verdict at the end of that time.
fn check_it_stays(bank: &Bank, order: u64, cause: &str, how_long: Duration) -> Result<String> {
    let until = Instant::now() + how_long;
    while Instant::now() < until {
        let view = bank.order(order)?;
        ensure!(field(&view, "phase") == "Running", "{view}");
        thread::sleep(LOOK);
    }
    ensure!(bank.advance(order).is_err(), "it went on though nobody can say");
    let judged = judged(&bank.order(order)?);
    ensure!(field(&judged, "cause") == cause, "{judged}");
    Ok(field(&judged, "reason").as_str().unwrap_or_default().to_owned())
}

// === impl Seen ===

impl Seen {
    fn row(&self) -> Value {
        let Self { what, gray_per_minute, verdict, found, back } = self;
        json!({
            "what": "case", "case": what, "gray_per_minute": gray_per_minute, "verdict": verdict,
            "found_s": found.as_secs_f64(), "back_s": back.map(|back| back.as_secs_f64()),
        })
    }
}

fn table(seen: &[Seen]) -> Table {
    let mut table = Table::new(
        "what is found behind real Envoys",
        "Found: seconds until the verdict. Back: seconds until every proxy sends the pilot to stable; none where the order has to stay, \
         which it did.",
        &["found", "back", "gray requests a minute", "what happens", "verdict"],
    );
    let seconds = |time: Duration| format!("{:.1}", time.as_secs_f64());
    for Seen { what, gray_per_minute, verdict, found, back } in seen {
        let back = back.map_or("stays".to_owned(), seconds);
        table.push([seconds(*found), back, gray_per_minute.to_string(), (*what).to_owned(), verdict.clone()]);
    }
    table
}

fn method() -> Vec<String> {
    vec![
        format!(
            "The cases: a daemon and {ENVOYS} Envoys of its own for each, from `envoy-configs/sidecar-outbound.yaml`, with {} requests a second, \
             every other one gray; where gray gets five requests a minute, one Envoy with {FEW_RATE} a second in all. Those two run beside the \
             others. Limits: 2 % of errors and 1 % more than stable, 20 requests, a window of 10 s or of 60 s with few requests; where gray \
             gets slow, percentile 99 at most three times stable's.",
            ENVOYS as u32 * THREADS as u32 * RATE
        ),
        "What fails or gets slow does so once gray was found healthy; with five requests a minute it does so from the start, and the time \
         is from there. An order that has to stay is watched for 15 s, or 70 s with few requests, and has to refuse to advance then."
            .to_owned(),
    ]
}
