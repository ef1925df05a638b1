//! Prometheus, which reads the daemon's metrics in a test.

use anyhow::Result;

use crate::workshop::Workshop;
use crate::{apt, process};

/// Its Debian package. Installing that starts a server, so it is only unpacked.
const PACKAGE: &str = "prometheus";

/// Makes sure that `prometheus` and `promtool` are in `target/tools/prometheus/usr/bin`.
pub(crate) fn ensure(workshop: &Workshop) -> Result<()> {
    let folder = workshop.tools().join("prometheus");
    if process::answers(folder.join("usr/bin/promtool")) {
        return Ok(());
    }
    apt::unpack(PACKAGE, &folder)
}
