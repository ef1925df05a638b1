//! Measurements by what was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::figures::{Row, Samples};
use crate::table::Table;

/// What is measured, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    PlanApply,
    OrderStart,
    Advance,
    Adjust,
    Pause,
    Resume,
    RollbackOne,
    RollbackAll,
    OrderGet,
    ListFirst,
    ListTenant,
    ListActive,
    ListActiveAll,
    ListPlans,
    FloorWrite,
    FloorCommit,
}

/// Measurements of one setting.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    times_by_what: BTreeMap<What, Vec<Duration>>,
}

/// A row of the report.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    #[serde(flatten)]
    pub(crate) row: Row,
    /// How many bare commits take as long: the ratio of the medians of the same setting.
    pub(crate) over_floor: f64,
}

// === impl What ===

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::PlanApply => "plan.apply",
            Self::OrderStart => "order.start",
            Self::Advance => "order.advance",
            Self::Adjust => "order.adjust",
            Self::Pause => "order.pause",
            Self::Resume => "order.resume",
            Self::RollbackOne => "order.rollback.one",
            Self::RollbackAll => "order.rollback.all",
            Self::OrderGet => "order.get",
            Self::ListFirst => "order.list",
            Self::ListTenant => "order.list.tenant",
            Self::ListActive => "order.list.active",
            Self::ListActiveAll => "order.list.active.1000",
            Self::ListPlans => "plan.list",
            Self::FloorWrite => "floor.write",
            Self::FloorCommit => "floor.commit",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::PlanApply => "a changed plan in place of the one of its name",
            Self::OrderStart => "a new order: its first stage is published",
            Self::Advance => "the next stage is published",
            Self::Adjust => "another scope for the current stage is published",
            Self::Pause | Self::Resume => "no rules change",
            Self::RollbackOne => "one service of several, published",
            Self::RollbackAll => "all services, in one publish",
            Self::OrderGet => "one order",
            Self::ListFirst => "the newest 100 orders",
            Self::ListTenant => "the newest 100 of one tenant",
            Self::ListActive => "the newest 100 active ones",
            Self::ListActiveAll => "up to 1,000 active ones",
            Self::ListPlans => "all plans",
            Self::FloorWrite => "as many bytes as an action writes, in one write and fdatasync",
            Self::FloorCommit => "one small value in a bare redb, two-phase commit",
        }
    }
}

// === impl Sheet ===

impl Sheet {
    /// One more measurement.
    pub(crate) fn push(&mut self, what: What, took: Duration) {
        self.times_by_what.entry(what).or_default().push(took);
    }

    /// Takes in the measurements of another sheet.
    pub(crate) fn extend(&mut self, other: Self) {
        for (what, times) in other.times_by_what {
            self.times_by_what.entry(what).or_default().extend(times);
        }
    }

    /// A row of each thing that was measured, its name behind that of the setting.
    ///
    /// # Errors
    /// When the floor was not measured.
    pub(crate) fn lines(&self, setting: &str) -> Result<Vec<Line>> {
        let row = |(what, times): (&What, &Vec<Duration>)| {
            let mut samples = Samples::new(format!("{setting}.{}", what.name()), what.meaning());
            times.iter().for_each(|time| samples.push(*time));
            Ok((*what, samples.row()?))
        };
        let rows = self.times_by_what.iter().map(row).collect::<Result<Vec<(What, Row)>>>()?;
        let floor = rows.iter().find(|(what, _)| *what == What::FloorCommit);
        let floor_ms = floor.with_context(|| format!("{setting}: no floor"))?.1.median_ms;
        let line = |(_, row): (What, Row)| Line { over_floor: round(row.median_ms / floor_ms), row };
        Ok(rows.into_iter().map(line).collect())
    }
}

/// Lines as a table.
pub(crate) fn table(title: &str, note: &str, lines: &[Line]) -> Table {
    let head = ["what", "n", "median", "p90", "p99", "max", "over the floor", "meaning"];
    let mut table = Table::new(title, note, &head);
    for Line { row, over_floor } in lines {
        let Row { what, meaning, n, median_ms, p90_ms, p99_ms, max_ms } = row;
        let figures = [median_ms, p90_ms, p99_ms, max_ms, over_floor].map(|figure| format!("{figure:.2}"));
        let what = [format!("`{what}`"), n.to_string()];
        table.push(what.into_iter().chain(figures).chain([(*meaning).to_owned()]));
    }
    table
}

/// To hundredths: more would be noise.
fn round(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_divides_every_median_of_its_setting() {
        let mut sheet = Sheet::default();
        sheet.push(What::Advance, Duration::from_millis(9));
        assert!(sheet.lines("a").is_err(), "there is no floor");
        let mut other = Sheet::default();
        other.push(What::FloorCommit, Duration::from_millis(4));
        other.push(What::Advance, Duration::from_millis(10));
        sheet.extend(other);
        let lines = sheet.lines("a").unwrap();
        let told: Vec<_> = lines.iter().map(|line| (line.row.what.as_str(), line.over_floor)).collect();
        assert_eq!(told, [("a.order.advance", 2.25), ("a.floor.commit", 1.0)]);
    }
}
