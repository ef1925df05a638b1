//! One task per discovery stream: the socket on one side, the sans-io stream on the other.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::SERVICE_NAME as ADS;
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_server::SERVICE_NAME as ECDS;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Streaming};
use tonic::codegen::Service;
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::caller::Caller;
use crate::ecds;
use crate::gate::{Admission, Gate};
use crate::limits::{MAX_QUEUED, SHUTDOWN_GRACE};
use crate::listener::Listener;
use crate::outbound::{Outbound, Word};
use crate::proxies::{Peer, Proxies, StreamId, Unlisted};
use crate::snapshot::{Rejection, Snapshot, Snapshots};
use crate::stream::delta::Delta;
use crate::stream::sotw::Sotw;
use crate::stream::{Event, Identity, Outgoing, Output, Protocol, Stream, World};
use crate::telemetry::{OpenStream, Reason};

/// Bytes that a stream keeps for its next request. Most are an acknowledgement of 100; a larger one lets it grow.
const REQUEST_BUFFER_BYTES: usize = 256;
/// Bytes after which a message that is being written is handed on. Nothing is written by this codec.
const YIELD_BYTES: usize = 32 << 10;

/// What says how a client compressed its messages.
const ENCODING_HEADER: &str = "grpc-encoding";
/// Not at all.
const IDENTITY: &str = "identity";

/// What every discovery stream has to do with.
#[derive(Debug)]
pub(crate) struct Discovery {
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) gate: Gate,
}

/// A discovery service. Neither is the generated one: that copies each response into a buffer of its own.
#[derive(Clone, Debug)]
pub(crate) struct Served<const AGGREGATED: bool>(Arc<Discovery>);

/// The extension config discovery service.
pub(crate) type Ecds = Served<false>;

/// The aggregated discovery service.
pub(crate) type Ads = Served<true>;

/// How a stream began.
enum Begun {
    /// It was sent something, which it has to answer before others have its turn.
    Answered(Admission),
    /// There is nothing to send yet.
    Silently,
    /// The client went away.
    Gone,
}

/// A stream with all it needs.
struct Driver<S: Stream> {
    stream: S,
    id: StreamId,
    /// Lets it look at what it is sent.
    call: Arc<Notify>,
    protocol: Protocol,
    caller: Caller,
    /// Known after the first message.
    peer: Option<Peer>,
    context: Arc<Discovery>,
    telemetry: OpenStream,
    outbound: mpsc::Sender<Word>,
    /// Gives the stream's place back when it ends.
    _slot: OwnedSemaphorePermit,
}

// === impl Discovery ===

impl Discovery {
    /// What a stream of this caller sees.
    fn world<'a>(&'a self, snapshot: &'a Snapshot, caller: &'a Caller) -> World<'a> {
        let names_max = self.gate.limits.names;
        World { snapshot, history: self.proxies.as_ref(), caller, names_max }
    }

    fn answer(self: &Arc<Self>, service: &str, request: Request<Body>) -> Response<Body> {
        let served = match (service, method(service, request.uri().path())) {
            (ECDS, "StreamExtensionConfigs") => self.serve(Protocol::EcdsSotw, Sotw::new, request),
            (ECDS, "DeltaExtensionConfigs") => self.serve(Protocol::EcdsDelta, Delta::new, request),
            (ADS, "StreamAggregatedResources") => self.serve(Protocol::AdsSotw, Sotw::new, request),
            (ADS, "DeltaAggregatedResources") => self.serve(Protocol::AdsDelta, Delta::new, request),
            (ECDS, "FetchExtensionConfigs") => {
                Err(Status::unimplemented("polling is not served; set api_type to GRPC or DELTA_GRPC"))
            }
            _ => Err(Status::unimplemented("there is no such method")),
        };
        served.unwrap_or_else(Status::into_http)
    }

    fn serve<S: Stream>(
        self: &Arc<Self>,
        protocol: Protocol,
        stream: fn(Protocol) -> S,
        request: Request<Body>,
    ) -> Result<Response<Body>, Status> {
        check_encoding(request.headers()).inspect_err(|_| self.gate.telemetry.refused(Reason::Compressed))?;
        let caller = Caller::of(request.extensions());
        caller.check().map_err(|status| self.gate.refuse(Reason::Expired, status))?;
        let slot = self.gate.enter()?;
        let (outbound, receiver) = mpsc::channel(MAX_QUEUED);
        let id = self.proxies.new_stream();
        let stream = stream(protocol);
        let telemetry = OpenStream::new(self.gate.telemetry.clone(), protocol.as_str());
        let context = Arc::clone(self);
        let call = Arc::default();
        let driver = Driver {
            stream,
            id,
            call,
            protocol,
            caller,
            peer: None,
            context,
            telemetry,
            outbound,
            _slot: slot,
        };
        tokio::spawn(driver.run(messages(request.into_body(), self.gate.limits.request_bytes)));
        let mut response = Response::new(Body::new(Outbound::new(receiver)));
        response.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
        Ok(response)
    }
}

