//! The Python packages of the program that judges the xDS server: gRPC and Envoy's messages, pinned by version and hash.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::workshop::Workshop;

/// pip verifies the wheels against the hashes in this file.
const REQUIREMENTS: &str = "xtask/judge-requirements.txt";
/// Says what a folder holds, so that other pins or another Python bring other packages.
const STAMP: &str = "graylane-stamp";
/// Seconds that pip waits for an answer.
const PIP_TIMEOUT: &str = "60";

/// Makes sure that the packages are in `target/tools/judge`.
pub(crate) fn ensure(workshop: &Workshop) -> Result<()> {
    let folder = workshop.tools().join("judge");
    let python = process::capture(Command::new("python3").arg("--version")).context("python3 is missing")?;
    let pins = fs::read_to_string(workshop.root().join(REQUIREMENTS))?;
    let stamp = format!("{} {}\n{pins}", python.trim(), env::consts::ARCH);
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|present| present == stamp) {
        return Ok(());
    }
    // Everything happens in a folder of its own, so that an interrupted download never looks complete.
    let partial = workshop.tools().join("judge.partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"];
    let mut command = Command::new("python3");
    command.current_dir(workshop.root()).args(pip).args(["--timeout", PIP_TIMEOUT, "-r", REQUIREMENTS]);
    process::run(command.arg("--target").arg(&partial)).context(
        "the packages of the xDS judge cannot be installed: it needs python3 3.10 or later with pip",
    )?;
    fs::write(partial.join(STAMP), stamp)?;
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&partial, &folder).with_context(|| format!("{} cannot be moved into place", partial.display()))
}
