//! A real HTTP server on loopback, in plain text or with TLS, that fails as it is told.

#![allow(dead_code, reason = "each test file uses its part")]

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// How long a test waits for what has to come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server with everything that it heard.
pub struct Receiver {
    pub address: String,
    shared: Arc<Shared>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub at: Instant,
    /// Whether it was answered with 200.
    pub taken: bool,
}

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Conduct {
    /// Answers with 200 and this body.
    Take(String),
    /// Answers with this status, these headers and this body.
    Refuse(u16, String, String),
    /// Answers with 400 where this is in the body, and with 200 otherwise.
    Refuse400Of(String),
    /// Ends the connection without a word.
    Close,
    /// Says nothing for so long.
    Hang(Duration),
}

struct Shared {
    heard: Mutex<Vec<Heard>>,
    rang: Condvar,
    conduct: Mutex<Conduct>,
}

trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

impl Receiver {
    /// A server in plain text.
    pub fn plain() -> Self {
        Self::start(None)
    }

    /// A server with TLS, by a certificate and a key in PEM.
    pub fn with_tls(certificate: &str, key: &str) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        Self::start(Some(Arc::new(config)))
    }

    fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let conduct = Mutex::new(Conduct::Take(String::new()));
        let shared = Arc::new(Shared { heard: Mutex::default(), rang: Condvar::new(), conduct });
        let serving = Arc::clone(&shared);
        spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (shared, tls) = (Arc::clone(&serving), tls.clone());
                // Who goes away while it is served is no fault of the server.
                spawn(move || match tls {
                    None => shared.serve(&mut BufReader::new(stream)),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        shared.serve(&mut BufReader::new(StreamOwned::new(connection, stream)))
                    }
                });
            }
        });
        Self { address, shared }
    }

    /// What it does from now on.
    pub fn conduct(&self, conduct: Conduct) {
        *self.shared.conduct.lock().unwrap() = conduct;
    }

    /// What it took so far.
    pub fn taken(&self) -> Vec<Heard> {
        self.heard().into_iter().filter(|heard| heard.taken).collect()
    }

    /// What it heard so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// Waits until what it heard is enough, and gives it.
    #[track_caller]
    pub fn wait_until(&self, enough: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let heard = self.shared.heard.lock().unwrap();
        let (heard, late) =
            self.shared.rang.wait_timeout_while(heard, PATIENCE, |heard| !enough(heard)).unwrap();
        assert!(!late.timed_out(), "{heard:#?}");
        heard.clone()
    }
}

impl Heard {
    /// The body.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Shared {
    /// Serves one connection, until its other end leaves.
    fn serve(&self, stream: &mut BufReader<impl Connection>) {
        while let Some(mut heard) = read(stream) {
            let conduct = match self.conduct.lock().unwrap().clone() {
                Conduct::Refuse400Of(text) if heard.text().contains(&text) => {
                    Conduct::Refuse(400, String::new(), "not this".into())
                }
                Conduct::Refuse400Of(_) => Conduct::Take(String::new()),
                conduct => conduct,
            };
            heard.taken = matches!(conduct, Conduct::Take(_));
            self.heard.lock().unwrap().push(heard);
            self.rang.notify_all();
            let (status, headers, body) = match conduct {
                Conduct::Take(body) => (200, String::new(), body),
                Conduct::Refuse(status, headers, body) => (status, headers, body),
                Conduct::Close | Conduct::Refuse400Of(_) => return,
                Conduct::Hang(time) => return sleep(time),
            };
            let head = format!("HTTP/1.1 {status} Told\r\n{headers}content-length: {}\r\n\r\n", body.len());
            if stream.get_mut().write_all((head + &body).as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn read(stream: &mut BufReader<impl Connection>) -> Option<Heard> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(ToOwned::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Heard { method, target, headers, body, at: Instant::now(), taken: false })
}

/// What Python prints, of what it is told and with nothing of ours.
pub fn python(script: &str, told: &Value) -> String {
    let mut python = Command::new("python3");
    let mut python =
        python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(told.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
