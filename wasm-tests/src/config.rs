//! An Envoy configuration that users copy, made to fit this machine: other ports, the built module, this node.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::places;
use crate::upstream::Upstream;

/// What the files in `envoy-configs` call the filter module.
const MODULE_IN_FILES: &str = "/etc/graylane/graylane_filter.wasm";
/// The cluster of the daemon in the files.
const XDS_CLUSTER: &str = "xds";

/// A file of `envoy-configs`, and what this machine changes in it.
pub struct EnvoyConfig {
    root: Value,
    module: Option<PathBuf>,
    /// What Envoy lays over it.
    overlay: Option<String>,
    folders: BTreeMap<String, PathBuf>,
    addresses_by_cluster: BTreeMap<String, SocketAddr>,
}

// === impl EnvoyConfig ===

impl EnvoyConfig {
    /// Reads a file of `envoy-configs`, as `sidecar-outbound.yaml`.
    pub fn of(file: &str) -> Result<Self> {
        Self::read(&places::envoy_configs().join(file))
    }

    /// Reads any Envoy configuration in YAML.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let root = serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))?;
        Ok(Self {
            root,
            module: None,
            overlay: None,
            folders: BTreeMap::new(),
            addresses_by_cluster: BTreeMap::new(),
        })
    }

    /// Has Envoy lay a file of `envoy-configs/overlay` over it, as `stats-filter.yaml`.
    pub fn overlay(mut self, file: &str) -> Result<Self> {
        let path = places::envoy_configs().join("overlay").join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        self.overlay = Some(text);
        Ok(self)
    }

    /// The arguments by which Envoy takes the overlay, as the file says.
    pub(crate) fn overlay_arguments(&self) -> Vec<String> {
        self.overlay.iter().flat_map(|text| ["--config-yaml".to_owned(), text.clone()]).collect()
    }

    /// Names the proxy.
    pub fn node(mut self, id: &str) -> Self {
        self.root["node"]["id"] = json!(id);
        self
    }

    /// Uses another module than the built filter.
    pub fn module(mut self, path: PathBuf) -> Self {
        self.module = Some(path);
        self
    }

    /// Where a folder that the file names is here. One that is not named keeps the path of the file.
    pub fn folder(mut self, in_file: &str, here: PathBuf) -> Self {
        self.folders.insert(in_file.to_owned(), here);
        self
    }

    /// Where the daemon's xDS port is.
    pub fn xds(self, address: SocketAddr) -> Self {
        self.cluster(XDS_CLUSTER, address)
    }

    /// Where the endpoint of a cluster is. A cluster that is not named keeps the address of the file.
    pub fn cluster(mut self, name: &str, address: SocketAddr) -> Self {
        self.addresses_by_cluster.insert(name.to_owned(), address);
        self
    }

    /// Leads the clusters of these services here.
    pub fn upstreams(self, upstreams: &[Upstream]) -> Self {
        upstreams
            .iter()
            .fold(self, |config, upstream| config.cluster(&upstream.cluster(), upstream.address()))
    }

    /// Any other change, for what one test needs alone.
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.root);
        self
    }

    /// The HTTP connection manager of the first listener, where most changes belong.
    pub fn edit_http(self, change: impl FnOnce(&mut Value)) -> Self {
        let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        self.edit(|root| {
            change(root.pointer_mut(manager).expect("the file has a listener with an HTTP filter"))
        })
    }

    /// The configuration as JSON: admin and listeners on ports of the OS, everything else where it is here.
    pub(crate) fn render(mut self) -> Result<String> {
        let module = self.module.take().map_or_else(places::filter, Ok)?;
        replace_paths(&mut self.root, Path::new(MODULE_IN_FILES), &module);
        for (in_file, here) in &self.folders {
            replace_paths(&mut self.root, Path::new(in_file), here);
        }
        take_any_port(&mut self.root["admin"]["address"]);
        let resources = &mut self.root["static_resources"];
        for listener in resources["listeners"].as_array_mut().into_iter().flatten() {
            take_any_port(&mut listener["address"]);
        }
        for cluster in resources["clusters"].as_array_mut().into_iter().flatten() {
            let name = cluster["name"].as_str().unwrap_or_default();
            if let Some(address) = self.addresses_by_cluster.get(name) {
                move_endpoints(cluster, *address);
            }
        }
        Ok(serde_json::to_string_pretty(&self.root)?)
    }
}

fn take_any_port(address: &mut Value) {
    address["socket_address"]["port_value"] = json!(0);
}

fn move_endpoints(value: &mut Value, address: SocketAddr) {
    match value {
        Value::Object(fields) => {
            if let Some(socket) = fields.get_mut("socket_address") {
                *socket = json!({ "address": address.ip().to_string(), "port_value": address.port() });
            }
            fields.values_mut().for_each(|field| move_endpoints(field, address));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_endpoints(item, address)),
        _ => {}
    }
}

/// Puts `to` in the place of a path and of the beginning of all that are below it.
fn replace_paths(value: &mut Value, from: &Path, to: &Path) {
    match value {
        Value::String(text) => {
            if let Ok(below) = Path::new(&*text).strip_prefix(from) {
                // Joined with nothing, a path would end in a slash.
                let path = if below.as_os_str().is_empty() { to.to_path_buf() } else { to.join(below) };
                *text = path.to_string_lossy().into_owned();
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| replace_paths(field, from, to)),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_paths(item, from, to)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_file_holds_no_port_and_no_path_of_the_file() {
        let here: SocketAddr = "127.0.0.1:7".parse().unwrap();
        let mut config =
            EnvoyConfig::of("sidecar-outbound.yaml").unwrap().node("n").module("/m.wasm".into()).xds(here);
        for name in ["loan-v1", "loan-v2", "ledger-v1", "ledger-v2"] {
            config = config.cluster(name, here);
        }
        let text = config.render().unwrap();
        let ports = ["15000", "15001", "18000", "1900"].map(|port| format!("\"port_value\": {port}"));
        for of_the_file in ports.iter().map(String::as_str).chain([MODULE_IN_FILES, "sidecar-1"]) {
            assert!(!text.contains(of_the_file), "{of_the_file} is still in\n{text}");
        }
        assert!(text.contains("/m.wasm") && text.contains("\"id\": \"n\""), "{text}");
    }

    #[test]
    fn a_folder_moves_with_all_that_is_in_it_and_with_nothing_else() {
        let mut value = json!(["/etc/sds", { "path": "/etc/sds/a/b.yaml" }, "/etc/sdsx", "etc/sds", 1]);
        replace_paths(&mut value, Path::new("/etc/sds"), Path::new("/here"));
        assert_eq!(value, json!(["/here", { "path": "/here/a/b.yaml" }, "/etc/sdsx", "etc/sds", 1]));
    }
}
