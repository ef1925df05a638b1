//! Each way to do badly behind real Envoys: what is found, and when.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use graylane_wasm_tests::release::{self, GRAY, STABLE};
use graylane_wasm_tests::{Mood, Release, ReleaseSettings, Testbed, TestbedSettings};
use serde_json::{Value, json};

use crate::api::field;
use crate::health::Found;
use crate::table::Table;

/// How long an order that has to stay is watched: at much traffic a window and a half, at little one and a bit.
const STAYS: Duration = Duration::from_secs(15);
const STAYS_WITH_LITTLE: Duration = Duration::from_secs(70);
/// How long a fault may take to be found.
const SOON: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(300);
const SLOW: Duration = Duration::from_millis(200);

/// Something that happens to a gray version, and what has to follow.
struct Case {
    what: &'static str,
    amount: Amount,
    /// What the plan says of health.
    health: Value,
    happens: fn(&mut Release) -> Result<()>,
    outcome: Outcome,
}

/// How much is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Amount {
    /// Enough that gray is found healthy before anything happens.
    Much,
    /// Five gray requests a minute, too few to be called healthy. It takes minutes, so it goes on beside the others, and not with `--quick`.
    Little,
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

/// Goes through all cases.
///
/// # Errors
/// When a part does not start, or anything else follows than has to.
pub(crate) fn measure(is_quick: bool) -> Result<Found> {
    let (much, mut little): (Vec<_>, Vec<_>) =
        cases().into_iter().partition(|case| case.amount == Amount::Much);
    little.retain(|_| !is_quick);
    let seen = thread::scope(|scope| {
        let little: Vec<_> = little.iter().map(|case| scope.spawn(|| case.run())).collect();
        let mut seen = much.iter().map(Case::run).collect::<Result<Vec<_>>>()?;
        for thread in little {
            seen.push(thread.join().map_err(|_| anyhow!("a case panicked"))??);
        }
        anyhow::Ok(seen)
    })?;
    let rows = seen.iter().map(Seen::row).collect();
    Ok(Found { tables: vec![table(&seen)], rows, method: method(), ..Found::default() })
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            what: "gray starts to fail, always",
            amount: Amount::Much,
            health: release::errors("10s"),
            happens: |release| release.be(GRAY, Mood::Failing(100)),
            outcome: Outcome::Back(SOON),
        },
        Case {
            what: "gray closes each connection without an answer",
            amount: Amount::Much,
            health: release::errors("10s"),
            happens: |release| release.be(GRAY, Mood::Resets),
            outcome: Outcome::Back(SOON),
        },
        Case {
            what: "gray gets slow: 200 ms more",
            amount: Amount::Much,
            health: release::latency(),
            happens: |release| release.be(GRAY, Mood::Slow(SLOW)),
            outcome: Outcome::Back(SOON),
        },
        Case {
            what: "gray dies",
            amount: Amount::Much,
            health: release::errors("10s"),
            happens: |release| {
                release.end(GRAY);
                Ok(())
            },
            outcome: Outcome::Back(SOON),
        },
        Case {
            what: "gray and stable fail alike, half of the requests",
            amount: Amount::Much,
            health: release::errors("10s"),
            happens: |release| {
                [GRAY, STABLE].iter().try_for_each(|version| release.be(version, Mood::Failing(50)))
            },
            outcome: Outcome::Stays("stable-fails-too", STAYS),
        },
        Case {
            what: "gray does well, and gets five requests a minute",
            amount: Amount::Little,
            health: release::errors("60s"),
            happens: |_| Ok(()),
            outcome: Outcome::Stays("too-few-requests", STAYS_WITH_LITTLE),
        },
        Case {
            what: "gray gets five requests a minute, and all fail",
            amount: Amount::Little,
            health: release::errors("60s"),
            happens: |release| release.be(GRAY, Mood::Failing(100)),
            outcome: Outcome::Back(PATIENCE),
        },
    ]
}

// === impl Amount ===

impl Amount {
    fn envoys(self) -> usize {
        match self {
            Self::Much => 3,
            Self::Little => 1,
        }
    }

    /// Requests through all proxies.
    fn per_second(self) -> u32 {
        let ReleaseSettings { threads, rate, .. } = self.settings(Value::Null);
        rate * (threads * self.envoys()) as u32
    }

    fn settings(self, health: Value) -> ReleaseSettings {
        match self {
            Self::Much => ReleaseSettings { health, threads: 2, rate: 20, gray_every: 2 },
            // One in 12 s.
            Self::Little => ReleaseSettings { health, threads: 1, rate: 4, gray_every: 48 },
        }
    }
}

// === impl Case ===

impl Case {
    fn run(&self) -> Result<Seen> {
        let seen = self.see().with_context(|| self.what)?;
        eprintln!("  {}: {:.1} s", self.what, seen.found.as_secs_f64());
        Ok(seen)
    }

    fn see(&self) -> Result<Seen> {
        let settings = self.amount.settings(self.health.clone());
        let envoys = self.amount.envoys();
        let testbed = Testbed::start(&TestbedSettings { envoys, ..TestbedSettings::default() })?;
        let mut release = Release::start(testbed, &settings)?;
        release.start_order()?;
        if self.amount == Amount::Much {
            release.until_found("verdict", "healthy")?;
            release.until_everywhere("v2")?;
        }
        let begun = Instant::now();
        (self.happens)(&mut release)?;
        let (verdict, found, back) = match self.outcome {
            Outcome::Back(within) => {
                let order = release.until_back(within)?;
                let found = begun.elapsed();
                release.until_everywhere("v1")?;
                (release::fault(&order)?, found, Some(begun.elapsed()))
            }
            Outcome::Stays(cause, how_long) => {
                release.until_found("cause", cause)?;
                let found = begun.elapsed();
                (check_it_stays(&release, cause, how_long)?, found, None)
            }
        };
        let gray_per_minute = settings.gray_per_minute() * envoys as u32;
        Ok(Seen { what: self.what, gray_per_minute, verdict, found, back })
    }
}

/// Checks that an order stays where it is, and gives the verdict at the end of that time.
fn check_it_stays(release: &Release, cause: &str, how_long: Duration) -> Result<String> {
    release.check_stays(how_long)?;
    ensure!(release.advance()?.code != Some(0), "it went on though nobody can say");
    let judged = release.judged()?;
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
            "The cases: a daemon and {} Envoys of its own for each, from `envoy-configs/sidecar-outbound.yaml`, with {} requests a second, \
             every other one gray; where gray gets five requests a minute, one Envoy with {} a second in all. Those two run beside the \
             others. Limits: 2 % of errors and 1 % more than stable, 20 requests, a window of 10 s or of 60 s with few requests; where \
             gray gets slow, percentile 99 at most three times stable's.",
            Amount::Much.envoys(),
            Amount::Much.per_second(),
            Amount::Little.per_second()
        ),
        "What fails or gets slow does so once gray was found healthy; with five requests a minute it does so from the start, and the time \
         is from there. An order that has to stay is watched for 15 s, or 70 s with few requests, and has to refuse to advance then."
            .to_owned(),
    ]
}
