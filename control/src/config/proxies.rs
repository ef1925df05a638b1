//! What the configuration file says of proxies.

use crate::config::ConfigError;
use graylane_plan::{Percentage, Span};
use graylane_xds::{CanaryShare, Standing};
use serde::Deserialize;
use std::time::Duration;

/// The shortest and the longest time that a connected proxy may lag before something is done.
const LAG_SECONDS: std::ops::RangeInclusive<u64> = 1..=24 * 60 * 60;

/// The longest time that a proxy that left may count: then it is forgotten.
const GONE_MAX_SECONDS: u64 = graylane_xds::limits::FORGET_AFTER.as_secs();

/// How the daemon deals with proxies.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProxySettings {
    /// How many of a tenant's proxies try what is published, before all others are sent it.
    pub canary: CanaryShare,
    /// Who is waited for, and for how long.
    pub laggards: Laggards,
}

/// Who is waited for before a tenant's proxies have converged.
#[derive(Clone, Copy, Debug)]
pub struct Laggards {
    /// How long a proxy whose stream ended still counts. It may carry traffic all the same, with the rules that it has; most come
    /// back within Envoy's longest back-off of 30 seconds.
    pub gone: Duration,
    /// What is done about a connected one that does not run what is wanted.
    pub policy: LaggardPolicy,
}

/// What is done about connected proxies that do not run what is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaggardPolicy {
    /// They are waited for.
    #[default]
    Wait,
    /// They are waited for, and after this time the tenant's orders pause and say so.
    Pause(Duration),
    /// After this time they are not counted any more, if another one runs what is wanted.
    Ignore(Duration),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileProxies {
    #[serde(default)]
    canary: FileCanary,
    #[serde(default)]
    laggards: FileLaggards,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCanary {
    percent: Option<Percentage>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLaggards {
    #[serde(default)]
    policy: FilePolicy,
    after: Option<Span>,
    gone: Option<Span>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FilePolicy {
    #[default]
    Wait,
    Pause,
    Ignore,
}

// === impl Laggards ===

impl Laggards {
    /// Whether a proxy counts at all.
    pub(crate) fn counts(&self, proxy: &Standing) -> bool {
        proxy.gone_for.is_none_or(|gone| gone < self.gone)
    }

    /// Whether a proxy that does not run what is wanted had all the time that `after` is. One that is not sent it is not late.
    pub(crate) fn is_late(proxy: &Standing, wanted_for: Duration, after: Duration) -> bool {
        proxy.offered && proxy.connected_for.is_some_and(|connected| connected.min(wanted_for) >= after)
    }
}

impl Default for Laggards {
    fn default() -> Self {
        Self { gone: Duration::from_secs(60), policy: LaggardPolicy::Wait }
    }
}

// === impl FileProxies ===

impl FileProxies {
    pub(super) fn check(self) -> Result<ProxySettings, ConfigError> {
        Ok(ProxySettings { canary: self.canary.check()?, laggards: self.laggards.check()? })
    }
}

// === impl FileCanary ===

impl FileCanary {
    fn check(self) -> Result<CanaryShare, ConfigError> {
        let Some(percent) = self.percent else { return Ok(CanaryShare::default()) };
        let invalid = |limit: String| ConfigError::Invalid {
            field: "proxies.canary.percent".into(),
            value: serde_json::to_string(&percent).unwrap_or_default(),
            limit,
        };
        let hundredths =
            percent.get().map_err(|error| invalid(format!("is no percentage: {error}")))?.hundredths();
        CanaryShare::new(hundredths).ok_or_else(|| invalid("is over 100".into()))
    }
}

// === impl FileLaggards ===

impl FileLaggards {
    fn check(self) -> Result<Laggards, ConfigError> {
        let after = self.after.map(|after| seconds("after", &after, LAG_SECONDS)).transpose()?;
        let gone = self.gone.map(|gone| seconds("gone", &gone, 0..=GONE_MAX_SECONDS)).transpose()?;
        let policy = match (self.policy, after) {
            (FilePolicy::Wait, None) => LaggardPolicy::Wait,
            (FilePolicy::Pause, Some(after)) => LaggardPolicy::Pause(after),
            (FilePolicy::Ignore, Some(after)) => LaggardPolicy::Ignore(after),
            (FilePolicy::Wait, Some(_)) => {
                return Err(policy("wait", "has no `after`; say pause or ignore, or leave it out"));
            }
            (FilePolicy::Pause, None) => return Err(policy("pause", "needs an `after`, like 10m")),
            (FilePolicy::Ignore, None) => return Err(policy("ignore", "needs an `after`, like 10m")),
        };
        Ok(Laggards { gone: gone.unwrap_or(Laggards::default().gone), policy })
    }
}

fn policy(value: &str, limit: &str) -> ConfigError {
    let (field, value) = ("proxies.laggards.policy".into(), value.into());
    ConfigError::Invalid { field, value, limit: limit.into() }
}

fn seconds(field: &str, span: &Span, limits: std::ops::RangeInclusive<u64>) -> Result<Duration, ConfigError> {
    let invalid = |limit: String| ConfigError::Invalid {
        field: format!("proxies.laggards.{field}"),
        value: span.to_string(),
        limit,
    };
    let seconds = span.seconds().map_err(|error| invalid(format!("is no time: {error}")))?;
    if !limits.contains(&seconds) {
        let [least, most] = [limits.start(), limits.end()].map(|limit| Span::from_seconds(*limit));
        return Err(invalid(format!("has to be from {least} to {most}")));
    }
    Ok(Duration::from_secs(seconds))
}
