//! An order as it goes on, until it ends.

use super::POLL;
use super::tree::tree;
use crate::cli::output::print;
use crate::cli::{CliError, Session};
use crate::daemon::OrderView;
use graylane_order::Phase;
use std::io::{IsTerminal as _, stdout};
use std::thread::sleep;

/// Shows an order again each time it changes: on a terminal in the place of the tree before, and else one after the other.
pub(super) fn watch(session: &Session, id: u64) -> Result<(), CliError> {
    let in_place = session.is_text() && stdout().is_terminal();
    let mut shown = Shown { text: String::new(), state: String::new(), in_place };
    loop {
        let order: OrderView = session.client.get(&format!("/orders/{id}"))?;
        shown.show(session, &order)?;
        if matches!(order.phase, Phase::RolledBack | Phase::Finished) {
            return Ok(());
        }
        sleep(POLL);
    }
}

/// What was shown last.
struct Shown {
    text: String,
    state: String,
    in_place: bool,
}

// === impl Shown ===

impl Shown {
    fn show(&mut self, session: &Session, order: &OrderView) -> Result<(), CliError> {
        let text = match session.is_text() {
            true => tree(order),
            false => serde_json::to_string(order).unwrap_or_default(),
        };
        if self.in_place {
            if text != self.text {
                print(&format_args!("{}{text}", self.wipe()))?;
            }
            self.text = text;
            return Ok(());
        }
        // What only time changes, like the rest of a hold, is nothing new to somebody who reads on.
        let waits = order.waits_for.as_ref().map(|waits| &waits.kind);
        let state = serde_json::to_string(&(order.version, order.convergence, waits)).unwrap_or_default();
        if state != self.state {
            print(&if session.is_text() { format!("{text}\n") } else { text })?;
        }
        self.state = state;
        Ok(())
    }

    /// What takes the tree before off a terminal: so many lines up, and everything below gone.
    fn wipe(&self) -> String {
        match self.text.lines().count() {
            0 => String::new(),
            lines => format!("\x1b[{lines}F\x1b[J"),
        }
    }
}
