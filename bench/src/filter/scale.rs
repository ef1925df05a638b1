//! How much a run measures.

use std::time::Duration;

use crate::filter::contender::Limits;
use crate::filter::reload::Windows;
use crate::filter::rounds::Effort;

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How many tellers are gray, ascending.
    pub(crate) sizes: &'static [usize],
    /// How far contenders are followed whose cost grows with ids.
    pub(crate) limits: Limits,
    /// What is measured with one worker.
    pub(crate) effort: Effort,
    /// The same with two workers, if it is measured.
    pub(crate) effort_of_two_workers: Option<Effort>,
    /// Windows of the reload stall.
    pub(crate) windows: Windows,
    /// Reloads whose memory is looked at.
    pub(crate) reloads: u32,
    /// Advances through the daemon.
    pub(crate) daemon_rounds: u32,
}

/// How long a contender answers in one round. Many short turns see more of the machine's moods than a few long ones.
const SLICE: Duration = Duration::from_millis(15);

// === impl Scale ===

impl Scale {
    /// For a look.
    pub(crate) const QUICK: Self = Self {
        sizes: &[10, 1_000, 1_000_000],
        limits: Limits::QUICK,
        effort: Effort { processes: 2, rounds: 7, slice: SLICE },
        effort_of_two_workers: None,
        windows: Windows { windows: 3, reloads: 2 },
        reloads: 30,
        daemon_rounds: 5,
    };
    /// For the record.
    pub(crate) const FULL: Self = Self {
        sizes: &[10, 100, 1_000, 10_000, 100_000, 1_000_000],
        limits: Limits::FULL,
        effort: Effort { processes: 7, rounds: 15, slice: SLICE },
        effort_of_two_workers: Some(Effort { processes: 3, rounds: 12, slice: SLICE }),
        windows: Windows { windows: 7, reloads: 3 },
        reloads: 300,
        daemon_rounds: 30,
    };
}
