//! What must be true to enter a stage, as people write it: approvals, and a window of time.

use serde::{Deserialize, Serialize};

/// Kinds of approvals of one gate.
pub(crate) const MAX_APPROVALS: usize = 8;

/// People that one kind of approval may need.
pub(crate) const MAX_APPROVERS: u32 = 16;

/// Slots of a window, allowed or denied.
pub(crate) const MAX_SLOTS: usize = 16;

/// Days in one list: each name once.
pub(crate) const MAX_DAYS: usize = 9;

/// Dates in one list: every day of a year.
pub(crate) const MAX_DATES: usize = 366;

/// What must be true to enter a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gate {
    /// Who has to approve. One person counts once per gate, and the authors of what is approved do not count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approvals>,
    /// When the stage may be entered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
}

/// Approvals by people with one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Approvals {
    /// The role that they must have.
    pub role: String,
    /// How many people.
    pub count: u32,
}

/// When a stage may be entered. It is asked once, at the entry: a stage does not end with the window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WindowSpec {
    /// The time zone of its days and times, by its IANA name, like `Asia/Shanghai`.
    pub time_zone: String,
    /// Times that are allowed; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Slot>,
    /// Times that are not, whatever is allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Slot>,
    /// What happens when an order waited for the window, and the daemon did not run as it opened.
    #[serde(skip_serializing_if = "is_skip")]
    pub missed: Missed,
}

/// What happens after a window opened unseen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// The order waits for the next time that it opens.
    #[default]
    Skip,
    /// The order enters while it is open still.
    LateStart,
}

/// A part of some days, from a time of day to another. One that ends before it begins lasts into the next day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Slot {
    /// Days on which it begins: `mon` to `sun`, `workday` or `holiday`. With neither days nor dates: every day.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<String>,
    /// Dates on which it begins besides, like `2026-12-31`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dates: Vec<String>,
    /// The time of day from which, like `20:00`; the day's start when it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The time of day before which, like `23:30`; the day's end when it is missing or `24:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Which days are workdays. Without one: Monday to Friday.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Calendar {
    /// The days of the week that are none, `mon` to `sun`.
    pub weekend: Vec<String>,
    /// Dates that are none, whatever the day of the week.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<String>,
    /// Dates that are, in spite of the weekend: days that are worked in exchange for others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workdays: Vec<String>,
}

fn is_skip(missed: &Missed) -> bool {
    *missed == Missed::Skip
}

// === impl Approvals ===

impl Default for Approvals {
    fn default() -> Self {
        Self { role: String::new(), count: 1 }
    }
}

// === impl Calendar ===

impl Default for Calendar {
    fn default() -> Self {
        Self { weekend: vec!["sat".into(), "sun".into()], holidays: Vec::new(), workdays: Vec::new() }
    }
}
