//! What the rounds sum up to.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::filter::contender::Contender;
use crate::filter::report::mebibytes;
use crate::filter::requests::Outcome;
use crate::filter::rounds::{Cell, Rounds};
use crate::table::Table;

/// What one start of all contenders brought: each in a process of its own.
pub(crate) struct Start {
    /// The measurements.
    pub(crate) rounds: Rounds,
    /// Memory of each process once it first answered, and after all rounds, in KiB; by contender and ids.
    pub(crate) memory_kb: BTreeMap<(Contender, usize), [u64; 2]>,
}

/// A contender's cost in one outcome.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cost {
    /// Who.
    pub(crate) contender: &'static str,
    /// How many tellers are gray; 0 where that cannot matter.
    pub(crate) ids: usize,
    /// What the requests were.
    pub(crate) outcome: &'static str,
    /// Microseconds on a core per request, median.
    pub(crate) cpu_us_per_request: f64,
    /// Microseconds over no filter measured just before, median over all rounds of all processes.
    pub(crate) over_none_us: f64,
    /// The inter-quartile range of that.
    pub(crate) spread_us: f64,
    /// The median of each process.
    pub(crate) over_none_us_by_process: Vec<f64>,
    /// Memory once it first answered, in KiB, median of the processes.
    pub(crate) rss_start_kb: u64,
    /// Memory after all rounds, in KiB, median of the processes.
    pub(crate) rss_kb: u64,
}

/// The costs of all.
pub(crate) struct Costs {
    /// By contender, ids and outcome.
    pub(crate) by_cell: BTreeMap<Cell, Cost>,
    /// How quiet the machine was, in words.
    pub(crate) quiet: String,
}

// === impl Costs ===

impl Costs {
    /// Sums up.
    pub(crate) fn new(starts: &[Start]) -> Self {
        let cells: BTreeSet<Cell> =
            starts.iter().flat_map(|start| start.rounds.by_cell.keys().copied()).collect();
        let by_cell = cells.into_iter().map(|cell| (cell, cost(starts, cell))).collect();
        let sum =
            |figure: fn(&Rounds) -> usize| starts.iter().map(|start| figure(&start.rounds)).sum::<usize>();
        let (taken, disturbed) = (sum(|rounds| rounds.taken), sum(|rounds| rounds.disturbed));
        let quiet = format!(
            "{} processes of each; {disturbed} of {taken} measurements were disturbed by other work on their cores",
            starts.len()
        );
        Self { by_cell, quiet }
    }

    /// The cost of a contender over no filter.
    pub(crate) fn over_none(&self, contender: Contender, ids: usize, outcome: Outcome) -> Option<f64> {
        let ids = if contender.holds_ids() { ids } else { 0 };
        self.by_cell.get(&Cell { contender, ids, outcome }).map(|cost| cost.over_none_us)
    }

    /// Memory: a line for each process.
    pub(crate) fn memory_table(&self) -> Table {
        let head = ["contender", "ids", "at the start", "after all rounds", "over none", "over empty wasm"];
        let mut table = Table::new("Memory of one Envoy, in MiB", "", &head);
        let rss = |contender: Contender| {
            self.by_cell
                .iter()
                .find(|(cell, _)| cell.contender == contender)
                .map_or(0, |(_, cost)| cost.rss_kb)
        };
        let (none, empty) = (rss(Contender::None), rss(Contender::Empty));
        for (cell, cost) in self.by_cell.iter().filter(|(cell, _)| cell.outcome == Outcome::Gray) {
            let over = |base: u64| format!("{:+.1}", (cost.rss_kb as f64 - base as f64) / 1024.0);
            let ids = if cell.ids == 0 { String::new() } else { cell.ids.to_string() };
            let figures = [mebibytes(cost.rss_start_kb), mebibytes(cost.rss_kb), over(none), over(empty)];
            table.push([cost.contender.to_owned(), ids].into_iter().chain(figures));
        }
        table
    }

