//! The simulation for longer than the tests take, from seeds that nobody tried before.

use anyhow::{Context as _, Result};

use crate::cargo::cargo;
use crate::process;
use crate::steps::{AfterFailure, Steps};
use crate::workshop::Workshop;

/// Minutes when nobody says.
const MINUTES: u32 = 10;

const USAGE: &str = "cargo xtask sim takes the minutes to run";

/// `sim [MINUTES]`: in release mode, which takes several times as many steps.
pub(crate) fn run(workshop: &Workshop, arguments: &[String]) -> Result<()> {
    let minutes = match arguments {
        [] => MINUTES,
        [minutes] => minutes.parse().ok().filter(|minutes| *minutes > 0).context(USAGE)?,
        _ => anyhow::bail!(USAGE),
    };
    let test = ["test", "--release", "--package", "graylane", "--test", "simulation"];
    Steps::new("sim", AfterFailure::Stop)
        .then("build the simulation", || process::run(cargo(workshop, &test).arg("--no-run")))
        .then(format!("simulate for {minutes} min"), || {
            let mut command = cargo(workshop, &test);
            command.args(["no_promise_is_broken", "--", "--nocapture"]);
            process::run(command.env("GRAYLANE_SIM_MINUTES", minutes.to_string()))
        })
        .run()
}
