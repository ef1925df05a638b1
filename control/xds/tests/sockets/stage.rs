//! A running server on a port of the system's choice, and waiting with a deadline.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use graylane_xds::limits::Limits;
use graylane_xds::{
    CanaryShare, FilterSettings, ProxyStatus, Publication, Reported, Reporter, Reports, ServeError, Tls, Xds,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

/// The resource of the tenant that the tests publish.
pub const RESOURCE: &str = "graylane.v1.retail";

/// Bytes of rules that fill every buffer between the server and a client that does not read.
pub const LARGE_BYTES: usize = 2 << 20;

/// How long anything may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server, until it is dropped or told to close.
pub struct Stage {
    pub xds: Xds,
    heard: Arc<Heard>,
    address: String,
    close: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<Result<(), ServeError>>>,
}

/// Of which tenants each report was taken: node and tenants.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(String, Vec<String>)>>);

impl Reports for Heard {
    fn take(&self, reporter: Reporter<'_>, _: &Reported<'_>) {
        let tenants = reporter.tenants.iter().map(ToString::to_string).collect();
        self.0.lock().unwrap().push((reporter.node.to_owned(), tenants));
    }
}

// === impl Stage ===

impl Stage {
    pub async fn start() -> Self {
        Self::start_with(None, Limits::DEFAULT).await
    }

    /// One of these limits that wants certificates, if there is something to check them with.
    pub async fn start_with(tls: Option<Tls>, limits: Limits) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::<Heard>::default();
        let xds = Xds::new(FilterSettings::default(), CanaryShare::ALL, limits).reporting_to(heard.clone());
        let xds = match tls {
            Some(tls) => xds.secured(tls),
            None => xds,
        };
        let (close, closed) = oneshot::channel();
        let shutdown = async move {
            let _ = closed.await;
        };
        let served = tokio::spawn(xds.clone().serve(listener, shutdown));
        Self { xds, heard, address, close: Some(close), served: Some(served) }
    }

    /// Of whom reports were taken so far, and for which tenants.
    pub fn heard(&self) -> Vec<(String, Vec<String>)> {
        self.heard.0.lock().unwrap().clone()
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// A connection of its own, as each Envoy has.
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.address.clone()).unwrap().connect_lazy()
    }

    pub fn publish(&self, revision: u64) {
        self.publish_rules(revision, Bytes::from(format!("rules {revision}")));
    }

    /// Rules that fill every buffer between here and a client that does not read.
    pub fn publish_large(&self, revision: u64) {
        self.publish_rules(revision, Bytes::from(vec![b'x'; LARGE_BYTES]));
    }

    fn publish_rules(&self, revision: u64, rules: Bytes) {
        let publication = Publication {
            tenant: "retail".to_owned(),
            revision,
            rules,
            content_hash: revision,
            is_firm: false,
        };
        self.xds.publish(self.xds.prepare(&[publication]).unwrap());
    }

    /// The status of the only proxy, once it is as wanted.
    #[track_caller]
    pub fn until(&self, wanted: impl Fn(&ProxyStatus) -> bool) -> impl Future<Output = ProxyStatus> {
        let mut changes = self.xds.changes();
        soon(async move {
            loop {
                changes.mark_unchanged();
                if let [status] = self.xds.proxies().as_slice()
                    && wanted(status)
                {
                    return status.clone();
                }
                changes.changed().await.unwrap();
            }
        })
    }

    pub fn close(&mut self) {
        self.close.take().unwrap().send(()).unwrap();
    }

    pub async fn served(&mut self) -> Result<(), ServeError> {
        self.served.take().unwrap().await.unwrap()
    }
}

/// The future's output, or a failed test at the place of the call.
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(output) => output,
            Err(_) => panic!("nothing came within {DEADLINE:?} at {caller}"),
        }
    }
}