    /// The table: a line for each contender and number of ids, the outcomes side by side.
    pub(crate) fn table(&self, title: &str) -> Table {
        let head = ["contender", "ids", "gray", "±", "stable", "±", "no-headers", "±", "no-rules", "±"];
        let note = format!(
            "Microseconds of CPU per request over no filter, measured just before: the median, and beside it the inter-quartile \
             range, over all rounds. The first line is no filter itself. {}.",
            self.quiet
        );
        let mut table = Table::new(title, note, &head);
        let mut cells_by_line: BTreeMap<(Contender, usize), Vec<&Cell>> = BTreeMap::new();
        for cell in self.by_cell.keys() {
            // The four floors are one line.
            cells_by_line.entry((cell.contender.in_outcome(Outcome::Gray), cell.ids)).or_default().push(cell);
        }
        for ((contender, ids), cells) in cells_by_line {
            let mut line =
                vec![contender.as_str().to_owned(), if ids == 0 { "".to_owned() } else { ids.to_string() }];
            for outcome in Outcome::ALL {
                let cost =
                    cells.iter().find(|cell| cell.outcome == outcome).and_then(|cell| self.by_cell.get(cell));
                line.extend(cost.map_or_else(
                    || [String::new(), String::new()],
                    |cost| match contender {
                        Contender::None => [format!("{:.2}", cost.cpu_us_per_request), String::new()],
                        _ => [format!("{:.2}", cost.over_none_us), format!("{:.2}", cost.spread_us)],
                    },
                ));
            }
            table.push(line);
        }
        table
    }
}

fn cost(starts: &[Start], cell: Cell) -> Cost {
    let of_all = |figures: fn(&Rounds) -> &BTreeMap<Cell, Vec<f64>>| -> Vec<Vec<f64>> {
        starts.iter().filter_map(|start| figures(&start.rounds).get(&cell).cloned()).collect()
    };
    let over_by_process = of_all(|rounds| &rounds.over_none_by_cell);
    let (cpu, over) = (of_all(|rounds| &rounds.by_cell).concat(), over_by_process.concat());
    let memory = |at: fn(&[u64; 2]) -> u64| {
        let key = (cell.contender, cell.ids);
        let of_processes =
            starts.iter().filter_map(|start| start.memory_kb.get(&key).map(|kb| at(kb) as f64));
        quartile(&of_processes.collect::<Vec<_>>(), 2) as u64
    };
    Cost {
        contender: cell.contender.as_str(),
        ids: cell.ids,
        outcome: cell.outcome.as_str(),
        cpu_us_per_request: thousandths(quartile(&cpu, 2)),
        over_none_us: thousandths(quartile(&over, 2)),
        spread_us: thousandths(quartile(&over, 3) - quartile(&over, 1)),
        over_none_us_by_process: over_by_process.iter().map(|over| thousandths(quartile(over, 2))).collect(),
        rss_start_kb: memory(|[start, _]| *start),
        rss_kb: memory(|[_, after]| *after),
    }
}

/// The quartile of this number (2 is the median), between its neighbours where it falls between two figures.
pub(crate) fn quartile(figures: &[f64], number: usize) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let quarters = sorted.len().saturating_sub(1) * number;
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    let (below, part) = (at(quarters / 4), (quarters % 4) as f64 / 4.0);
    if part > 0.0 { below + (at(quarters / 4 + 1) - below) * part } else { below }
}

/// Nanoseconds are as fine as these figures are.
pub(crate) fn thousandths(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_figures_where_they_must() {
        let figures = [4.0, 1.0, 3.0, 2.0, 5.0];
        assert_eq!([1, 2, 3, 4].map(|number| quartile(&figures, number)), [2.0, 3.0, 4.0, 5.0]);
        assert_eq!((quartile(&[1.0, 2.0], 2), quartile(&[7.0], 3), quartile(&[], 2)), (1.5, 7.0, 0.0));
    }

    #[test]
    fn a_cost_is_the_median_over_the_rounds_of_all_processes() {
        let cell = Cell { contender: Contender::Empty, ids: 0, outcome: Outcome::Gray };
        let start = |cpu: [f64; 3], over: [f64; 3], after: u64| Start {
            rounds: Rounds {
                by_cell: BTreeMap::from([(cell, cpu.to_vec())]),
                over_none_by_cell: BTreeMap::from([(cell, over.to_vec())]),
                ..Rounds::default()
            },
            memory_kb: BTreeMap::from([((Contender::Empty, 0), [5, after])]),
        };
        let starts = [start([33.0, 63.0, 34.0], [3.0, 3.0, 4.0], 7), start([35.0; 3], [5.0; 3], 9)];
        let cost = cost(&starts, cell);
        assert_eq!((cost.cpu_us_per_request, cost.over_none_us, cost.spread_us), (35.0, 4.5, 1.75));
        assert_eq!(cost.over_none_us_by_process, [3.0, 5.0]);
        assert_eq!((cost.rss_start_kb, cost.rss_kb), (5, 8));
    }
}
