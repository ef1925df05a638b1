//! `xds`: what the delivery does with ten thousand proxies.

pub(crate) mod fleet;
mod scenarios;
mod source;
pub(crate) mod wire;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use plotters::style::RGBColor;
use serde_json::{Value, json};

use crate::chart::{Line, draw, top};
use crate::goals::{self, Goal};
use crate::machine::Machine;
use crate::report::{Chart, Destinations, Report};
use crate::table::Table;
use crate::xds::scenarios::{Edited, LARGE_IDS, Published, Returned, SMALL_IDS, Stuck, sidecars};

const COLORS: [RGBColor; 2] = [RGBColor(213, 94, 0), RGBColor(0, 114, 178)];

/// How long the edits may take that are asked for within 10 s: the last one is asked for at the end of these.
const EDITS_LIMIT: Duration = Duration::from_secs(11);

/// Rounds with the large rule set at most: each sends gigabytes.
const LARGE_ROUNDS: usize = 5;

/// The arguments of `xds`.
#[derive(Args)]
pub(crate) struct Bench {
    /// Measure a hundredth of it, to see whether everything works
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    destinations: Destinations,
}

/// How much is measured.
struct Size {
    proxies: usize,
    readers: usize,
    stuck: usize,
    rounds: usize,
    large_ids: usize,
    edits: usize,
    edits_within: Duration,
    fleets: &'static [usize],
}

/// All that is found.
struct Found {
    small: Published,
    shared: Published,
    large: Published,
    returned: Returned,
    edited: Edited,
    stuck: Stuck,
    fleets: Vec<Published>,
}

// === impl Bench ===

impl Bench {
    /// Runs the benchmark and publishes its report.
    ///
    /// # Errors
    /// When a proxy is sent something wrong or nothing, or a report cannot be written.
    pub(crate) fn run(&self) -> Result<()> {
        let mut machine = Machine::here();
        let folder = tempfile::tempdir()?;
        machine.add_file_system(folder.path());
        let size = Size::of(self.quick);
        let found = size.measure(folder.path())?;
        report(&found, machine)?.publish(&self.destinations)
    }
}

// === impl Size ===

impl Size {
    fn of(quick: bool) -> Self {
        match quick {
            false => Self {
                proxies: 10_000,
                readers: 1_000,
                stuck: 100,
                rounds: 10,
                large_ids: LARGE_IDS,
                edits: 1_000,
                edits_within: Duration::from_secs(10),
                fleets: &[100, 300, 1_000, 3_000, 10_000],
            },
            true => Self {
                proxies: 100,
                readers: 10,
                stuck: 1,
                rounds: 2,
                large_ids: LARGE_IDS / 100,
                edits: 10,
                edits_within: Duration::from_millis(100),
                fleets: &[10, 100],
            },
        }
    }

    fn measure(&self, folder: &Path) -> Result<Found> {
        let mut number = 0;
        let mut scenario = |name: &str| -> Result<std::path::PathBuf> {
            eprintln!("  {name}");
            number += 1;
            let folder = folder.join(number.to_string());
            fs::create_dir(&folder)?;
            Ok(folder)
        };
        let Self { proxies, readers, stuck, rounds, large_ids, edits, edits_within, fleets } = *self;
        let shared = fleet::Shape { per_connection: 500, ..sidecars(proxies) };
        let mut published = Vec::new();
        for &fleet in fleets {
            let folder = scenario(&format!("publishes to {fleet} proxies"))?;
            published.push(scenarios::publish(&folder, &sidecars(fleet), SMALL_IDS, rounds)?);
        }
        let small = published.last().cloned().ok_or_else(|| anyhow::anyhow!("no fleet"))?;
        Ok(Found {
            small,
            shared: scenarios::publish(
                &scenario("streams that share connections")?,
                &shared,
                SMALL_IDS,
                rounds,
            )?,
            large: scenarios::publish(
                &scenario("large rules")?,
                &sidecars(readers),
                large_ids,
                rounds.min(LARGE_ROUNDS),
            )?,
            returned: scenarios::come_back(&scenario("a storm of reconnects")?, proxies)?,
            edited: scenarios::edit(&scenario("edits")?, proxies, edits, edits_within)?,
            stuck: scenarios::beside_stuck(
                &scenario("stuck readers")?,
                readers,
                stuck,
                large_ids,
                rounds.min(LARGE_ROUNDS),
            )?,
            fleets: published,
        })
    }
}

