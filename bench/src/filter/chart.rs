//! The charts: cost per request and memory, over the number of ids.

use anyhow::Result;
use plotters::style::RGBColor;

use crate::chart::{Line, draw, top};
use crate::filter::contender::Contender;
use crate::filter::costs::Costs;
use crate::filter::requests::Outcome;
use crate::filter::rounds::Cell;
use crate::report::Chart;

/// What the axis counts.
const OVER: &str = "ids (tellers in the rules)";

/// Contenders that are drawn, each in a colour that can be told from the others by the colour-blind.
const DRAWN: [(Contender, RGBColor); 7] = [
    (Contender::Graylane, RGBColor(213, 94, 0)),
    (Contender::Textbook, RGBColor(0, 114, 178)),
    (Contender::Lua, RGBColor(0, 158, 115)),
    (Contender::Routes, RGBColor(204, 121, 167)),
    (Contender::Matcher, RGBColor(150, 120, 20)),
    (Contender::Floor(Outcome::Gray), RGBColor(110, 118, 129)),
    (Contender::Empty, RGBColor(150, 157, 165)),
];

/// CPU per request over no filter, gray and stable side by side.
pub(crate) fn cpu(costs: &Costs, sizes: &[usize]) -> Result<Chart> {
    let panels = [Outcome::Gray, Outcome::Stable].map(|outcome| {
        let lines = lines(costs, sizes, outcome, |cost| cost.over_none_us);
        let top = top(lines.iter().filter(|line| line.name != Contender::Routes.as_str()));
        (format!("{} requests", outcome.as_str()), lines, top)
    });
    let caption =
        "CPU per request over no filter, by number of ids, for gray and for stable requests".to_owned();
    let svg = draw(&panels, OVER, "µs of CPU per request over no filter")?;
    Ok(Chart { file: "filter-cpu.svg", caption, svg })
}

/// Memory of one Envoy.
pub(crate) fn memory(costs: &Costs, sizes: &[usize]) -> Result<Chart> {
    let lines = lines(costs, sizes, Outcome::Gray, |cost| cost.rss_kb as f64 / 1024.0);
    let top = top(lines.iter());
    let svg = draw(&[("one worker".to_owned(), lines, top)], OVER, "memory of one Envoy, MiB")?;
    Ok(Chart { file: "filter-memory.svg", caption: "Memory of one Envoy, by number of ids".to_owned(), svg })
}

fn lines(
    costs: &Costs,
    sizes: &[usize],
    outcome: Outcome,
    figure: impl Fn(&super::costs::Cost) -> f64,
) -> Vec<Line> {
    let line = |(contender, color): (Contender, RGBColor)| {
        let contender = if contender.holds_ids() { contender } else { contender.in_outcome(outcome) };
        let point = |&ids: &usize| {
            let cell_ids = if contender.holds_ids() { ids } else { 0 };
            let cost = costs.by_cell.get(&Cell { contender, ids: cell_ids, outcome })?;
            Some((ids as f64, figure(cost).max(0.0)))
        };
        let points = sizes.iter().filter_map(point).collect();
        let width = if contender == Contender::Graylane { 3 } else { 2 };
        Line {
            name: contender.as_str().to_owned(),
            color,
            width,
            is_constant: !contender.holds_ids(),
            points,
        }
    };
    DRAWN.into_iter().map(line).filter(|line| !line.points.is_empty()).collect()
}
