//! Talks to the daemon's HTTP API.

use crate::cli::problem::Problem;
use crate::cli::progress::Progress;
use crate::cli::token::Credentials;
use crate::remote::has_readable_port;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::thread::sleep;
use std::time::Duration;
use thiserror::Error;
use ureq::http::header::AUTHORIZATION;
use ureq::http::request::Builder;
use ureq::http::{Method, Request, Response, StatusCode, Uri};
use ureq::{Body, SendBody, Timeout};

/// How long one call may take. The daemon waits for a body half as long, so that its own answer comes first.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// How long it may take to reach the daemon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer. The largest is a rule set.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Random bytes of an action's key: as many as a UUID has.
const KEY_BYTES: usize = 16;

/// How long to wait before an action is asked for again whose answer was lost: the daemon may be starting anew.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What to do when nobody can tell whether a change was done.
const MAY_BE_DONE: &str = "; it may have been done: read it again before you repeat it";

/// A client of one daemon.
pub struct Client {
    agent: ureq::Agent,
    server: String,
    credentials: Credentials,
}

/// What a call sends.
#[derive(Default)]
pub struct Call {
    /// The path below `/api/v1`, and its query, both escaped: see [`path`] and [`escaped`].
    pub path: String,
    /// The body and its content type, if there is one.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// The version that must hold, for `If-Match`.
    pub if_match: Option<u64>,
    /// Why, for an action whose body has no room for it.
    pub reason: String,
    /// Who tells how far the body got, if anybody does.
    pub progress: Option<Progress>,
}

/// Why a call did not succeed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The daemon refused; nothing changed.
    #[error("{0}")]
    Refused(Problem),
    /// The daemon, or something on the way to it, failed: a change may have been done.
    #[error("{0}")]
    Failed(Problem),
    /// The daemon cannot be reached; nothing changed.
    #[error(
        "cannot reach the daemon at {server}: {source}; is `graylane serve` running, and --server right?"
    )]
    Unreachable {
        /// Its address.
        server: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The request was on its way, and no whole answer came: a change may have been done.
    #[error("the daemon at {server} gave no whole answer: {source}{hint}")]
    Lost {
        /// Its address.
        server: String,
        /// Why.
        source: Box<ureq::Error>,
        /// What to do, after a change.
        hint: &'static str,
    },
    /// The caller's token cannot be used; nothing was sent.
    #[error("{0}")]
    Token(String),
    /// There can be no such request; nothing was sent.
    #[error("cannot ask the daemon at {server}: {message}; shorten the names and values")]
    Request {
        /// Its address.
        server: String,
        /// What is wrong.
        message: String,
    },
    /// The answer is not what this program knows.
    #[error(
        "the daemon at {server} answered something else than this program knows: {message}; use the program of the \
         daemon's version"
    )]
    Answer {
        /// Its address.
        server: String,
        /// What is wrong.
        message: String,
    },
}

// === impl Client ===

impl Client {
    /// A client of the daemon at `server`, which [`parse_server`] took.
    #[must_use]
    pub(crate) fn new(server: &str, credentials: Credentials) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .proxy(None)
            .max_redirects(0)
            .build();
        Self { agent: config.into(), server: server.to_owned(), credentials }
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
        let json = serde_json::to_vec(body).map_err(|error| self.impossible(&error))?;
        let body = Some(("application/json", json));
        self.send(Method::POST, Call { path: path.into(), body, ..Call::default() })
    }

    /// Makes any call.
    ///
    /// # Errors
    /// As for [`Client::get`].
    pub fn send<T: DeserializeOwned>(&self, method: Method, call: Call) -> Result<T, ClientError> {
        let bytes = self.send_raw(method, call)?;
        let bytes = if bytes.is_empty() { b"null".as_slice() } else { bytes.as_slice() };
        serde_json::from_slice(bytes)
            .map_err(|error| ClientError::Answer { server: self.server.clone(), message: error.to_string() })
    }

    /// Makes any call, and gives the answer's body as it came. An action whose answer is lost is asked for once more, with
    /// the same key, so that it is done once.
    ///
    /// # Errors
    /// As for [`Client::get`].
    pub fn send_raw(&self, method: Method, call: Call) -> Result<Vec<u8>, ClientError> {
        let key = if method == Method::GET { None } else { fresh_key() };
        match self.exchange(&method, &call, key.as_deref()) {
            Err(ClientError::Lost { server, source, hint }) if key.is_some() => {
                sleep(RETRY_PAUSE);
                match self.exchange(&method, &call, key.as_deref()) {
                    // What became of the first is not known still.
                    Err(ClientError::Unreachable { .. }) => Err(ClientError::Lost { server, source, hint }),
                    again => again,
                }
            }
            first => first,
        }
    }

    /// Sends a request and reads its answer, once.
    fn exchange(&self, method: &Method, call: &Call, key: Option<&str>) -> Result<Vec<u8>, ClientError> {
        let Call { path, body, if_match, reason, progress } = call;
        let hint = if method == Method::GET { "" } else { MAY_BE_DONE };
        let uri: Uri =
            format!("{}/api/v1{path}", self.server).parse().map_err(|error| self.impossible(&error))?;
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(key) = key {
            request = request.header("idempotency-key", format!("\"{key}\""));
        }
        if !reason.is_empty() {
            request = request.header("graylane-reason", escaped(reason));
        }
        if let Some(value) = self.credentials.authorization().map_err(ClientError::Token)? {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(version) = if_match {
            request = request.header("if-match", format!("\"{version}\""));
        }
        let body = body.as_ref().map(|(content_type, bytes)| (*content_type, bytes.as_slice()));
        let sent = self.run(request, body, progress.as_ref())?;
        let answer = sent.map_err(|source| self.no_answer(source, hint))?;
        let status = answer.status();
        let body = answer.into_body().into_with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        let body = body.map_err(|source| self.no_answer(source, hint))?;
        match status {
            status if status.is_success() => Ok(body),
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                let mut problem = Problem::read(status, &body);
                problem.detail.push_str(hint);
                Err(ClientError::Failed(problem))
            }
            status => Err(ClientError::Refused(Problem::read(status, &body))),
        }
    }

    /// Sends a request, watched where somebody watches. The outer error is of a request that cannot be.
    fn run(
        &self,
        request: Builder,
        body: Option<(&str, &[u8])>,
        progress: Option<&Progress>,
    ) -> Result<Result<Response<Body>, ureq::Error>, ClientError> {
        let impossible = |error| self.impossible(&error);
        let Some((content_type, bytes)) = body else {
            return Ok(self.agent.run(request.body(()).map_err(impossible)?));
        };
        let request = request.header("content-type", content_type);
        let Some(progress) = progress else {
            return Ok(self.agent.run(request.body(bytes).map_err(impossible)?));
        };
        let request = request.header("content-length", bytes.len());
        let mut watched = progress.watch(bytes);
        Ok(self.agent.run(request.body(SendBody::from_reader(&mut watched)).map_err(impossible)?))
    }

    fn impossible(&self, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::Request { server: self.server.clone(), message: error.to_string() }
    }

    fn no_answer(&self, source: ureq::Error, hint: &'static str) -> ClientError {
        let (server, source) = (self.server.clone(), Box::new(source));
        match never_left(&source) {
            true => ClientError::Unreachable { server, source },
            false => ClientError::Lost { server, source, hint },
        }
    }
}

