//! A real Envoy.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::config::EnvoyConfig;
use crate::places;
use crate::process::Process;

/// Workers of an Envoy under test: two, so that a difference between workers can show.
const CONCURRENCY: u32 = 2;
/// How long one question to the admin port may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A running Envoy; killed when dropped.
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
    listener: SocketAddr,
    agent: ureq::Agent,
    // Holds configuration and log while Envoy lives.
    _folder: TempDir,
}

/// Lets Envoy read a configuration without running it. Gives what Envoy logged; an error when it refuses.
pub fn validate(config: EnvoyConfig) -> Result<String> {
    let folder = TempDir::new()?;
    let file = folder.path().join("envoy.json");
    let overlay = config.overlay_arguments();
    fs::write(&file, config.render()?)?;
    let output = envoy(&file)?.args(["--mode", "validate"]).args(overlay).output()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "Envoy refuses the configuration:\n{log}");
    Ok(log)
}

fn envoy(config: &Path) -> Result<Command> {
    let mut command = Command::new(places::envoy()?);
    // Without hot restart any number of Envoys can run beside each other.
    command.arg("-c").arg(config).arg("--disable-hot-restart");
    Ok(command)
}

// === impl Envoy ===

impl Envoy {
    /// Starts Envoy and waits until it is live and listens.
    pub fn start(config: EnvoyConfig) -> Result<Self> {
        Self::start_with_workers(config, CONCURRENCY)
    }

    /// [`Envoy::start`] with so many workers.
    pub fn start_with_workers(config: EnvoyConfig, workers: u32) -> Result<Self> {
        let folder = TempDir::new()?;
        let (file, admin_file) = (folder.path().join("envoy.json"), folder.path().join("admin"));
        let overlay = config.overlay_arguments();
        fs::write(&file, config.render()?)?;
        let mut command = envoy(&file)?;
        command.args(overlay);
        command.args(["--concurrency", &workers.to_string(), "--drain-time-s", "1"]);
        command.arg("--admin-address-path").arg(&admin_file);
        let mut process = Process::start("envoy", &mut command, &folder.path().join("envoy.log"))?;
        let admin =
            process.until("its admin address", || Ok(fs::read_to_string(&admin_file)?.trim().parse()?))?;
        let agent = ureq::Agent::config_builder().timeout_global(Some(ADMIN_TIMEOUT)).build().new_agent();
        process.until("ready", || get(&agent, admin, "/ready"))?;
        let listener = process.until("a listener", || first_listener(&agent, admin))?;
        Ok(Self { process, admin, listener, agent, _folder: folder })
    }

    /// A client that talks to the first listener.
    pub fn client(&self) -> Client {
        Client::new(self.listener)
    }

    /// Where the first listener is.
    pub fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// Where the admin port is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The operating system's number of the process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Asks the admin port, as `/stats/prometheus`.
    pub fn admin_get(&self, path: &str) -> Result<String> {
        get(&self.agent, self.admin, path)
    }

    /// The value of a counter or gauge by its full name; none while Envoy does not know it.
    pub fn stat(&self, name: &str) -> Result<Option<u64>> {
        let lines = self.admin_get(&stat_path(name))?;
        let mut values =
            lines.lines().filter_map(|line| line.split_once(": ").filter(|(key, _)| *key == name));
        Ok(values.next().and_then(|(_, value)| value.parse().ok()))
    }

    /// All counters and gauges whose name contains `part`.
    pub fn stats_with(&self, part: &str) -> Result<Vec<(String, u64)>> {
        let lines = self.admin_get("/stats")?;
        let parsed = lines.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(parsed.filter(|(name, _)| name.contains(part)).collect())
    }

    /// Waits until a counter or gauge is as wanted, and gives its value.
    pub fn until_stat(&mut self, name: &str, wanted: impl Fn(u64) -> bool) -> Result<u64> {
        let (agent, admin) = (self.agent.clone(), self.admin);
        self.process.until(&format!("the wanted value of {name}"), || {
            let lines = get(&agent, admin, &stat_path(name))?;
            let line = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let value = line.with_context(|| format!("{name} is unknown"))?.parse()?;
            ensure!(wanted(value), "{name} is {value}");
            Ok(value)
        })
    }

    /// Waits until the filter itself reports that it runs this revision.
    pub fn until_applied(&mut self, revision: u64) -> Result<()> {
        self.until_stat("wasmcustom.graylane_revision", |value| value == revision).map(drop)
    }

    /// Waits until `condition` holds; an error at once when Envoy ends before.
    pub fn until<T>(&mut self, what: &str, condition: impl FnMut() -> Result<T>) -> Result<T> {
        self.process.until(what, condition)
    }

    /// An error when Envoy has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        self.process.check_alive()
    }

    /// All that Envoy logged.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn first_listener(agent: &ureq::Agent, admin: SocketAddr) -> Result<SocketAddr> {
    let listeners: Value = serde_json::from_str(&get(agent, admin, "/listeners?format=json")?)?;
    let socket = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
    match (socket["address"].as_str(), socket["port_value"].as_u64()) {
        (Some(address), Some(port)) if port != 0 => Ok(format!("{address}:{port}").parse()?),
        _ => bail!("no listener yet: {listeners}"),
    }
}

/// Asks for little more than one stat: Envoy takes the name as a pattern.
fn stat_path(name: &str) -> String {
    format!("/stats?filter={name}")
}

fn get(agent: &ureq::Agent, admin: SocketAddr, path: &str) -> Result<String> {
    Ok(agent.get(format!("http://{admin}{path}")).call()?.body_mut().read_to_string()?)
}