/// The method in a path, or nothing where the path is of another service.
fn method<'a>(service: &str, path: &'a str) -> &'a str {
    let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(service));
    rest.and_then(|rest| rest.strip_prefix('/')).unwrap_or_default()
}

/// The requests in the body of a call.
fn messages<Q: Message + Default + 'static>(body: Body, bytes_max: usize) -> Streaming<Q> {
    let decoder = ProstCodec::<(), Q>::raw_decoder(BufferSettings::new(REQUEST_BUFFER_BYTES, YIELD_BYTES));
    Streaming::new_request(decoder, body, None, Some(bytes_max))
}

fn check_encoding(headers: &HeaderMap<HeaderValue>) -> Result<(), Status> {
    match headers.get(ENCODING_HEADER) {
        Some(encoding) if encoding != IDENTITY => {
            Err(Status::unimplemented("compressed requests are not served; send them as they are"))
        }
        _ => Ok(()),
    }
}

// === impl Served ===

impl<const AGGREGATED: bool> Served<AGGREGATED> {
    pub(crate) fn new(discovery: Arc<Discovery>) -> Self {
        Self(discovery)
    }
}

impl NamedService for Ecds {
    const NAME: &'static str = ECDS;
}

impl NamedService for Ads {
    const NAME: &'static str = ADS;
}

impl<const AGGREGATED: bool> Service<Request<Body>> for Served<AGGREGATED>
where
    Self: NamedService,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        ready(Ok(self.0.answer(Self::NAME, request)))
    }
}

// === impl Driver ===