fn report(found: &Found, machine: Machine) -> Result<Report> {
    let goals = goals(found);
    let table = goals::table("Times: the median and the longest of all rounds.", &goals);
    let mut costs = Table::new(
        "publishes of the small rule set, by proxies",
        "Times in milliseconds. Processor time is the daemon's, with its own counting of the proxies after each publish.",
        &["proxies", "median", "max", "µs of CPU per proxy", "KiB per proxy at rest"],
    );
    for published in &found.fleets {
        let Published { proxies, cpu_per_proxy, .. } = published;
        costs.push([
            proxies.to_string(),
            format!("{:.0}", ms(median(&published.times))),
            format!("{:.0}", ms(longest(&published.times))),
            format!("{:.0}", micros(*cpu_per_proxy)),
            format!("{:.1}", published.kib_per_proxy()),
        ]);
    }
    Ok(Report {
        name: "xds",
        options: None,
        title: format!("xds: the daemon with up to {} proxies", found.small.proxies),
        tables: vec![table, costs],
        rows: rows(found, &goals),
        charts: vec![chart(&found.fleets)?],
        method: method(found),
        machine,
    })
}

fn goals(found: &Found) -> Vec<Goal> {
    let mut goals = publish_goals(found);
    goals.extend(trouble_goals(found));
    goals
}

fn publish_goals(Found { small, shared, large, .. }: &Found) -> Vec<Goal> {
    let acknowledged =
        |by: &Published| format!("{} bytes of rules acknowledged by {} proxies", by.rules_bytes, by.proxies);
    let on_shared = format!("the same, with {} streams on connections of 500", shared.proxies);
    let grown_mb = mb(large.idle_kib, large.peak_kib);
    vec![
        within("publish", acknowledged(small), ("2 s", 2), &small.times),
        within("publish.shared", on_shared, ("2 s", 2), &shared.times),
        within("publish.large", acknowledged(large), ("5 s", 5), &large.times),
        Goal {
            name: "publish.large.memory",
            what: "by how much the daemon's memory grew meanwhile, at its peak".to_owned(),
            goal: "100 MB".to_owned(),
            found: format!("{grown_mb:.0} MB"),
            is_met: grown_mb < 100.0,
        },
        Goal {
            name: "idle.memory",
            what: format!(
                "the daemon's memory for each of {} streams at rest, each on a connection of its own",
                small.proxies
            ),
            goal: "30 KB".to_owned(),
            found: format!("{:.1} KB", small.kib_per_proxy() * 1.024),
            is_met: small.kib_per_proxy() * 1.024 <= 30.0,
        },
        Goal {
            name: "idle.memory.shared",
            what: "the same, on shared connections".to_owned(),
            goal: "30 KB".to_owned(),
            found: format!("{:.1} KB", shared.kib_per_proxy() * 1.024),
            is_met: shared.kib_per_proxy() * 1.024 <= 30.0,
        },
    ]
}

fn trouble_goals(Found { returned, edited, stuck, .. }: &Found) -> Vec<Goal> {
    let stuck_mb = mb(stuck.before_kib, stuck.after_kib);
    let slower = median(&stuck.with).as_secs_f64() / median(&stuck.without).as_secs_f64();
    vec![
        Goal {
            name: "storm",
            what: format!(
                "{} proxies at once after kill -9 and a start, half of them with nothing: all served ({:.1} s after the kill; \
                 {} connections opened twice; {} MiB at the peak)",
                returned.proxies,
                returned.after_crash.as_secs_f64(),
                returned.reconnects,
                returned.peak_kib / 1024
            ),
            goal: "30 s".to_owned(),
            found: format!("{:.2} s", returned.after_start.as_secs_f64()),
            is_met: returned.after_start <= Duration::from_secs(30),
        },
        Goal {
            name: "edits",
            what: format!(
                "{} edits in {:.1} s: only growing revisions, the last one by all {} proxies; responses to one proxy",
                edited.edits,
                edited.took.as_secs_f64(),
                edited.proxies
            ),
            goal: "in 11 s, coalesced".to_owned(),
            found: format!(
                "{} to {}, settled {:.2} s after the last",
                edited.fewest,
                edited.most,
                edited.settled.as_secs_f64()
            ),
            is_met: edited.took <= EDITS_LIMIT
                && (edited.most < edited.edits as u64 / 10 || edited.edits < 100),
        },
        Goal {
            name: "stuck",
            what: format!(
                "{} readers beside {} that read nothing: how much slower, and the daemon's memory",
                stuck.proxies, stuck.stuck
            ),
            goal: "bounded".to_owned(),
            found: format!("× {slower:.2}, {stuck_mb:.0} MB"),
            is_met: slower < 1.5,
        },
    ]
}

