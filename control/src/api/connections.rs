//! The HTTP server's connections: to callers who may be slow, silent or many.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// How long to wait after the system refused a connection: it is out of descriptors, and only time helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What no caller may exceed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time; further callers wait until the system accepts no more.
    pub connections: usize,
    /// How long the head of a request may take to come, and how long a connection may be idle.
    pub head: Duration,
    /// How long a caller may take nothing of what it is sent.
    pub stall: Duration,
    /// How long answers may take to leave when the server stops.
    pub stop: Duration,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            head: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            stop: Duration::from_secs(10),
        }
    }
}

/// Serves until `stopped`, and then until every answer left or its time is over.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stopped: impl Future<Output = ()>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let (graceful, places) = (GracefulShutdown::new(), Arc::new(Semaphore::new(limits.connections)));
    let mut stopped = pin!(stopped);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stopped => break,
        };
        let tcp = match accepted {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        prepare(&tcp, limits.stall);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(tcp), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.stop, graceful.shutdown()).await.is_err() {
        tracing::warn!("some callers did not take their answers");
    }
}

/// Lets the system end the connection when what was sent is not taken, and send each event at once.
fn prepare(tcp: &TcpStream, stall: Duration) {
    let set = SockRef::from(tcp).set_tcp_user_timeout(Some(stall)).and_then(|()| tcp.set_nodelay(true));
    if let Err(error) = set {
        tracing::debug!(%error, "a connection cannot be prepared");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::watch;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    /// How long a test waits for what has to come.
    const PATIENCE: Duration = Duration::from_secs(30);

    const SHORT: Limits = Limits {
        connections: 2,
        head: Duration::from_millis(300),
        stall: Duration::from_millis(300),
        stop: Duration::from_millis(300),
    };

    /// A server with a short and an endless answer.
    async fn server() -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endless = async || {
            let chunk = || Ok::<_, std::io::Error>(vec![0; 1 << 16]);
            Body::from_stream(futures::stream::repeat_with(chunk))
        };
        let router = Router::new().route("/", get(async || "ok")).route("/endless", get(endless));
        let (stop, mut stopped) = watch::channel(false);
        let until = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        (address, stop, tokio::spawn(serve(listener, router, SHORT, until)))
    }

    async fn ask(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// What comes until the connection ends.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        // How it ends is the system's choice.
        let _ = timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("the connection stays");
        text
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_ends_its_connection() {
        let (address, _stop, _) = server().await;
        assert_eq!(rest(ask(address, "GET / HTTP/1.1\r\nhost: a\r\n").await).await, "");
        assert!(rest(ask(address, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await).await.ends_with("ok"));
    }

    #[tokio::test]
    async fn callers_wait_for_a_place_and_get_one() {
        let (address, _stop, _) = server().await;
        let whole = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let silent = [ask(address, "GET").await, ask(address, "GET").await];
        assert!(rest(ask(address, whole).await).await.ends_with("ok"));
        drop(silent);
    }

    #[tokio::test]
    async fn who_takes_nothing_is_let_go_and_does_not_keep_a_server_that_stops() {
        let (address, stop, serving) = server().await;
        let stalled = ask(address, "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
        stalled.readable().await.unwrap();
        stop.send_replace(true);
        timeout(PATIENCE, serving).await.expect("the server stays").unwrap();

        let (address, _stop, _) = server().await;
        let stalled = [
            ask(address, "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await,
            ask(address, "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await,
        ];
        let whole = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        assert!(
            rest(ask(address, whole).await).await.ends_with("ok"),
            "both places are taken by who takes nothing"
        );
        drop(stalled);
    }
}
