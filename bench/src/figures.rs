//! Samples, and the figures that sum them up.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::table::Table;

/// What was measured, and every measurement of it.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    what: String,
    meaning: &'static str,
    times: Vec<Duration>,
}

/// A row of a report. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// What that means, for people.
    #[serde(skip)]
    pub(crate) meaning: &'static str,
    /// How many measurements.
    pub(crate) n: usize,
    /// Half of them are at most this.
    pub(crate) median_ms: f64,
    /// Nine of ten are at most this.
    #[serde(skip)]
    pub(crate) p90_ms: f64,
    /// 99 of 100 are at most this.
    pub(crate) p99_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
}

// === impl Samples ===

impl Samples {
    /// No measurement yet of `what`.
    pub(crate) fn new(what: impl Into<String>, meaning: &'static str) -> Self {
        Self { what: what.into(), meaning, times: Vec::new() }
    }

    /// One more measurement.
    pub(crate) fn push(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// The figures; an error when nothing was measured.
    pub(crate) fn row(&self) -> Result<Row> {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let at = |percent| {
            quantile_ms(&sorted, percent).with_context(|| format!("{}: nothing was measured", self.what))
        };
        Ok(Row {
            what: self.what.clone(),
            meaning: self.meaning,
            n: sorted.len(),
            median_ms: at(50)?,
            p90_ms: at(90)?,
            p99_ms: at(99)?,
            max_ms: at(100)?,
        })
    }
}

/// Rows as a table.
pub(crate) fn table(title: &str, rows: &[Row]) -> Table {
    let head = ["what", "n", "median", "p90", "p99", "max", "meaning"];
    let mut table = Table::new(title, "All times are in milliseconds.", &head);
    for Row { what, meaning, n, median_ms, p90_ms, p99_ms, max_ms } in rows {
        let figures = [median_ms, p90_ms, p99_ms, max_ms].map(|figure| format!("{figure:.2}"));
        let what = [format!("`{what}`"), n.to_string()];
        table.push(what.into_iter().chain(figures).chain([(*meaning).to_owned()]));
    }
    table
}

/// The smallest time that at least this share of all is at most: the nearest-rank definition, with no interpolation.
fn quantile_ms(sorted: &[Duration], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    let time = sorted.get(rank.saturating_sub(1))?;
    // Microseconds are as fine as a clock that is read from several threads deserves.
    Some((time.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measured_values_by_nearest_rank() {
        let mut samples = Samples::new("a", "b");
        assert!(samples.row().is_err());
        (1..=200).rev().for_each(|ms| samples.push(Duration::from_millis(ms)));
        let row = samples.row().unwrap();
        let figures = [row.median_ms, row.p90_ms, row.p99_ms, row.max_ms];
        assert_eq!((row.n, figures), (200, [100.0, 180.0, 198.0, 200.0]));
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(json, r#"{"what":"a","n":200,"median_ms":100.0,"p99_ms":198.0,"max_ms":200.0}"#);
    }
}