impl<S: Stream> Driver<S> {
    /// The stream's task.
    #[expect(
        clippy::manual_async_fn,
        reason = "it would hold what it is given twice, for each of ten thousand streams"
    )]
    fn run(mut self, mut inbound: Streaming<S::Request>) -> impl Future<Output = ()> + Send {
        async move {
            let (context, caller) = (self.context.clone(), self.caller.clone());
            let last_word = tokio::select! {
                ended = self.converse(&mut inbound) => ended.err(),
                // Also while a slow reader holds up a message.
                status = context.gate.closing() => Some(status),
                status = caller.expired() => Some(context.gate.refuse(Reason::Expired, status)),
            };
            if let Some(peer) = &self.peer {
                tracing::info!(node = %peer.identity.node, protocol = %peer.protocol, "proxy disconnected");
                self.context.proxies.disconnect(peer, Instant::now());
            }
            if let Some(status) = last_word {
                // Behind the response that was begun. A reader that does not take it in time sees the stream end without a reason.
                let _ = timeout(SHUTDOWN_GRACE, self.outbound.send(Box::new(Err(status)))).await;
            }
        }
    }

    /// Goes on until one side ends the stream. The error is what the client is told, if it is us.
    async fn converse(&mut self, inbound: &mut Streaming<S::Request>) -> Result<(), Status> {
        let (mut bell, call) = (self.context.snapshots.bell(), self.call.clone());
        let mut listener = Listener::new(&self.context.gate);
        // Boxed: what only the beginning needs is given back, of ten thousand streams.
        let mut admission = match Box::pin(self.begin(&mut listener, inbound)).await? {
            Begun::Gone => return Ok(()),
            Begun::Answered(admission) => Some(admission),
            Begun::Silently => None,
        };
        loop {
            let output = tokio::select! {
                request = listener.next(inbound, &self.context.gate) => {
                    // Whatever a client says behind its first message makes room for another one.
                    admission = None;
                    let Some(request) = request.map_err(|status| self.misread(status))? else { return Ok(()) };
                    self.hear(request)?
                }
                () = Admission::is_over(admission.as_ref()) => {
                    admission = None;
                    continue;
                }
                Ok(()) = bell.changed() => self.look(),
                () = call.notified() => self.look(),
                () = self.outbound.closed() => return Ok(()),
            };
            self.say(output).await?;
        }
    }

    /// Hears the first message, and answers it when it is its turn.
    async fn begin(
        &mut self,
        listener: &mut Listener,
        inbound: &mut Streaming<S::Request>,
    ) -> Result<Begun, Status> {
        let first = tokio::select! {
            first = listener.first(inbound, &self.context.gate) => first,
            () = self.outbound.closed() => return Ok(Begun::Gone),
        };
        let Some(first) = first.map_err(|status| self.misread(status))? else { return Ok(Begun::Gone) };
        let Some(admission) = self.context.gate.admit().await else { return Ok(Begun::Gone) };
        let output = self.hear(first)?;
        // One that is sent nothing has nothing to answer.
        Ok(if self.say(output).await? { Begun::Answered(admission) } else { Begun::Silently })
    }

    /// Records what happened, and sends what there is to send. Whether there was: a client that is gone is noticed later.
    async fn say(&mut self, output: Output) -> Result<bool, Status> {
        let Some(Outgoing { message, resource, version }) = self.record(output)? else { return Ok(false) };
        let queued = self.telemetry.made(message, Instant::now());
        let sent = self.outbound.send(Box::new(Ok(queued))).await;
        if let (Ok(()), Some(peer)) = (sent, &self.peer) {
            self.context.proxies.sent(peer, &resource, version.revision);
        }
        Ok(true)
    }

    /// Counts what cannot be read, as a message over the limit: the client is told, because an end without a reason looks like one in
    /// peace. A connection that broke is no such thing.
    fn misread(&self, status: Status) -> Status {
        if matches!(status.code(), Code::OutOfRange | Code::Internal | Code::Unimplemented) {
            self.context.gate.telemetry.refused(Reason::Unreadable);
        }
        status
    }

    fn hear(&mut self, request: S::Request) -> Result<Output, Status> {
        self.telemetry.heard();
        self.volunteer(&request);
        let snapshot = self.context.snapshots.current();
        let output = self.stream.on_request(request, &self.context.world(&snapshot, &self.caller)).map_err(
            |refusal| {
                tracing::warn!(protocol = %self.protocol, %refusal, "stream refused");
                self.context.gate.telemetry.refused(Reason::Malformed);
                Status::invalid_argument(refusal.to_string())
            },
        )?;
        self.meet();
        Ok(output)
    }

    /// Lets the first that comes try what nobody tries.
    fn volunteer(&self, request: &S::Request) {
        let (node, names) = S::asks(request);
        let told = Identity::of(node).ok();
        if let Some(Identity { node, .. }) = self.stream.identity().or(told.as_ref()) {
            let theirs = names.iter().filter(|name| self.caller.may_see(name));
            theirs.for_each(|name| self.context.snapshots.volunteer(name, node, Instant::now()));
        }
    }

    /// Learns from the first message who is there.
    fn meet(&mut self) {
        if let (None, Some(identity)) = (&self.peer, self.stream.identity()) {
            tracing::info!(node = %identity.node, protocol = %self.protocol, "proxy connected");
            let peer = Peer {
                stream: self.id,
                protocol: self.protocol,
                identity: identity.clone(),
                call: self.call.clone(),
                spiffe: self.caller.id().cloned(),
            };
            self.peer = Some(peer);
        }
    }

    fn look(&mut self) -> Output {
        let snapshot = self.context.snapshots.current();
        self.stream.on_snapshot(&self.context.world(&snapshot, &self.caller))
    }

    /// Tells of names that are never answered.
    fn warn_of_unanswered(&self, events: &[Event]) {
        for event in events {
            match (event, self.caller.id(), self.stream.identity()) {
                (Event::Denied { resource }, Some(id), _) => {
                    tracing::warn!(%id, ?resource, "proxy asks for what its certificate does not allow; it gets no answer");
                }
                (Event::Subscribed { resource, .. }, _, Some(Identity { node, .. }))
                    if ecds::is_of_another_format(resource) =>
                {
                    tracing::warn!(%node, ?resource, "proxy asks for rules of a format that is not written here; it keeps what it has");
                }
                _ => {}
            }
        }
    }

    /// Records what happened. Sending comes after, so that an answer never meets a table that does not know of its proxy.
    fn record(&mut self, output: Output) -> Result<Option<Outgoing>, Status> {
        let now = Instant::now();
        self.telemetry.happened(&output.events, now);
        self.warn_of_unanswered(&output.events);
        if let Some(peer) = &self.peer {
            take_rejections(&self.context.snapshots, &self.context.proxies, peer, &output.events);
            let recorded = self.context.proxies.record(peer, output.events, now);
            recorded.map_err(|unlisted| match unlisted {
                Unlisted::Full(_) => self
                    .context
                    .gate
                    .refuse(Reason::TooManyProxies, Status::resource_exhausted(unlisted.to_string())),
                Unlisted::Taken { .. } => {
                    self.context.gate.refuse(Reason::Taken, Status::already_exists(unlisted.to_string()))
                }
            })?;
        }
        Ok(output.outgoing)
    }
}

/// Takes what a proxy rejected from whoever lacks it, as far as its word is worth that. Before the rejections are recorded.
pub(crate) fn take_rejections(snapshots: &Snapshots, proxies: &Proxies, peer: &Peer, events: &[Event]) {
    for event in events {
        if let Event::Rejected { resource: name, version, content, message } = event {
            let (node, version, content) = (&peer.identity.node, *version, *content);
            tracing::warn!(%node, resource = %name, %version, ?message, "proxy rejected its configuration");
            let rejection = Rejection { name, version, content, node, message };
            match proxies.is_in_good_standing(peer, name) {
                true => snapshots.refuse(rejection),
                false => snapshots.doubt(rejection),
            }
        }
    }
}
