//! The daemon's configuration file.

use graylane_plan::Tenant;
use graylane_rules::{Dimension, is_header_name, is_name, limits::MAX_DIMENSIONS};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What a configuration file says. With no file, every tenant that a plan names exists, with the default dimensions.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The tenants by name. With none, every tenant that a plan names exists.
    tenants: BTreeMap<String, Tenant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tenants: BTreeMap<String, FileTenant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileTenant {
    #[serde(default)]
    dimensions: Vec<FileDimension>,
    output_header: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDimension {
    name: String,
    header: String,
}

/// Why a configuration file cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no configuration.
    #[error("{}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A value in it cannot be.
    #[error("tenants.{field}: {value:?} {limit}")]
    Invalid {
        /// The field's path below `tenants`.
        field: String,
        /// Its value.
        value: String,
        /// What it has to be.
        limit: String,
    },
}

// === impl Config ===

impl Config {
    /// Reads a YAML or JSON file.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown field, or a value that cannot be.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let parse =
            |error: serde_saphyr::Error| ConfigError::Parse { path: path.into(), message: error.to_string() };
        let file: File = serde_saphyr::from_str(&text).map_err(parse)?;
        let tenants = file.tenants.into_iter().map(|(name, tenant)| tenant.check(name));
        Ok(Self { tenants: tenants.collect::<Result<_, _>>()? })
    }

    /// The tenant of this name, when it may exist.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Option<Tenant> {
        match self.tenants.is_empty() {
            true => is_name(name).then(|| Tenant::with_defaults(name)),
            false => self.tenants.get(name).cloned(),
        }
    }

    /// The names of the tenants that it lists, separated by commas.
    #[must_use]
    pub fn names(&self) -> String {
        self.tenants.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}

// === impl FileTenant ===

impl FileTenant {
    fn check(self, name: String) -> Result<(String, Tenant), ConfigError> {
        let invalid = |field: String, value: &str, limit: &str| {
            Err(ConfigError::Invalid {
                field: format!("{name}{field}"),
                value: value.into(),
                limit: limit.into(),
            })
        };
        if !is_name(&name) {
            return invalid(String::new(), &name, "has to be 1 to 63 letters, digits, '-', '_' or '.'");
        }
        let mut tenant = Tenant::with_defaults(&name);
        if self.dimensions.len() > MAX_DIMENSIONS {
            let limit = format!("dimensions are over the limit of {MAX_DIMENSIONS}");
            return invalid(".dimensions".into(), &self.dimensions.len().to_string(), &limit);
        }
        if let Some(header) = self.output_header {
            tenant.output_header = header;
        }
        if !self.dimensions.is_empty() {
            let dimension = |FileDimension { name, header }| Dimension { name, header };
            tenant.dimensions = self.dimensions.into_iter().map(dimension).collect();
        }
        let headers =
            || tenant.dimensions.iter().map(|dimension| &dimension.header).chain([&tenant.output_header]);
        if let Some(header) = headers().find(|header| !is_header_name(header)) {
            return invalid(
                ".dimensions".into(),
                header,
                "has to be 1 to 64 lower-case letters, digits, '-' or '_'",
            );
        }
        if let Some(header) = headers().find(|header| headers().filter(|other| other == header).count() > 1) {
            return invalid(".dimensions".into(), header, "is used twice; every header has one meaning");
        }
        if let Some(dimension) = tenant.dimensions.iter().find(|dimension| !is_name(&dimension.name)) {
            return invalid(".dimensions".into(), &dimension.name, "cannot name a dimension");
        }
        Ok((name, tenant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_file_every_tenant_exists_with_the_default_dimensions() {
        let tenant = Config::default().tenant("retail").unwrap();
        let headers: Vec<String> =
            tenant.dimensions.iter().map(|dimension| dimension.header.clone()).collect();
        assert_eq!(headers, ["x-teller", "x-branch", "x-region"]);
        assert_eq!(tenant.output_header, "x-gray-version");
    }

    #[test]
    fn a_file_fixes_the_tenants_and_their_headers() {
        let dimensions = "[{ name: employee, header: x-employee }, { name: city, header: x-city }]";
        let config =
            read(&format!("tenants: {{ cards: {{ dimensions: {dimensions}, outputHeader: x-lane }} }}"))
                .unwrap();
        assert!(config.tenant("retail").is_none());
        let cards = config.tenant("cards").unwrap();
        assert_eq!((cards.dimensions.len(), cards.output_header.as_str()), (2, "x-lane"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        let twice = "tenants: { a: { dimensions: [{ name: t, header: x-gray-version }] } }";
        assert!(read(twice).unwrap_err().contains("tenants.a.dimensions: \"x-gray-version\" is used twice"));
        let case = "tenants: { a: { outputHeader: X-Gray } }";
        assert!(read(case).unwrap_err().contains("\"X-Gray\" has to be"));
        assert!(read("tenants: { a: { dimension: [] } }").unwrap_err().contains("dimension"));
    }
}
