//! Prints answers for people or for programs.

use crate::cli::{Output, Session};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::fmt::Display;

// === impl Session ===

impl Session {
    /// Prints `value` as JSON, or what `text` makes of it.
    pub(crate) fn show<T: Serialize, D: Display>(&self, value: &T, text: impl FnOnce(&T) -> D) {
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(value).unwrap_or_default()),
            Output::Text => println!("{}", text(value)),
        }
    }

    /// Whether people read the output.
    pub(crate) fn is_text(&self) -> bool {
        self.output == Output::Text
    }
}

/// A table with no lines, as kubectl prints it.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table.add_rows(rows);
    table
}

/// A value, or a dash.
pub(crate) fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A span of time, with one unit: `3s`, `12m`, `5h`, `2d`.
pub(crate) fn age(seconds: f64) -> String {
    match seconds as u64 {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
