//! What happened to an order, for people to read.

use crate::limits::MAX_TIMELINE;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Who acts, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The name of the person or of the part of the daemon.
    pub name: String,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: Actor,
    /// What.
    pub what: String,
}

// === impl Actor ===

impl Actor {
    /// The daemon itself.
    #[must_use]
    pub fn daemon() -> Self {
        Self { name: "graylane".into(), reason: String::new() }
    }
}

/// Adds an entry; past the limit the second oldest goes.
pub(crate) fn record(timeline: &mut Vec<TimelineEntry>, entry: TimelineEntry) {
    if timeline.len() >= MAX_TIMELINE {
        timeline.remove(1);
    }
    timeline.push(entry);
}
