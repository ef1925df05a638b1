//! HTTP endpoints of others, which the configuration names and the daemon calls.
//!
//! Nothing here shows a path, a query or a header: chat robots have their secret in the URL.

use crate::secret::{SecretError, read_secret};
use graylane_xds::limits::MAX_PEM_BYTES;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use ureq::Agent;
use ureq::http::header::AUTHORIZATION;
use ureq::http::uri::Authority;
use ureq::http::{HeaderValue, Method, Request, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Bytes of a URL.
const MAX_URL_BYTES: usize = 2_048;

/// Where an endpoint is, and how both sides know each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its URL, which [`parse_url`] took.
    pub url: Uri,
    /// A file with the authorities, in PEM, one of which has to have signed its certificate. Without it these are the authorities
    /// of the machine (or `SSL_CERT_FILE` and `SSL_CERT_DIR`), where a bank's own are, too: a list in this program would know
    /// no bank's, and would be as old as the program.
    pub ca: Option<PathBuf>,
    /// A file with the token that is sent as `authorization: Bearer`.
    pub token: Option<PathBuf>,
}

/// What one call may take.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// To be connected.
    pub connect: Duration,
    /// In all, with connecting and the answer's body.
    pub call: Duration,
    /// Bytes of the answer's body.
    pub answer_bytes: u64,
}

/// What is sent.
#[derive(Clone, Debug, Default)]
pub struct Call<'a> {
    /// GET, when nothing else is said.
    pub method: Method,
    /// What stands behind the URL's own path, as `/api/v1/query`; escaped.
    pub path: &'a str,
    /// What stands behind the URL's own query, as `time=0&query=up`; escaped.
    pub query: &'a str,
    /// Headers besides those of the endpoint.
    pub headers: &'a [(&'static str, String)],
    /// The body.
    pub body: &'a [u8],
}

/// An endpoint that is called. It follows no redirect, and asks no proxy of the environment.
#[derive(Debug)]
pub struct Remote {
    endpoint: Endpoint,
    limits: CallLimits,
    agent: Mutex<Trusting>,
}

/// An agent and what it trusts.
#[derive(Debug)]
struct Trusting {
    /// The bytes of the file with authorities; empty without one.
    pem: Vec<u8>,
    agent: Agent,
}

/// Why there is no answer. An answer that refuses is an answer.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// The file with the authorities cannot be read.
    #[error("cannot read the authorities in {}: {source}", path.display())]
    ReadCa {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file with the authorities has none, or too much.
    #[error("{} has no authorities: {problem}; give certificates in PEM", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The machine has no authorities.
    #[error(
        "the machine has no authorities{0}; install them (Debian's `ca-certificates`), or name a file as `ca`"
    )]
    NoAuthorities(String),
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] SecretError),
    /// There can be no such request; nothing was sent.
    #[error("cannot ask {host}: {problem}")]
    Request {
        /// Whom.
        host: String,
        /// What is wrong.
        problem: String,
    },
    /// The answer is longer than it may be.
    #[error("{host} answered with over {limit} bytes")]
    TooLong {
        /// Who.
        host: String,
        /// The limit.
        limit: u64,
    },
    /// There is no whole answer: it may have been heard.
    #[error("no answer from {host}: {source}")]
    NoAnswer {
        /// From whom.
        host: String,
        /// Why.
        source: Box<ureq::Error>,
    },
}

// === impl Endpoint ===

impl Endpoint {
    /// Where it is, for people: no path and no query.
    #[must_use]
    pub fn host(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or_default();
        format!("{scheme}://{}", self.url.authority().map_or("", Authority::as_str))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ca, token, .. } = self;
        let (host, mut shown) = (self.host(), f.debug_struct("Endpoint"));
        shown.field("host", &host).field("ca", ca).field("token", token).finish()
    }
}

// === impl Remote ===

impl Remote {
    /// An endpoint to be called. Blocks: a file with authorities is read.
    ///
    /// # Errors
    /// When it is to be called by TLS, and its authorities cannot be used.
    pub fn new(endpoint: Endpoint, limits: CallLimits) -> Result<Self, RemoteError> {
        let agent = Mutex::new(Trusting::build(&endpoint, limits, read_ca(&endpoint)?)?);
        Ok(Self { endpoint, limits, agent })
    }

