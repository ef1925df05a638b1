//! Rules with no daemon: a file that Envoy watches, and takes anew whenever another is moved into its place.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::EnvoyConfig;

/// The ECDS resource of one filter, in a folder of its own.
pub struct RulesFile {
    module: PathBuf,
    // The filter as the Envoy file has it by default; known once an Envoy is led here.
    filter: Option<Value>,
    pushes: u64,
    folder: TempDir,
}

/// A configuration that lies beside its place. Dropped, it stays there and does nothing.
#[derive(Debug)]
pub struct Staged {
    beside: PathBuf,
    path: PathBuf,
}

// === impl RulesFile ===

impl RulesFile {
    /// A folder for a file, which is not there before the first push. Envoy wants it when it starts.
    pub fn new(module: PathBuf) -> Result<Self> {
        Ok(Self { module, filter: None, pushes: 0, folder: TempDir::new()? })
    }

    /// Leads an Envoy, which would ask the daemon, to this file, and puts the first rules into it.
    pub fn serve(&mut self, config: EnvoyConfig, rules: &[u8]) -> Result<EnvoyConfig> {
        let path = self.path();
        let config = config.module(self.module.clone()).edit_http(|http| {
            let discovery = &mut http["http_filters"][0]["config_discovery"];
            self.filter = Some(discovery["default_config"].clone());
            let watched = json!({ "path": self.folder.path() });
            discovery["config_source"] = json!({
                "resource_api_version": "V3",
                "path_config_source": { "path": path, "watched_directory": watched },
            });
        });
        self.push(rules)?;
        Ok(config)
    }

    /// Gives Envoy these bytes as the filter's configuration, whatever they are.
    pub fn push(&mut self, configuration: &[u8]) -> Result<()> {
        self.stage(configuration)?.publish()
    }

    /// Writes these bytes beside the file, for a push that takes no longer than a move.
    pub fn stage(&mut self, configuration: &[u8]) -> Result<Staged> {
        let mut filter = self.filter.clone().context("no Envoy was led to this file yet")?;
        let plugin = &mut filter["config"];
        plugin["vm_config"]["code"]["local"]["filename"] = json!(self.module);
        plugin["configuration"] = json!({
            "@type": "type.googleapis.com/google.protobuf.BytesValue",
            "value": STANDARD.encode(configuration),
        });
        let resource = json!({
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": plugin["name"],
            "typed_config": filter,
        });
        self.pushes += 1;
        let beside = self.path().with_extension(self.pushes.to_string());
        fs::write(
            &beside,
            json!({ "version_info": self.pushes.to_string(), "resources": [resource] }).to_string(),
        )?;
        Ok(Staged { beside, path: self.path() })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ecds.json")
    }
}

// === impl Staged ===

impl Staged {
    /// Moves it into its place, where Envoy takes it.
    pub fn publish(self) -> Result<()> {
        Ok(fs::rename(self.beside, self.path)?)
    }
}

/// Writes a file beside its place and moves it there: Envoy heeds only moves, and so never reads half a file.
pub fn move_into_place(path: &Path, content: &Value) -> Result<()> {
    let beside = path.with_extension("next");
    fs::write(&beside, content.to_string())?;
    Ok(fs::rename(&beside, path)?)
}
