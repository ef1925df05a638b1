//! The daemon's configuration file.

mod prometheus;
mod proxies;
mod webhooks;
mod xds;

pub use proxies::{LaggardPolicy, Laggards, ProxySettings};
pub use webhooks::WebhookSettings;
pub use xds::XdsSettings;

use crate::caller::{Caller, SecretHash, Tokens};
use crate::health::PrometheusSettings;
use graylane_health::template::{Template, TemplateError};
use graylane_plan::{PrometheusSource, Tenant};
use graylane_rules::{Dimension, is_header_name, is_name, limits::MAX_DIMENSIONS};
use graylane_xds::{Grants, SpiffePattern};
use prometheus::FilePrometheus;
use proxies::FileProxies;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use webhooks::FileWebhook;
use xds::FileXds;

/// What a configuration file says. With no file, every tenant that a plan names exists, with the default dimensions.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The tenants by name. With none, every tenant that a plan names exists.
    tenants: BTreeMap<String, Tenant>,
    /// The callers by their tokens. With none, everybody is the operator.
    tokens: Arc<Tokens>,
    proxies: ProxySettings,
    xds: XdsSettings,
    /// Who may be served the rules of each tenant.
    identities: BTreeMap<String, Vec<SpiffePattern>>,
    /// How the clusters of tenants are named, where they are not named as usual.
    clusters: BTreeMap<String, Template>,
    webhooks: Vec<WebhookSettings>,
    /// Where figures come from besides the proxies.
    prometheus: Option<Arc<PrometheusSettings>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    prometheus: Option<FilePrometheus>,
    #[serde(default)]
    proxies: FileProxies,
    #[serde(default)]
    tenants: BTreeMap<String, FileTenant>,
    #[serde(default)]
    tokens: Vec<FileToken>,
    #[serde(default)]
    webhooks: Vec<FileWebhook>,
    #[serde(default)]
    xds: FileXds,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileToken {
    name: String,
    #[serde(default)]
    roles: BTreeSet<String>,
    sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileTenant {
    #[serde(default)]
    dimensions: Vec<FileDimension>,
    output_header: Option<String>,
    #[serde(default)]
    identities: Vec<String>,
    clusters: Option<String>,
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
    #[error("{field}: {value:?} {limit}")]
    Invalid {
        /// The field's path.
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
        // Without the lines around the error: there may be a secret that should not be there.
        let parse = |error: serde_saphyr::Error| ConfigError::Parse {
            path: path.into(),
            message: error.without_snippet().to_string(),
        };
        let file: File = serde_saphyr::from_str(&text).map_err(parse)?;
        let named = file.tenants.iter().filter(|(_, tenant)| !tenant.identities.is_empty());
        let named =
            named.map(|(name, tenant)| Ok((name.clone(), xds::identities(name, &tenant.identities)?)));
        let identities = named.collect::<Result<BTreeMap<_, _>, _>>()?;
        let templates =
            file.tenants.iter().filter_map(|(name, tenant)| Some((name, tenant.clusters.as_ref()?)));
        let clusters = templates.map(|(name, text)| template(name, text));
        let clusters = clusters.collect::<Result<BTreeMap<String, Template>, _>>()?;
        let unnamed =
            clusters.iter().find(|(_, template)| template.is_regex()).map(|(tenant, _)| tenant.as_str());
        let prometheus =
            file.prometheus.map(|prometheus| prometheus.check(unnamed)).transpose()?.map(Arc::new);
        let tenants = file.tenants.into_iter().map(|(name, tenant)| tenant.check(name));
        let tenants = tenants.collect::<Result<BTreeMap<_, _>, _>>()?;
        let is_tenant = |name: &str| tenants.contains_key(name) || tenants.is_empty() && is_name(name);
        let webhooks = webhooks::check(file.webhooks, is_tenant)?;
        let mut tokens = Tokens::default();
        for (number, token) in file.tokens.into_iter().enumerate() {
            token.add_to(&mut tokens, &format!("tokens[{number}]"))?;
        }
        let xds = file.xds.check(!identities.is_empty())?;
        Ok(Self {
            tenants,
            tokens: Arc::new(tokens),
            proxies: file.proxies.check()?,
            xds,
            identities,
            clusters,
            webhooks,
            prometheus,
        })
    }

    /// The tenant of this name, when it may exist.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Option<Tenant> {
        match self.tenants.is_empty() {
            true => is_name(name).then(|| Tenant::with_defaults(name)),
            false => self.tenants.get(name).cloned(),
        }
    }

    /// The callers that it lists.
    #[must_use]
    pub fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.tokens)
    }

    /// How to deal with proxies.
    #[must_use]
    pub fn proxies(&self) -> ProxySettings {
        self.proxies
    }

    /// How to serve proxies.
    #[must_use]
    pub fn xds(&self) -> XdsSettings {
        self.xds.clone()
    }

    /// Who may be served the rules of each tenant, when clients show certificates.
    #[must_use]
    pub fn grants(&self) -> Grants {
        Grants::new(self.identities.clone())
    }

    /// How the clusters of a tenant's services are named in its proxies; like `loan-v2` when nothing is said.
    #[must_use]
    pub fn clusters(&self, tenant: &str) -> Template {
        self.clusters.get(tenant).cloned().unwrap_or_default()
    }

    /// Who is told what happens to orders.
    #[must_use]
    pub fn webhooks(&self) -> Vec<WebhookSettings> {
        self.webhooks.clone()
    }

    /// Which Prometheus is asked for figures, and how, if one is.
    #[must_use]
    pub fn prometheus(&self) -> Option<&Arc<PrometheusSettings>> {
        self.prometheus.as_ref()
    }

    /// What plans may know of it.
    #[must_use]
    pub(crate) fn prometheus_source(&self) -> PrometheusSource {
        self.prometheus()
            .map_or(PrometheusSource::Missing, |settings| PrometheusSource::Stale(settings.stale))
    }

    /// The names of the tenants that it lists, separated by commas.
    #[must_use]
    pub fn names(&self) -> String {
        self.tenants.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}

