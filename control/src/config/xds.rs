//! What the configuration file says of the port for proxies.

use crate::config::ConfigError;
use graylane_xds::{SpiffePattern, TlsFiles};
use serde::Deserialize;
use std::path::PathBuf;

/// How proxies are served.
#[derive(Clone, Debug, Default)]
pub struct XdsSettings {
    /// The files of TLS on both sides; without them everybody who reaches the port is served everything.
    pub tls: Option<TlsFiles>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileXds {
    tls: Option<FileTls>,
}

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
            _ => Ok(XdsSettings { tls: self.tls.map(FileTls::files) }),
        }
    }
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