// === impl ClientError ===

impl ClientError {
    /// What a script sees: 1 for a refusal, 3 when trying again later may help.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Token(_) | Self::Request { .. } => 1,
            Self::Failed(_) | Self::Unreachable { .. } | Self::Lost { .. } | Self::Answer { .. } => 3,
        }
    }
}

/// By which the daemon knows an action when it is asked for again. With no randomness there is none, and no second try.
fn fresh_key() -> Option<String> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether there was no connection that could have carried the request.
fn never_left(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
        ),
        _ => false,
    }
}

/// Reads a daemon's address, e.g. `http://127.0.0.1:18080`.
///
/// # Errors
/// When it is no URL that this program can ask; the text says why.
pub fn parse_server(text: &str) -> Result<String, String> {
    const SHAPE: &str = "write it like http://127.0.0.1:18080";
    let uri: Uri = text.parse().map_err(|error| format!("it is no URL ({error}); {SHAPE}"))?;
    let Some(authority) = uri.authority() else { return Err(format!("it names no host; {SHAPE}")) };
    if uri.scheme_str() != Some("http") {
        return Err(format!("its scheme is not http; {SHAPE}"));
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(format!("it has more than host, port and path; {SHAPE}"));
    }
    if !has_readable_port(authority) {
        return Err(format!("its port is not 1 to 65535; {SHAPE}"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The path of these names, each as one segment whatever is in it.
pub(crate) fn path<const N: usize>(segments: [&str; N]) -> String {
    segments.iter().fold(String::new(), |path, segment| path + "/" + &escaped(segment))
}

/// Percent-encodes what a path segment or a query value may not carry (RFC 3986, sections 3.3 and 3.4).
pub(crate) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_whatever_is_in_it() {
        assert_eq!(path(["lists", "pilot?x#y/z%"]), "/lists/pilot%3Fx%23y%2Fz%25");
        assert_eq!(path(["tenants", "零售"]), "/tenants/%E9%9B%B6%E5%94%AE");
    }

    #[test]
    fn an_address_is_taken_or_refused_with_the_reason() {
        assert_eq!(parse_server("http://[::1]:18080/").unwrap(), "http://[::1]:18080");
        assert_eq!(parse_server("http://mesh/graylane").unwrap(), "http://mesh/graylane");
        for (wrong, why) in [
            ("", "no URL"),
            ("a b", "no URL"),
            ("/api", "no host"),
            ("127.0.0.1:18080", "scheme"),
            ("https://mesh", "scheme"),
            ("http://mesh?x", "more than"),
            ("http://mesh:", "port"),
            ("http://mesh:0", "port"),
            ("http://mesh:70000", "port"),
        ] {
            let refused = parse_server(wrong).unwrap_err();
            assert!(
                refused.contains(why) && refused.contains("http://127.0.0.1:18080"),
                "{wrong}: {refused}"
            );
        }
    }

    #[test]
    fn only_a_request_that_never_left_surely_changed_nothing() {
        let refused = ureq::Error::Io(ErrorKind::ConnectionRefused.into());
        let reset = ureq::Error::Io(ErrorKind::ConnectionReset.into());
        let error = |source| {
            Client::new("http://mesh", Credentials::new(None)).no_answer(source, MAY_BE_DONE).to_string()
        };
        assert!(error(refused).contains("is `graylane serve` running"));
        assert!(error(reset).contains("may have been done"));
        assert!(error(ureq::Error::Timeout(Timeout::Global)).contains("may have been done"));
    }
}
