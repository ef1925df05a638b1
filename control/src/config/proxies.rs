//! What the configuration file says of proxies.

use crate::config::ConfigError;
use graylane_plan::Percentage;
use graylane_xds::CanaryShare;
use serde::Deserialize;

/// How the daemon deals with proxies.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProxySettings {
    /// How many of a tenant's proxies try what is published, before all others are sent it.
    pub canary: CanaryShare,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileProxies {
    #[serde(default)]
    canary: FileCanary,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCanary {
    percent: Option<Percentage>,
}

// === impl FileProxies ===

impl FileProxies {
    pub(super) fn check(self) -> Result<ProxySettings, ConfigError> {
        let Some(percent) = self.canary.percent else { return Ok(ProxySettings::default()) };
        let invalid = |limit: String| ConfigError::Invalid {
            field: "proxies.canary.percent".into(),
            value: serde_json::to_string(&percent).unwrap_or_default(),
            limit,
        };
        let hundredths =
            percent.get().map_err(|error| invalid(format!("is no percentage: {error}")))?.hundredths();
        let canary = CanaryShare::new(hundredths);
        Ok(ProxySettings { canary: canary.ok_or_else(|| invalid("is over 100".into()))? })
    }
}
