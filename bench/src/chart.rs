//! Lines over a logarithmic axis, as SVG.

use std::ops::Range;

use anyhow::{Context, Result, anyhow};
use plotters::coord::combinators::LogCoord;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const PANEL: (u32, u32) = (620, 430);
/// Room to the right of the lines for their names.
const NAMES_WIDTH: u32 = 190;
/// Room below a panel for a sentence.
const NOTE_HEIGHT: u32 = 30;
const NOTE_AT: (i32, i32) = (16, 6);
/// Names of lines stand so far apart, in pixels, that each can be read.
const NAME_HEIGHT: i32 = 16;
/// About as long as a name is, in pixels.
const NAME_WIDTH: i32 = 110;
/// Between the end of a line and its name, in pixels.
const NAME_GAP: i32 = 8;
const FONT: &str = "sans-serif";
/// The card is light in itself, so that it can be read on a dark page too.
const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(45, 51, 59);
const GRID: RGBColor = RGBColor(225, 228, 232);

type Panel<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Axes<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, RangedCoordf64>>;

/// How figures rise along the upright axis.
#[derive(Clone, Copy)]
enum Rise {
    /// From 0 to the figure at the top.
    Even(f64),
    /// From one power of ten to another; the lines have the powers.
    TenFold(f64, f64),
}

/// A line of a chart.
pub(crate) struct Line {
    /// What stands at its end.
    pub(crate) name: String,
    pub(crate) color: RGBColor,
    /// In pixels.
    pub(crate) width: u32,
    /// Whether it is one figure, and drawn as such.
    pub(crate) is_constant: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A little above the highest of these.
pub(crate) fn top<'a>(lines: impl Iterator<Item = &'a Line>) -> f64 {
    lines.flat_map(|line| &line.points).map(|point| point.1).fold(1.0, f64::max) * 1.1
}

/// Panels side by side: title, lines, and the figure at the top; what lies above it is written beside its line.
pub(crate) fn draw(panels: &[(String, Vec<Line>, f64)], over: &str, unit: &str) -> Result<String> {
    let mut svg = String::new();
    let size = (PANEL.0 * panels.len() as u32, PANEL.1);
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&PAPER)?;
        for (area, (title, lines, top)) in root.split_evenly((1, panels.len())).iter().zip(panels) {
            panel(area, (title, over, unit), lines, Rise::Even(*top))
                .map_err(|error| anyhow!("a chart: {error}"))?;
        }
        root.present()?;
    }
    Ok(svg)
}

/// One panel, with an upright axis that is logarithmic, too, and a sentence below it.
pub(crate) fn draw_log(
    title: &str,
    mut lines: Vec<Line>,
    (over, unit): (&str, &str),
    note: &str,
) -> Result<String> {
    let mut svg = String::new();
    lines.iter_mut().flat_map(|line| &mut line.points).for_each(|point| point.1 = point.1.log10());
    let powers = || lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let (lowest, highest) = (powers().fold(0.0, f64::min).floor(), powers().fold(1.0, f64::max).ceil());
    {
        let size = (PANEL.0, PANEL.1 + NOTE_HEIGHT);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&PAPER)?;
        let (upper, lower) = root.split_vertically(PANEL.1);
        lower.draw_text(note, &(FONT, 13).into_font().color(&INK), NOTE_AT)?;
        panel(&upper, (title, over, unit), &lines, Rise::TenFold(lowest, highest))
            .map_err(|error| anyhow!("a chart: {error}"))?;
        root.present()?;
    }
    Ok(svg)
}

fn panel(
    area: &Panel<'_>,
    (title, over, unit): (&str, &str, &str),
    lines: &[Line],
    rise: Rise,
) -> Result<()> {
    let xs = || lines.iter().flat_map(|line| &line.points).map(|point| point.0);
    let (left, right) = (xs().fold(f64::INFINITY, f64::min), xs().fold(1.0, f64::max));
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 17).into_font().color(&INK))
        .margin(12)
        .margin_right(NAMES_WIDTH)
        .x_label_area_size(44)
        .y_label_area_size(58)
        .build_cartesian_2d((left..right).log_scale(), rise.range())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(PAPER)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_desc(over)
        .y_desc(unit)
        .x_label_formatter(&|figure| if is_round(*figure) { thousands(*figure) } else { String::new() })
        .y_label_formatter(&|figure| rise.label(*figure))
        .y_labels(rise.labels())
        .label_style((FONT, 13).into_font().color(&INK))
        .axis_desc_style((FONT, 13).into_font().color(&INK))
        .draw()?;
    let mut names = Vec::new();
    for line in lines {
        names.extend(draw_line(&mut chart, line, rise.range().end)?);
    }
    draw_names(area, names)
}

// === impl Rise ===

impl Rise {
    fn range(self) -> Range<f64> {
        match self {
            Self::Even(top) => 0.0..top,
            Self::TenFold(lowest, highest) => lowest..highest,
        }
    }

    fn label(self, figure: f64) -> String {
        match self {
            Self::Even(_) => format!("{figure:.0}"),
            Self::TenFold(..) => format!("{}", 10_f64.powf(figure)),
        }
    }

