//! The aims, and whether this run held them.

use serde::Serialize;

use crate::figures::Row;
use crate::filter::contender::Contender;
use crate::filter::costs::{Costs, quartile, thousandths};
use crate::filter::reload::Stall;
use crate::filter::requests::Outcome;
use crate::table::Table;

/// Outcomes that the aims speak of.
const STEERED: [Outcome; 2] = [Outcome::Gray, Outcome::Stable];
const UNTOUCHED: [Outcome; 2] = [Outcome::NoHeaders, Outcome::NoRules];

/// An aim and how it went.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    /// What should be at most something.
    pub(crate) target: String,
    /// What it is.
    pub(crate) figure: f64,
    /// At most this.
    pub(crate) limit: f64,
    /// Whether it is.
    pub(crate) held: bool,
    /// Where the worst figure was seen.
    pub(crate) worst_at: String,
    /// The median of all figures, where there are many and each is noisy.
    pub(crate) median: Option<f64>,
}

/// Ratios of Graylane to a rival, each with where it was seen.
type Ratios = Vec<(f64, String)>;

/// The costs of a run with the sizes that it had.
pub(crate) struct Compared<'a> {
    /// The costs on one worker.
    pub(crate) costs: &'a Costs,
    /// How many tellers were gray.
    pub(crate) sizes: &'a [usize],
}

// === impl Target ===

impl Target {
    fn new(target: &str, (figure, worst_at): (f64, String), limit: f64) -> Self {
        let figure = thousandths(figure);
        Self { target: target.to_owned(), figure, limit, held: figure <= limit, worst_at, median: None }
    }

    /// The worst of some ratios, and their median.
    fn of(target: &str, ratios: Ratios, limit: f64) -> Option<Self> {
        let median = quartile(&ratios.iter().map(|ratio| ratio.0).collect::<Vec<_>>(), 2);
        let worst = ratios.into_iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(Self { median: Some(thousandths(median)), ..Self::new(target, worst, limit) })
    }
}

// === impl Compared ===

impl Compared<'_> {
    /// What each request costs.
    pub(crate) fn requests(&self) -> Vec<Target> {
        let floor = |outcome| Contender::Floor(outcome);
        let mut targets = Vec::new();
        for (what, outcomes, limit) in [
            ("Graylane / raw floor, gray and stable", STEERED, 1.15),
            ("Graylane / raw floor, no headers and no rules", UNTOUCHED, 1.15),
        ] {
            targets.extend(Target::of(what, self.ratios(&floor, &outcomes, 0), limit));
        }
        for (what, rival, from, limit) in [
            ("Graylane / textbook SDK, gray and stable", Contender::Textbook, 0, 0.65),
            ("Graylane / Lua, gray and stable", Contender::Lua, 0, 1.0),
            ("Graylane / native routes from 100 ids on", Contender::Routes, 100, 1.0),
        ] {
            targets.extend(Target::of(what, self.ratios(&|_| rival, &STEERED, from), limit));
        }
        targets.extend(STEERED.map(|outcome| self.flatness(outcome)));
        targets
    }

    /// What the rules weigh.
    pub(crate) fn memory(&self) -> Option<Target> {
        let rss = |contender, ids| {
            let mut cells = self.costs.by_cell.iter();
            let cell = cells.find(|(cell, _)| cell.contender == contender && cell.ids == ids);
            cell.map(|(_, cost)| cost.rss_kb as f64 / 1024.0)
        };
        let largest = *self.sizes.last()?;
        let over = rss(Contender::Graylane, largest)? - rss(Contender::Empty, 0)?;
        let at = format!("{largest} ids");
        Some(Target::new("memory of Graylane over the empty filter, MiB", (over, at), 24.0))
    }

    /// The ratios of Graylane to a rival, as far as both were measured.
    fn ratios(&self, rival: &dyn Fn(Outcome) -> Contender, outcomes: &[Outcome], from_ids: usize) -> Ratios {
        let sizes = || self.sizes.iter().copied().filter(|ids| *ids >= from_ids);
        let ratios = outcomes.iter().flat_map(|&outcome| {
            sizes().filter_map(move |ids| {
                let ours = self.costs.over_none(Contender::Graylane, ids, outcome)?;
                let theirs = self.costs.over_none(rival(outcome), ids, outcome)?;
                // A rival that measures as cheaper than no filter is out of reach, or the machine was not quiet.
                let ratio = if theirs > 0.0 { ours / theirs } else { f64::INFINITY };
                Some((ratio, format!("{}, {ids} ids: {ours:.2} to {theirs:.2} us", outcome.as_str())))
            })
        });
        ratios.collect()
    }

    fn flatness(&self, outcome: Outcome) -> Target {
        let costs =
            self.sizes.iter().filter_map(|&ids| self.costs.over_none(Contender::Graylane, ids, outcome));
        let (least, most) =
            costs.fold((f64::INFINITY, 0.0_f64), |(least, most), cost| (least.min(cost), most.max(cost)));
        let what = format!("Graylane flat over all sizes, {}, largest / smallest", outcome.as_str());
        Target::new(&what, (most / least, format!("{least:.2} to {most:.2} us")), 1.10)
    }
}

/// What a reload does to the worst request.
pub(crate) fn of_stall(stall: &Stall) -> Target {
    let Stall { contender, ids, reload_worst_ms: with, baseline_worst_ms: without, .. } = stall;
    let at = format!("{ids} ids: {with:.2} to {without:.2} ms");
    Target::new(
        &format!("{contender}: worst request of a reload over that without, ms"),
        (with - without, at),
        5.0,
    )
}

/// How soon new rules serve.
pub(crate) fn of_served(row: &Row) -> Target {
    let at = format!("median of {}; p99 {:.2} ms", row.n, row.p99_ms);
    Target::new(&format!("{}, ms", row.meaning), (row.median_ms, at), 100.0)
}

/// All aims as a table.
pub(crate) fn table(targets: &[Target]) -> Table {
    let mut table = Table::new(
        "Targets",
        "Each figure should be at most its limit. Where many were measured the worst one decides, and their median stands beside it.",
        &["target", "worst", "limit", "", "median", "at its worst"],
    );
    for Target { target, figure, limit, held, worst_at, median } in targets {
        let verdict = if *held { "held" } else { "missed" };
        table.push([
            target.clone(),
            format!("{figure:.2}"),
            format!("{limit:.2}"),
            verdict.to_owned(),
            median.map_or_else(String::new, |median| format!("{median:.2}")),
            worst_at.clone(),
        ]);
    }
    table
}
