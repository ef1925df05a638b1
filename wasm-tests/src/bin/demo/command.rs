//! The real command line, run as it is printed.

use anyhow::{Context, Result, ensure};
use graylane_wasm_tests::{Daemon, wait};
use serde_json::Value;

use crate::print::Printer;

/// The plan, as the repository holds it.
pub(crate) const PLAN_FILE: &str = "control/examples/loan-2026-11.yaml";
/// The plan's name in that file.
pub(crate) const PLAN: &str = "loan-2026-11";

/// Runs `graylane` with these arguments; prints the command, and gives what it answers with `-o json`.
pub(crate) fn run(daemon: &Daemon, printer: &Printer, arguments: &str) -> Result<Value> {
    printer.command(&format!("graylane {arguments}"));
    // The command line runs in a folder of its own.
    let file = format!("{}/../{PLAN_FILE}", env!("CARGO_MANIFEST_DIR"));
    let words = arguments.split(' ').map(|word| if word == PLAN_FILE { file.as_str() } else { word });
    daemon.cli(&words.collect::<Vec<_>>())
}

/// Gives an order once every proxy acknowledged its rules and reports to run them.
pub(crate) fn applied(daemon: &Daemon, order: u64, proxies: usize) -> Result<Value> {
    wait::until("every proxy runs the wanted rules", || {
        let view = daemon.get(&format!("/api/v1/orders/{order}"))?;
        let seen = &view["convergence"];
        let everywhere = |figure: &str| seen[figure].as_u64() == u64::try_from(proxies).ok();
        ensure!(["acknowledged", "applied", "total"].into_iter().all(everywhere), "{seen}");
        Ok(view)
    })
}

/// The number of the order in an answer.
pub(crate) fn order_id(order: &Value) -> Result<u64> {
    order["id"].as_u64().with_context(|| format!("no order: {order}"))
}
