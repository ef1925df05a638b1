//! A Prometheus that scrapes the daemon, or Envoys.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::envoy::Envoy;
use crate::places;
use crate::process::{Process, free_address};

/// A running Prometheus; killed when dropped.
pub struct Prometheus {
    address: SocketAddr,
    /// How many are scraped.
    targets: usize,
    process: Process,
    folder: TempDir,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts it with a file of alerts, and waits until it scraped the daemon without complaint.
    pub fn start(daemon: SocketAddr, alerts: &Path) -> Result<Self> {
        let rules = format!("rule_files: ['{}']\n", fs::canonicalize(alerts)?.display());
        Self::scrape(free_address()?, &[daemon], "/metrics", &rules)
    }

    /// Starts it at an address, and waits until it scraped these Envoys without complaint.
    pub fn of_envoys(address: SocketAddr, envoys: &[Envoy]) -> Result<Self> {
        let targets: Vec<_> = envoys.iter().map(Envoy::admin).collect();
        Self::scrape(address, &targets, "/stats/prometheus", "")
    }

    fn scrape(address: SocketAddr, targets: &[SocketAddr], path: &str, rules: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let names: Vec<_> = targets.iter().map(|target| format!("'{target}'")).collect();
        let targets_of_job = format!("[{{ targets: [{}] }}]", names.join(", "));
        let job = format!("{{ job_name: tested, metrics_path: {path}, static_configs: {targets_of_job} }}");
        let global = "global: { scrape_interval: 1s, evaluation_interval: 1s }";
        let config = format!("{global}\n{rules}scrape_configs: [{job}]\n");
        fs::write(folder.path().join("prometheus.yaml"), config)?;
        let process = Self::process(address, folder.path())?;
        let mut prometheus = Self { address, targets: targets.len(), process, folder };
        prometheus.until_up()?;
        Ok(prometheus)
    }

    fn process(address: SocketAddr, folder: &Path) -> Result<Process> {
        let mut command = Command::new(places::prometheus()?.join("prometheus"));
        command.arg(format!("--config.file={}", folder.join("prometheus.yaml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        Process::start("prometheus", &mut command, &folder.join("prometheus.log"))
    }

    fn until_up(&mut self) -> Result<()> {
        let wanted = self.targets as f64;
        self.until("sum(up)", |up| up == wanted).map(drop)
    }

    /// Kills it as `kill -9` does. What it stored stays.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Starts it again, at the same address and on what it stored.
    pub fn restart(&mut self) -> Result<()> {
        self.process = Self::process(self.address, self.folder.path())?;
        self.until_up()
    }

    /// Waits until the only value of an expression is as wanted.
    pub fn until(&mut self, expression: &str, wanted: impl Fn(f64) -> bool) -> Result<f64> {
        let address = self.address;
        self.process.until(expression, || {
            let found = query(address, expression)?;
            let [(_, value)] = found[..] else { anyhow::bail!("{found:?}") };
            ensure!(wanted(value), "{value}");
            Ok(value)
        })
    }

    /// How each alert stands: `inactive`, `pending` or `firing`. Each has been evaluated without complaint.
    pub fn alerts(&mut self) -> Result<BTreeMap<String, String>> {
        let address = self.address;
        self.process.until("every alert is evaluated", || {
            let mut answer = ureq::get(format!("http://{address}/api/v1/rules")).call()?;
            let answer: Value = answer.body_mut().read_json()?;
            let groups = answer["data"]["groups"].as_array().context("no groups")?;
            let rules = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
            let alert = |rule: &Value| {
                ensure!(rule["health"] == "ok", "{rule}");
                let text = |field: &str| rule[field].as_str().map(ToOwned::to_owned).context("no text");
                Ok((text("name")?, text("state")?))
            };
            rules.map(alert).collect()
        })
    }

    /// What an expression gives: each labels with their value.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        query(self.address, expression)
    }
}

fn query(address: SocketAddr, expression: &str) -> Result<Vec<(Value, f64)>> {
    let request = ureq::get(format!("http://{address}/api/v1/query")).query("query", expression);
    let request = request.config().http_status_as_error(false).build();
    let answer: Value = request.call()?.body_mut().read_json()?;
    ensure!(answer["status"] == "success", "{expression}: {answer}");
    let read = |sample: &Value| {
        let value = sample["value"][1].as_str().context("no value")?.parse()?;
        Ok((sample["metric"].clone(), value))
    };
    answer["data"]["result"].as_array().context("no vector")?.iter().map(read).collect()
}

/// What Prometheus's own tool says against a text of metrics; empty when it is content.
pub fn complaints(metrics: &str) -> Result<String> {
    let mut command = Command::new(places::prometheus()?.join("promtool"));
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn()?;
    promtool.stdin.take().context("no input")?.write_all(metrics.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let verdict = if output.status.success() { String::new() } else { output.status.to_string() };
    Ok(format!("{}{verdict}", String::from_utf8_lossy(&said)))
}
