//! Talks to the daemon's HTTP API.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use thiserror::Error;
use ureq::http::{Method, Request, StatusCode, Uri};

/// How long one call may take: a plan or list of the largest size on a slow disk.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of an answer. The largest is a rule set.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// A client of one daemon.
pub struct Client {
    agent: ureq::Agent,
    server: String,
}

/// What a call sends.
#[derive(Default)]
pub struct Call {
    /// The path below `/api/v1`, and its query.
    pub path: String,
    /// The body and its content type, if there is one.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// The version that must hold, for `If-Match`.
    pub if_match: Option<u64>,
}

/// Why a call did not succeed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The daemon refused; nothing changed.
    #[error("{0}")]
    Refused(Problem),
    /// The daemon failed, so that trying again later may help.
    #[error("{0}")]
    Failed(Problem),
    /// The daemon cannot be reached.
    #[error(
        "cannot reach the daemon at {server}: {source}; is `graylane serve` running, and --server right?"
    )]
    Unreachable {
        /// Its address.
        server: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The answer is not what this program knows.
    #[error("the daemon at {server} answered something else than this program knows: {message}")]
    Answer {
        /// Its address.
        server: String,
        /// What is wrong.
        message: String,
    },
}

/// The problem details of a refusal, after RFC 9457.
#[derive(Debug, Default)]
pub struct Problem {
    /// What is wrong.
    pub detail: String,
    /// Each wrong field: its path and what is wrong.
    pub errors: Vec<(String, String)>,
}

// === impl Client ===

impl Client {
    /// A client of the daemon at `server`, e.g. `http://127.0.0.1:18080`.
    #[must_use]
    pub fn new(server: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL_TIMEOUT))
            .proxy(None)
            .build();
        Self { agent: config.into(), server: server.trim_end_matches('/').to_owned() }
    }

    /// Gets what stands at `path`.
    ///
    /// # Errors
    /// When the daemon cannot be reached, refuses, or answers something unknown.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, Call { path: path.into(), ..Call::default() })
    }

    /// Posts `body` as JSON to `path`.
    ///
    /// # Errors
    /// As for [`Client::get`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let json = serde_json::to_vec(body).map_err(|error| self.unknown(&error))?;
        let body = Some(("application/json", json));
        self.send(Method::POST, Call { path: path.into(), body, if_match: None })
    }

    /// Makes any call.
    ///
    /// # Errors
    /// As for [`Client::get`].
    pub fn send<T: DeserializeOwned>(&self, method: Method, call: Call) -> Result<T, ClientError> {
        let bytes = self.send_raw(method, call)?;
        let bytes = if bytes.is_empty() { b"null".as_slice() } else { bytes.as_slice() };
        serde_json::from_slice(bytes).map_err(|error| self.unknown(&error))
    }

    /// Makes any call, and gives the answer's body as it came.
    ///
    /// # Errors
    /// As for [`Client::get`].
    pub fn send_raw(&self, method: Method, call: Call) -> Result<Vec<u8>, ClientError> {
        let Call { path, body, if_match } = call;
        let uri: Uri =
            format!("{}/api/v1{path}", self.server).parse().map_err(|error| self.unknown(&error))?;
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(version) = if_match {
            request = request.header("if-match", format!("\"{version}\""));
        }
        let sent = match body {
            Some((content_type, bytes)) => {
                let request = request.header("content-type", content_type).body(bytes);
                self.agent.run(request.map_err(|error| self.unknown(&error))?)
            }
            None => self.agent.run(request.body(()).map_err(|error| self.unknown(&error))?),
        };
        let unreachable =
            |source| ClientError::Unreachable { server: self.server.clone(), source: Box::new(source) };
        let answer = sent.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.into_body().into_with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let body = body.map_err(unreachable)?;
        match status {
            status if status.is_success() => Ok(body),
            status if status.is_server_error() => Err(ClientError::Failed(Problem::read(status, &body))),
            status => Err(ClientError::Refused(Problem::read(status, &body))),
        }
    }

    fn unknown(&self, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::Answer { server: self.server.clone(), message: error.to_string() }
    }
}

// === impl ClientError ===

impl ClientError {
    /// What a script sees: 1 for a refusal, 3 when trying again later may help.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Failed(_) | Self::Unreachable { .. } | Self::Answer { .. } => 3,
        }
    }
}

// === impl Problem ===

impl Problem {
    fn read(status: StatusCode, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value, field: &str| {
            value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let detail = match text(&json, "detail") {
            detail if detail.is_empty() => status.to_string(),
            detail => detail,
        };
        let errors = json.get("errors").and_then(Value::as_array).into_iter().flatten();
        Self { detail, errors: errors.map(|error| (text(error, "path"), text(error, "message"))).collect() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)?;
        self.errors.iter().try_for_each(|(path, message)| write!(f, "\n  {path}: {message}"))
    }
}
