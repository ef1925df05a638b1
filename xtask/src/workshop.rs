//! Where things lie: the repository, the build output, and the tools fetched into it.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The places that the verbs work in.
#[derive(Debug, Clone)]
pub(crate) struct Workshop {
    root: PathBuf,
    target: PathBuf,
}

// === impl Workshop ===

impl Workshop {
    /// Finds the repository: cargo names this crate's folder when it runs `xtask`.
    pub(crate) fn find() -> Result<Self> {
        let here = env::var_os("CARGO_MANIFEST_DIR").context("start this as `cargo xtask`")?;
        let root = Path::new(&here).parent().context("xtask must lie in the repository")?.to_path_buf();
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        Ok(Self { root, target })
    }

    /// The repository's top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's build output.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Tools that are fetched or built here, each in a folder that names its version.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The filter module that `cargo filter` builds.
    pub(crate) fn filter_module(&self) -> PathBuf {
        self.target.join("wasm32-unknown-unknown/wasm/graylane_filter.wasm")
    }
}
