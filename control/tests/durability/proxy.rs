//! A proxy that asks for a tenant's rules once.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_client::ExtensionConfigDiscoveryServiceClient;
use std::time::Duration;

const TYPE_URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// The revision of a tenant's rules, as a proxy gets it.
pub fn revision(xds: &str, tenant: &str) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let asked = tokio::time::timeout(Duration::from_secs(10), ask(xds, tenant)).await;
        asked.unwrap()
    })
}

async fn ask(xds: &str, tenant: &str) -> u64 {
    let mut client = ExtensionConfigDiscoveryServiceClient::connect(xds.to_owned()).await.unwrap();
    let first = DeltaDiscoveryRequest {
        node: Some(Node { id: "proxy-1".into(), ..Node::default() }),
        type_url: TYPE_URL.into(),
        resource_names_subscribe: vec![format!("graylane.v1.{tenant}")],
        ..DeltaDiscoveryRequest::default()
    };
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    requests.send(first).await.unwrap();
    let outbound = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let answers = client.delta_extension_configs(outbound).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    answer.resources[0].version.split_once('-').unwrap().0.parse().unwrap()
}
