//! Envoy's metrics service: what proxies count, and what their filters say of themselves. After a rejection nothing else that Envoy
//! offers tells what really runs.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsResponse;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_server::SERVICE_NAME;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstEncoder;

use crate::caller::Caller;
use crate::fields::Garbled;
use crate::gate::Gate;
use crate::listener::Listener;
use crate::proxies::{FilterReport, Proxies, Unreadable};
use crate::report::{self, Report, Reported};
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
    /// The number of its stream, which grows: counters of two streams are not compared.
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
struct Whole;

/// A stream as it comes.
struct Call(Arc<Metrics>);

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
        let first = Box::pin(listener.first(inbound, &self.gate)).await?;
        let Some(mut message) = first else { return Ok(()) };
        telemetry.heard();
        let (node, stream) = (self.identity(&message)?.node, self.proxies.new_stream().number());
        loop {
            self.take(&node, stream, caller.id(), &message)?;
            // The next one is a while away.
            drop(message);
            let Some(next) = listener.next(inbound, &self.gate).await? else { return Ok(()) };
            telemetry.heard();
            message = next;
        }
    }

    /// Takes what a proxy and its filter counted, if it is one whose rules are served here. Else nothing of it is read.
    fn take(&self, node: &str, stream: u64, spiffe: Option<&SpiffeId>, message: &[u8]) -> Result<(), Status> {
        let tenants = &self.proxies.tenants(node, spiffe);
        if tenants.is_empty() {
            return Ok(());
        }
        let Report { of_filter, reported } =
            Report::read(message).map_err(|garbled| self.garbled(garbled))?;
        if let Some(reports) = &self.reports {
            reports.take(Reporter { node, stream, tenants }, &reported);
        }
        self.take_of_filter(node, spiffe, of_filter);
        Ok(())
    }

    /// A filter that cannot read what it was sent has refused it: Envoy acknowledges it all the same.
    fn take_of_filter(&self, node: &str, spiffe: Option<&SpiffeId>, report: FilterReport) {
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
    fn identity(&self, message: &[u8]) -> Result<Identity, Status> {
        let node = report::sender(message).map_err(|garbled| self.garbled(garbled))?;
        Identity::of(node.as_ref()).map_err(|refusal: Refusal| {
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
    type Future = BoxFuture<http::Response<Body>, Infallible>;

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
            let mut grpc = Grpc::new(Whole).max_decoding_message_size(bytes_max);
            Ok(grpc.client_streaming(Call(metrics), request).await)
        })
    }
}

// === impl Call ===

impl Service<Request<Streaming<Bytes>>> for Call {
    type Response = Response<StreamMetricsResponse>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

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
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Decoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
