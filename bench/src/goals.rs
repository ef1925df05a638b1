//! What a benchmark has to reach, and what it found.

use serde_json::{Value, json};

use crate::table::Table;

/// A goal, and what was found.
pub(crate) struct Goal {
    /// Its short name, as `publish.large`.
    pub(crate) name: &'static str,
    /// What was measured.
    pub(crate) what: String,
    /// What is wanted.
    pub(crate) goal: String,
    /// What came of it.
    pub(crate) found: String,
    /// Whether that is as wanted.
    pub(crate) is_met: bool,
}

// === impl Goal ===

impl Goal {
    /// The goal, for programs.
    pub(crate) fn row(&self) -> Value {
        let Self { name, what, goal, found, is_met } = self;
        json!({ "what": name, "meaning": what, "wanted": goal, "found": found, "met": is_met })
    }
}

/// Goals as a table.
pub(crate) fn table(note: &str, goals: &[Goal]) -> Table {
    let mut table = Table::new("goals", note, &["goal", "what", "wanted", "found", "met"]);
    for Goal { name, what, goal, found, is_met } in goals {
        let met = if *is_met { "yes" } else { "NO" };
        table.push([format!("`{name}`"), what.clone(), goal.clone(), found.clone(), met.to_owned()]);
    }
    table
}
