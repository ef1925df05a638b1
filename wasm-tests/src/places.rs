//! Where the built and fetched things lie, each with the command that brings it when it is missing.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folder of Envoy configurations that users copy.
pub fn envoy_configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-configs")
}

/// Envoy: `ENVOY`, or the one that `cargo xtask setup` fetched.
pub fn envoy() -> Result<PathBuf> {
    match env::var_os("ENVOY") {
        Some(path) => existing(path.into(), "ENVOY must name an Envoy"),
        None => existing(target()?.join("tools/bin/envoy"), "run `cargo xtask setup`, or set ENVOY"),
    }
}

/// The daemon and CLI, of the same cargo profile as this program.
pub fn daemon() -> Result<PathBuf> {
    existing(profile()?.join("graylane"), "run `cargo build`, with --release for a benchmark")
}

/// The filter module.
pub fn filter() -> Result<PathBuf> {
    existing(modules()?.join("graylane_filter.wasm"), "run `cargo filter`")
}

/// Another filter of this workspace, built as `graylane_bench_textbook.wasm` is.
pub fn module(file: &str) -> Result<PathBuf> {
    existing(modules()?.join(file), "build its package for wasm32-unknown-unknown with `--profile wasm`")
}

/// The filter module with the test-only trap.
pub fn filter_that_traps() -> Result<PathBuf> {
    let path = target()?.join("trap/wasm32-unknown-unknown/wasm/graylane_filter.wasm");
    existing(path, "run `cargo filter --features trap --target-dir target/trap`")
}

/// The program that judges the xDS server, and the folder of the Python packages that it needs.
pub fn judge() -> Result<(PathBuf, PathBuf)> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("judge/judge.py");
    Ok((program, existing(target()?.join("tools/judge"), "run `cargo xtask setup`")?))
}

/// The folder of `prometheus` and `promtool`.
pub fn prometheus() -> Result<PathBuf> {
    existing(target()?.join("tools/prometheus/usr/bin"), "run `cargo xtask setup`")
}

/// Cargo's build output: cargo marks it with a file.
fn target() -> Result<PathBuf> {
    ancestor(|folder| folder.join("CACHEDIR.TAG").exists())
}

fn modules() -> Result<PathBuf> {
    Ok(target()?.join("wasm32-unknown-unknown/wasm"))
}

fn profile() -> Result<PathBuf> {
    ancestor(|folder| folder.file_name().is_some_and(|name| name == "debug" || name == "release"))
}

fn ancestor(wanted: impl Fn(&Path) -> bool) -> Result<PathBuf> {
    let program = env::current_exe()?;
    let folder = program.ancestors().find(|folder| wanted(folder));
    folder.map(Path::to_path_buf).context("the testbed must run from cargo's build output")
}

fn existing(path: PathBuf, cure: &str) -> Result<PathBuf> {
    if !path.exists() {
        bail!("there is no {}: {cure}", path.display());
    }
    Ok(path)
}
