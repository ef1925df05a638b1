//! What the verbs need beside the toolchain: each is looked for first, and got when it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{Installed, locked_version};
use crate::workshop::Workshop;
use crate::{apt, process};

/// The target of the filter and of the laws that run in V8.
pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// Checks licences, sources and duplicate crates.
const CARGO_DENY_VERSION: &str = "0.20.2";
/// Builds the fuzz targets and runs them.
const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// The compiler's library for wasm.
pub(crate) fn ensure_wasm_target() -> Result<()> {
    let printed =
        process::capture(Command::new("rustc").args(["--print", "target-libdir", "--target", WASM_TARGET]))?;
    if Path::new(printed.trim()).exists() {
        return Ok(());
    }
    process::run(Command::new("rustup").args(["target", "add", WASM_TARGET])).with_context(|| {
        format!("the target {WASM_TARGET} is missing: run `rustup target add {WASM_TARGET}`")
    })
}

/// Node.js, whose V8 runs the laws of `rules`.
pub(crate) fn ensure_node() -> Result<()> {
    apt::ensure("node", "nodejs")
}

/// The runner of wasm tests; it must be of exactly the version that the tests are linked with.
pub(crate) fn ensure_wasm_test_runner(workshop: &Workshop) -> Result<PathBuf> {
    wasm_test_runner(workshop)?.ensure(workshop)
}

/// Where [`ensure_wasm_test_runner`] puts the runner.
pub(crate) fn wasm_test_runner_path(workshop: &Workshop) -> Result<PathBuf> {
    Ok(wasm_test_runner(workshop)?.path(workshop))
}

/// cargo-deny.
pub(crate) fn ensure_cargo_deny(workshop: &Workshop) -> Result<PathBuf> {
    cargo_deny().ensure(workshop)
}

/// Where [`ensure_cargo_deny`] puts it.
pub(crate) fn cargo_deny_path(workshop: &Workshop) -> PathBuf {
    cargo_deny().path(workshop)
}

/// cargo-fuzz.
pub(crate) fn ensure_cargo_fuzz(workshop: &Workshop) -> Result<PathBuf> {
    cargo_fuzz().ensure(workshop)
}

/// Where [`ensure_cargo_fuzz`] puts it.
pub(crate) fn cargo_fuzz_path(workshop: &Workshop) -> PathBuf {
    cargo_fuzz().path(workshop)
}

fn wasm_test_runner(workshop: &Workshop) -> Result<Installed> {
    let version = locked_version(workshop, "wasm-bindgen")?;
    Ok(Installed { package: "wasm-bindgen-cli", binary: "wasm-bindgen-test-runner", version })
}

fn cargo_deny() -> Installed {
    Installed { package: "cargo-deny", binary: "cargo-deny", version: CARGO_DENY_VERSION.to_owned() }
}

fn cargo_fuzz() -> Installed {
    Installed { package: "cargo-fuzz", binary: "cargo-fuzz", version: CARGO_FUZZ_VERSION.to_owned() }
}
