//! One task per discovery stream: the socket on one side, the sans-io stream on the other.

use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_server::ExtensionConfigDiscoveryService;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::limits::MAX_QUEUED;
use crate::proxies::{Peer, Proxies, StreamId};
use crate::server::Gate;
use crate::snapshot::Snapshots;
use crate::stream::delta::Delta;
use crate::stream::sotw::Sotw;
use crate::stream::{Event, Outgoing, Output, Protocol, Stream, World};

/// The two discovery services.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) gate: Gate,
}

type Outbound<R> = ReceiverStream<Result<R, Status>>;

/// A stream with all it needs.
struct Driver<S: Stream> {
    stream: S,
    id: StreamId,
    protocol: Protocol,
    /// Known after the first message.
    peer: Option<Peer>,
    context: Discovery,
    outbound: mpsc::Sender<Result<S::Response, Status>>,
    /// Gives the stream's place back when it ends.
    _slot: OwnedSemaphorePermit,
}

// === impl Discovery ===

impl Discovery {
    fn serve<S>(
        &self,
        protocol: Protocol,
        stream: S,
        request: Request<Streaming<S::Request>>,
    ) -> Result<Response<Outbound<S::Response>>, Status>
    where
        S: Stream,
    {
        let slot = self.gate.enter()?;
        let (outbound, receiver) = mpsc::channel(MAX_QUEUED);
        let id = self.proxies.new_stream();
        let driver =
            Driver { stream, id, protocol, peer: None, context: self.clone(), outbound, _slot: slot };
        tokio::spawn(driver.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl ExtensionConfigDiscoveryService for Discovery {
    type StreamExtensionConfigsStream = Outbound<DiscoveryResponse>;
    type DeltaExtensionConfigsStream = Outbound<DeltaDiscoveryResponse>;

    async fn stream_extension_configs(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamExtensionConfigsStream>, Status> {
        self.serve(Protocol::EcdsSotw, Sotw::new(Protocol::EcdsSotw), request)
    }

    async fn delta_extension_configs(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaExtensionConfigsStream>, Status> {
        self.serve(Protocol::EcdsDelta, Delta::new(Protocol::EcdsDelta), request)
    }

    async fn fetch_extension_configs(
        &self,
        _request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("polling is not served; set api_type to GRPC or DELTA_GRPC"))
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = Outbound<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Outbound<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.serve(Protocol::AdsSotw, Sotw::new(Protocol::AdsSotw), request)
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.serve(Protocol::AdsDelta, Delta::new(Protocol::AdsDelta), request)
    }
}

// === impl Driver ===

impl<S: Stream> Driver<S> {
    async fn run(mut self, inbound: Streaming<S::Request>) {
        let gate = self.context.gate.clone();
        let last_word = tokio::select! {
            last_word = self.converse(inbound) => last_word,
            // Also while a slow reader holds up a message.
            () = gate.closed() => Some(Status::unavailable("server is shutting down")),
        };
        if let Some(status) = last_word {
            // A reader so slow that there is no room for it sees the stream end without a reason.
            let _ = self.outbound.try_send(Err(status));
        }
        if let Some(peer) = &self.peer {
            tracing::info!(node = %peer.identity.node, protocol = %peer.protocol, "proxy disconnected");
            self.context.proxies.disconnect(peer, Instant::now());
        }
    }

    /// Goes on until one side ends the stream. The status is what the client is told, if it is us.
    async fn converse(&mut self, mut inbound: Streaming<S::Request>) -> Option<Status> {
        let mut bell = self.context.snapshots.bell();
        loop {
            let output = tokio::select! {
                // What cannot be read, as a message over the limit, is told to the client: an end without a reason looks like
                // one in peace.
                request = inbound.message() => match request {
                    Ok(request) => self.hear(request?),
                    Err(status) => Err(status),
                },
                Ok(()) = bell.changed() => Ok(self.look()),
                () = self.outbound.closed() => return None,
            };
            let outgoing = match output.and_then(|output| self.record(output)) {
                Ok(outgoing) => outgoing,
                Err(status) => return Some(status),
            };
            if let Some(Outgoing { message, resource, version }) = outgoing {
                self.outbound.send(Ok(message)).await.ok()?;
                if let Some(peer) = &self.peer {
                    self.context.proxies.sent(peer, &resource, version.revision);
                }
            }
        }
    }

    fn hear(&mut self, request: S::Request) -> Result<Output<S::Response>, Status> {
        let snapshot = self.context.snapshots.current();
        let world = World { snapshot: &snapshot, history: self.context.proxies.as_ref() };
        let output = self.stream.on_request(request, &world).map_err(|refusal| {
            tracing::warn!(protocol = %self.protocol, %refusal, "stream refused");
            Status::invalid_argument(refusal.to_string())
        })?;
        self.meet();
        Ok(output)
    }

    /// Learns from the first message who is there.
    fn meet(&mut self) {
        if let (None, Some(identity)) = (&self.peer, self.stream.identity()) {
            tracing::info!(node = %identity.node, protocol = %self.protocol, "proxy connected");
            let peer = Peer { stream: self.id, protocol: self.protocol, identity: identity.clone() };
            self.peer = Some(peer);
        }
    }

    fn look(&mut self) -> Output<S::Response> {
        let snapshot = self.context.snapshots.current();
        let world = World { snapshot: &snapshot, history: self.context.proxies.as_ref() };
        self.stream.on_snapshot(&world)
    }

    fn take_rejections(&self, peer: &Peer, events: &[Event]) {
        for event in events {
            if let Event::Rejected { resource, version, message } = event {
                let node = &peer.identity.node;
                tracing::warn!(%node, %resource, %version, ?message, "proxy rejected its configuration");
                if self.context.proxies.is_in_good_standing(peer, resource) {
                    self.context.snapshots.refuse(resource, *version, node, message);
                }
            }
        }
    }

    /// Records what happened. Sending comes after, so that an answer never meets a table that does not know of its proxy.
    fn record(&self, output: Output<S::Response>) -> Result<Option<Outgoing<S::Response>>, Status> {
        if let Some(peer) = &self.peer {
            self.take_rejections(peer, &output.events);
            let recorded = self.context.proxies.record(peer, output.events, Instant::now());
            recorded.map_err(|full| Status::resource_exhausted(full.to_string()))?;
        }
        Ok(output.outgoing)
    }
}