    /// How many labels there are at most.
    fn labels(self) -> usize {
        match self {
            Self::Even(_) => 6,
            Self::TenFold(lowest, highest) => (highest - lowest) as usize + 1,
        }
    }
}

/// Whether its first digit is 1, 2 or 5: at the upper end of each power of ten the others would cover each other.
fn is_round(figure: f64) -> bool {
    format!("{figure:.0e}").starts_with(['1', '2', '5'])
}

/// Draws a line, and gives where its name should stand.
fn draw_line(
    chart: &mut Axes<'_, '_>,
    line: &Line,
    top: f64,
) -> Result<Option<(i32, i32, String, RGBColor)>> {
    let shown = clipped(&line.points, top);
    let style = line.color.stroke_width(line.width);
    if line.is_constant {
        chart.draw_series(DashedLineSeries::new(shown.iter().copied(), 5, 4, style))?;
    } else {
        chart.draw_series(LineSeries::new(shown.iter().copied(), style))?;
        let inside = line.points.iter().filter(|point| point.1 <= top);
        chart.draw_series(inside.map(|&point| Circle::new(point, 3, line.color.filled())))?;
    }
    let Some(&end) = shown.last() else { return Ok(None) };
    let (x, y) = chart.backend_coord(&end);
    let beyond = line.points.iter().filter(|point| point.1 > top).max_by(|a, b| a.1.total_cmp(&b.1));
    let name = match beyond {
        None => line.name.clone(),
        Some((ids, figure)) => format!("{}: {figure:.0} at {}", line.name, thousands(*ids)),
    };
    Ok(Some((x, y, name, line.color)))
}

/// The part of a line that lies below `top`; where it leaves, it goes on to the border.
fn clipped(points: &[(f64, f64)], top: f64) -> Vec<(f64, f64)> {
    let mut shown: Vec<(f64, f64)> = Vec::new();
    for &(x, y) in points {
        if y <= top {
            shown.push((x, y));
            continue;
        }
        if let Some(&(before_x, before_y)) = shown.last() {
            let part = (top - before_y) / (y - before_y);
            // The axis is logarithmic, and so is the way along it.
            shown.push((before_x * (x / before_x).powf(part), top));
        }
        break;
    }
    shown
}

/// Names beside the ends of their lines, moved down where they would cover each other.
fn draw_names(area: &Panel<'_>, mut names: Vec<(i32, i32, String, RGBColor)>) -> Result<()> {
    let (base_x, base_y) = area.get_base_pixel();
    names.sort_by_key(|name| name.1);
    let mut placed: Vec<(i32, i32)> = Vec::new();
    for (x, y, name, color) in names {
        let at = free_place((x - base_x + NAME_GAP, y - base_y), &placed);
        placed.push(at);
        let anchor = Pos::new(HPos::Left, VPos::Center);
        let style = (FONT, 13).into_font().color(&color).pos(anchor);
        area.draw_text(&name, &style, at).context("a name")?;
    }
    Ok(())
}

/// The first place from `wanted` down where no name stands yet.
fn free_place(wanted: (i32, i32), placed: &[(i32, i32)]) -> (i32, i32) {
    let is_taken = |y: i32| {
        placed.iter().any(|at| (at.0 - wanted.0).abs() < NAME_WIDTH && (at.1 - y).abs() < NAME_HEIGHT)
    };
    let free = (wanted.1..).find(|y| !is_taken(*y));
    (wanted.0, free.unwrap_or(wanted.1))
}

fn thousands(ids: f64) -> String {
    let digits = format!("{ids:.0}");
    let from_end = |at: usize| digits.len() - at;
    let grouped = digits.char_indices().flat_map(|(at, digit)| {
        let comma = (at > 0 && from_end(at).is_multiple_of(3)).then_some(',');
        comma.into_iter().chain([digit])
    });
    grouped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_figures_begin_with_1_2_or_5() {
        let shown: Vec<f64> =
            (1..=10).map(|figure| f64::from(figure) * 100.0).filter(|figure| is_round(*figure)).collect();
        assert_eq!(shown, [100.0, 200.0, 500.0, 1_000.0]);
    }

    #[test]
    fn a_line_ends_at_the_border() {
        assert_eq!(clipped(&[(10.0, 1.0), (1_000.0, 3.0)], 2.0), [(10.0, 1.0), (100.0, 2.0)]);
        assert_eq!(clipped(&[(10.0, 1.0)], 2.0), [(10.0, 1.0)]);
        assert_eq!(clipped(&[(10.0, 5.0)], 2.0), []);
    }

    #[test]
    fn a_name_moves_down_where_another_stands() {
        assert_eq!(free_place((10, 20), &[]), (10, 20));
        assert_eq!(free_place((10, 20), &[(15, 18)]), (10, 34));
        assert_eq!(free_place((10, 20), &[(200, 20)]), (10, 20));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([10.0, 1_000.0, 1e6].map(thousands), ["10", "1,000", "1,000,000"]);
    }
}
