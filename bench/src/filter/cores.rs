//! Which cores a part of the benchmark runs on.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The core of the Envoys that are measured one at a time.
pub(crate) const ENVOY: usize = 0;
/// The core of the load.
pub(crate) const LOAD: usize = 1;

/// An error unless Envoy and the load can each have a core of their own.
pub(crate) fn check() -> Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    ensure!(cores > LOAD, "this benchmark needs two cores, there is {cores}");
    Ok(())
}

/// Does work in a thread that stays on one core. Processes that the work starts stay there too, for good.
pub(crate) fn on<T: Send>(core: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pinned = || {
        let mut cores = CpuSet::new();
        cores.set(core);
        sched_setaffinity(None, &cores).with_context(|| format!("core {core} is not for us"))?;
        work()
    };
    thread::scope(|scope| scope.spawn(pinned).join()).map_err(|_| anyhow!("a pinned thread panicked"))?
}