    /// Whom it calls, for people: no path and no query.
    #[must_use]
    pub fn host(&self) -> String {
        self.endpoint.host()
    }

    /// Calls it, and reads its whole answer, whatever its status is. Blocks.
    ///
    /// # Errors
    /// When there is no answer within the limits, or a file cannot be used.
    pub fn call(&self, call: &Call<'_>) -> Result<Response<Vec<u8>>, RemoteError> {
        let impossible =
            |problem: &dyn ToString| RemoteError::Request { host: self.host(), problem: problem.to_string() };
        let uri = extended(&self.endpoint.url, call.path, call.query).map_err(|error| impossible(&error))?;
        let mut request = Request::builder().method(&call.method).uri(uri);
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        if let Some(token) = &self.endpoint.token {
            let value = HeaderValue::try_from(format!("Bearer {}", read_secret(token)?));
            let mut value =
                value.map_err(|_| impossible(&"its token has characters that no header may carry"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let agent = self.agent()?;
        let answer = match call.body {
            [] => agent.run(request.body(()).map_err(|error| impossible(&error))?),
            body => agent.run(request.body(body).map_err(|error| impossible(&error))?),
        };
        let limit = self.limits.answer_bytes;
        let no_answer = |error: ureq::Error| match error {
            ureq::Error::BodyExceedsLimit(_) => RemoteError::TooLong { host: self.host(), limit },
            source => RemoteError::NoAnswer { host: self.host(), source: Box::new(source) },
        };
        let (head, body) = answer.map_err(no_answer)?.into_parts();
        let body = body.into_with_config().limit(limit).read_to_vec().map_err(no_answer)?;
        Ok(Response::from_parts(head, body))
    }

    /// An agent that trusts whom the file names now.
    fn agent(&self) -> Result<Agent, RemoteError> {
        let pem = read_ca(&self.endpoint)?;
        // It is replaced as a whole.
        let mut trusting = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        if trusting.pem != pem {
            *trusting = Trusting::build(&self.endpoint, self.limits, pem)?;
        }
        Ok(trusting.agent.clone())
    }
}

// === impl Trusting ===

impl Trusting {
    fn build(endpoint: &Endpoint, limits: CallLimits, pem: Vec<u8>) -> Result<Self, RemoteError> {
        let authorities = match &endpoint.ca {
            _ if endpoint.url.scheme_str() != Some("https") => Vec::new(),
            Some(path) => authorities(path, &pem)?,
            None => platform_authorities()?,
        };
        let authorities = authorities.iter().map(|der| Certificate::from_der(der).to_owned());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(authorities))
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(limits.connect))
            .timeout_global(Some(limits.call))
            .tls_config(tls.build())
            .user_agent(concat!("graylane/", env!("CARGO_PKG_VERSION")));
        Ok(Self { pem, agent: config.build().into() })
    }
}

/// The bytes of the file with authorities; none without one.
fn read_ca(endpoint: &Endpoint) -> Result<Vec<u8>, RemoteError> {
    let mut pem = Vec::new();
    let Some(path) = &endpoint.ca else { return Ok(pem) };
    let mut read = || File::open(path)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut pem);
    read().map_err(|source| RemoteError::ReadCa { path: path.clone(), source })?;
    match pem.len() as u64 > MAX_PEM_BYTES {
        true => Err(unusable(path, &format!("it is over the limit of {MAX_PEM_BYTES} bytes"))),
        false => Ok(pem),
    }
}

fn authorities(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, RemoteError> {
    let authorities = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let authorities = authorities.map_err(|problem| unusable(path, &problem))?;
    let mut store = RootCertStore::empty();
    for authority in &authorities {
        store.add(authority.clone()).map_err(|problem| unusable(path, &problem))?;
    }
    match authorities.is_empty() {
        true => Err(unusable(path, &"there is no certificate in it")),
        false => Ok(authorities),
    }
}

fn unusable(path: &Path, problem: &dyn ToString) -> RemoteError {
    RemoteError::Ca { path: path.into(), problem: problem.to_string() }
}

/// The authorities of the machine. One that cannot be read hides no other.
fn platform_authorities() -> Result<Vec<CertificateDer<'static>>, RemoteError> {
    let found = rustls_native_certs::load_native_certs();
    match found.certs.is_empty() {
        true => {
            let problem = found.errors.first().map(|error| format!(" ({error})"));
            Err(RemoteError::NoAuthorities(problem.unwrap_or_default()))
        }
        false => Ok(found.certs),
    }
}

