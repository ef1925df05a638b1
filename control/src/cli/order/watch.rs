//! An order as it goes on, until it ends.

use super::POLL;
use super::tree::tree;
use crate::cli::output::print;
use crate::cli::screen::Screen;
use crate::cli::{CliError, Session};
use crate::daemon::OrderView;
use graylane_order::Phase;
use std::thread::sleep;

/// Shows an order again each time it changes: on a terminal in the place of the tree before, and else one after the other.
pub(super) fn watch(session: &Session, id: u64) -> Result<(), CliError> {
    let mut screen = Screen::of(session);
    let mut state = String::new();
    loop {
        let order: OrderView = session.client.get(&format!("/orders/{id}"))?;
        match &mut screen {
            Some(screen) => screen.show(&tree(&order, true))?,
            None => state = follow(session, &order, state)?,
        }
        if matches!(order.phase, Phase::RolledBack | Phase::Finished) {
            return Ok(());
        }
        sleep(POLL);
    }
}

/// Prints the order unless it is in the state that was printed last, and gives its state. What only time changes, like the rest
/// of a hold, is nothing new to somebody who reads on, and neither are more requests with the same verdict.
fn follow(session: &Session, order: &OrderView, last: String) -> Result<String, CliError> {
    let waits = order.waits_for.as_ref().map(|waits| &waits.kind);
    let judged = order.services.iter().filter_map(|service| service.judged.as_ref());
    let causes: Vec<&str> = judged.map(|judged| judged.cause.as_str()).collect();
    let state = serde_json::to_string(&(order.version, order.convergence, waits, causes)).unwrap_or_default();
    if state != last {
        let text = match session.is_text() {
            true => format!("{}\n", tree(order, false)),
            false => serde_json::to_string(order).unwrap_or_default(),
        };
        print(&text)?;
    }
    Ok(state)
}
