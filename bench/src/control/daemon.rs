//! The real daemon as a process, on a data folder that outlives it, and what the kernel says of it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use graylane_wasm_tests::{free_address, places, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::api::Api;

/// How long a start may take.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long it is rested between two questions at a start: its resolution.
const START_PAUSE: Duration = Duration::from_millis(1);

/// The daemon; killed when dropped.
pub(crate) struct Daemon {
    http: SocketAddr,
    xds: SocketAddr,
    data: PathBuf,
    log: PathBuf,
    // None while it does not run.
    child: Option<Child>,
}

/// Memory of a process that lies in RAM, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) rss_kib: u64,
    /// The most so far.
    pub(crate) peak_kib: u64,
}

// === impl Daemon ===

impl Daemon {
    /// Everything but the start. The data is in a folder of its own below `folder`.
    pub(crate) fn prepare(folder: &Path) -> Result<Self> {
        let (http, xds) = (free_address()?, free_address()?);
        Ok(Self { http, xds, data: folder.join("data"), log: folder.join("daemon.log"), child: None })
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Where proxies fetch their rules.
    pub(crate) fn xds(&self) -> SocketAddr {
        self.xds
    }

    /// Its API, on connections of its own.
    pub(crate) fn api(&self) -> Api {
        Api::new(self.http)
    }

    /// Starts it, and gives the time until it answered what stands at `path`, and the answer.
    ///
    /// # Errors
    /// When it runs already, ends, or does not answer in time.
    pub(crate) fn start(&mut self, path: &str) -> Result<(Duration, Value)> {
        ensure!(self.child.is_none(), "the daemon runs already");
        let mut command = Command::new(places::daemon()?);
        command.arg("serve").arg("--data").arg(&self.data);
        command.args(["--http", &self.http.to_string(), "--xds", &self.xds.to_string()]);
        let log = File::options().create(true).append(true).open(&self.log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let begun = Instant::now();
        let child = self.child.insert(command.spawn().context("the daemon cannot be started")?);
        let api = Api::new(self.http);
        while begun.elapsed() < START_DEADLINE {
            if let Ok(answer) = api.get(path) {
                return Ok((begun.elapsed(), answer));
            }
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("the daemon has ended ({status}):\n{log}");
            }
            thread::sleep(START_PAUSE);
        }
        bail!("the daemon did not answer {path} within {} s", START_DEADLINE.as_secs())
    }

    /// Asks it to end, and gives the time until it did.
    pub(crate) fn stop(&mut self) -> Result<Duration> {
        let mut child = self.child.take().context("the daemon does not run")?;
        let begun = Instant::now();
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        let status = wait::until("the daemon's end", || child.try_wait()?.context("it still runs"))?;
        ensure!(status.success(), "the daemon did not end well: {status}");
        Ok(begun.elapsed())
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the daemon does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// How much memory it holds.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let figure = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            figure.with_context(|| format!("no {name}"))
        };
        Ok(Memory { rss_kib: figure("VmRSS:")?, peak_kib: figure("VmHWM:")? })
    }

    /// Lets the peak of its memory begin anew.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.id()?), "5")?)
    }

    /// The processor time that it took since it started, in the kernel's ticks of 10 ms.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()?))?;
        // The name of the process, in parentheses, may hold anything; user and system time are the 12th and 13th behind it.
        let (_, figures) = stat.rsplit_once(')').context("no name")?;
        let ticks = figures.split_whitespace().skip(11).take(2).map(|ticks| Ok(ticks.parse::<u64>()?));
        Ok(Duration::from_millis(10 * ticks.sum::<Result<u64>>()?))
    }

    /// Bytes that it handed to the disk since it started, in whole pages.
    pub(crate) fn written_bytes(&self) -> Result<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.id()?))?;
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:")).context("no write_bytes")?;
        Ok(line.trim().parse()?)
    }

    /// Bytes of its store on disk.
    pub(crate) fn store_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for file in fs::read_dir(&self.data)? {
            bytes += file?.metadata()?.len();
        }
        Ok(bytes)
    }

    fn id(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the daemon does not run")?.id())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may not run; then there is nothing to kill.
        let _ = self.kill();
    }
}