fn template(tenant: &str, text: &str) -> Result<(String, Template), ConfigError> {
    let invalid = |error: TemplateError| ConfigError::Invalid {
        field: format!("tenants.{tenant}.clusters"),
        value: text.to_owned(),
        limit: error.to_string(),
    };
    Ok((tenant.to_owned(), Template::parse(text).map_err(invalid)?))
}

// === impl FileToken ===

impl FileToken {
    fn add_to(self, tokens: &mut Tokens, path: &str) -> Result<(), ConfigError> {
        let Self { name, roles, sha256 } = self;
        let invalid = |[field, value, limit]: [String; 3]| ConfigError::Invalid {
            field: format!("{path}{field}"),
            value,
            limit,
        };
        // What stands in its place may be the secret itself, so it is not shown.
        let no_hash = || {
            let limit = "has no SHA-256 of a secret, which is 64 hexadecimal digits; see `graylane token`";
            invalid([".sha256", &name, limit].map(ToOwned::to_owned))
        };
        let hash = SecretHash::parse(&sha256).ok_or_else(no_hash)?;
        tokens.add(Caller { name, roles }, hash).map_err(invalid)
    }
}

// === impl FileTenant ===

impl FileTenant {
    fn check(self, name: String) -> Result<(String, Tenant), ConfigError> {
        let invalid = |field: String, value: &str, limit: &str| {
            Err(ConfigError::Invalid {
                field: format!("tenants.{name}{field}"),
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
    use crate::webhooks::Format;
    use graylane_health::template::{Match, Target};
    use graylane_xds::CanaryShare;
    use graylane_xds::limits::Limits;

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
    fn tokens_name_their_callers_and_need_no_tenants() {
        let hash = SecretHash::of(b"s3").hex();
        let config = read(&format!("tokens: [{{ name: ann, roles: [risk, dev], sha256: {hash} }}]")).unwrap();
        let ann = config.tokens().caller(b"s3").unwrap();
        assert_eq!((ann.name.as_str(), ann.roles.len()), ("ann", 2));
        assert!(config.tokens().caller(hash.as_bytes()).is_none(), "the hash is no secret");
        assert!(config.tenant("retail").is_some() && Config::default().tokens().is_empty());
    }

    #[test]
    fn the_canary_group_is_a_percentage_of_the_proxies() {
        let canary = |percent: &str| {
            read(&format!("proxies: {{ canary: {{ percent: {percent} }} }}"))
                .map(|config| config.proxies().canary)
        };
        assert_eq!(Config::default().proxies().canary, CanaryShare::new(100).unwrap());
        assert_eq!(canary("2.5"), Ok(CanaryShare::new(250).unwrap()));
        assert_eq!(canary("100"), Ok(CanaryShare::ALL));
        let refused = canary("101").unwrap_err();
        assert!(refused.starts_with("proxies.canary.percent: ") && refused.contains("101"), "{refused}");
    }

    #[test]
    fn laggards_are_waited_for_unless_the_file_says_for_how_long() {
        let laggards = |text: &str| {
            read(&format!("proxies: {{ laggards: {{ {text} }} }}")).map(|config| config.proxies().laggards)
        };
        let default = Config::default().proxies().laggards;
        assert_eq!((default.gone.as_secs(), default.policy), (60, LaggardPolicy::Wait));
        let ten = std::time::Duration::from_secs(600);
        assert_eq!(laggards("policy: pause, after: 10m").unwrap().policy, LaggardPolicy::Pause(ten));
        let ignoring = laggards("policy: ignore, after: 10m, gone: 0s").unwrap();
        assert_eq!((ignoring.gone.as_secs(), ignoring.policy), (0, LaggardPolicy::Ignore(ten)));
        for (text, expected) in [
            ("policy: pause", r#"proxies.laggards.policy: "pause" needs an `after`, like 10m"#),
            ("after: 10m", "proxies.laggards.policy: \"wait\" has no `after`"),
            ("policy: pause, after: 0s", r#"proxies.laggards.after: "0s" has to be from 1s to 24h"#),
            ("gone: 11m", r#"proxies.laggards.gone: "11m" has to be from 0s to 10m"#),
            ("gone: soon", "proxies.laggards.gone: \"soon\" is no time"),
        ] {
            let refused = laggards(text).unwrap_err();
            assert!(refused.starts_with(expected), "{refused}");
        }
    }

    #[test]
    fn tls_needs_identities_and_identities_need_tls() {
        let tls = "xds: { tls: { certificate: a, key: b, clientCa: c } }";
        let retail = |identities: &str| format!("tenants: {{ retail: {{ identities: [{identities}] }} }}");
        let loan = retail("'spiffe://bank.example/ns/retail/sa/*'");
        let config = read(&format!("{tls}\n{loan}")).unwrap();
        assert!(config.xds().tls.is_some() && !config.grants().is_empty());
        assert!(Config::default().xds().tls.is_none() && Config::default().grants().is_empty());
        for (text, expected) in [
            (tls.to_owned(), "xds.tls.clientCa: \"c\" lets in nobody"),
            (loan, "tenants: \"identities\" are never asked for without `xds.tls`"),
            (
                format!("{tls}\n{}", retail("'spiffe://bank.example/ns/re*'")),
                "tenants.retail.identities[0]: \"spiffe://bank.example/ns/re*\" has a '*' that is not the whole",
            ),
        ] {
            let refused = read(&text).unwrap_err();
            assert!(refused.starts_with(expected), "{refused}");
        }
        assert!(read("xds: { tls: { certificate: a, key: b } }").unwrap_err().contains("clientCa"));
    }

    #[test]
    fn a_webhook_is_refused_with_its_place_and_without_its_url() {
        let secret = tempfile::NamedTempFile::new().unwrap();
        let secret = format!("secretFile: '{}'", secret.path().display());
        let webhook = |text: &str| read(&format!("webhooks: [{{ name: ops, {text} }}]"));
        let ops = webhook(&format!("url: 'https://bank.example/s3cret', {secret}, events: [order.faulty]"));
        let ops = ops.unwrap().webhooks().pop().unwrap();
        assert_eq!((ops.name.as_str(), ops.format, ops.events.len()), ("ops", Format::Json, 1));
        let robot = "format: slack, url: 'https://chat.example/s3cret'";
        assert!(webhook(robot).is_ok() && webhook(&robot.replace("slack", "dingtalk")).is_ok());
        let many = vec![format!("{{ name: ops, {robot} }}"); 17].join(", ");
        for (refused, expected) in [
            (webhook("url: 'https://bank.example/s3cret'"), "webhooks[0].secretFile: \"ops\" has none"),
            (
                webhook(&format!("url: 'ftp://bank.example/s3cret', {secret}")),
                "webhooks[0].url: \"ops\" has a scheme",
            ),
            (webhook(&secret), "webhooks[0].url: \"ops\" needs either"),
            (webhook(&format!("{robot}, urlFile: /x")), "webhooks[0].url: \"ops\" needs either"),
            (webhook(&format!("urlFile: /s3cret/no, {secret}")), "webhooks[0].urlFile: \"ops\" cannot read"),
            (webhook(&format!("{robot}, {secret}")), "webhooks[0].secretFile: \"slack\" knows no signatures"),
            (webhook(&format!("{robot}, tokenFile: /x")), "webhooks[0].tokenFile: \"slack\" takes no token"),
            (
                webhook(&format!("{robot}, events: [order.gone]")),
                "\"order.gone\" is no event; take some of order.faulty",
            ),
            (webhook(&format!("{robot}, tenants: ['a b']")), "webhooks[0].tenants: \"a b\" is no tenant"),
            (
                read(&format!(
                    "tenants: {{ cards: {{}} }}\nwebhooks: [{{ name: ops, {robot}, tenants: [retail] }}]"
                )),
                "webhooks[0].tenants: \"retail\"",
            ),
            (read(&format!("webhooks: [{{ name: a/b, {robot} }}]")), "webhooks[0].name: \"a/b\" has to be"),
            (
                read(&format!("webhooks: [{{ name: ops, {robot} }}, {{ name: ops, {robot} }}]")),
                "webhooks[1].name: \"ops\" is the name",
            ),
            (read(&format!("webhooks: [{many}]")), "webhooks: \"17\" webhooks are over the limit of 16"),
        ] {
            let refused = refused.unwrap_err();
            assert!(refused.contains(expected) && !refused.contains("s3cret'"), "{expected}: {refused}");
            assert!(!refused.contains("example/s3cret"), "{refused}");
        }
    }

    #[test]
    fn prometheus_is_asked_when_the_file_says_where() {
        assert!(Config::default().prometheus().is_none());
        let prometheus =
            |text: &str| read(&format!("prometheus: {{ url: 'http://prometheus:9090', {text} }}"));
        let settings = |text: &str| prometheus(text).map(|config| Arc::clone(config.prometheus().unwrap()));
        let default = settings("").unwrap();
        let times = [default.interval, default.timeout, default.stale].map(|time| time.as_secs());
        assert_eq!((times, default.endpoint.ca.is_none()), ([5, 3, 45], true));
        let chosen = settings("ca: /ca.crt, token: /token, interval: 15s, timeout: 10s, stale: 5m").unwrap();
        let times = [chosen.interval, chosen.timeout, chosen.stale].map(|time| time.as_secs());
        assert_eq!((times, chosen.endpoint.ca.as_deref()), ([15, 10, 300], Some(Path::new("/ca.crt"))));
        let queries = |more: &str| {
            let query = r#"'m{s=~"$service", v=~"$version"}'"#;
            prometheus(&format!(
                "queries: {{ completed: {query}, errors: {query}, sampled: {query}, {more} }}"
            ))
        };
        assert!(queries("").unwrap().prometheus().unwrap().queries.latency.is_none());
        for (refused, expected) in [
            (read("prometheus: { url: 'ftp://s3cret' }"), "prometheus.url: \"the URL\" has a scheme"),
            (prometheus("interval: 0s"), "prometheus.interval: \"0s\" has to be from 1s to 1m"),
            (prometheus("timeout: 1m"), "prometheus.timeout: \"1m\" has to be from 1s to 30s"),
            (prometheus("stale: 6m"), "prometheus.stale: \"6m\" has to be from 2s to 5m"),
            (prometheus("stale: soon"), "prometheus.stale: \"soon\" is no time"),
            (prometheus("stale: 9s"), "prometheus.stale: \"9s\" is less than 10s, twice the interval"),
            (queries("latency: up"), "prometheus.queries.latency: \"up\" does not tell versions"),
        ] {
            let refused = refused.unwrap_err();
            assert!(refused.starts_with(expected), "{refused}");
            assert!(!refused.contains("s3cret"), "{refused}");
        }
        for (text, part) in [
            ("prometheus: {}", "url"),
            ("prometheus: { url: 'http://p', user: me }", "user"),
            ("prometheus: { url: 'http://p', queries: { completed: up, errors: up } }", "sampled"),
        ] {
            assert!(read(text).unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn a_template_of_clusters_that_does_not_tell_versions_is_refused_with_its_place() {
        let retail = |template: &str| read(&format!("tenants: {{ retail: {{ clusters: '{template}' }} }}"));
        assert!(retail("{service}.{version}").is_ok());
        for (template, what) in [
            ("{service}", "the version is missing; write {version}"),
            ("{version}", "service and host are missing; write {service} or {host}"),
            (
                "{service}-{versoin}",
                "there is no \"versoin\"; there are {service}, {version}, {host} and {port}",
            ),
            ("regex:(?<service>.+", "unclosed group"),
        ] {
            let refused = retail(template).unwrap_err();
            let place = format!("tenants.retail.clusters: {template:?} ");
            assert!(refused.starts_with(&place) && refused.contains(what), "{refused}");
        }
    }

    #[test]
    fn clusters_that_a_regular_expression_finds_cannot_be_asked_for_by_name() {
        let tenant = "tenants: { retail: { clusters: 'regex:(?<service>.+)-(?<version>v.+)' } }";
        let prometheus = "prometheus: { url: 'http://prometheus:9090' }";
        let refused = read(&format!("{tenant}\n{prometheus}")).unwrap_err();
        assert!(refused.starts_with("prometheus.queries: \"$cluster\" cannot be filled in"), "{refused}");
        assert!(refused.contains("retail"), "{refused}");
    }

    #[test]
    fn the_example_of_prometheus_has_the_defaults() {
        let settings = |config: &Config| {
            let PrometheusSettings { interval, timeout, stale, queries, .. } =
                &**config.prometheus().unwrap();
            (*interval, *timeout, *stale, format!("{queries:?}"))
        };
        let example = Config::read(Path::new("examples/prometheus.yaml")).unwrap();
        let default = read("prometheus: { url: 'http://prometheus:9090' }").unwrap();
        assert_eq!(settings(&example), settings(&default));
    }

    #[test]
    fn the_limits_of_what_proxies_may_ask_for_are_chosen_one_by_one() {
        let limits =
            |text: &str| read(&format!("xds: {{ limits: {{ {text} }} }}")).map(|config| config.xds().limits);
        assert_eq!(limits(""), Ok(Limits::DEFAULT));
        let chosen = Limits { names: 200, request_bytes: 1 << 20, ..Limits::DEFAULT };
        assert_eq!(limits("names: 200, requestBytes: 1048576"), Ok(chosen));
        for (text, expected) in [
            ("streams: 0", "xds.limits.streams: \"0\" has to be from 1 to 1000000"),
            ("requestBytes: 1", "xds.limits.requestBytes: \"1\" has to be from 65536 to 268435456"),
            ("names: 4097", "xds.limits.names: \"4097\" has to be from 1 to 4096"),
        ] {
            assert_eq!(limits(text), Err(expected.to_owned()));
        }
        assert!(limits("threads: 3").unwrap_err().contains("threads"));
        let example = Config::read(Path::new("examples/limits.yaml")).unwrap();
        assert_eq!(example.xds().limits, Limits::DEFAULT, "the example says what is so without it");
    }

    #[test]
    fn the_example_of_clusters_names_those_of_istio_and_those_that_a_regular_expression_finds() {
        let example = Config::read(Path::new("examples/clusters.yaml")).unwrap();
        let target = |service: &str, host: &str| Target {
            service: service.to_owned(),
            version: "v2".to_owned(),
            host: host.to_owned(),
        };
        let host = "loan.retail.svc.cluster.local";
        let (loan, limits) = (target("loan", host), target("cards-limits", "limits.cards"));
        let istio = example.clusters("retail").clusters([loan.clone()]);
        assert_eq!(istio.find(&format!("outbound|8080|v2|{host}")), Match::Target(&loan));
        assert_eq!(istio.find(&format!("outbound|8080||{host}")), Match::Unknown, "all versions at once");
        let own = example.clusters("cards").clusters([limits.clone()]);
        assert_eq!(own.find("prod_cards-limits_v2_eu1"), Match::Target(&limits));
        assert_eq!(own.find("test_cards-limits_v2_eu1"), Match::Unknown);
    }

    #[test]
    fn a_secret_in_the_place_of_its_hash_is_refused_and_not_shown() {
        let refused = read("tokens: [{ name: ann, sha256: glt_0123456789 }]").unwrap_err();
        assert!(refused.starts_with("tokens[0].sha256: \"ann\" has no SHA-256"), "{refused}");
        assert!(!refused.contains("glt_"), "{refused}");
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
