//! A version of a service: a real HTTP server that answers with what it saw.

use std::future::{pending, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::{Json, Router};
use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long after its beginning a body is cut: long enough that the beginning was sent.
const UNTIL_CUT: Duration = Duration::from_millis(20);

/// A running server; it ends when dropped. It answers every path with its service, its version, and the headers of the
/// request in their order.
pub struct Upstream {
    service: String,
    version: String,
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    mood: Arc<Mutex<Mood>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How a server answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mood {
    /// At once, and well.
    #[default]
    Well,
    /// With 500 to so many of a hundred requests.
    Failing(u64),
    /// Well, after so much time.
    Slow(Duration),
    /// Never.
    Hangs,
    /// Not at all: it closes the connection.
    Resets,
    /// With 200 and a part of the body, and closes the connection then.
    CutsBody,
}

// === impl Upstream ===

impl Upstream {
    /// Starts a version of a service, as `loan` and `v2`.
    pub fn start(service: &str, version: &str) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicU64::new(0));
        let mood = Arc::<Mutex<Mood>>::default();
        let app = app(service.to_owned(), version.to_owned(), Arc::clone(&requests), Arc::clone(&mood));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let thread = thread::Builder::new().name(format!("{service}-{version}")).spawn(move || {
            runtime.block_on(serve(listener, app, stopped));
        })?;
        let (service, version) = (service.to_owned(), version.to_owned());
        Ok(Self { service, version, address, requests, mood, stop: Some(stop), thread: Some(thread) })
    }

    /// The cluster of the routes that stands for this version, as `loan-v2`.
    pub fn cluster(&self) -> String {
        format!("{}-{}", self.service, self.version)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers so from now on.
    pub fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// How many requests it answered.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn app(service: String, version: String, requests: Arc<AtomicU64>, mood: Arc<Mutex<Mood>>) -> Router {
    Router::new().fallback(move |headers: HeaderMap| {
        let number = requests.fetch_add(1, Ordering::Relaxed);
        let answer = json!({ "service": service, "version": version, "headers": shown(&headers) });
        let mood = *mood.lock().unwrap_or_else(PoisonError::into_inner);
        async move {
            match mood {
                Mood::Failing(percent) if number % 100 < percent => {
                    (StatusCode::INTERNAL_SERVER_ERROR, Json(answer)).into_response()
                }
                Mood::Well | Mood::Failing(_) => Json(answer).into_response(),
                Mood::Slow(pause) => {
                    tokio::time::sleep(pause).await;
                    Json(answer).into_response()
                }
                Mood::Hangs => pending().await,
                // The server closes the connection of a body that ends in an error: at once, before it sent the head, or later.
                Mood::Resets => Body::from_stream(stream::once(ready(reset()))).into_response(),
                Mood::CutsBody => {
                    let end = tokio::time::sleep(UNTIL_CUT).map(|()| reset());
                    let begin = stream::iter([Ok(Bytes::from_static(b"{"))]);
                    Body::from_stream(begin.chain(stream::once(end))).into_response()
                }
            }
        }
    })
}

fn reset() -> io::Result<Bytes> {
    Err(io::ErrorKind::ConnectionReset.into())
}

fn shown(headers: &HeaderMap) -> Vec<(String, Value)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned().into();
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

async fn serve(listener: std::net::TcpListener, app: Router, stopped: oneshot::Receiver<()>) {
    let listener = TcpListener::from_std(listener).expect("a bound listener becomes tokio's");
    tokio::select! {
        // Open connections are cut: a graceful end would wait for Envoy's idle ones.
        _ = stopped => {}
        _ = axum::serve(listener, app) => {}
    }
}
