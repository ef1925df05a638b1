//! Proxies as far as xDS sees them: one client for each flavour, over either service.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_client::ExtensionConfigDiscoveryServiceClient;
use envoy_types::pb::google::rpc::Status;
use graylane_xds::Protocol;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::stage::{RESOURCE, soon};

const TYPE_URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// A resource as it arrived.
pub struct Message {
    pub name: String,
    pub version: String,
    /// Bytes of the resource.
    pub bytes: usize,
    nonce: String,
}

/// What a proxy says to a resource.
pub enum Answer<'a> {
    Ack,
    Nack(&'a str),
}

/// A proxy that subscribes to the one resource.
pub trait Proxy {
    async fn connect(channel: Channel, protocol: Protocol, held: Option<&str>) -> Self;
    async fn next(&mut self) -> Message;
    async fn answer(&mut self, message: &Message, answer: Answer<'_>);
    /// How the server ended the stream.
    async fn end(&mut self) -> Code;
}

/// A stream of one flavour from the client's side.
pub struct Client<Q, R> {
    requests: mpsc::Sender<Q>,
    /// What it asks for.
    names: Vec<String>,
    responses: Streaming<R>,
}

pub type SotwClient = Client<DiscoveryRequest, DiscoveryResponse>;
pub type DeltaClient = Client<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

// === impl Message ===

impl Message {
    pub fn revision(&self) -> u64 {
        self.version.split_once('-').unwrap().0.parse().unwrap()
    }
}

// === impl Client ===

impl SotwClient {
    /// A proxy that holds nothing; one with an empty name does not say who it is.
    pub async fn connect_as(channel: Channel, protocol: Protocol, node: &str) -> Self {
        Self::open(channel, protocol, DiscoveryRequest { node: named(node), ..sotw("") }).await.unwrap()
    }

    /// A proxy that holds nothing and asks for these names, unless its stream is refused.
    pub async fn ask(channel: Channel, node: &str, names: &[&str]) -> Result<Self, tonic::Status> {
        let resource_names = names.iter().map(|name| (*name).to_owned()).collect();
        let first = DiscoveryRequest { node: named(node), resource_names, ..sotw("") };
        Self::open(channel, Protocol::AdsSotw, first).await
    }

    /// The status by which its stream ended.
    pub async fn status(&mut self) -> tonic::Status {
        soon(self.responses.message()).await.unwrap_err()
    }

    /// A proxy that holds nothing, unless its stream is refused.
    pub async fn try_connect(channel: Channel, protocol: Protocol) -> Result<Self, tonic::Status> {
        Self::open(channel, protocol, DiscoveryRequest { node: named("envoy-1"), ..sotw("") }).await
    }

    async fn open(
        channel: Channel,
        protocol: Protocol,
        first: DiscoveryRequest,
    ) -> Result<Self, tonic::Status> {
        let (requests, receiver) = mpsc::channel(4);
        let names = first.resource_names.clone();
        requests.send(first).await.unwrap();
        let outbound = ReceiverStream::new(receiver);
        let responses = match protocol {
            Protocol::EcdsSotw => {
                let client = ExtensionConfigDiscoveryServiceClient::new(channel);
                soon(client.max_decoding_message_size(usize::MAX).stream_extension_configs(outbound)).await
            }
            Protocol::AdsSotw => {
                let client = AggregatedDiscoveryServiceClient::new(channel);
                soon(client.max_decoding_message_size(usize::MAX).stream_aggregated_resources(outbound)).await
            }
            other => panic!("{other} is not state of the world"),
        };
        Ok(Self { requests, names, responses: responses?.into_inner() })
    }
}

impl Proxy for SotwClient {
    async fn connect(channel: Channel, protocol: Protocol, held: Option<&str>) -> Self {
        let first = DiscoveryRequest { node: named("envoy-1"), ..sotw(held.unwrap_or_default()) };
        Self::open(channel, protocol, first).await.unwrap()
    }

    async fn next(&mut self) -> Message {
        let response = soon(self.responses.message()).await.unwrap().unwrap();
        assert_eq!((response.type_url.as_str(), response.resources.len()), (TYPE_URL, 1));
        let bytes = response.resources[0].value.len();
        Message { name: RESOURCE.to_owned(), version: response.version_info, bytes, nonce: response.nonce }
    }

    async fn answer(&mut self, message: &Message, answer: Answer<'_>) {
        let response_nonce = message.nonce.clone();
        let request = DiscoveryRequest {
            response_nonce,
            error_detail: error(&answer),
            resource_names: self.names.clone(),
            ..sotw(&message.version)
        };
        self.requests.send(request).await.unwrap();
    }

    async fn end(&mut self) -> Code {
        soon(self.responses.message()).await.unwrap_err().code()
    }
}

impl Proxy for DeltaClient {
    async fn connect(channel: Channel, protocol: Protocol, held: Option<&str>) -> Self {
        let held = held.map(|version| (RESOURCE.to_owned(), version.to_owned()));
        let first = DeltaDiscoveryRequest {
            node: named("envoy-1"),
            resource_names_subscribe: vec![RESOURCE.to_owned()],
            initial_resource_versions: held.into_iter().collect(),
            ..delta()
        };
        let (requests, receiver) = mpsc::channel(4);
        requests.send(first).await.unwrap();
        let outbound = ReceiverStream::new(receiver);
        let responses = match protocol {
            Protocol::EcdsDelta => {
                let mut client = ExtensionConfigDiscoveryServiceClient::new(channel);
                soon(client.delta_extension_configs(outbound)).await
            }
            Protocol::AdsDelta => {
                let mut client = AggregatedDiscoveryServiceClient::new(channel);
                soon(client.delta_aggregated_resources(outbound)).await
            }
            other => panic!("{other} is not delta"),
        };
        Self { requests, names: vec![RESOURCE.to_owned()], responses: responses.unwrap().into_inner() }
    }

    async fn next(&mut self) -> Message {
        let mut response = soon(self.responses.message()).await.unwrap().unwrap();
        let (resource, rest) = (response.resources.pop().unwrap(), response.resources);
        assert!(rest.is_empty() && response.removed_resources.is_empty());
        let bytes = resource.resource.map_or(0, |resource| resource.value.len());
        Message { name: resource.name, version: resource.version, bytes, nonce: response.nonce }
    }

    async fn answer(&mut self, message: &Message, answer: Answer<'_>) {
        let response_nonce = message.nonce.clone();
        let request = DeltaDiscoveryRequest { response_nonce, error_detail: error(&answer), ..delta() };
        self.requests.send(request).await.unwrap();
    }

    async fn end(&mut self) -> Code {
        soon(self.responses.message()).await.unwrap_err().code()
    }
}

fn sotw(version_info: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: version_info.to_owned(),
        resource_names: vec![RESOURCE.to_owned()],
        type_url: TYPE_URL.to_owned(),
        ..DiscoveryRequest::default()
    }
}

fn delta() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: TYPE_URL.to_owned(), ..DeltaDiscoveryRequest::default() }
}

fn named(node: &str) -> Option<Node> {
    let named = Node { id: node.to_owned(), cluster: "loan".to_owned(), ..Node::default() };
    (!node.is_empty()).then_some(named)
}

fn error(answer: &Answer<'_>) -> Option<Status> {
    match answer {
        Answer::Ack => None,
        Answer::Nack(message) => {
            Some(Status { code: 13, message: (*message).to_owned(), details: Vec::new() })
        }
    }
}
