//! The shared case table of `cases.toml`, read.

use crate::model::{Action, Dimension, Entry, Percent, Release, RuleSet, Service, Table};
use serde::Deserialize;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

/// The table: a rule set and what it answers.
pub struct Cases {
    /// The rules that every case asks.
    pub rules: RuleSet,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One request and its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// `:authority`.
    pub host: String,
    /// The other headers, in order.
    headers: Vec<(String, Value)>,
    /// The label of the expected verdict.
    pub verdict: String,
    /// The version that the request gets; none for an unknown host.
    pub version: Option<String>,
    /// The level that decided.
    pub level: Option<String>,
    /// The stage that decided.
    pub stage: Option<String>,
    /// What happens to the output header: `keep`, `remove`, or the value it is set to. Left out: it is set for a
    /// gray version and kept absent else.
    edit: Option<String>,
    /// Whether a value is over the limit.
    #[serde(default)]
    pub oversize: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Bytes(Vec<u8>),
    Repeated { repeat: String, times: usize },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rules: FileRules,
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRules {
    tenant: String,
    output_header: String,
    dimensions: Vec<FileDimension>,
    services: Vec<FileService>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDimension {
    name: String,
    header: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileService {
    name: String,
    hosts: Vec<String>,
    stable: String,
    route_default: String,
    gray: Option<String>,
    #[serde(default)]
    plan: String,
    #[serde(default)]
    stages: Vec<String>,
    #[serde(default)]
    entries: Vec<FileEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    level: String,
    action: FileAction,
    stage: String,
    #[serde(default)]
    ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FileAction {
    Percent(f64),
    Word(String),
}

/// Reads the table that was built into this crate.
///
/// # Panics
/// When the table is malformed, which fails the test that asked.
#[must_use]
#[expect(clippy::expect_used, reason = "only tests call this")]
pub fn load() -> Cases {
    let file: File = toml::from_str(include_str!("../cases.toml")).expect("cases.toml is well formed");
    let FileRules { tenant, output_header, dimensions, services } = file.rules;
    let dimensions: Vec<Dimension> =
        dimensions.into_iter().map(|FileDimension { name, header }| Dimension { name, header }).collect();
    let services = services.into_iter().map(|service| service.build(&dimensions)).collect();
    Cases { rules: RuleSet { tenant, output_header, dimensions, services }, cases: file.case }
}

// === impl Case ===

impl Case {
    /// The headers as names and bytes.
    #[must_use]
    pub fn headers(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let bytes = |value: &Value| match value {
            Value::Text(text) => text.clone().into_bytes(),
            Value::Bytes(bytes) => bytes.clone(),
            Value::Repeated { repeat, times } => repeat.repeat(*times).into_bytes(),
        };
        self.headers.iter().map(|(name, value)| (name.clone().into_bytes(), bytes(value))).collect()
    }

    /// Whether the request gets a gray version.
    #[must_use]
    pub fn is_gray(&self) -> bool {
        matches!(self.verdict.as_str(), "included" | "percent")
    }

    /// What happens to the output header: `keep`, `remove`, or the value that it is set to.
    #[must_use]
    pub fn edit(&self) -> &str {
        match (&self.edit, &self.version) {
            (Some(edit), _) => edit,
            (None, Some(version)) if self.is_gray() => version,
            (None, _) => "keep",
        }
    }

    /// The output header that an upstream sees.
    #[must_use]
    pub fn header_upstream(&self) -> Option<&str> {
        match self.edit() {
            "keep" if self.is_gray() => self.version.as_deref(),
            "keep" | "remove" => None,
            version => Some(version),
        }
    }
}

// === impl FileService ===

impl FileService {
    fn build(self, dimensions: &[Dimension]) -> Service {
        let mut table = Table { plan: self.plan, stages: self.stages, ..Table::default() };
        table.levels.resize(dimensions.len(), Vec::new());
        for FileEntry { level, action, stage, ids } in self.entries {
            let action = match action {
                FileAction::Word(word) if word == "exclude" => Action::Exclude,
                FileAction::Word(_) => Action::Gray,
                FileAction::Percent(percent) => Action::Percent(
                    Percent::from_hundredths((percent * 100.0) as u16).unwrap_or(Percent::FULL),
                ),
            };
            let stage = table.stages.iter().position(|known| *known == stage).map_or(u8::MAX, |at| at as u8);
            let entry = Entry { action, stage };
            match dimensions.iter().position(|dimension| dimension.name == level) {
                Some(at) => table.add(at, entry, Arc::new(ids.iter().collect())),
                None => table.add_all(entry),
            }
        }
        let release = self.gray.map(|gray| Release { gray, table: Arc::new(table) });
        let Self { name, hosts, stable, route_default, .. } = self;
        Service { name, hosts, stable, route_default, release }
    }
}
