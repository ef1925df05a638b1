//! Why a request gets its version, told with names.

use crate::decide::{Decision, Level, Reason};
use crate::loaded::{LoadedTable, Rules};
use crate::model::{Action, Entry};
use crate::values::Values;
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// A decision with the names of everything that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The revision of the rules that decided.
    pub revision: u64,
    /// The service, when the host is known.
    pub service: Option<String>,
    /// The version that the request gets; none for an unknown host, which gets what its route says.
    pub version: Option<String>,
    /// Whether that is the gray version.
    pub is_gray: bool,
    /// The output header and the value that it carries, when it carries one.
    pub header: Option<(String, String)>,
    /// One word for the outcome.
    pub verdict: Verdict,
    /// The plan whose table was asked.
    pub plan: Option<String>,
    /// The entries that the request met, in the order of asking. Only the last one can have ended the search.
    pub steps: Vec<Step>,
}

/// One entry that a request met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The dimension's name, or `all`.
    pub level: String,
    /// The request's value of that dimension, as far as it is text; empty for `all`.
    pub value: String,
    /// What the entry does: `exclude`, `gray` or a percentage.
    pub action: String,
    /// The stage that says so.
    pub stage: String,
    /// Whether it ended the search. A percentage that does not take the request lets it go on.
    pub ends: bool,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No service has this host.
    NoService,
    /// A dimension's header occurs more than once.
    Ambiguous,
    /// No entry ended the search.
    NoEntry,
    /// An exclusion ended it.
    Excluded,
    /// An inclusion ended it.
    Included,
    /// A percentage took the request.
    Percent,
}

// === impl Rules ===

impl Rules {
    /// Decides as [`Rules::decide`] does, and tells why.
    #[must_use]
    pub fn explain(&self, host: &[u8], values: &Values<'_>) -> Explanation {
        let mut met = Vec::new();
        let decision = self.decide_watched(host, values, |level, entry, ends| met.push((level, entry, ends)));
        let service = decision.service.and_then(|number| self.services.get(number));
        let table = service
            .and_then(|service| service.release.as_ref())
            .and_then(|(_, table)| self.tables.get(*table));
        let step = |(level, entry, ends): (Level, Entry, bool)| Step {
            level: self.level_name(level).to_owned(),
            value: value_at(values, level),
            action: entry.action.to_string(),
            stage: table.map(|table| table.stage_name(entry).to_owned()).unwrap_or_default(),
            ends,
        };
        Explanation {
            revision: self.revision(),
            service: service.map(|service| service.name.clone()),
            version: decision.version.map(ToOwned::to_owned),
            is_gray: decision.reason.is_gray(),
            header: decision.header.map(|value| (self.output_header.clone(), value.to_owned())),
            verdict: Verdict::of(&decision),
            plan: table.map(|table| table.plan.clone()),
            steps: met.into_iter().map(step).collect(),
        }
    }

    /// The name of a level: its dimension's, or `all`.
    #[must_use]
    pub fn level_name(&self, level: Level) -> &str {
        match level {
            Level::Dimension(at) => {
                self.dimensions.get(usize::from(at)).map_or("", |dimension| &dimension.name)
            }
            Level::All => "all",
        }
    }
}

fn value_at(values: &Values<'_>, level: Level) -> String {
    match level {
        Level::Dimension(at) => {
            String::from_utf8_lossy(values.get(usize::from(at)).unwrap_or_default()).into_owned()
        }
        Level::All => String::new(),
    }
}

// === impl LoadedTable ===

impl LoadedTable {
    pub(crate) fn stage_name(&self, entry: Entry) -> &str {
        self.stages.get(usize::from(entry.stage)).map_or("", String::as_str)
    }
}

// === impl Verdict ===

impl Verdict {
    fn of(decision: &Decision<'_>) -> Self {
        match decision.reason {
            Reason::NoService => Self::NoService,
            Reason::Ambiguous => Self::Ambiguous,
            Reason::NoEntry => Self::NoEntry,
            Reason::Entry(_, Entry { action: Action::Exclude, .. }) => Self::Excluded,
            Reason::Entry(_, Entry { action: Action::Gray, .. }) => Self::Included,
            Reason::Entry(_, Entry { action: Action::Percent(_), .. }) => Self::Percent,
        }
    }

    /// The word that stands in listings, JSON and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoService => "no-service",
            Self::Ambiguous => "ambiguous",
            Self::NoEntry => "no-entry",
            Self::Excluded => "excluded",
            Self::Included => "included",
            Self::Percent => "percent",
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.is_gray { "gray" } else { "stable" };
        match (&self.service, &self.version) {
            (Some(service), Some(version)) => {
                write!(f, "{service}: {side} {version} ({})", self.verdict.label())?
            }
            _ => write!(f, "{side} ({})", self.verdict.label())?,
        }
        match &self.header {
            Some((name, value)) => write!(f, "\n  header {name}: {value}")?,
            None => write!(f, "\n  no version header")?,
        }
        for step in &self.steps {
            let Step { level, value, action, stage, ends } = step;
            let outcome = if *ends { "decides" } else { "does not take it" };
            let plan = self.plan.as_deref().unwrap_or_default();
            let id = if value.is_empty() { level.clone() } else { alloc::format!("{level} {value:?}") };
            write!(f, "\n  {id}: {action} by stage {stage:?} of plan {plan:?}, {outcome}")?;
        }
        write!(f, "\n  revision {}", self.revision)
    }
}
