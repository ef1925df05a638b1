//! The demo: a release of two services from v1 to v2 and back, through real Envoys, with each observation beside what was
//! expected. `cargo xtask demo` sets up, builds and runs it.

mod callers;
mod command;
mod expected;
mod interrupt;
mod keep;
mod observe;
mod print;
mod walk;

use std::process::ExitCode;

use anyhow::{Result, bail};
use graylane_wasm_tests::{Testbed, TestbedSettings};

use crate::interrupt::Interrupt;
use crate::print::Printer;
use crate::walk::{Outcome, Walk};

/// Proxies of the demo: more than one, so that what one of them does alone would show.
const ENVOYS: usize = 2;
/// The configuration of the proxies, as users copy it.
const ENVOY_CONFIG: &str = "sidecar-outbound.yaml";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(outcome) if outcome.is_as_expected() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<Outcome> {
    let keeps = match arguments {
        [] => false,
        [keep] if keep == "--keep" => true,
        _ => bail!("`{}` is unknown; the demo takes --keep, or nothing", arguments.join(" ")),
    };
    let interrupt = Interrupt::watch()?;
    let printer = Printer::new();
    let outcome = show(&printer, &interrupt, keeps);
    // After Ctrl-C the proxies and the daemon end too, and whatever was under way fails for that reason alone.
    if outcome.is_err() && interrupt.happened() {
        bail!("interrupted; everything that the demo started is stopped");
    }
    outcome
}

fn show(printer: &Printer, interrupt: &Interrupt, keeps: bool) -> Result<Outcome> {
    printer.title("Graylane demo: two services go from v1 to v2, step by step, and come back");
    let settings = TestbedSettings { file: ENVOY_CONFIG, envoys: ENVOYS, ..TestbedSettings::default() };
    let testbed = Testbed::start(&settings)?;
    printer.line(&format!(
        "{ENVOYS} Envoys from envoy-configs/{ENVOY_CONFIG}, the daemon, loan v1 and v2, ledger v1 and v2."
    ));
    let outcome = Walk::new(&testbed, printer, interrupt).run()?;
    printer.summary(&outcome);
    if keeps {
        keep::until_interrupted(&testbed, printer, interrupt)?;
    }
    Ok(outcome)
}
