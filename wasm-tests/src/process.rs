//! A program under test: its log in a file, gone when dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::wait;

/// How much of a log is shown with a failure.
const LOG_TAIL_LINES: usize = 40;

/// Addresses given out so far by this process.
static ADDRESSES: AtomicU8 = AtomicU8::new(0);

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// An address on the loopback that stays free, for programs that must be told where to listen and may start later, or twice.
pub fn free_address() -> Result<SocketAddr> {
    // A port of 127.0.0.1 could go to any other connection meanwhile, even to the one that asks whether somebody listens
    // there. Linux has 16 million loopback hosts, and nothing but its owner uses this one.
    let [high, low] = (process::id() as u16).to_be_bytes();
    let number = ADDRESSES.fetch_add(1, Ordering::Relaxed) % 250 + 1;
    let own = Ipv4Addr::new(127, high.max(1), low, number);
    let listener = TcpListener::bind((own, 0)).or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    Ok(listener.local_addr()?)
}

// === impl Process ===

impl Process {
    /// Starts a program; both its outputs are appended to `log`.
    pub(crate) fn start(name: impl Into<String>, command: &mut Command, log: &Path) -> Result<Self> {
        let name = name.into();
        let file = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { name, child, log: log.to_path_buf() })
    }

    /// An error when the program has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status})", self.name),
        }
    }

    /// Waits until `condition` holds; stops early, with the log's end, when the program ends before.
    pub(crate) fn until<T>(&mut self, what: &str, mut condition: impl FnMut() -> Result<T>) -> Result<T> {
        let mut ended = None;
        let outcome = wait::until(&format!("{}: {what}", self.name), || {
            if let Err(end) = self.check_alive() {
                ended = Some(end);
                return Ok(None);
            }
            condition().map(Some)
        });
        match (outcome, ended) {
            (Ok(Some(value)), _) => Ok(value),
            (Err(error), _) | (_, Some(error)) => Err(error.context(self.log_tail())),
            (Ok(None), None) => bail!("{}: {what}: no value", self.name),
        }
    }

    /// Kills the program as `kill -9` does, and waits for its end.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus> {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        Ok(self.child.wait()?)
    }

    /// Asks the program to end, and waits until it did.
    pub(crate) fn terminate(&mut self) -> Result<ExitStatus> {
        // The standard library can only kill.
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let (name, child) = (&self.name, &mut self.child);
        wait::until("its end after SIGTERM", || {
            child.try_wait()?.with_context(|| format!("{name} still runs"))
        })
    }

    /// The operating system's number of the program.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that the program printed.
    pub(crate) fn log(&self) -> String {
        // A program may cut a character in two while it writes.
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default();
        format!("the last {} lines of the log of {}:\n{}\n", tail.len(), self.name, tail.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
        if thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}
