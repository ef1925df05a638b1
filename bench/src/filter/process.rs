//! What the kernel says of a process: how long it computed, and how much memory it holds.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a process with nothing to do may go on computing.
const REST_DEADLINE: Duration = Duration::from_secs(5);
/// A process that computed nothing for so long has done its work.
const REST: Duration = Duration::from_micros(500);

/// Nanoseconds that all threads of a process spent on a core, once it has nothing more to do. The kernel brings the figure of
/// a running thread up to date only now and then, that of a resting one is exact.
pub(crate) fn cpu_ns_at_rest(process: u32) -> Result<u64> {
    let started = Instant::now();
    let mut last = cpu_ns(process)?;
    while started.elapsed() < REST_DEADLINE {
        thread::sleep(REST);
        let now = cpu_ns(process)?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
    bail!("process {process} does not come to rest")
}

/// Memory of a process that lies in RAM, in KiB.
pub(crate) fn rss_kb(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn cpu_ns(process: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end while this looks; what it computed is then lost, and the next look says so by a smaller sum.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let on_core = text.split(' ').next().context("no figures in schedstat")?;
        sum += on_core.parse::<u64>()?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_in_the_figures_of_this_process() {
        let me = std::process::id();
        let before = cpu_ns(me).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(60) {
            std::hint::black_box(begun);
        }
        assert!(cpu_ns(me).unwrap() > before + 10_000_000);
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(rss_kb(me).unwrap() > 64 << 10);
        drop(held);
    }
}
