//! Envoy's metrics service: what proxies count, and what their filters say of themselves. After a rejection nothing else that Envoy
//! offers tells what really runs.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsResponse;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_server::SERVICE_NAME;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::caller::Caller;
use crate::fields::Garbled;
use crate::gate::Gate;
use crate::listener::Listener;
use crate::proxies::{FilterReport, Proxies, Unreadable};
use crate::report::{Report, Reported};
use crate::snapshot::Snapshots;
use crate::spiffe::SpiffeId;
use crate::stream::{Identity, Refusal};
use crate::telemetry::{METRICS, OpenStream, Reason};

/// The only method.
const METHOD: &str = "StreamMetrics";

/// Takes what proxies count of the requests that they send on.
pub trait Reports: fmt::Debug + Send + Sync {
    /// A proxy told this. It is called for each message, on the task of its stream.
    fn take(&self, reporter: Reporter<'_>, reported: &Reported<'_>);
}

/// Who reports.
#[derive(Clone, Copy, Debug)]
pub struct Reporter<'a> {
    /// The node that the proxy says it is. Without certificates anybody may say so.
    pub node: &'a str,
    /// The number of its stream, which grows: counters of two streams are not those of one process.
    pub stream: u64,
    /// The tenants whose rules that node asks for, under the same certificate.
    pub tenants: &'a [Arc<str>],
}

/// Reads metrics streams into the table of proxies, and for whom it may concern.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) reports: Option<Arc<dyn Reports>>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) gate: Gate,
}

/// The service. It is not the generated one: that unpacks each message, whatever it becomes.
#[derive(Clone, Debug)]
pub(crate) struct Served(Arc<Metrics>);

/// Hands out messages as they lie.
#[derive(Debug, Default)]
struct Whole(BufferSettings);

/// A stream as it comes.
struct Call(Arc<Metrics>);

type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

// === impl Metrics ===

impl Metrics {
    async fn serve(
        &self,
        request: Request<Streaming<Bytes>>,
    ) -> Result<Response<StreamMetricsResponse>, Status> {
        let caller = Caller::of(request.extensions());
        caller.check().map_err(|status| self.gate.refuse(Reason::Expired, status))?;
        let _slot = self.gate.enter()?;
        let telemetry = OpenStream::new(self.gate.telemetry.clone(), METRICS);
        let mut inbound = request.into_inner();
        tokio::select! {
            ended = self.hear(&mut inbound, &caller, &telemetry) => ended.map(|()| Response::new(StreamMetricsResponse {})),
            status = self.gate.closing() => Err(status),
            status = caller.expired() => Err(self.gate.refuse(Reason::Expired, status)),
        }
    }

    /// Takes in one report after another, until the client ends the stream.
    async fn hear(
        &self,
        inbound: &mut Streaming<Bytes>,
        caller: &Caller,
        telemetry: &OpenStream,
    ) -> Result<(), Status> {
        let mut listener = Listener::new(&self.gate);
        let mut message = Box::pin(listener.first(inbound, &self.gate)).await?;
        let (mut node, stream) = (None, self.proxies.new_stream().number());
        while let Some(bytes) = message {
            telemetry.heard();
            let report = Report::read(&bytes).map_err(|garbled| self.garbled(garbled))?;
            if node.is_none() {
                node = Some(self.identity(&report)?.node);
            }
            if let Some(node) = &node {
                self.hand_on(node, stream, caller.id(), &report);
                self.take(node, caller.id(), report.of_filter);
            }
            // The next one is a while away.
            drop(bytes);
            message = listener.next(inbound, &self.gate).await?;
        }
        Ok(())
    }

    /// Tells whom it may concern what a proxy counted, if it is one whose rules are served here.
    fn hand_on(&self, node: &str, stream: u64, spiffe: Option<&SpiffeId>, report: &Report<'_>) {
        let Some(reports) = &self.reports else { return };
        let tenants = &self.proxies.tenants(node, spiffe);
        if !tenants.is_empty() {
            reports.take(Reporter { node, stream, tenants }, &report.reported);
        }
    }

    /// A filter that cannot read what it was sent has refused it: Envoy acknowledges it all the same.
    fn take(&self, node: &str, spiffe: Option<&SpiffeId>, report: FilterReport) {
        if report == FilterReport::default() {
            return;
        }
        let unreadable = self.proxies.report(node, spiffe, report, Instant::now());
        let Some(Unreadable { resource, version, runs }) = unreadable else { return };
        tracing::warn!(%node, %resource, %version, runs, "filter cannot read its configuration");
        let message = format!("its filter cannot read it, and runs revision {runs}");
        self.snapshots.refuse_wanted(&resource, version, node, &message);
    }

    /// Who sends. Envoy says it in the first message of a stream only.
    fn identity(&self, report: &Report<'_>) -> Result<Identity, Status> {
        Identity::of(report.node.as_ref()).map_err(|refusal: Refusal| {
            self.gate.telemetry.refused(Reason::Malformed);
            Status::invalid_argument(refusal.to_string())
        })
    }

    fn garbled(&self, garbled: Garbled) -> Status {
        self.gate.telemetry.refused(Reason::Unreadable);
        Status::invalid_argument(format!("the report cannot be read: {garbled}"))
    }
}

// === impl Served ===

impl Served {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self(Arc::new(metrics))
    }
}

impl NamedService for Served {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for Served {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let metrics = Arc::clone(&self.0);
        Box::pin(async move {
            if request.uri().path() != format!("/{SERVICE_NAME}/{METHOD}") {
                return Ok(Status::unimplemented("there is no such method").into_http());
            }
            let bytes_max = metrics.gate.limits.metrics_bytes;
            let mut grpc = Grpc::new(Whole::default()).max_decoding_message_size(bytes_max);
            Ok(grpc.client_streaming(Call(metrics), request).await)
        })
    }
}

// === impl Call ===

impl Service<Request<Streaming<Bytes>>> for Call {
    type Response = Response<StreamMetricsResponse>;
    type Error = Status;
    type Future = Answer<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let metrics = Arc::clone(&self.0);
        Box::pin(async move { metrics.serve(request).await })
    }
}

// === impl Whole ===

impl Codec for Whole {
    type Encode = StreamMetricsResponse;
    type Decode = Bytes;
    type Encoder = ProstEncoder<StreamMetricsResponse>;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<StreamMetricsResponse, ()>::raw_encoder(self.0)
    }

    fn decoder(&mut self) -> Self {
        Self(self.0)
    }
}

impl Decoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0
    }
}
