//! What is measured: each scenario with a daemon of its own, so that none finds what another left.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use graylane_xds::limits::DEBOUNCE;

use crate::xds::fleet::{Fleet, Shape};
use crate::xds::source::{Source, TENANT};
use crate::xds::wire::check_rules;

/// How long anything may take before the benchmark fails.
const LIMIT: Duration = Duration::from_secs(120);
/// How long the daemon is left alone before its memory is read.
const REST: Duration = Duration::from_secs(2);

/// Ids of the small rule set, which has about 20 KB, and of the large one, which has about 2 MB.
pub(crate) const SMALL_IDS: usize = 8_000;
pub(crate) const LARGE_IDS: usize = 1_000_000;

/// A sidecar has a connection of its own.
pub(crate) fn sidecars(proxies: usize) -> Shape {
    Shape { proxies, per_connection: 1, name: "sidecar", held: None, is_stuck: false }
}

/// Publishes to proxies that are there.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) proxies: usize,
    pub(crate) rules_bytes: usize,
    /// From the request of the publish to the last acknowledgement.
    pub(crate) times: Vec<Duration>,
    /// The daemon's processor time for each proxy and publish.
    pub(crate) cpu_per_proxy: Duration,
    /// The daemon's memory with nobody connected, with all of them at rest, and at its peak while it published.
    pub(crate) empty_kib: u64,
    pub(crate) idle_kib: u64,
    pub(crate) peak_kib: u64,
}

/// Measures publishes of rules with so many ids to these proxies.
///
/// # Errors
/// When a proxy is sent something wrong, or nothing.
pub(crate) fn publish(folder: &Path, shape: &Shape, ids: usize, rounds: usize) -> Result<Published> {
    let mut source = Source::start(folder, ids)?;
    source.publish()?;
    thread::sleep(REST);
    let empty_kib = source.memory()?.rss_kib;
    let fleet = Fleet::connect(source.xds(), TENANT, shape)?;
    let (revision, _) = source.publish()?;
    fleet.until_all(revision, LIMIT)?;
    source.until_counted(shape.proxies)?;
    thread::sleep(REST);
    let idle_kib = source.memory()?.rss_kib;
    source.forget_peak()?;
    let (mut times, cpu) = (Vec::new(), source.cpu()?);
    for _ in 0..rounds {
        // The daemon coalesces publishes that follow each other at once.
        thread::sleep(2 * DEBOUNCE);
        let (revision, begun) = source.publish()?;
        times.push(fleet.until_all(revision, LIMIT)? - begun);
        source.until_counted(shape.proxies)?;
    }
    let cpu_per_proxy = (source.cpu()? - cpu) / (rounds * shape.proxies) as u32;
    let peak_kib = source.memory()?.peak_kib;
    let rules = check_sample(&source, &fleet)?;
    Ok(Published {
        proxies: shape.proxies,
        rules_bytes: rules,
        times,
        cpu_per_proxy,
        empty_kib,
        idle_kib,
        peak_kib,
    })
}

/// Proxies that come back at once, half of which hold what they had, after a crash of the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Returned {
    pub(crate) proxies: usize,
    /// From the end of the daemon to the last proxy that was served, and from the moment that it served again.
    pub(crate) after_crash: Duration,
    pub(crate) after_start: Duration,
    /// Connections that had to be opened more than once.
    pub(crate) reconnects: u64,
    pub(crate) peak_kib: u64,
}

/// Lets all proxies come back at once.
///
/// # Errors
/// When one is not served.
pub(crate) fn come_back(folder: &Path, proxies: usize) -> Result<Returned> {
    let mut source = Source::start(folder, SMALL_IDS)?;
    let before = Fleet::connect(source.xds(), TENANT, &sidecars(proxies / 2))?;
    let (revision, _) = source.publish()?;
    before.until_all(revision, LIMIT)?;
    let (held, _) = before.sample();
    drop(before);
    let crashed = source.crash()?;
    let started = Instant::now();
    let back = Shape { held: Some(held), ..sidecars(proxies / 2) };
    let new = Shape { name: "new", ..sidecars(proxies / 2) };
    let (back, new) =
        (Fleet::connect(source.xds(), TENANT, &back)?, Fleet::connect(source.xds(), TENANT, &new)?);
    let served = new.until_all(revision, LIMIT)?;
    source.until_counted(proxies)?;
    let counted = Instant::now();
    ensure!(back.received().1 == 0, "a proxy was sent what it held");
    // Everybody is reached.
    let (next, _) = source.publish()?;
    back.until_all(next, LIMIT)?;
    new.until_all(next, LIMIT)?;
    Ok(Returned {
        proxies,
        after_crash: served.max(counted) - crashed,
        after_start: served.max(counted) - started,
        reconnects: back.reconnects() + new.reconnects(),
        peak_kib: source.memory()?.peak_kib,
    })
}

