//! `filter`: what a request costs with each way to steer, and what the rules cost.

mod chart;
mod contender;
mod cores;
mod costs;
mod ids;
mod load;
mod process;
mod reload;
mod report;
mod requests;
mod rounds;
mod scale;
mod served;
mod stand;
mod targets;
mod wiring;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::figures::Row;
use crate::filter::contender::Contender;
use crate::filter::costs::{Costs, Start};
use crate::filter::ids::Ids;
use crate::filter::reload::{Changing, Stall};
use crate::filter::report::Found;
use crate::filter::requests::Outcome;
use crate::filter::rounds::Effort;
use crate::filter::scale::Scale;
use crate::filter::served::AfterReloads;
use crate::filter::stand::{Place, Stand};
use crate::filter::wiring::Modules;
use crate::machine::Machine;
use crate::report::Destinations;

/// One worker, with a core of its own.
const PINNED: Place = Place { workers: 1, is_pinned: true };
/// One worker that may move, as the proxy's main thread may: a reload keeps both busy.
const FREE: Place = Place { workers: 1, is_pinned: false };
/// Two workers on the cores that everybody shares.
const TWO_WORKERS: Place = Place { workers: 2, is_pinned: false };
/// Memory is looked at when the proxies have had nothing to do for so long.
const SETTLE: Duration = Duration::from_secs(2);

/// The arguments of `filter`.
#[derive(Args)]
pub(crate) struct Filter {
    /// Fewer sizes, rounds and reloads: over in three minutes on a quiet machine
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    destinations: Destinations,
}

/// What all parts of a run share.
struct Run {
    scale: Scale,
    modules: Modules,
    ids_by_size: BTreeMap<usize, Ids>,
    started: Instant,
}

/// What reloads of the largest rule sets do.
struct Reloads {
    stalls: Vec<Stall>,
    served: Vec<Row>,
    memory: Vec<AfterReloads>,
}

// === impl Filter ===

impl Filter {
    /// Runs the benchmark and publishes its report.
    ///
    /// # Errors
    /// When a part does not start, an answer is wrong, a request fails during a reload, or a report cannot be written.
    pub(crate) fn run(&self) -> Result<()> {
        cores::check()?;
        let mut machine = Machine::here();
        machine.add_envoy();
        let scale = if self.quick { Scale::QUICK } else { Scale::FULL };
        let run = Run::new(scale)?;
        let costs = run.costs(PINNED, scale.sizes, scale.effort)?;
        let costs_of_two = match scale.effort_of_two_workers {
            Some(effort) => Some(run.costs(TWO_WORKERS, &run.ends(), effort)?),
            None => None,
        };
        let Reloads { stalls, served, memory } = run.reloads()?;
        let found = Found { scale, costs, costs_of_two, stalls, served, memory };
        found.report(machine)?.publish(&self.destinations)?;
        let failed: u64 = found.stalls.iter().map(|stall| stall.failed).sum();
        ensure!(failed == 0, "{failed} requests failed during reloads");
        Ok(())
    }
}

// === impl Run ===

impl Run {
    fn new(scale: Scale) -> Result<Self> {
        let ids = |&size: &usize| (size, Ids::random(size, size as u64));
        let ids_by_size = scale.sizes.iter().map(ids).collect();
        Ok(Self { scale, modules: Modules::prepare()?, ids_by_size, started: Instant::now() })
    }

    /// The smallest and the largest size.
    fn ends(&self) -> Vec<usize> {
        let sizes = || self.ids_by_size.keys().copied();
        sizes().next().into_iter().chain(sizes().next_back()).collect()
    }

    fn largest(&self) -> Result<&Ids> {
        self.ids_by_size.values().next_back().context("there is no size")
    }

    /// Measures all contenders that can, started anew several times: where a process happens to lie in memory is a part of
    /// what its requests cost.
    fn costs(&self, place: Place, sizes: &[usize], effort: Effort) -> Result<Costs> {
        let starts = (1..=effort.processes).map(|number| {
            let (of, workers) = (effort.processes, place.workers);
            self.tell(&format!("start the contenders, {workers} worker(s) each, {number} of {of}"));
            self.start(place, sizes, effort)
        });
        Ok(Costs::new(&starts.collect::<Result<Vec<_>>>()?))
    }

    fn start(&self, place: Place, sizes: &[usize], effort: Effort) -> Result<Start> {
        let stands = self.stands(place, sizes)?;
        let rounds = match place.is_pinned {
            true => rounds::measure_pinned(&stands, &self.ids_by_size, effort)?,
            false => rounds::measure(&stands, &self.ids_by_size, effort)?,
        };
        std::thread::sleep(SETTLE);
        let memory_kb = stands.iter().map(|stand| {
            let after = process::rss_kb(stand.envoy.process_id())?;
            Ok(((stand.contender, stand.ids), [stand.rss_start_kb, after]))
        });
        Ok(Start { memory_kb: memory_kb.collect::<Result<_>>()?, rounds })
    }

    fn stands(&self, place: Place, sizes: &[usize]) -> Result<Vec<Stand>> {
        let largest = self.largest()?;
        let floors = Outcome::ALL.map(Contender::Floor);
        let without_ids = [Contender::None, Contender::Empty].into_iter().chain(floors);
        let mut wanted: Vec<(Contender, &Ids)> = without_ids.map(|contender| (contender, largest)).collect();
        wanted.extend([Contender::OffByRoute, Contender::OffByMatcher].map(|contender| (contender, largest)));
        for contender in Contender::GROWING {
            let possible =
                sizes.iter().filter(|&&size| contender.left_out(size, self.scale.limits).is_none());
            wanted.extend(possible.filter_map(|size| Some((contender, self.ids_by_size.get(size)?))));
        }
        wanted.into_iter().map(|(contender, ids)| place.start(&self.modules, contender, ids)).collect()
    }

    fn reloads(&self) -> Result<Reloads> {
        let ids = self.largest()?;
        let (mut stalls, mut served, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for contender in [Contender::Graylane, Contender::Textbook] {
            self.tell(&format!("reload {} under load", contender.as_str()));
            let mut changing = Changing::new(contender, ids)?;
            let mut stand = FREE.start(&self.modules, contender, ids)?;
            stalls.push(reload::stall(&mut stand, &mut changing, self.scale.windows)?);
            if contender == Contender::Graylane {
                self.tell("reload again and again");
                let mut stand = FREE.start(&self.modules, contender, ids)?;
                let mut changing = Changing::new(contender, ids)?;
                let (row, looks) = served::from_file(&mut stand, &mut changing, self.scale.reloads)?;
                served.push(row);
                memory.extend(looks);
            }
        }
        self.tell("advance through the daemon");
        served.extend(served::from_daemon(ids, self.scale.daemon_rounds)?);
        Ok(Reloads { stalls, served, memory })
    }

    fn tell(&self, what: &str) {
        eprintln!("[{:>4} s] {what}", self.started.elapsed().as_secs());
    }
}