/// Reads the URL of an endpoint, e.g. `https://prometheus.bank.example:9090/path`.
///
/// # Errors
/// When it is none that can be called; the text says why, and never shows the URL.
pub fn parse_url(text: &str) -> Result<Uri, String> {
    if text.len() > MAX_URL_BYTES {
        return Err(format!("has {} bytes, over the limit of {MAX_URL_BYTES}", text.len()));
    }
    let url: Uri = text.parse().map_err(|error| format!("is no URL: {error}"))?;
    let Some(authority) = url.authority() else { return Err("names no host, like https://host/path".into()) };
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err("has a scheme that is neither http nor https".into());
    }
    if authority.as_str().contains('@') {
        return Err("names a user, which is shown in logs; put a token into a file".into());
    }
    // Its parser drops what follows silently.
    if text.contains('#') {
        return Err("has a '#', and what follows would not be sent".into());
    }
    match has_readable_port(authority) {
        true => Ok(url),
        false => Err("has a port that is not 1 to 65535".into()),
    }
}

/// Whether the port is one, if there is any: an unreadable one would silently be that of the scheme.
pub(crate) fn has_readable_port(authority: &Authority) -> bool {
    // The colons of an IPv6 address are in brackets.
    let host_and_port = authority.as_str().rsplit([']', '@']).next().unwrap_or_default();
    !host_and_port.contains(':') || authority.port_u16().is_some_and(|port| port != 0)
}

/// A URL with more path and more query.
fn extended(url: &Uri, path: &str, query: &str) -> Result<Uri, ureq::http::Error> {
    let own = url.path();
    let own = if path.is_empty() { own } else { own.trim_end_matches('/') };
    let queries = [url.query().unwrap_or_default(), query];
    let queries = queries.into_iter().filter(|query| !query.is_empty()).collect::<Vec<_>>().join("&");
    let mark = if queries.is_empty() { "" } else { "?" };
    let mut parts = url.clone().into_parts();
    parts.path_and_query = Some(format!("{own}{path}{mark}{queries}").parse()?);
    Ok(Uri::from_parts(parts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_or_refused_with_the_reason_and_without_its_secret() {
        for taken in ["http://127.0.0.1:9090", "https://[::1]:1/x?key=s3cret", "https://bank.example/hook"] {
            assert_eq!(parse_url(taken).unwrap(), taken.parse::<Uri>().unwrap());
        }
        let long = format!("https://bank.example/s3cret{}", "x".repeat(MAX_URL_BYTES));
        for (wrong, why) in [
            ("", "no URL"),
            ("s3 cret", "no URL"),
            ("/s3cret", "no host"),
            ("bank.example:80", "neither"),
            ("ftp://bank.example/s3cret", "neither"),
            ("http://me:s3cret@bank.example", "a user"),
            ("http://bank.example/#s3cret", "'#'"),
            ("http://bank.example:/s3cret", "port"),
            ("http://bank.example:0/s3cret", "port"),
            ("http://[::1]:70000/s3cret", "port"),
            (&long, "limit of 2048"),
        ] {
            let refused = parse_url(wrong).unwrap_err();
            assert!(refused.contains(why) && !refused.contains("s3cret"), "{wrong}: {refused}");
        }
    }

    #[test]
    fn a_call_adds_to_the_path_and_the_query_of_the_url() {
        for (url, path, query, whole) in [
            ("http://mesh", "", "", "http://mesh/"),
            ("http://mesh", "/api", "", "http://mesh/api"),
            ("http://mesh/prom/", "/api", "a=1", "http://mesh/prom/api?a=1"),
            ("http://mesh/robot?key=1", "", "sign=2", "http://mesh/robot?key=1&sign=2"),
        ] {
            let extended = extended(&url.parse().unwrap(), path, query).unwrap();
            assert_eq!(extended, whole.parse::<Uri>().unwrap(), "{url}");
        }
    }
}
