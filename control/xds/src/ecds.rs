//! The ECDS resource: the one file that builds Envoy's protobuf of the filter.

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{
    AsyncDataSource, BackoffStrategy, DataSource, TypedExtensionConfig, async_data_source, data_source,
};
use envoy_types::pb::envoy::extensions::filters::http::wasm::v3::Wasm;
use envoy_types::pb::envoy::extensions::wasm::v3::{FailurePolicy, PluginConfig, ReloadConfig, VmConfig};
use envoy_types::pb::google::protobuf::{BytesValue, Duration as ProtoDuration};
use prost::{Message, Name};

use crate::pieces::{self, Pieces};

/// What every ECDS resource and HTTP filter name of this project starts with; the tenant follows.
pub const RESOURCE_PREFIX: &str = "graylane.v1.";

/// One VM per worker is enough for all tenants: they run the same module.
const VM_ID: &str = "graylane";

/// The host calls that the filter makes and the callbacks that it has. Anything else, in whatever module the path leads to, is
/// refused by Envoy. Kept in byte order, because the order reaches the wire.
const CAPABILITIES: [&str; 12] = [
    "proxy_define_metric",
    "proxy_get_buffer_bytes",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_get_property",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_on_configure",
    "proxy_on_request_headers",
    "proxy_record_metric",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
];

/// What the proxies need besides rules, the same for every tenant.
///
/// A change of any of these changes every resource, and so is pushed to every proxy.
#[derive(Clone, Debug)]
pub struct FilterSettings {
    /// The path of the filter module as Envoy sees it.
    pub module_path: String,
    /// How long Envoy waits before it builds a new VM for one that trapped. Envoy wants at least 1 ms.
    pub reload_backoff: Duration,
}

/// The part of `VmConfig` that holds a map. The generated type keeps it in a `HashMap`, whose order differs from process to
/// process, and equal content must be equal bytes. So it is encoded by itself and appended: protobuf reads fields in any order.
///
/// An Envoy before 1.40 does not know this place and restricts nothing. The place it knows, in `PluginConfig`, is deprecated: 1.40 writes a
/// warning into its log at every push.
#[derive(Clone, PartialEq, Message)]
struct VmCapabilities {
    #[prost(message, optional, tag = "8")]
    capability_restriction_config: Option<SortedCapabilities>,
}

/// `CapabilityRestrictionConfig` in byte order.
#[derive(Clone, PartialEq, Message)]
struct SortedCapabilities {
    #[prost(btree_map = "string, message", tag = "1")]
    allowed_capabilities: std::collections::BTreeMap<String, ()>,
}

/// The part of `PluginConfig` around a `VmConfig` that is already encoded.
#[derive(Clone, PartialEq, Message)]
struct PluginVm {
    #[prost(bytes = "vec", tag = "3")]
    vm_config: Vec<u8>,
}

/// The fields that lead from the resource to the rules.
mod field {
    /// `google.protobuf.BytesValue.value`.
    pub(super) const VALUE: u32 = 1;
    /// `google.protobuf.Any.type_url`.
    pub(super) const TYPE_URL: u32 = 1;
    /// `google.protobuf.Any.value`.
    pub(super) const ANY_VALUE: u32 = 2;
    /// `PluginConfig.configuration`.
    pub(super) const CONFIGURATION: u32 = 4;
    /// `Wasm.config`.
    pub(super) const CONFIG: u32 = 1;
    /// `TypedExtensionConfig.typed_config`.
    pub(super) const TYPED_CONFIG: u32 = 2;
}

// === impl FilterSettings ===

impl Default for FilterSettings {
    fn default() -> Self {
        Self {
            module_path: "/etc/graylane/graylane_filter.wasm".to_owned(),
            reload_backoff: Duration::from_millis(50),
        }
    }
}

/// The name of a tenant's ECDS resource, which is also the name of its HTTP filter.
pub fn resource_name(tenant: &str) -> String {
    format!("{RESOURCE_PREFIX}{tenant}")
}

/// The tenant of a resource name; empty when it is not one of ours.
pub(crate) fn tenant_of(resource: &str) -> &str {
    resource.strip_prefix(RESOURCE_PREFIX).unwrap_or_default()
}

/// Whether a name is of another format of rules than this one: of an earlier or a later release.
pub(crate) fn is_of_another_format(resource: &str) -> bool {
    let format = resource.strip_prefix("graylane.v").and_then(|rest| rest.split_once('.'));
    let is_number = |format: &str| !format.is_empty() && format.bytes().all(|byte| byte.is_ascii_digit());
    format.is_some_and(|(format, _)| is_number(format)) && !resource.starts_with(RESOURCE_PREFIX)
}

/// The type of the resources that this server knows.
pub(crate) fn type_url() -> String {
    TypedExtensionConfig::type_url()
}

