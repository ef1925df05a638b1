//! Debian's packages, for what neither cargo nor pip can bring.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

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

/// Unpacks a package into a folder. Nothing is installed, so it needs no root.
pub(crate) fn unpack(package: &str, folder: &Path) -> Result<()> {
    // Everything happens in a folder of its own, so that an interrupted download never looks complete.
    let partial = folder.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    let download = || process::run(apt(&["download", "--quiet", package]).current_dir(&partial));
    if download().is_err() {
        let _ = process::run(&mut apt(&["update", "--quiet"]));
        download().with_context(|| {
            format!("Debian's package {package} cannot be downloaded: it needs apt-get, and `apt-get update` as root before")
        })?;
    }
    let mut files = fs::read_dir(&partial)?.filter_map(|entry| Some(entry.ok()?.path()));
    let archive = files.next().context("apt-get left no package")?;
    process::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&partial))?;
    fs::remove_file(&archive)?;
    let _ = fs::remove_dir_all(folder);
    fs::rename(&partial, folder).with_context(|| format!("{} cannot be moved into place", partial.display()))
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments);
    command
}
