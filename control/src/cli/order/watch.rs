//! An order as it goes on, until it ends.

use super::POLL;
use super::tree::tree;
use crate::cli::output::print;
use crate::cli::{CliError, Session};
use crate::daemon::OrderView;
use console::{Term, truncate_str};
use graylane_order::Phase;
use std::thread::sleep;

/// Shows an order again each time it changes: on a terminal in the place of the tree before, and else one after the other.
pub(super) fn watch(session: &Session, id: u64) -> Result<(), CliError> {
    let terminal = Some(Term::stdout()).filter(|terminal| session.is_text() && terminal.is_term());
    let mut shown = Shown { text: String::new(), state: String::new(), terminal };
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
    /// Where it stays in its place.
    terminal: Option<Term>,
}

/// The text with lines that a terminal does not wrap, so that as many are there as are taken off again.
fn fitted(text: &str, terminal: &Term) -> String {
    let columns = usize::from(terminal.size().1);
    text.lines().map(|line| truncate_str(line, columns, "…")).collect::<Vec<_>>().join("\n")
}

// === impl Shown ===

impl Shown {
    fn show(&mut self, session: &Session, order: &OrderView) -> Result<(), CliError> {
        let text = match session.is_text() {
            true => tree(order),
            false => serde_json::to_string(order).unwrap_or_default(),
        };
        if let Some(terminal) = &self.terminal {
            let text = fitted(&text, terminal);
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