/// The resource. The same name, settings and rules give the same bytes in every process.
pub(crate) fn encode(name: &str, settings: &FilterSettings, rules: Bytes) -> Pieces {
    // Envoy hands a BytesValue to the filter without its wrapper.
    let configuration = any(&BytesValue::type_url(), &Pieces::new(rules).within(&[], field::VALUE));
    let rest = PluginConfig {
        name: name.to_owned(),
        root_id: name.to_owned(),
        failure_policy: FailurePolicy::FailReload.into(),
        reload_config: Some(reload_config(settings.reload_backoff)),
        ..PluginConfig::default()
    };
    let vm = PluginVm { vm_config: encoded_vm(settings) };
    let rest = [rest.encode_to_vec(), vm.encode_to_vec()].concat();
    let wasm = configuration.within(&rest, field::CONFIGURATION).within(&[], field::CONFIG);
    let named = TypedExtensionConfig { name: name.to_owned(), typed_config: None };
    any(&Wasm::type_url(), &wasm).within(&named.encode_to_vec(), field::TYPED_CONFIG)
}

/// A resource as it travels.
pub(crate) fn packed(resource: &Pieces) -> Pieces {
    any(&type_url(), resource)
}

fn any(type_url: &String, value: &Pieces) -> Pieces {
    value.within(&pieces::text(field::TYPE_URL, type_url), field::ANY_VALUE)
}

fn encoded_vm(settings: &FilterSettings) -> Vec<u8> {
    let file = data_source::Specifier::Filename(settings.module_path.clone());
    let source = DataSource { specifier: Some(file), ..DataSource::default() };
    let vm = VmConfig {
        vm_id: VM_ID.to_owned(),
        runtime: "envoy.wasm.runtime.v8".to_owned(),
        code: Some(AsyncDataSource { specifier: Some(async_data_source::Specifier::Local(source)) }),
        ..VmConfig::default()
    };
    let mut encoded = vm.encode_to_vec();
    encoded.extend(capabilities().encode_to_vec());
    encoded
}

fn reload_config(base: Duration) -> ReloadConfig {
    let base_interval = ProtoDuration {
        seconds: i64::try_from(base.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(base.subsec_nanos()).unwrap_or(0),
    };
    ReloadConfig { backoff: Some(BackoffStrategy { base_interval: Some(base_interval), max_interval: None }) }
}

fn capabilities() -> VmCapabilities {
    let allowed_capabilities = CAPABILITIES.iter().map(|name| ((*name).to_owned(), ())).collect();
    VmCapabilities { capability_restriction_config: Some(SortedCapabilities { allowed_capabilities }) }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::extensions::wasm::v3::plugin_config;

    use super::*;

    fn decoded() -> (TypedExtensionConfig, PluginConfig) {
        let rules = Bytes::from_static(b"rules");
        let resource = encode("graylane.v1.retail", &FilterSettings::default(), rules).in_order().concat();
        let resource = TypedExtensionConfig::decode(resource.as_slice()).unwrap();
        let typed = resource.typed_config.clone().unwrap();
        assert_eq!(typed.type_url, "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm");
        let plugin = Wasm::decode(typed.value.as_slice()).unwrap().config.unwrap();
        (resource, plugin)
    }

    #[test]
    fn the_resource_is_what_envoy_reads() {
        assert_eq!(type_url(), "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
        let (resource, plugin) = decoded();
        assert_eq!(resource.name, "graylane.v1.retail");
        assert_eq!(plugin.root_id, "graylane.v1.retail");
        assert_eq!(plugin.failure_policy(), FailurePolicy::FailReload);
        let configuration = plugin.configuration.unwrap();
        assert_eq!(configuration.type_url, "type.googleapis.com/google.protobuf.BytesValue");
        assert_eq!(BytesValue::decode(configuration.value.as_slice()).unwrap().value, b"rules");
        let plugin_config::Vm::VmConfig(vm) = plugin.vm.unwrap();
        assert_eq!((vm.vm_id.as_str(), vm.runtime.as_str()), ("graylane", "envoy.wasm.runtime.v8"));
        let backoff = plugin.reload_config.unwrap().backoff.unwrap().base_interval.unwrap();
        assert_eq!((backoff.seconds, backoff.nanos), (0, 50_000_000));
    }

    #[test]
    fn names_of_other_formats_are_known() {
        let known = ["graylane.v2.retail", "graylane.v1.retail", "graylane.v.retail", "graylane.v2", "other"];
        assert_eq!(known.map(is_of_another_format), [true, false, false, false, false]);
    }

    #[test]
    fn the_capabilities_are_where_envoy_looks_for_them() {
        let (_, plugin) = decoded();
        let plugin_config::Vm::VmConfig(vm) = plugin.vm.unwrap();
        let allowed = vm.capability_restriction_config.unwrap().allowed_capabilities;
        assert_eq!(allowed.len(), CAPABILITIES.len());
        assert!(CAPABILITIES.iter().all(|name| allowed.contains_key(*name)));
    }

    #[test]
    fn capabilities_stand_in_byte_order() {
        assert!(CAPABILITIES.is_sorted());
    }
}
