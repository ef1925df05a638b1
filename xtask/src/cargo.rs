//! Cargo itself: the builds, and the programs that it installs for us.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::workshop::Workshop;

/// A program that `cargo install` builds into the tools folder.
#[derive(Debug)]
pub(crate) struct Installed {
    /// The package on the registry.
    pub(crate) package: &'static str,
    /// The one program of it that we use.
    pub(crate) binary: &'static str,
    /// The exact version.
    pub(crate) version: String,
}

/// A cargo command in the repository.
pub(crate) fn cargo(workshop: &Workshop, arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workshop.root()).args(arguments);
    command
}

/// The version of a package that `Cargo.lock` holds.
pub(crate) fn locked_version(workshop: &Workshop, package: &str) -> Result<String> {
    let lock = fs::read_to_string(workshop.root().join("Cargo.lock")).context("Cargo.lock cannot be read")?;
    version_in(&lock, package)
        .map(str::to_owned)
        .with_context(|| format!("Cargo.lock names no package {package}"))
}

fn version_in<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

// === impl Installed ===

impl Installed {
    /// Where the program is, or will be.
    pub(crate) fn path(&self, workshop: &Workshop) -> PathBuf {
        self.folder(workshop).join("bin").join(self.binary)
    }

    /// Builds the program unless it is there.
    pub(crate) fn ensure(&self, workshop: &Workshop) -> Result<PathBuf> {
        let path = self.path(workshop);
        if !path.exists() {
            // With the author's lock file first; a registry mirror that lags behind may not have all of it.
            process::run(&mut self.install(workshop, &["--locked"]))
                .or_else(|_| process::run(&mut self.install(workshop, &[])))
                .with_context(|| format!("{} {} cannot be built", self.package, self.version))?;
            // Only the program is of use; its build output is some hundred megabytes.
            let _ = fs::remove_dir_all(self.folder(workshop).join("build"));
        }
        Ok(path)
    }

    fn folder(&self, workshop: &Workshop) -> PathBuf {
        workshop.tools().join(format!("{}-{}", self.package, self.version))
    }

    fn install(&self, workshop: &Workshop, more: &[&str]) -> Command {
        let folder = self.folder(workshop);
        let version = format!("={}", self.version);
        let mut command =
            cargo(workshop, &["install", self.package, "--version", &version, "--no-default-features"]);
        command.args(["--bin", self.binary]).args(more);
        command.arg("--root").arg(&folder).arg("--target-dir").arg(folder.join("build"));
        // Built once and run for seconds: a quick build is worth more than a quick program.
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        command.env("CARGO_PROFILE_RELEASE_LTO", "off");
        command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        command
    }
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn the_version_of_a_package_is_not_that_of_one_with_a_longer_name() {
        let lock =
            "[[package]]\nname = \"ab\"\nversion = \"2.0\"\n\n[[package]]\nname = \"a\"\nversion = \"1.0\"\n";
        assert_eq!((version_in(lock, "a"), version_in(lock, "b")), (Some("1.0"), None));
    }
}
