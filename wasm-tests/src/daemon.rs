//! The real daemon, and its CLI.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use ureq::Body;
use ureq::http::Response;

use crate::places;
use crate::process::{Process, free_address};

/// How long the daemon goes on when it is asked to end. No load balancer has to notice here.
const DRAIN: &str = "1s";

/// How long one question to the daemon may take.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// The daemon with its data; killed when dropped.
pub struct Daemon {
    http: SocketAddr,
    xds: SocketAddr,
    filter: PathBuf,
    /// What its configuration file says; none means that there is no file.
    config: Option<String>,
    // None while it is killed.
    process: Option<Process>,
    folder: TempDir,
}

/// How a run of the CLI ended.
#[derive(Debug, Clone)]
pub struct CliOutcome {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

// === impl Daemon ===

impl Daemon {
    /// Starts the daemon on an empty data folder and waits until it is ready.
    pub fn start() -> Result<Self> {
        let mut daemon = Self::prepare()?;
        daemon.run()?;
        Ok(daemon)
    }

    /// Starts the daemon with a configuration file.
    pub fn start_with(config: &str) -> Result<Self> {
        let mut daemon = Self::prepare()?;
        daemon.config = Some(config.to_owned());
        daemon.run()?;
        Ok(daemon)
    }

    /// Everything but the start: data folder and ports, for proxies that come before the daemon.
    pub fn prepare() -> Result<Self> {
        let (http, xds) = (free_address()?, free_address()?);
        let (filter, folder) = (places::filter()?, TempDir::new()?);
        Ok(Self { http, xds, filter, config: None, process: None, folder })
    }

    /// Starts it, or starts it again, on the same data and the same ports.
    pub fn run(&mut self) -> Result<()> {
        self.kill()?;
        let mut command = Command::new(places::daemon()?);
        command.arg("serve").arg("--data").arg(self.data()).arg("--filter-wasm").arg(&self.filter);
        command.args(["--http", &self.http.to_string(), "--xds", &self.xds.to_string(), "--drain", DRAIN]);
        if let Some(config) = &self.config {
            let file = self.folder.path().join("graylane.yaml");
            fs::write(&file, config)?;
            command.arg("--config").arg(file);
        }
        let mut process =
            Process::start("graylane serve", &mut command, &self.folder.path().join("daemon.log"))?;
        let agent = agent();
        let ready = format!("http://{}/readyz", self.http);
        process.until("ready", || {
            let status = agent.get(&ready).call()?.status();
            ensure!(status.is_success(), "status {status}");
            Ok(())
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Tells the proxies another path of the filter module, from the next start on.
    pub fn set_filter(&mut self, path: PathBuf) {
        self.filter = path;
    }

    /// Kills it as `kill -9` does. The data stays.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill().map(drop))
    }

    /// Asks it to end, waits until it did, and gives whether it ended well.
    pub fn terminate(&mut self) -> Result<bool> {
        let mut process = self.process.take().context("the daemon does not run")?;
        Ok(process.terminate()?.success())
    }

    /// Where its HTTP API is.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where its xDS port is.
    pub fn xds(&self) -> SocketAddr {
        self.xds
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// All that it logged, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("daemon.log")).unwrap_or_default()
    }

    /// Writes a file for the CLI, as a plan, and gives its path.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// Asks the HTTP API with GET, as `/api/v1/orders`; an error for any status but success.
    pub fn get(&self, path: &str) -> Result<Value> {
        read_json(path, agent().get(format!("http://{}{path}", self.http)).call()?)
    }

    /// Asks the HTTP API with POST; an error for any status but success.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        read_json(path, agent().post(format!("http://{}{path}", self.http)).send_json(body)?)
    }

    /// The value of a series that it shows to Prometheus, as `graylane_xds_denied_names_total`.
    pub fn figure(&self, series: &str) -> Result<f64> {
        let mut answer = agent().get(format!("http://{}/metrics", self.http)).call()?;
        let text = answer.body_mut().read_to_string()?;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {series} in\n{text}"))?.parse()?)
    }

    /// Applies a plan by the CLI.
    pub fn apply(&self, plan: &str) -> Result<Value> {
        let file = self.write("plan.yaml", plan)?;
        self.cli(&["plan", "apply", "-f", &file.to_string_lossy()])
    }

    /// Runs the CLI against this daemon with `-o json`, and gives what it printed; an error when it failed.
    pub fn cli(&self, arguments: &[&str]) -> Result<Value> {
        let outcome = self.try_cli(&[arguments, &["-o", "json"]].concat())?;
        let said = format!("graylane {}: {outcome:?}", arguments.join(" "));
        ensure!(outcome.code == Some(0), said);
        match outcome.stdout.trim() {
            "" => Ok(Value::Null),
            printed => serde_json::from_str(printed).context(said),
        }
    }

    /// Runs the CLI against this daemon, as it is typed.
    pub fn try_cli(&self, arguments: &[&str]) -> Result<CliOutcome> {
        let mut command = Command::new(places::daemon()?);
        command.args(arguments).env("GRAYLANE_SERVER", format!("http://{}", self.http));
        let output = command.current_dir(self.folder.path()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(CliOutcome {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    /// Where [`Daemon::write`] puts files; the CLI runs here.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(HTTP_TIMEOUT)).http_status_as_error(false);
    config.build().new_agent()
}

/// The answer of the API; a refusal is an error with its reasons.
fn read_json(path: &str, mut answer: Response<Body>) -> Result<Value> {
    let body = answer.body_mut().read_to_string()?;
    ensure!(answer.status().is_success(), "{path}: status {}: {body}", answer.status());
    serde_json::from_str(&body).with_context(|| format!("{path} answered no JSON: {body}"))
}
