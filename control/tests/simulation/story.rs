//! What happened, in words.

use std::collections::VecDeque;

/// Events that are kept.
const KEPT: usize = 20;

/// The last events.
pub struct Story {
    is_verbose: bool,
    events: VecDeque<String>,
    pub step: u64,
}

// === impl Story ===

impl Story {
    pub fn new(is_verbose: bool) -> Self {
        Self { is_verbose, events: VecDeque::new(), step: 0 }
    }

    pub fn tell(&mut self, event: impl FnOnce() -> String) {
        let event = format!("{:>5}  {}", self.step, event());
        if self.is_verbose {
            eprintln!("{event}");
        }
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The last events, one a line.
    pub fn end(&self) -> String {
        self.events.iter().map(|event| format!("  {event}\n")).collect()
    }
}
