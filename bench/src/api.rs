//! The daemon's HTTP API, on kept connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of an answer that are read at most: more than the largest rule set has.
const MAX_BODY_BYTES: u64 = 32 << 20;

/// Asks the daemon. Clones share connections, so each thread should use one of its own.
pub(crate) struct Api {
    daemon: SocketAddr,
    agent: ureq::Agent,
}

// === impl Api ===

impl Api {
    /// The API at this address, with no connection yet.
    pub(crate) fn new(daemon: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .proxy(None);
        Self { daemon, agent: config.build().into() }
    }

    /// The same API on connections of its own.
    pub(crate) fn apart(&self) -> Self {
        Self::new(self.daemon)
    }

    /// Reads what stands at a path below `/api/v1`.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.timed_get(path).map(|(_, value)| value)
    }

    /// [`Api::get`], and how long it took until the last byte of the answer was there.
    pub(crate) fn timed_get(&self, path: &str) -> Result<(Duration, Value)> {
        let url = self.url(path);
        let begun = Instant::now();
        read(path, begun, self.agent.get(url).call().with_context(|| format!("GET {path}"))?)
    }

    /// Reads the bytes that stand at a path below `/api/v1`.
    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let answer = self.agent.get(self.url(path)).call().with_context(|| format!("GET {path}"))?;
        let status = answer.status();
        ensure!(status.is_success(), "{path}: {status}");
        Ok(answer.into_body().with_config().limit(MAX_BODY_BYTES).read_to_vec()?)
    }

    /// Posts to a path below `/api/v1`.
    pub(crate) fn post(&self, path: &str, content_type: &str, body: &str) -> Result<Value> {
        self.timed_post(path, content_type, body).map(|(_, value)| value)
    }

    /// [`Api::post`], and how long it took until the last byte of the answer was there.
    pub(crate) fn timed_post(&self, path: &str, content_type: &str, body: &str) -> Result<(Duration, Value)> {
        let call = self.agent.post(self.url(path)).header("content-type", content_type);
        let begun = Instant::now();
        read(path, begun, call.send(body).with_context(|| format!("POST {path}"))?)
    }

    /// Puts to a path below `/api/v1`.
    pub(crate) fn put(&self, path: &str, content_type: &str, body: &str) -> Result<Value> {
        let call = self.agent.put(self.url(path)).header("content-type", content_type);
        let answer = call.send(body).with_context(|| format!("PUT {path}"))?;
        read(path, Instant::now(), answer).map(|(_, value)| value)
    }

    /// What each connected proxy acknowledged last.
    pub(crate) fn proxies(&self) -> Result<Vec<Option<u64>>> {
        let page = self.get("/proxies?limit=1000")?;
        let proxies = field(&page, "proxies");
        let connected =
            proxies.as_array().into_iter().flatten().filter(|proxy| *field(proxy, "connected") == true);
        Ok(connected.map(|proxy| field(proxy, "acknowledged").as_u64()).collect())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.daemon)
    }
}

/// A field that may be missing: then it is null.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// The JSON of an answer, and the time from `begun` until it was all there.
fn read(path: &str, begun: Instant, answer: ureq::http::Response<ureq::Body>) -> Result<(Duration, Value)> {
    let status = answer.status();
    let body = answer.into_body().read_to_string()?;
    let took = begun.elapsed();
    ensure!(status.is_success(), "{path}: {status}: {body}");
    let value = serde_json::from_str(&body).with_context(|| format!("{path} answered no JSON: {body}"))?;
    Ok((took, value))
}
