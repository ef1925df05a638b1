//! What the kernel says of a process: how long it computed, and how much memory it holds.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a process with nothing to do may go on computing.
const REST_DEADLINE: Duration = Duration::from_secs(5);
/// A process that computed nothing for so long has done its work.
const REST: Duration = Duration::from_micros(500);

/// Time that threads had a core, and time that they waited for one because somebody else had it. In nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CoreTime {
    /// On a core.
    pub(crate) computed: u64,
    /// Ready, with no core.
    pub(crate) waited: u64,
}

/// The times of all threads of a process, once it has nothing more to do. The kernel brings the figure of a running thread up
/// to date only now and then, that of a resting one is exact.
pub(crate) fn core_time_at_rest(process: u32) -> Result<CoreTime> {
    let started = Instant::now();
    let mut last = core_time(process)?;
    while started.elapsed() < REST_DEADLINE {
        thread::sleep(REST);
        let now = core_time(process)?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
    bail!("process {process} does not come to rest")
}

/// The times of the thread that asks.
pub(crate) fn own_core_time() -> Result<CoreTime> {
    parse(&fs::read_to_string("/proc/thread-self/schedstat")?)
}

/// Memory of a process that lies in RAM, in KiB.
pub(crate) fn rss_kb(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn core_time(process: u32) -> Result<CoreTime> {
    let mut sum = CoreTime::default();
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end while this looks; what it computed is then lost, and the next look says so by a smaller sum.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let CoreTime { computed, waited } = parse(&text)?;
        sum = CoreTime { computed: sum.computed + computed, waited: sum.waited + waited };
    }
    Ok(sum)
}

fn parse(schedstat: &str) -> Result<CoreTime> {
    let mut figures = schedstat.split_whitespace();
    let mut next =
        || figures.next().context("too few figures in schedstat")?.parse().context("no figure in schedstat");
    Ok(CoreTime { computed: next()?, waited: next()? })
}

// === impl CoreTime ===

impl CoreTime {
    /// What came to it since.
    pub(crate) fn since(self, before: Self) -> Self {
        let (computed, waited) = (self.computed, self.waited);
        Self {
            computed: computed.saturating_sub(before.computed),
            waited: waited.saturating_sub(before.waited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_in_the_figures_of_this_process() {
        let me = std::process::id();
        let before = core_time(me).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(60) {
            std::hint::black_box(begun);
        }
        assert!(core_time(me).unwrap().since(before).computed > 10_000_000);
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(rss_kb(me).unwrap() > 64 << 10);
        drop(held);
    }
}
