//! What the configuration file says of the port for proxies.

use crate::config::ConfigError;
use graylane_xds::limits::{Limits, MAX_TENANTS};
use graylane_xds::{SpiffePattern, TlsFiles};
use serde::Deserialize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// How proxies are served.
#[derive(Clone, Debug, Default)]
pub struct XdsSettings {
    /// What one may ask for, and all together.
    pub limits: Limits,
    /// The files of TLS on both sides; without them everybody who reaches the port is served everything.
    pub tls: Option<TlsFiles>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileXds {
    #[serde(default)]
    limits: FileLimits,
    tls: Option<FileTls>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileLimits {
    connections: Option<u64>,
    streams: Option<u64>,
    streams_per_connection: Option<u64>,
    proxies: Option<u64>,
    names: Option<u64>,
    request_bytes: Option<u64>,
    metrics_bytes: Option<u64>,
    messages_per_second: Option<u64>,
}

/// As many proxies as nobody has, and what else is too much for any machine.
const MANY: u64 = 1_000_000;
/// Bytes of a message: from what an honest one has to what no proxy sends.
const MESSAGE_BYTES: RangeInclusive<u64> = 64 << 10..=256 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileTls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: PathBuf,
}

// === impl FileXds ===

impl FileXds {
    /// Takes it, if it goes with whether any tenant has identities.
    pub(super) fn check(self, has_identities: bool) -> Result<XdsSettings, ConfigError> {
        let invalid = |field: &str, value: &str, limit: &str| {
            Err(ConfigError::Invalid { field: field.into(), value: value.into(), limit: limit.into() })
        };
        match &self.tls {
            Some(tls) if !has_identities => invalid(
                "xds.tls.clientCa",
                &tls.client_ca.display().to_string(),
                "lets in nobody: no tenant has `identities`, like [\"spiffe://bank.example/ns/retail/sa/*\"]",
            ),
            None if has_identities => {
                invalid("tenants", "identities", "are never asked for without `xds.tls`, and protect nothing")
            }
            _ => Ok(XdsSettings { limits: self.limits.check()?, tls: self.tls.map(FileTls::files) }),
        }
    }
}

// === impl FileLimits ===

impl FileLimits {
    fn check(self) -> Result<Limits, ConfigError> {
        let Limits {
            connections,
            streams,
            streams_per_connection,
            proxies,
            names,
            request_bytes,
            metrics_bytes,
            messages_per_second,
        } = Limits::DEFAULT;
        Ok(Limits {
            connections: within("connections", self.connections, 1..=MANY, connections)?,
            streams: within("streams", self.streams, 1..=MANY, streams)?,
            streams_per_connection: within(
                "streamsPerConnection",
                self.streams_per_connection,
                1..=MANY,
                streams_per_connection,
            )?,
            proxies: within("proxies", self.proxies, 1..=MANY, proxies)?,
            names: within("names", self.names, 1..=MAX_TENANTS as u64, names)?,
            request_bytes: within("requestBytes", self.request_bytes, MESSAGE_BYTES, request_bytes)?,
            metrics_bytes: within("metricsBytes", self.metrics_bytes, MESSAGE_BYTES, metrics_bytes)?,
            messages_per_second: within(
                "messagesPerSecond",
                self.messages_per_second,
                1..=MANY,
                messages_per_second,
            )?,
        })
    }
}

/// A limit that may be chosen from a range.
fn within<T: TryFrom<u64>>(
    field: &str,
    value: Option<u64>,
    range: RangeInclusive<u64>,
    default: T,
) -> Result<T, ConfigError> {
    let Some(value) = value else { return Ok(default) };
    let chosen = range.contains(&value).then(|| T::try_from(value).ok()).flatten();
    chosen.ok_or_else(|| ConfigError::Invalid {
        field: format!("xds.limits.{field}"),
        value: value.to_string(),
        limit: format!("has to be from {} to {}", range.start(), range.end()),
    })
}

// === impl FileTls ===

impl FileTls {
    fn files(self) -> TlsFiles {
        let Self { certificate, key, client_ca } = self;
        TlsFiles { certificate, key, client_ca }
    }
}

/// Reads who may be served a tenant.
pub(super) fn identities(tenant: &str, texts: &[String]) -> Result<Vec<SpiffePattern>, ConfigError> {
    let pattern = |(number, text): (usize, &String)| {
        SpiffePattern::parse(text).map_err(|error| ConfigError::Invalid {
            field: format!("tenants.{tenant}.identities[{number}]"),
            value: text.clone(),
            limit: error.to_string(),
        })
    };
    texts.iter().enumerate().map(pattern).collect()
}