/// Edits that come faster than anybody could follow.
#[derive(Debug, Clone)]
pub(crate) struct Edited {
    pub(crate) proxies: usize,
    pub(crate) edits: usize,
    pub(crate) took: Duration,
    /// From the last edit's request to the last acknowledgement of it.
    pub(crate) settled: Duration,
    /// Responses to one proxy: the fewest and the most.
    pub(crate) fewest: u64,
    pub(crate) most: u64,
}

/// Edits so often within this time. That revisions only grow, each proxy checks at each response.
///
/// # Errors
/// When a proxy does not end with the last one.
pub(crate) fn edit(folder: &Path, proxies: usize, edits: usize, within: Duration) -> Result<Edited> {
    let mut source = Source::start(folder, SMALL_IDS)?;
    let fleet = Fleet::connect(source.xds(), TENANT, &sidecars(proxies))?;
    let (revision, _) = source.publish()?;
    fleet.until_all(revision, LIMIT)?;
    let begun = Instant::now();
    let mut last = (revision, begun);
    for number in 0..edits {
        let due = begun + within * number as u32 / edits as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        last = source.publish()?;
    }
    let took = begun.elapsed();
    let settled = fleet.until_all(last.0, LIMIT)? - last.1;
    source.until_counted(proxies)?;
    let (fewest, most, _) = fleet.received();
    check_sample(&source, &fleet)?;
    Ok(Edited { proxies, edits, took, settled, fewest, most })
}

/// Publishes to readers, some of whose neighbours read nothing.
#[derive(Debug, Clone)]
pub(crate) struct Stuck {
    pub(crate) proxies: usize,
    pub(crate) stuck: usize,
    /// To the last acknowledgement of those that read, without the others and with them.
    pub(crate) without: Vec<Duration>,
    pub(crate) with: Vec<Duration>,
    /// The daemon's memory before the stuck ones came, and after all publishes.
    pub(crate) before_kib: u64,
    pub(crate) after_kib: u64,
}

/// Measures publishes of the large rule set beside readers that are stuck.
///
/// # Errors
/// When a reader is delayed for ever.
pub(crate) fn beside_stuck(
    folder: &Path,
    proxies: usize,
    stuck: usize,
    ids: usize,
    rounds: usize,
) -> Result<Stuck> {
    let mut source = Source::start(folder, ids)?;
    let fleet = Fleet::connect(source.xds(), TENANT, &sidecars(proxies))?;
    let (revision, _) = source.publish()?;
    fleet.until_all(revision, LIMIT)?;
    let publish = |source: &mut Source| -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        for _ in 0..rounds {
            thread::sleep(2 * DEBOUNCE);
            let (revision, begun) = source.publish()?;
            times.push(fleet.until_all(revision, LIMIT)? - begun);
        }
        Ok(times)
    };
    let without = publish(&mut source)?;
    thread::sleep(REST);
    let before_kib = source.memory()?.rss_kib;
    let shape = Shape { name: "stuck", is_stuck: true, ..sidecars(stuck) };
    let _stuck = Fleet::connect(source.xds(), TENANT, &shape)?;
    thread::sleep(REST);
    let with = publish(&mut source)?;
    thread::sleep(REST);
    let after_kib = source.memory()?.rss_kib;
    Ok(Stuck { proxies, stuck, without, with, before_kib, after_kib })
}

/// Checks what the first proxy was sent last byte by byte, and gives the size of the rules.
fn check_sample(source: &Source, fleet: &Fleet) -> Result<usize> {
    let rules = source.rules()?;
    let (_, response) = fleet.sample();
    check_rules(&response, &rules)?;
    fleet.check()?;
    Ok(rules.len())
}
