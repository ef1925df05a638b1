//! The whole road on one machine: two services with two versions each, the daemon, and any number of Envoys.

use anyhow::{Context, Result};

use crate::config::EnvoyConfig;
use crate::daemon::Daemon;
use crate::envoy::Envoy;
use crate::upstream::Upstream;

/// The host of the service `loan`.
pub const LOAN_HOST: &str = "loan.retail.svc.cluster.local";
/// The host of the service `ledger`.
pub const LEDGER_HOST: &str = "ledger.retail.svc.cluster.local";

/// What to start.
#[derive(Debug, Clone)]
pub struct TestbedSettings {
    /// The file of `envoy-configs` that all Envoys start from.
    pub file: &'static str,
    /// How many Envoys.
    pub envoys: usize,
    /// Whether the daemon runs before the Envoys start.
    pub daemon_runs: bool,
    /// What the configuration of a daemon that runs says; it has none when this is empty.
    pub config: &'static str,
}

/// All parts, running. They end in this order when dropped.
pub struct Testbed {
    /// The proxies, `proxy-0` and on.
    pub envoys: Vec<Envoy>,
    /// The daemon.
    pub daemon: Daemon,
    /// `loan` and `ledger`, each as v1 and v2.
    pub upstreams: Vec<Upstream>,
}

// === impl TestbedSettings ===

impl Default for TestbedSettings {
    fn default() -> Self {
        Self { file: "sidecar-outbound.yaml", envoys: 1, daemon_runs: true, config: "" }
    }
}

// === impl Testbed ===

impl Testbed {
    /// Starts all parts and waits until each is ready.
    pub fn start(settings: &TestbedSettings) -> Result<Self> {
        let daemon = match settings.config {
            _ if !settings.daemon_runs => Daemon::prepare()?,
            "" => Daemon::start()?,
            config => Daemon::start_with(config)?,
        };
        let mut testbed = Self { envoys: Vec::new(), daemon, upstreams: Self::upstreams()? };
        for index in 0..settings.envoys {
            let config = testbed.config(settings.file)?.node(&format!("proxy-{index}"));
            testbed.envoys.push(Envoy::start(config)?);
        }
        Ok(testbed)
    }

    /// Starts one more Envoy from the sidecar's file.
    pub fn add_envoy(&mut self, change: impl FnOnce(EnvoyConfig) -> EnvoyConfig) -> Result<&mut Envoy> {
        let node = format!("proxy-{}", self.envoys.len());
        let config = self.config("sidecar-outbound.yaml")?.node(&node);
        self.envoys.push(Envoy::start(change(config))?);
        self.envoys.last_mut().context("an Envoy was just started")
    }

    /// Both versions of both services.
    pub fn upstreams() -> Result<Vec<Upstream>> {
        let all = [("loan", "v1"), ("loan", "v2"), ("ledger", "v1"), ("ledger", "v2")];
        all.iter().map(|(service, version)| Upstream::start(service, version)).collect()
    }

    /// A file of `envoy-configs` that leads to this daemon and these upstreams, for one more Envoy.
    pub fn config(&self, file: &str) -> Result<EnvoyConfig> {
        Ok(EnvoyConfig::of(file)?.xds(self.daemon.xds()).upstreams(&self.upstreams))
    }
}
