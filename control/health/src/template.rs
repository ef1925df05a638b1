//! Which cluster of a proxy is which version of which service.
//!
//! Proxies count by cluster, and each mesh names clusters in its own way: `{service}-{version}` by hand,
//! `outbound|{port}|{version}|{host}` in Istio. A name is never taken apart by guessing: the template is filled in for each service and
//! version that is known, and what a proxy reports is looked up. So `pay-api-v2` is version `v2` of `pay-api`, and not version
//! `api-v2` of `pay`, unless both are there; then it is nobody's, and [`Match::Ambiguous`] says so.

mod clusters;
#[cfg(test)]
mod tests;

use regex::bytes::{Regex, RegexBuilder};
use thiserror::Error;

pub use clusters::{Clusters, MAX_CLUSTER_BYTES, Match, Target};

/// Bytes of a template.
pub const MAX_TEMPLATE_BYTES: usize = 1_024;

/// Bytes that a regular expression may take when compiled.
pub const MAX_REGEX_BYTES: usize = 64 * 1_024;

/// What begins a regular expression.
const REGEX: &str = "regex:";

/// How the clusters of a tenant are named.
#[derive(Clone, Debug)]
pub struct Template(Form);

#[derive(Clone, Debug)]
enum Form {
    Parts(Vec<Part>),
    Regex(Regex),
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Service,
    Version,
    Host,
    /// Any digits.
    Port,
}

/// Why a text is no template. Each says what was written, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// It is too long.
    #[error("cluster template: {bytes} bytes are over the limit of {MAX_TEMPLATE_BYTES}; shorten it")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A brace is open, or closed that was not.
    #[error(
        "cluster template {template:?}: a brace has no other one; write {{service}}, or `regex:` for names with braces"
    )]
    Brace {
        /// What was written.
        template: String,
    },
    /// There is no such placeholder.
    #[error(
        "cluster template {template:?}: there is no {name:?}; there are {{service}}, {{version}}, {{host}} and {{port}}"
    )]
    UnknownPlaceholder {
        /// What was written.
        template: String,
        /// The placeholder.
        name: String,
    },
    /// A placeholder stands there twice.
    #[error("cluster template {template:?}: {{{name}}} stands there twice; write it once")]
    Twice {
        /// What was written.
        template: String,
        /// The placeholder.
        name: String,
    },
    /// It does not tell versions from each other.
    #[error(
        "cluster template {template:?}: the version is missing; write {{version}}, or (?<version>…) with `regex:`"
    )]
    NoVersion {
        /// What was written.
        template: String,
    },
    /// It does not tell services from each other.
    #[error(
        "cluster template {template:?}: service and host are missing; write {{service}} or {{host}}, or one as (?<service>…) with `regex:`"
    )]
    NoService {
        /// What was written.
        template: String,
    },
    /// The regular expression cannot be read, or is too large.
    #[error("cluster template {template:?}: {reason}")]
    Regex {
        /// What was written.
        template: String,
        /// What is wrong with it.
        reason: String,
    },
}

// === impl Template ===

impl Template {
    /// From text with placeholders, each at most once: `{version}`, at least one of `{service}` and `{host}`, and `{port}`, which is any
    /// digits. Or a regular expression behind `regex:`, which has to match the whole name, with groups of these names.
    ///
    /// # Errors
    /// When a version or a service could not be told by it, or when it cannot be read.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong { bytes: text.len() });
        }
        match text.strip_prefix(REGEX) {
            Some(expression) => parse_regex(text, expression).map(|regex| Self(Form::Regex(regex))),
            None => parse_parts(text).map(|parts| Self(Form::Parts(parts))),
        }
    }

    /// Whether it is a regular expression, which says what a name means, and not how one is made.
    #[must_use]
    pub const fn is_regex(&self) -> bool {
        matches!(self.0, Form::Regex(_))
    }

    /// The meaning of clusters' names, for all that is known.
    #[must_use]
    pub fn clusters(&self, targets: impl IntoIterator<Item = Target>) -> Clusters {
        match &self.0 {
            Form::Parts(parts) => Clusters::filled_in(parts, targets),
            Form::Regex(regex) => Clusters::found(regex, targets),
        }
    }
}

/// `{service}-{version}`, like `loan-v2`.
impl Default for Template {
    fn default() -> Self {
        Self(Form::Parts(vec![Part::Service, Part::Text("-".to_owned()), Part::Version]))
    }
}

fn parse_parts(template: &str) -> Result<Vec<Part>, TemplateError> {
    let brace = || TemplateError::Brace { template: template.to_owned() };
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((text, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').ok_or_else(brace)?;
        if text.contains('}') || name.contains('{') {
            return Err(brace());
        }
        let part = placeholder(template, name)?;
        if parts.contains(&part) {
            return Err(TemplateError::Twice { template: template.to_owned(), name: name.to_owned() });
        }
        parts.push(Part::Text(text.to_owned()));
        parts.push(part);
        rest = behind;
    }
    if rest.contains('}') {
        return Err(brace());
    }
    parts.push(Part::Text(rest.to_owned()));
    let has_service = parts.contains(&Part::Service) || parts.contains(&Part::Host);
    check_placeholders(template, parts.contains(&Part::Version), has_service)?;
    Ok(parts)
}

fn placeholder(template: &str, name: &str) -> Result<Part, TemplateError> {
    match name {
        "service" => Ok(Part::Service),
        "version" => Ok(Part::Version),
        "host" => Ok(Part::Host),
        "port" => Ok(Part::Port),
        _ => Err(TemplateError::UnknownPlaceholder { template: template.to_owned(), name: name.to_owned() }),
    }
}

fn check_placeholders(template: &str, has_version: bool, has_service: bool) -> Result<(), TemplateError> {
    let template = template.to_owned();
    match (has_version, has_service) {
        (true, true) => Ok(()),
        (false, _) => Err(TemplateError::NoVersion { template }),
        (true, false) => Err(TemplateError::NoService { template }),
    }
}

fn parse_regex(template: &str, expression: &str) -> Result<Regex, TemplateError> {
    // Alone first, so that no odd bracket in it can reach around what is put around it.
    let build = |expression: &str| {
        let mut builder = RegexBuilder::new(expression);
        builder.unicode(false).size_limit(MAX_REGEX_BYTES).nest_limit(32).build().map_err(|error| {
            let reason = match error {
                regex::Error::CompiledTooBig(limit) => {
                    format!("the regular expression takes more than {limit} bytes; write a simpler one")
                }
                error => error.to_string(),
            };
            TemplateError::Regex { template: template.to_owned(), reason }
        })
    };
    build(expression)?;
    // The line's end is for an expression that ends with a comment.
    let regex =
        build(&format!(r"\A(?:{expression})\z")).or_else(|_| build(&format!("\\A(?:{expression}\n)\\z")))?;
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    if let Some(name) = names.iter().find(|name| placeholder(template, name).is_err()) {
        return Err(TemplateError::UnknownPlaceholder {
            template: template.to_owned(),
            name: (*name).to_owned(),
        });
    }
    let has_service = names.contains(&"service") || names.contains(&"host");
    check_placeholders(template, names.contains(&"version"), has_service)?;
    Ok(regex)
}
