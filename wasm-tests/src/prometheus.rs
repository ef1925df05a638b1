//! A Prometheus that scrapes the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::places;
use crate::process::{Process, free_address};

/// A running Prometheus; killed when dropped.
pub struct Prometheus {
    address: SocketAddr,
    process: Process,
    _folder: TempDir,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts it with a file of alerts, and waits until it scraped an address without complaint.
    pub fn start(target: SocketAddr, alerts: &Path) -> Result<Self> {
        let (address, folder) = (free_address()?, TempDir::new()?);
        let config = folder.path().join("prometheus.yaml");
        let scrape = format!("[{{ job_name: graylane, static_configs: [{{ targets: ['{target}'] }}] }}]");
        let (alerts, intervals) =
            (fs::canonicalize(alerts)?, "{ scrape_interval: 1s, evaluation_interval: 1s }");
        let text =
            format!("global: {intervals}\nrule_files: ['{}']\nscrape_configs: {scrape}\n", alerts.display());
        fs::write(&config, text)?;
        let mut command = Command::new(places::prometheus()?.join("prometheus"));
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::start("prometheus", &mut command, &folder.path().join("prometheus.log"))?;
        let mut prometheus = Self { address, process, _folder: folder };
        prometheus.until("up", |value| value == 1.0)?;
        Ok(prometheus)
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
