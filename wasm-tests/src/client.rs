//! A caller: sends requests with chosen headers, and says which version answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use ureq::http::{HeaderName, HeaderValue};

/// How long one request may take before it counts as failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A request: a host and headers, which may be odd and may occur more than once.
#[derive(Debug, Clone)]
pub struct Request {
    host: String,
    headers: Vec<(String, Vec<u8>)>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The service that answered; empty when it was no upstream of the testbed.
    pub service: String,
    /// The version that answered; empty when it was no upstream of the testbed.
    pub version: String,
    /// The headers that the upstream saw, in their order.
    pub seen: Vec<(String, String)>,
}

/// Sends requests to one address. Clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    to: SocketAddr,
    agent: ureq::Agent,
}

// === impl Request ===

impl Request {
    /// A request to a host, with no dimension.
    pub fn to(host: &str) -> Self {
        Self { host: host.to_owned(), headers: Vec::new() }
    }

    /// From this teller.
    pub fn teller(self, id: &str) -> Self {
        self.header("x-teller", id)
    }

    /// From this branch.
    pub fn branch(self, id: &str) -> Self {
        self.header("x-branch", id)
    }

    /// From this region.
    pub fn region(self, id: &str) -> Self {
        self.header("x-region", id)
    }

    /// With one more header, even if there is one of this name.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// The request as HTTP/1.1, byte for byte, on a connection of its own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes =
            format!("GET / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.host).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

// === impl Answer ===

impl Answer {
    /// The values that the upstream saw of a header.
    pub fn values_seen(&self, name: &str) -> Vec<&str> {
        let wanted = self.seen.iter().filter(|(seen, _)| seen == name);
        wanted.map(|(_, value)| value.as_str()).collect()
    }

    fn from_parts(status: u16, body: &str) -> Self {
        // A body that is no upstream's (Envoy's own 503) leaves all but the status empty.
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pairs = body["headers"].as_array().into_iter().flatten();
        let seen = pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
        Self { status, service: text(&body["service"]), version: text(&body["version"]), seen }
    }
}

// === impl Client ===

impl Client {
    /// A client of the listener at `to`.
    pub fn new(to: SocketAddr) -> Self {
        let config =
            ureq::Agent::config_builder().timeout_global(Some(REQUEST_TIMEOUT)).http_status_as_error(false);
        Self { to, agent: config.build().new_agent() }
    }

    /// A client of the same listener that shares no connection with this one.
    pub fn on_its_own(&self) -> Self {
        Self::new(self.to)
    }

    /// Sends a request on a kept connection. An error is a failure of the connection; any status is an answer.
    pub fn send(&self, request: &Request) -> Result<Answer> {
        let mut call = self.agent.get(format!("http://{}/", self.to)).header("host", &request.host);
        for (name, value) in &request.headers {
            call = call.header(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_bytes(value)?);
        }
        let mut response = call.call()?;
        let body = response.body_mut().read_to_string()?;
        Ok(Answer::from_parts(response.status().as_u16(), &body))
    }

    /// Sends any bytes on a connection of their own, and reads until the other side closes it.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<Answer> {
        let mut stream = TcpStream::connect(self.to)?;
        stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        stream.write_all(bytes)?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        let response = String::from_utf8_lossy(&response);
        let (head, body) =
            response.split_once("\r\n\r\n").with_context(|| format!("no answer: {response:?}"))?;
        ensure!(
            !head.to_ascii_lowercase().contains("transfer-encoding: chunked"),
            "chunked answers are not read"
        );
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok(Answer::from_parts(status, body))
    }

    /// Sends a request byte for byte, with all that a well-behaved client would not send.
    pub fn send_raw(&self, request: &Request) -> Result<Answer> {
        self.send_bytes(&request.to_bytes())
    }

    /// Sends a request, and gives up on its answer after a while, as impatient callers do.
    pub fn send_and_give_up(&self, request: &Request, patience: Duration) -> Result<()> {
        let mut stream = TcpStream::connect(self.to)?;
        stream.write_all(&request.to_bytes())?;
        thread::sleep(patience);
        Ok(())
    }

    /// The version that answers a request; an error unless an upstream answered with 200.
    pub fn version_for(&self, request: &Request) -> Result<String> {
        let answer = self.send(request)?;
        ensure!(answer.status == 200, "status {} for {request:?}", answer.status);
        Ok(answer.version)
    }
}