fn rows(found: &Found, goals: &[Goal]) -> Vec<Value> {
    let fleets = found.fleets.iter().map(|published| {
        let Published { proxies, rules_bytes, times, cpu_per_proxy, empty_kib, idle_kib, peak_kib } = published;
        json!({
            "what": "publish.fleet", "proxies": proxies, "rules_bytes": rules_bytes, "n": times.len(),
            "median_ms": ms(median(times)), "max_ms": ms(longest(times)), "cpu_us_per_proxy": micros(*cpu_per_proxy),
            "empty_kib": empty_kib, "idle_kib": idle_kib, "peak_kib": peak_kib,
        })
    });
    goals.iter().map(Goal::row).chain(fleets).collect()
}

fn chart(fleets: &[Published]) -> Result<Chart> {
    let line = |name: &str, color, figure: &dyn Fn(&Published) -> f64| {
        let points = fleets.iter().map(|published| (published.proxies as f64, figure(published))).collect();
        Line { name: name.to_owned(), color, width: 3, is_constant: false, points }
    };
    let cpu = vec![line("daemon", COLORS[0], &|published| micros(published.cpu_per_proxy))];
    let time = vec![line("last ACK", COLORS[1], &|published| ms(median(&published.times)))];
    let (cpu_top, time_top) = (top(cpu.iter()), top(time.iter()));
    let panels = [
        ("µs of CPU per proxy and publish".to_owned(), cpu, cpu_top),
        ("ms from the publish to the last acknowledgement".to_owned(), time, time_top),
    ];
    let caption = "What a publish of the small rule set costs the daemon for each proxy, and how long it takes, by number of proxies";
    Ok(Chart { file: "xds-cost.svg", caption: caption.to_owned(), svg: draw(&panels, "proxies", "")? })
}

fn method(found: &Found) -> Vec<String> {
    vec![
        "The real daemon as a process of its own, and the proxies as HTTP/2 streams of this benchmark (delta, on the dedicated \
         service) over loopback; both share the machine's cores. Each proxy reads a response to its end, checks that its revision \
         is higher than the last one, and acknowledges it; the first one checks every byte."
            .to_owned(),
        "A publish is an `adjust` of the running order by the HTTP API, and its time goes from that request to the last \
         acknowledgement: with the store's commit, and with the canary group (1 % of the proxies) that has to acknowledge it \
         before all others are sent it. After each the daemon itself is asked whether it counts all of them."
            .to_owned(),
        format!(
            "Memory per stream: resident memory with {} proxies at rest, less that with none, divided by the proxies.",
            found.small.proxies
        ),
        "The storm: all proxies are cut off, the daemon is killed and started on the same data, and all connect at the same \
         moment, half with the version that they had, half with none; then one more publish reaches all of them."
            .to_owned(),
    ]
}

/// A time that no round may exceed.
fn within(
    name: &'static str,
    what: String,
    (goal, limit_s): (&'static str, u64),
    times: &[Duration],
) -> Goal {
    let found = format!("{:.2} s, {:.2} s", median(times).as_secs_f64(), longest(times).as_secs_f64());
    let is_met = longest(times) <= Duration::from_secs(limit_s);
    Goal { name, what, goal: goal.to_owned(), found, is_met }
}

// === impl Published ===

impl Published {
    fn kib_per_proxy(&self) -> f64 {
        self.idle_kib.saturating_sub(self.empty_kib) as f64 / self.proxies as f64
    }
}

/// By how many MB memory grew.
fn mb(before_kib: u64, after_kib: u64) -> f64 {
    after_kib.saturating_sub(before_kib) as f64 * 1024.0 / 1e6
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn longest(times: &[Duration]) -> Duration {
    times.iter().max().copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
