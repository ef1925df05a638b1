//! The real program as a process of its own, with ports from the operating system.

#![allow(dead_code, reason = "each test file uses its part")]

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A running `graylane serve`, killed when it is dropped.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    /// The API's address, e.g. `http://127.0.0.1:4711`.
    pub server: String,
    /// Where proxies connect, e.g. `http://127.0.0.1:4712`.
    pub xds: String,
}

/// An answer of the API.
pub struct Answer {
    pub status: u16,
    headers: ureq::http::HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Daemon {
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    pub fn start_with(data: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graylane"));
        command
            .args(["serve", "--http", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(more);
        // glibc keeps what threads gave back in up to eight arenas a core, the more the busier the machine is. Memory that is measured is
        // what the daemon needs.
        command.env("NO_COLOR", "1").env("MALLOC_ARENA_MAX", "1");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("http=") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the daemon ended before it served");
        }
        // Somebody has to read on, or the daemon would block on a full pipe.
        let kept = Arc::new(Mutex::new(line.clone()));
        let keeper = Arc::clone(&kept);
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).for_each(|line| *keeper.lock().unwrap() += &line)
        });
        let address = |name: &str| line.split(name).nth(1).unwrap().split_whitespace().next().unwrap();
        let (server, xds) = (format!("http://{}", address("http=")), format!("http://{}", address("xds=")));
        Self { child, log: kept, server, xds }
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until an order is in a phase, and gives it.
    pub fn wait_for(&self, order: &str, phase: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let found = self.json(&["order", "get", order], "");
            if found["phase"] == phase {
                return found;
            }
            assert!(Instant::now() < deadline, "{found}");
            std::thread::yield_now();
        }
    }

    /// The most bytes of memory that it had so far.
    pub fn memory_peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1_024
    }

    /// Asks the daemon to end, and waits until it did.
    pub fn terminate(self) -> bool {
        self.signal(Signal::TERM);
        self.ended() == Some(0)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it ended, and gives its exit code.
    pub fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Ends the daemon as a power cut would, while others still ask it.
    pub fn cut(&self) {
        self.signal(Signal::KILL);
    }

    /// Ends the daemon as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Runs the command line against this daemon.
    pub fn cli(&self, args: &[&str], input: &str) -> Output {
        run(&[&["--server", &self.server], args].concat(), input)
    }

    /// Runs the command line against this daemon with variables in its environment.
    pub fn cli_with(&self, variables: &[(&str, &str)], args: &[&str], input: &str) -> Output {
        let mut command = command(&[&["--server", &self.server], args].concat());
        command.envs(variables.iter().copied());
        finish(command, Stdio::piped(), input)
    }

    /// Runs the command line, which has to succeed, and reads its JSON.
    pub fn json(&self, args: &[&str], input: &str) -> Value {
        let output = self.cli(&[&["-o", "json"], args].concat(), input);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Makes a request by hand.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.server));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = agent.run(request.body(body.to_vec()).unwrap()).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), text, json }
    }
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a configuration that knows these people, each with a role, and their secrets into files of their names.
pub fn configuration_of(dir: &Path, people: &[(&str, &str)]) -> PathBuf {
    let mut config = "tokens:\n".to_owned();
    for (name, role) in people {
        let file = dir.join(name);
        let made = run(&["token", name, "--role", role, "--file", file.to_str().unwrap()], "");
        assert!(made.status.success(), "{made:?}");
        let printed = String::from_utf8(made.stdout).unwrap();
        let secret = std::fs::read_to_string(file).unwrap();
        assert!(!printed.contains(secret.trim()), "the secret is in its file alone");
        config += printed.strip_prefix("tokens:\n").unwrap();
    }
    let file = dir.join("config.yaml");
    std::fs::write(&file, config).unwrap();
    file
}

/// A terminal: what somebody sees on it, and where a program writes.
pub fn terminal() -> (File, File) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let screen = File::options().read(true).write(true).open(OsStr::from_bytes(name.as_bytes())).unwrap();
    (File::from(terminal), screen)
}

/// Reads what is shown on a terminal, behind what was read before, until a text is in it.
pub fn read_until(shown: &mut File, text: &mut Vec<u8>, wanted: &str) -> String {
    let mut part = [0; 4_096];
    while !String::from_utf8_lossy(text).contains(wanted) {
        // A terminal whose last writer is gone answers a reader with an error.
        let count = shown.read(&mut part).unwrap_or_default();
        assert!(count > 0, "{}", String::from_utf8_lossy(text));
        text.extend_from_slice(&part[..count]);
    }
    String::from_utf8_lossy(text).into_owned()
}

/// Runs the command line with `input` as its standard input.
pub fn run(args: &[&str], input: &str) -> Output {
    run_to(Stdio::piped(), args, input)
}

/// Runs the command line with `input` as its standard input and `stdout` as its standard output.
pub fn run_to(stdout: Stdio, args: &[&str], input: &str) -> Output {
    finish(command(args), stdout, input)
}

/// The command line with none of its variables from outside.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_graylane"));
    for variable in ["SERVER", "TENANT", "TOKEN", "TOKEN_FILE"] {
        command.env_remove(format!("GRAYLANE_{variable}"));
    }
    command.args(args);
    command
}

fn finish(mut command: Command, stdout: Stdio, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}
