//! Debian's packages, for what neither cargo nor pip can bring.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// Makes sure that a program answers, from the Debian package that holds it.
pub(crate) fn ensure(program: &str, package: &str) -> Result<()> {
    if process::answers(program) {
        return Ok(());
    }
    // Without root, apt-get says so at length; the last line below says it in one.
    let _ = process::run(apt(&["update", "--quiet"]).env("DEBIAN_FRONTEND", "noninteractive"));
    let install = ["install", "--yes", "--quiet", "--no-install-recommends", package];
    let _ = process::run(apt(&install).env("DEBIAN_FRONTEND", "noninteractive"));
    if !process::answers(program) {
        bail!("{program} is missing: as root, run `apt-get install {package}`, then start this again");
    }
    Ok(())
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments);
    command
}
