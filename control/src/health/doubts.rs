//! Reports of proxies that are not believed: counted, and told to the log.

use super::ward::Version;
use graylane_health::{Heard, Implausible};
use std::sync::Arc;
use std::time::Duration;

/// The least time between two lines in the log: who goes on lying is told of once.
const LEAST_BETWEEN_LINES: Duration = Duration::from_secs(60);

/// Reports that were not believed.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// How many since the last tick.
    reports: u64,
    /// The first one of which the log does not know, if there is one.
    pub(super) first: Option<Doubt>,
    /// When the log was told last.
    pub(super) logged: Option<Duration>,
}

/// Who said what cannot be of which version.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) node: Arc<str>,
    version: Version,
    why: Implausible,
}

// === impl Doubts ===

impl Doubts {
    /// Takes in what became of a report.
    pub(super) fn take(&mut self, heard: Heard, node: &Arc<str>, version: Version) {
        self.reports += u64::from(matches!(heard, Heard::Implausible(_) | Heard::Doubted));
        if let Heard::Implausible(why) = heard {
            self.first.get_or_insert_with(|| Doubt { node: Arc::clone(node), version, why });
        }
    }

    /// Tells the log, if it is time. Gives how many reports there were since the last tick.
    pub(super) fn settle(&mut self, now: Duration) -> u64 {
        let is_due = self.logged.is_none_or(|logged| now.saturating_sub(logged) >= LEAST_BETWEEN_LINES);
        if let Some(Doubt { node, version: (service, version), why }) = self.first.take_if(|_| is_due) {
            self.logged = Some(now);
            tracing::warn!(%node, %service, %version, %why, "a proxy reported what cannot be; not believed for a while");
        }
        std::mem::take(&mut self.reports)
    }
}
