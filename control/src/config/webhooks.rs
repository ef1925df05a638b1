//! What the configuration file says of webhooks.

use crate::config::ConfigError;
use crate::order_event::EventKind;
use crate::remote::{Endpoint, parse_url};
use crate::secret::read_secret;
use crate::webhooks::{Format, MAX_WEBHOOKS, Signing};
use graylane_rules::is_name;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use ureq::http::Uri;

/// Whom to tell, of what, and how.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// By which people and the store know it.
    pub name: String,
    /// The receiver.
    pub endpoint: Endpoint,
    /// How the receiver wants it.
    pub format: Format,
    /// The file with the secret that messages are signed with.
    pub secret: Option<PathBuf>,
    /// What it is told; everything when there is none.
    pub events: BTreeSet<EventKind>,
    /// The tenants of whose orders it is told; all when there is none.
    pub tenants: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct FileWebhook {
    name: String,
    url: Option<String>,
    url_file: Option<PathBuf>,
    #[serde(default)]
    format: Format,
    secret_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    #[serde(default)]
    events: BTreeSet<EventKind>,
    #[serde(default)]
    tenants: BTreeSet<String>,
}

// === impl WebhookSettings ===

impl WebhookSettings {
    /// Whether it is told of such an event of a tenant's order.
    pub(crate) fn wants(&self, tenant: &str, kind: EventKind) -> bool {
        (self.tenants.is_empty() || self.tenants.contains(tenant))
            && (self.events.is_empty() || self.events.contains(&kind))
    }
}

/// Takes the webhooks; `is_tenant` knows the tenants that may exist.
pub(super) fn check(
    webhooks: Vec<FileWebhook>,
    is_tenant: impl Fn(&str) -> bool,
) -> Result<Vec<WebhookSettings>, ConfigError> {
    if webhooks.len() > MAX_WEBHOOKS {
        return Err(ConfigError::Invalid {
            field: "webhooks".into(),
            value: webhooks.len().to_string(),
            limit: format!("webhooks are over the limit of {MAX_WEBHOOKS}"),
        });
    }
    let mut checked: Vec<WebhookSettings> = Vec::new();
    for (number, webhook) in webhooks.into_iter().enumerate() {
        let invalid = |[field, value, limit]: [String; 3]| ConfigError::Invalid {
            field: format!("webhooks[{number}]{field}"),
            value,
            limit,
        };
        if checked.iter().any(|other| other.name == webhook.name) {
            let limit = "is the name of another webhook, too; take another";
            return Err(invalid([".name", &webhook.name, limit].map(ToOwned::to_owned)));
        }
        checked.push(webhook.check(&is_tenant).map_err(invalid)?);
    }
    Ok(checked)
}

// === impl FileWebhook ===

impl FileWebhook {
    /// Takes it; the error is the field below the webhook, its value, and what it has to be. A URL is never shown: it may be secret.
    fn check(self, is_tenant: impl Fn(&str) -> bool) -> Result<WebhookSettings, [String; 3]> {
        let invalid =
            |field: &str, value: &str, limit: &str| Err([field, value, limit].map(ToOwned::to_owned));
        if !is_name(&self.name) {
            return invalid(".name", &self.name, "has to be 1 to 63 letters, digits, '-', '_' or '.'");
        }
        if let Some(tenant) = self.tenants.iter().find(|tenant| !is_tenant(tenant)) {
            return invalid(".tenants", tenant, "is no tenant of this configuration");
        }
        let format = self.format.label();
        match (self.format.signing(), &self.secret_file) {
            (Signing::Always, None) => {
                return invalid(".secretFile", &self.name, "has none, and its messages have to be signed");
            }
            (Signing::Never, Some(_)) => {
                return invalid(
                    ".secretFile",
                    format,
                    "knows no signatures; leave it out, and keep the URL secret",
                );
            }
            _ => {}
        }
        if self.format != Format::Json && self.token_file.is_some() {
            return invalid(".tokenFile", format, "takes no token; leave it out");
        }
        let url = self.url()?;
        let Self { name, format, secret_file: secret, token_file: token, ca, events, tenants, .. } = self;
        Ok(WebhookSettings { name, endpoint: Endpoint { url, ca, token }, format, secret, events, tenants })
    }

    /// Its URL, from the file or from one of its own.
    fn url(&self) -> Result<Uri, [String; 3]> {
        let invalid = |field: &str, limit: String| [field.to_owned(), self.name.clone(), limit];
        let (field, text) = match (&self.url, &self.url_file) {
            (Some(url), None) => (".url", url.clone()),
            (None, Some(file)) => {
                let text = read_secret(file).map_err(|error| invalid(".urlFile", error.to_string()))?;
                (".urlFile", text)
            }
            _ => return Err(invalid(".url", "needs either `url` or `urlFile`".into())),
        };
        parse_url(&text).map_err(|limit| invalid(field, limit))
    }
}
