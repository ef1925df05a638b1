//! Takes connections: within a limit, each through its own handshake, so that a slow one holds up nobody.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::caller::Caller;
use crate::gate::{Gate, Phase};
use crate::limits::{
    ACCEPT_PAUSE, EXPIRED_LEAD, HANDSHAKE_TIMEOUT, MAX_HANDSHAKES, PREFACE_BYTES, PREFACE_TIMEOUT,
};
use crate::telemetry::Turned;
use crate::tls::Tls;

/// Takes connections from a listener.
struct Acceptor {
    tls: Option<Arc<Tls>>,
    gate: Gate,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    accepted: mpsc::Sender<io::Result<Connection>>,
}

/// A connection, until it is closed or its time is over.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Transport,
    caller: Caller,
    /// Bytes of HTTP/2's preface that are still to come.
    awaited: usize,
    /// When it is closed whatever it does: a client that has not begun, or one whose certificate ended.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Gives the connection's place back when it is closed.
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

/// The connections that a listener takes, until the server leaves or nobody wants them any more.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    gate: Gate,
) -> impl Stream<Item = io::Result<Connection>> {
    let (accepted, connections) = mpsc::channel(1);
    let acceptor = Acceptor {
        tls,
        connections: Arc::new(Semaphore::new(gate.limits.connections)),
        gate,
        handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
        accepted,
    };
    tokio::spawn(acceptor.run(listener));
    ReceiverStream::new(connections)
}

// === impl Acceptor ===

impl Acceptor {
    /// The listener is closed at the end, so that who comes later is refused at once.
    async fn run(self, listener: TcpListener) {
        let (gate, accepted) = (self.gate.clone(), self.accepted.clone());
        tokio::select! {
            () = self.accept_all(listener) => {}
            () = gate.reached(Phase::Leaving) => {}
            () = accepted.closed() => {}
        }
    }

    async fn accept_all(self, listener: TcpListener) {
        let mut is_failing = false;
        loop {
            // Waiting here leaves newcomers to the system's queue.
            let Ok(handshake) = self.handshakes.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    is_failing = false;
                    self.take(stream, handshake);
                }
                // As when there are no file descriptors left. It passes when connections end.
                Err(error) => {
                    self.gate.telemetry.turned(Turned::AcceptFailed);
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "cannot take connections; trying on");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, handshake: OwnedSemaphorePermit) {
        let Ok(place) = self.connections.clone().try_acquire_owned() else {
            self.gate.telemetry.turned(Turned::TooMany);
            let limit = self.gate.limits.connections;
            tracing::warn!("{limit} connections are open, which is the limit; one was closed");
            return;
        };
        let (tls, telemetry) = (self.tls.clone(), self.gate.telemetry.clone());
        let accepted = self.accepted.clone();
        tokio::spawn(async move {
            let opened = open(stream, tls, place).await;
            drop(handshake);
            match opened {
                // An error says that the server is gone.
                Ok(connection) => drop(accepted.send(Ok(connection)).await),
                Err((turned, reason)) => {
                    telemetry.turned(turned);
                    tracing::warn!(%reason, "connection closed");
                }
            }
        });
    }
}

async fn open(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    place: OwnedSemaphorePermit,
) -> Result<Connection, (Turned, String)> {
    // It fails for a connection that is gone, as whatever comes next will.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return Ok(Connection::new(Transport::Plain(stream), Caller::default(), place));
    };
    let handshake = TlsAcceptor::from(tls.config()).accept(stream);
    let stream = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err((Turned::Handshake, format!("TLS handshake failed: {error}"))),
        Err(_) => {
            return Err((Turned::Slow, format!("TLS handshake took longer than {HANDSHAKE_TIMEOUT:?}")));
        }
    };
    let caller = tls.caller(stream.get_ref().1.peer_certificates());
    let caller = caller.map_err(|error| (Turned::Nameless, error.to_string()))?;
    Ok(Connection::new(Transport::Secured(Box::new(stream)), caller, place))
}

// === impl Connection ===

impl Connection {
    fn new(transport: Transport, caller: Caller, place: OwnedSemaphorePermit) -> Self {
        let deadline = Some(Box::pin(sleep_until(Instant::now() + PREFACE_TIMEOUT)));
        Self { transport, caller, awaited: PREFACE_BYTES, deadline, _place: place }
    }

    /// Takes in that some bytes came. With the preface the client has begun, and may stay as long as its certificate.
    fn heard(&mut self, bytes: usize) {
        if self.awaited == 0 {
            return;
        }
        self.awaited = self.awaited.saturating_sub(bytes);
        if self.awaited == 0 {
            self.deadline = self.caller.ends().map(|ends| Box::pin(sleep_until(ends + EXPIRED_LEAD)));
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Secured(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        };
        let had_deadline = this.awaited > 0;
        this.heard(buffer.filled().len() - before);
        if had_deadline && this.awaited == 0 {
            // The new deadline wakes the reader, once it was looked at.
            context.waker().wake_by_ref();
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Secured(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Transport::Secured(stream) => Pin::new(stream.as_mut()).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Secured(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Secured(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Secured(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
