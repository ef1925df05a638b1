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
use crate::gate::{Admission, Gate};
use crate::limits::{MAX_QUEUED, MAX_REQUEST_BYTES, SHUTDOWN_GRACE};
use crate::outbound::{Outbound, Word};
use crate::proxies::{Peer, Proxies, StreamId, Unlisted};
use crate::snapshot::{Rejection, Snapshots};
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
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) gate: Gate,
}

/// A discovery service. Neither is the generated one: that copies each response into a buffer of its own.
#[derive(Clone, Debug)]
pub(crate) struct Served<const AGGREGATED: bool>(Discovery);

/// The extension config discovery service.
pub(crate) type Ecds = Served<false>;

/// The aggregated discovery service.
pub(crate) type Ads = Served<true>;

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
    context: Discovery,
    telemetry: OpenStream,
    outbound: mpsc::Sender<Word>,
    /// Gives the stream's place back when it ends.
    _slot: OwnedSemaphorePermit,
}

// === impl Discovery ===

impl Discovery {
    fn answer(&self, service: &str, request: Request<Body>) -> Response<Body> {
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
        &self,
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
        let context = self.clone();
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
        tokio::spawn(driver.run(messages(request.into_body())));
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
fn messages<Q: Message + Default + 'static>(body: Body) -> Streaming<Q> {
    let decoder = ProstCodec::<(), Q>::raw_decoder(BufferSettings::new(REQUEST_BUFFER_BYTES, YIELD_BYTES));
    Streaming::new_request(decoder, body, None, Some(MAX_REQUEST_BYTES))
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
    pub(crate) fn new(discovery: Discovery) -> Self {
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
    async fn run(mut self, inbound: Streaming<S::Request>) {
        let (gate, caller) = (self.context.gate.clone(), self.caller.clone());
        let last_word = tokio::select! {
            last_word = self.converse(inbound) => last_word,
            // Also while a slow reader holds up a message.
            status = gate.closing() => Some(status),
            status = caller.expired() => Some(gate.refuse(Reason::Expired, status)),
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

    /// Goes on until one side ends the stream. The status is what the client is told, if it is us.
    async fn converse(&mut self, mut inbound: Streaming<S::Request>) -> Option<Status> {
        let (mut bell, call) = (self.context.snapshots.bell(), self.call.clone());
        let (mut admission, mut was_sent) = (None, false);
        loop {
            let output = tokio::select! {
                // What cannot be read, as a message over the limit, is told to the client: an end without a reason looks like
                // one in peace.
                request = inbound.message() => {
                    // Whatever a client says behind its first message makes room for another one.
                    admission = if self.peer.is_none() { self.context.gate.admit().await } else { None };
                    match request {
                        Ok(request) => self.hear(request?),
                        Err(status) => Err(self.misread(status)),
                    }
                }
                () = Admission::is_over(admission.as_ref()) => {
                    admission = None;
                    continue;
                }
                Ok(()) = bell.changed() => Ok(self.look()),
                () = call.notified() => Ok(self.look()),
                () = self.outbound.closed() => return None,
            };
            let outgoing = match output.and_then(|output| self.record(output)) {
                Ok(outgoing) => outgoing,
                Err(status) => return Some(status),
            };
            // One that is sent nothing has nothing to answer.
            admission.take_if(|_| outgoing.is_none() && !was_sent);
            was_sent |= outgoing.is_some();
            if let Some(Outgoing { message, resource, version }) = outgoing {
                let queued = self.telemetry.made(message, Instant::now());
                self.outbound.send(Box::new(Ok(queued))).await.ok()?;
                if let Some(peer) = &self.peer {
                    self.context.proxies.sent(peer, &resource, version.revision);
                }
            }
        }
    }

    /// Counts what cannot be read. A connection that broke is no such thing.
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
        let world =
            World { snapshot: &snapshot, history: self.context.proxies.as_ref(), caller: &self.caller };
        let output = self.stream.on_request(request, &world).map_err(|refusal| {
            tracing::warn!(protocol = %self.protocol, %refusal, "stream refused");
            self.context.gate.telemetry.refused(Reason::Malformed);
            Status::invalid_argument(refusal.to_string())
        })?;
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
        let world =
            World { snapshot: &snapshot, history: self.context.proxies.as_ref(), caller: &self.caller };
        self.stream.on_snapshot(&world)
    }

    fn warn_of_denied(&self, events: &[Event]) {
        for event in events {
            if let (Event::Denied { resource }, Some(id)) = (event, self.caller.id()) {
                tracing::warn!(%id, ?resource, "proxy asks for what its certificate does not allow; it gets no answer");
            }
        }
    }

    /// Records what happened. Sending comes after, so that an answer never meets a table that does not know of its proxy.
    fn record(&mut self, output: Output) -> Result<Option<Outgoing>, Status> {
        let now = Instant::now();
        self.telemetry.happened(&output.events, now);
        self.warn_of_denied(&output.events);
        if let Some(peer) = &self.peer {
            take_rejections(&self.context.snapshots, &self.context.proxies, peer, &output.events);
            let recorded = self.context.proxies.record(peer, output.events, now);
            recorded.map_err(|unlisted| match unlisted {
                Unlisted::Full => self
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
