//! CPU per request: every contender in every round, so that what the machine does to one it does to all.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::filter::contender::Contender;
use crate::filter::cores;
use crate::filter::ids::Ids;
use crate::filter::load::{ClosedLoop, Until};
use crate::filter::process;
use crate::filter::requests::{Outcome, Requests};
use crate::filter::stand::Stand;

/// Answers before each measurement: they bring back what the contenders between drove out of the caches.
const WARM_UP_ANSWERS: u64 = 100;

/// A measurement counts as disturbed when others had the core of Envoy or of the load for more than this share of its time.
const DISTURBED_SHARE: f64 = 0.02;
/// A disturbed measurement is taken again so often; the least disturbed one counts.
const RETAKES_MAX: usize = 2;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// How often all contenders are started anew.
    pub(crate) processes: usize,
    /// Rounds that count, with each start.
    pub(crate) rounds: usize,
    /// How long a contender answers in one round.
    pub(crate) slice: Duration,
}

/// A contender in one outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    /// Who.
    pub(crate) contender: Contender,
    /// How many tellers are gray; 0 where that cannot matter.
    pub(crate) ids: usize,
    /// What the requests are.
    pub(crate) outcome: Outcome,
}

/// All measurements.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Microseconds on a core per request.
    pub(crate) by_cell: BTreeMap<Cell, Vec<f64>>,
    /// Those over no filter at all, measured just before: one figure for each round.
    pub(crate) over_none_by_cell: BTreeMap<Cell, Vec<f64>>,
    /// How many there are.
    pub(crate) taken: usize,
    /// How many of them others disturbed, retakes and all.
    pub(crate) disturbed: usize,
}

/// One measurement.
struct Sample {
    cpu_us_per_request: f64,
    /// The share of its time in which others had a core that it wanted.
    disturbed_share: f64,
}

struct Lane<'a> {
    cell: Cell,
    stand: &'a Stand,
    requests: Requests,
    load: ClosedLoop,
}

/// Measures all, in another order each round. The first round does not count.
pub(crate) fn measure(stands: &[Stand], ids: &BTreeMap<usize, Ids>, effort: Effort) -> Result<Rounds> {
    let mut lanes = lanes(stands, ids)?;
    let mut rounds = Rounds::default();
    for round in 0..=effort.rounds {
        let is_warm_up = round == 0;
        for turn in 0..Outcome::ALL.len() {
            let outcome = Outcome::ALL.get((turn + round) % Outcome::ALL.len()).copied();
            let mut in_outcome: Vec<_> =
                lanes.iter_mut().filter(|lane| Some(lane.cell.outcome) == outcome).collect();
            // A third of the way on each time: who was early comes late, and none has the same one before it for long.
            let lanes_count = in_outcome.len().max(1);
            in_outcome.rotate_left((round * (lanes_count / 3).max(1)) % lanes_count);
            let (mut none, others): (Vec<_>, Vec<_>) =
                in_outcome.into_iter().partition(|lane| lane.cell.contender == Contender::None);
            let none = none.first_mut().context("no Envoy without a filter")?;
            for lane in others {
                // What the machine does to one a moment later it does to the other, most likely.
                let before = none.measure_in_peace(effort.slice).with_context(|| none.name())?;
                let sample = lane.measure_in_peace(effort.slice).with_context(|| lane.name())?;
                if !is_warm_up {
                    rounds.push((none.cell, before), (lane.cell, sample));
                }
            }
        }
        if !is_warm_up {
            eprintln!("  round {round} of {}", effort.rounds);
        }
    }
    Ok(rounds)
}

/// [`measure`] with the load on its own core.
pub(crate) fn measure_pinned(stands: &[Stand], ids: &BTreeMap<usize, Ids>, effort: Effort) -> Result<Rounds> {
    cores::on(cores::LOAD, || measure(stands, ids, effort))
}

fn lanes<'a>(stands: &'a [Stand], ids: &BTreeMap<usize, Ids>) -> Result<Vec<Lane<'a>>> {
    let (mut lanes, mut requests_by_kind) = (Vec::new(), BTreeMap::new());
    for stand in stands {
        let known = ids.get(&stand.ids).or_else(|| ids.values().next_back()).context("no ids")?;
        for outcome in stand.contender.outcomes() {
            let cell = Cell { contender: stand.contender, ids: stand.ids, outcome };
            let kind = (known.tellers.len(), outcome, stand.contender.steers());
            let requests: &mut Requests =
                requests_by_kind.entry(kind).or_insert_with(|| stand.requests(known, outcome));
            lanes.push(Lane { cell, stand, requests: requests.clone(), load: stand.load()? });
        }
    }
    Ok(lanes)
}

// === impl Cell ===

impl Cell {
    /// Who, and with how many ids.
    pub(crate) fn name(self) -> String {
        match self.ids {
            0 => self.contender.as_str().to_owned(),
            ids => format!("{} with {ids} ids", self.contender.as_str()),
        }
    }
}

// === impl Rounds ===

impl Rounds {
    fn push(&mut self, none: (Cell, Sample), other: (Cell, Sample)) {
        let over_none = other.1.cpu_us_per_request - none.1.cpu_us_per_request;
        self.over_none_by_cell.entry(other.0).or_default().push(over_none);
        for (cell, sample) in [none, other] {
            self.by_cell.entry(cell).or_default().push(sample.cpu_us_per_request);
            self.taken += 1;
            self.disturbed += usize::from(sample.disturbed_share > DISTURBED_SHARE);
        }
    }
}

// === impl Lane ===

impl Lane<'_> {
    fn measure_in_peace(&mut self, slice: Duration) -> Result<Sample> {
        let mut best = self.measure(slice)?;
        for _ in 0..RETAKES_MAX {
            if best.disturbed_share <= DISTURBED_SHARE {
                break;
            }
            let again = self.measure(slice)?;
            if again.disturbed_share < best.disturbed_share {
                best = again;
            }
        }
        Ok(best)
    }

    fn measure(&mut self, slice: Duration) -> Result<Sample> {
        let process = self.stand.envoy.process_id();
        self.load.run(&mut self.requests, Until::Answers(WARM_UP_ANSWERS))?;
        let (before, own_before) = (process::core_time_at_rest(process)?, process::own_core_time()?);
        let answered = self.load.run(&mut self.requests, Until::Time(slice))?;
        let own = process::own_core_time()?.since(own_before);
        let envoy = process::core_time_at_rest(process)?.since(before);
        Ok(Sample {
            cpu_us_per_request: envoy.computed as f64 / answered as f64 / 1e3,
            disturbed_share: (envoy.waited + own.waited) as f64 / slice.as_nanos() as f64,
        })
    }

    fn name(&self) -> String {
        format!("{}, {}", self.cell.name(), self.cell.outcome.as_str())
    }
}
