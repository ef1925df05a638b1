//! How a webhook stands, for those who look at it.

use crate::config::WebhookSettings;
use crate::webhooks::figures::{Figures, Outcome};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use utoipa::ToSchema;

/// How a webhook stands, written by its thread.
#[derive(Debug)]
pub(super) struct Standing {
    name: String,
    figures: Figures,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The audit record up to which everything was told or given up.
    record: u64,
    /// When that happened which its receiver has to be told now.
    undelivered: Option<Timestamp>,
    /// Why the last try failed.
    problem: Option<String>,
}

/// A webhook as it stands.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookView {
    /// Its name.
    pub name: String,
    /// Whom it tells: scheme, host and port, without what may be secret.
    pub host: String,
    /// For whom it is: `json`, `slack`, `teams`, `dingtalk`, `wecom` or `feishu`.
    pub format: String,
    /// The events that it tells; none for all.
    pub events: Vec<String>,
    /// The tenants of which it tells; none for all.
    pub tenants: Vec<String>,
    /// The number of the audit record up to which everything was told or given up.
    pub record: u64,
    /// When the oldest event happened that is not delivered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub undelivered_since: Option<Timestamp>,
    /// Why the last try failed, while that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What came of trying a webhook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookTried {
    /// Its name.
    pub name: String,
    /// Whom it told: scheme, host and port.
    pub host: String,
    /// Whether the receiver took the message.
    pub taken: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

// === impl Standing ===

impl Standing {
    pub(super) fn new(name: &str, figures: &Figures) -> Self {
        figures.expect(name);
        Self { name: name.to_owned(), figures: figures.clone(), inner: Mutex::default() }
    }

    /// Everything up to a record was told or given up.
    pub(super) fn passed(&self, record: u64) {
        self.inner().record = record;
    }

    /// Something that happened then has to be told.
    pub(super) fn begin(&self, at: Timestamp) {
        self.inner().undelivered = Some(at);
    }

    /// A try to tell it failed.
    pub(super) fn failed(&self, problem: &str) {
        self.figures.count(&self.name, Outcome::Failed);
        self.inner().problem = Some(problem.to_owned());
    }

    /// It was told.
    pub(super) fn delivered(&self) {
        self.figures.count(&self.name, Outcome::Delivered);
        let mut inner = self.inner();
        (inner.undelivered, inner.problem) = (None, None);
    }

    /// It will not be told.
    pub(super) fn gave_up(&self) {
        self.figures.count(&self.name, Outcome::GivenUp);
        self.inner().undelivered = None;
    }

    /// How old the oldest event is that is not delivered.
    pub(super) fn lag(&self, now: Timestamp) -> SignedDuration {
        let since = self.inner().undelivered;
        since.map(|since| now.duration_since(since).max(SignedDuration::ZERO)).unwrap_or_default()
    }

    pub(super) fn view(&self, settings: &WebhookSettings, host: &str) -> WebhookView {
        let inner = self.inner();
        WebhookView {
            name: self.name.clone(),
            host: host.to_owned(),
            format: settings.format.label().to_owned(),
            events: settings.events.iter().map(ToString::to_string).collect(),
            tenants: settings.tenants.iter().cloned().collect(),
            record: inner.record,
            undelivered_since: inner.undelivered,
            problem: inner.problem.clone(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each change of it is complete in itself.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
