//! Which cluster of a proxy is which version of which service.
//!
//! Proxies count by cluster, and each mesh names clusters in its own way: `{service}-{version}` by hand,
//! `outbound|{port}|{version}|{host}` in Istio. A name is never taken apart by guessing: the template is filled in for each service and
//! version that is known, and what a proxy reports is looked up. So `pay-api-v2` is version `v2` of `pay-api`, and not version
//! `api-v2` of `pay`, unless both are there; then it is nobody's, and [`Match::Ambiguous`] says so.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use regex::bytes::{Regex, RegexBuilder};
use thiserror::Error;

/// Bytes of a template.
pub const MAX_TEMPLATE_BYTES: usize = 1_024;

/// Bytes that a regular expression may take when compiled.
pub const MAX_REGEX_BYTES: usize = 64 * 1_024;

/// Bytes of a cluster's name that is looked up. Longer ones are nobody's.
pub const MAX_CLUSTER_BYTES: usize = 1_024;

/// Digits of a port.
const MAX_PORT_DIGITS: usize = 5;

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

/// One version of one service, under one of its hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The service's name.
    pub service: String,
    /// The version's name.
    pub version: String,
    /// One of the service's hosts. A service with several is several targets.
    pub host: String,
}

/// What the names of clusters mean.
#[derive(Clone, Debug)]
pub struct Clusters(Names);

#[derive(Clone, Debug)]
enum Names {
    /// By what stands before the port, if the template has one, and by the rest of the name, which stands behind it.
    FilledIn(BTreeMap<Option<String>, BTreeMap<String, Owner>>),
    /// By what the regular expression finds.
    Found(Regex, BTreeMap<Found, Owner>),
}

/// What a regular expression finds in the name of a target's cluster, as far as it has groups for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    service: Option<String>,
    version: String,
    host: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    One(Target),
    /// Two of those that claim it.
    Several(Target, Target),
}

/// Whose a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match<'a> {
    /// It is this one's.
    Target(&'a Target),
    /// It belongs to more than one, of which these are two.
    Ambiguous(&'a Target, &'a Target),
    /// It is nobody's that is known.
    Unknown,
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
            Form::Parts(parts) => {
                let mut by_before = BTreeMap::<_, BTreeMap<_, _>>::new();
                for target in targets {
                    let (before, rest) = fill_in(parts, &target);
                    give(by_before.entry(before).or_default(), rest, target);
                }
                Clusters(Names::FilledIn(by_before))
            }
            Form::Regex(regex) => {
                let mut by_found = BTreeMap::new();
                for target in targets {
                    give(&mut by_found, Found::of(regex, &target), target);
                }
                Clusters(Names::Found(regex.clone(), by_found))
            }
        }
    }
}

/// `{service}-{version}`, like `loan-v2`.
impl Default for Template {
    fn default() -> Self {
        Self(Form::Parts(vec![Part::Service, Part::Text("-".to_owned()), Part::Version]))
    }
}

// === impl Clusters ===

impl Clusters {
    /// Whose a cluster of this name is.
    #[must_use]
    pub fn find(&self, cluster: &str) -> Match<'_> {
        if cluster.len() > MAX_CLUSTER_BYTES {
            return Match::Unknown;
        }
        match &self.0 {
            // With a port next to digits, one name can be read in several ways.
            Names::FilledIn(by_before) => readings(by_before, cluster).fold(Match::Unknown, Match::or),
            Names::Found(regex, by_found) => {
                let owner = Found::read(regex, cluster).and_then(|found| by_found.get(&found));
                owner.into_iter().fold(Match::Unknown, Match::or)
            }
        }
    }

    /// A regular expression that all engines read, of the names of the clusters that are of this version and of no other. None when
    /// there is none, or when it is a regular expression that says what a name means: that cannot be turned round.
    #[must_use]
    pub fn pattern(&self, service: &str, version: &str) -> Option<String> {
        let Names::FilledIn(by_before) = &self.0 else { return None };
        let of = |owner: &Owner| matches!(owner, Owner::One(target) if target.service == service && target.version == version);
        let names = by_before.iter().flat_map(|(before, by_rest)| {
            let theirs = by_rest.iter().filter(|(_, owner)| of(owner));
            theirs.map(|(rest, _)| pattern(before.as_deref(), rest))
        });
        names.reduce(|all, name| format!("{all}|{name}"))
    }
}

// === impl Found ===

impl Found {
    fn of(regex: &Regex, target: &Target) -> Self {
        let has = |group: &str| regex.capture_names().flatten().any(|name| name == group);
        Self {
            service: has("service").then(|| target.service.clone()),
            version: target.version.clone(),
            host: has("host").then(|| target.host.clone()),
        }
    }

    fn read(regex: &Regex, cluster: &str) -> Option<Self> {
        let captures = regex.captures(cluster.as_bytes())?;
        let group = |name: &str| {
            let bytes = captures.name(name)?.as_bytes();
            String::from_utf8(bytes.to_vec()).ok()
        };
        Some(Self { service: group("service"), version: group("version")?, host: group("host") })
    }
}

// === impl Match ===

impl<'a> Match<'a> {
    /// Whose it is when it can be read as the name of these, too.
    fn or(self, owner: &'a Owner) -> Self {
        match (self, owner) {
            (Self::Unknown, Owner::One(target)) => Self::Target(target),
            (Self::Unknown, Owner::Several(a, b)) => Self::Ambiguous(a, b),
            (Self::Target(first), Owner::One(target)) if !first.is_same_version(target) => {
                Self::Ambiguous(first, target)
            }
            (Self::Target(first), Owner::Several(a, b)) => {
                Self::Ambiguous(first, if first.is_same_version(a) { b } else { a })
            }
            (so_far, _) => so_far,
        }
    }
}

// === impl Target ===

impl Target {
    fn is_same_version(&self, other: &Self) -> bool {
        self.service == other.service && self.version == other.version
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

/// What stands before the port, if there is one, and the rest of the name.
fn fill_in(parts: &[Part], target: &Target) -> (Option<String>, String) {
    let (mut text, mut before_port) = (String::new(), None);
    for part in parts {
        match part {
            Part::Text(fixed) => text.push_str(fixed),
            Part::Service => text.push_str(&target.service),
            Part::Version => text.push_str(&target.version),
            Part::Host => text.push_str(&target.host),
            Part::Port => before_port = Some(std::mem::take(&mut text)),
        }
    }
    (before_port, text)
}

/// Gives a name to a target. One that another version has, too, is of both.
fn give<N: Ord>(owners: &mut BTreeMap<N, Owner>, name: N, target: Target) {
    match owners.entry(name) {
        Entry::Vacant(entry) => drop(entry.insert(Owner::One(target))),
        Entry::Occupied(mut entry) => {
            if let Owner::One(first) = entry.get()
                && !first.is_same_version(&target)
            {
                let several = Owner::Several(first.clone(), target);
                entry.insert(several);
            }
        }
    }
}

/// Whose a cluster's name can be: as it is, or with any of its digits as a port. Nothing is copied, for names come from proxies.
fn readings<'a>(
    by_before: &'a BTreeMap<Option<String>, BTreeMap<String, Owner>>,
    cluster: &str,
) -> impl Iterator<Item = &'a Owner> {
    by_before.iter().flat_map(move |(before, by_rest)| {
        let (rest, digits) = match before {
            None => (cluster, 0..=0),
            Some(before) => {
                let rest = cluster.strip_prefix(before.as_str()).unwrap_or_default();
                let digits = rest.bytes().take(MAX_PORT_DIGITS).take_while(u8::is_ascii_digit).count();
                (rest, 1..=digits)
            }
        };
        digits.filter_map(move |digits| by_rest.get(rest.get(digits..)?))
    })
}

/// A regular expression of a name, with any port in it if something stands before one.
fn pattern(before_port: Option<&str>, rest: &str) -> String {
    let rest = regex::escape(rest);
    match before_port {
        None => rest,
        Some(before) => format!("{}[0-9]{{1,{MAX_PORT_DIGITS}}}{rest}", regex::escape(before)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn target(service: &str, version: &str, host: &str) -> Target {
        Target { service: service.into(), version: version.into(), host: host.into() }
    }

    fn clusters(template: &str, targets: &[Target]) -> Clusters {
        Template::parse(template).unwrap().clusters(targets.to_vec())
    }

    #[test]
    fn names_by_hand_and_of_istio_are_looked_up() {
        let known = [target("pay-api", "v2", "pay.bank"), target("pay-api", "v1", "pay.bank")];
        for (template, cluster) in [
            ("{service}-{version}", "pay-api-v2"),
            ("outbound|{port}|{version}|{host}", "outbound|8080|v2|pay.bank"),
            ("{version}.{service}:{port}", "v2.pay-api:80"),
            (r"regex:(?<service>[a-z-]+)-(?<version>v\d+)", "pay-api-v2"),
            (r"regex:outbound\|\d+\|(?<version>[^|]*)\|(?<host>.*)", "outbound|8080|v2|pay.bank"),
            ("regex:(?x) (?<host>[a-z.]+) / (?<version>.+) # by hand", "pay.bank/v2"),
        ] {
            let clusters = clusters(template, &known);
            assert_eq!(clusters.find(cluster), Match::Target(&known[0]), "{template}");
            for other in [format!("{cluster}x"), format!("x{cluster}"), String::new(), "x".repeat(2_000)] {
                assert_eq!(clusters.find(&other), Match::Unknown, "{template}: {other}");
            }
        }
        let istio = clusters("outbound|{port}|{version}|{host}", &known);
        for odd in ["outbound||v2|pay.bank", "outbound|123456|v2|pay.bank", "outbound|80a|v2|pay.bank"] {
            assert_eq!(istio.find(odd), Match::Unknown, "{odd}");
        }
    }

    #[test]
    fn a_name_of_two_is_nobodys() {
        let (a, b) = (target("pay", "api-v2", "pay"), target("pay-api", "v2", "api"));
        let both = clusters("{service}-{version}", &[a.clone(), b.clone()]);
        assert_eq!(both.find("pay-api-v2"), Match::Ambiguous(&a, &b));
        assert_eq!(
            clusters("{service}-{version}", std::slice::from_ref(&a)).find("pay-api-v2"),
            Match::Target(&a)
        );
        let (one, three) = (target("a", "v1", "h"), target("a", "v18", "h"));
        let ported = clusters("{service}{version}{port}", &[one.clone(), three.clone()]);
        assert!(matches!(ported.find("av1808"), Match::Ambiguous(..)));
        assert_eq!(ported.find("av109"), Match::Target(&one));
        let [one, two, other] = [target("1", "1", "a"), target("1", "1", "a1"), target("11", "1", "a")];
        let ported = clusters("{host}{service}{version}{port}", &[one.clone(), two, other.clone()]);
        assert_eq!(ported.find("a1119"), Match::Ambiguous(&one, &other), "and not of one version twice");
        let hosts = [target("a", "v1", "one"), target("a", "v1", "two")];
        assert_eq!(clusters("{service}-{version}", &hosts).find("a-v1"), Match::Target(&hosts[0]));
    }

    #[test]
    fn a_pattern_is_of_the_clusters_of_one_version_alone() {
        let [a, b] = [target("loan", "v1", "loan.a"), target("loan", "v1", "loan.b")];
        let istio =
            clusters("outbound|{port}|{version}|{host}", &[a.clone(), b, target("loan", "v2", "loan.a")]);
        let pattern = istio.pattern("loan", "v1").unwrap();
        assert_eq!(pattern, r"outbound\|[0-9]{1,5}\|v1\|loan\.a|outbound\|[0-9]{1,5}\|v1\|loan\.b");
        assert_eq!(istio.pattern("loan", "v3"), None);
        let both = clusters(
            "{service}-{version}",
            &[target("pay", "api-v2", "pay"), target("pay-api", "v2", "api")],
        );
        assert_eq!(both.pattern("pay-api", "v2"), None, "it is nobody's");
        assert_eq!(clusters("regex:(?<service>.+)-(?<version>v.+)", &[a]).pattern("loan", "v1"), None);
    }

    #[test]
    fn other_texts_are_refused_for_their_reason() {
        for (template, part) in [
            ("", "the version is missing"),
            ("{service}", "the version is missing"),
            ("{version}", "service and host are missing"),
            ("{service}-{version", "a brace has no other one"),
            ("{service}-version}", "a brace has no other one"),
            ("{service}-{{version}}", "a brace has no other one"),
            ("{service}-{version}}", "a brace has no other one"),
            ("{service}-{Version}", "there is no \"Version\""),
            ("{service}-{version}-{version}", "{version} stands there twice"),
            ("regex:(?<service>.*)", "the version is missing"),
            ("regex:(?<version>.*)", "service and host are missing"),
            ("regex:(?<service>.*)-(?<version>.*)(?<zone>.)", "there is no \"zone\""),
            ("regex:(?<service>.*", "unclosed group"),
            ("regex:(?<service>a))|((?<version>b)", "unopened group"),
            ("regex:(?<service>.{5000})-(?<version>.{5000})", "write a simpler one"),
        ] {
            let error = Template::parse(template).unwrap_err().to_string();
            assert!(error.contains(part), "{template}: {error}");
        }
        let long = Template::parse(&"x".repeat(1_025)).unwrap_err();
        assert_eq!(long, TemplateError::TooLong { bytes: 1_025 });
    }

    #[test]
    fn a_long_name_of_digits_is_looked_up_in_no_time() {
        let clusters =
            clusters("{service}{port}{version}", &[target("1", "v1", "h"), target("11", "v1", "h")]);
        let (name, begun) = ("1".repeat(MAX_CLUSTER_BYTES), Instant::now());
        for _ in 0..20_000 {
            assert_eq!(clusters.find(&name), Match::Unknown);
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    /// The versions whose name this can be, by each one's own name.
    fn naive(template: &str, targets: &[Target], cluster: &str) -> BTreeSet<(String, String)> {
        let is_name = |of: &&Target| {
            let name = template
                .replace("{service}", &of.service)
                .replace("{version}", &of.version)
                .replace("{host}", &of.host);
            let Some((before, behind)) = name.split_once("{port}") else { return name == cluster };
            let port = cluster.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
            port.is_some_and(|port| {
                (1..=MAX_PORT_DIGITS).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
            })
        };
        targets.iter().filter(is_name).map(|of| (of.service.clone(), of.version.clone())).collect()
    }

    proptest! {
        /// What is filled in is found again, or belongs to two.
        #[test]
        fn each_target_is_found_by_its_name(
            names in prop::collection::btree_set(("[ab1-]{1,4}", "[ab1-]{1,3}", "[ab.]{1,3}"), 1..12),
            template in prop::sample::select(vec![
                "{service}-{version}", "{service}{version}", "{version}|{host}|{service}", "o|{port}|{version}|{host}-{service}",
                "{service}{port}{version}",
            ]),
            port in 1_u16..,
        ) {
            let targets: Vec<_> = names.iter().map(|(service, version, host)| target(service, version, host)).collect();
            let clusters = clusters(template, &targets);
            let name = |of: &Target| template
                .replace("{service}", &of.service).replace("{version}", &of.version)
                .replace("{host}", &of.host).replace("{port}", &port.to_string());
            for of in &targets {
                match clusters.find(&name(of)) {
                    Match::Target(found) => prop_assert!(found.is_same_version(of), "{found:?} {of:?}"),
                    Match::Ambiguous(a, b) => prop_assert!(!a.is_same_version(b)),
                    Match::Unknown => prop_assert!(false, "{of:?} is lost"),
                }
            }
        }

        #[test]
        fn a_name_is_of_all_whose_it_can_be(
            names in prop::collection::btree_set(("[ab1]{1,3}", "[ab1]{1,2}", "[a1.]{1,2}"), 1..12),
            template in prop::sample::select(vec![
                "{service}{version}", "{version}|{service}", "{port}{service}{version}", "{service}{port}{version}", "{host}{service}{version}{port}",
            ]),
            names_of_clusters in prop::collection::vec("[ab1.|]{1,8}", 8),
            ports in prop::collection::vec("[01]{0,6}", 4),
        ) {
            let targets: Vec<_> = names.iter().map(|(service, version, host)| target(service, version, host)).collect();
            let clusters = clusters(template, &targets);
            let filled = targets.iter().zip(ports.iter().cycle()).map(|(of, port)| template
                .replace("{service}", &of.service).replace("{version}", &of.version)
                .replace("{host}", &of.host).replace("{port}", port));
            for name in names_of_clusters.into_iter().chain(filled) {
                let can_be = naive(template, &targets, &name);
                let is_one = |of: &Target| can_be.contains(&(of.service.clone(), of.version.clone()));
                match clusters.find(&name) {
                    Match::Unknown => prop_assert!(can_be.is_empty(), "{} is of {:?}", name, can_be),
                    Match::Target(of) => prop_assert!(is_one(of) && can_be.len() == 1, "{} is of {:?}", name, can_be),
                    Match::Ambiguous(a, b) => prop_assert!(is_one(a) && is_one(b) && !a.is_same_version(b)),
                }
            }
        }

        /// What the pattern of a version matches as a whole is found to be of that version, or of two of which one is a slip of ports.
        #[test]
        fn a_pattern_matches_what_is_found(
            names in prop::collection::btree_set(("[ab1.]{1,3}", "[ab.]{1,2}", "[ab.|]{1,3}"), 1..8),
            template in prop::sample::select(vec!["{service}-{version}", "o|{port}|{version}|{host}", "{version}{service}"]),
            cluster in "[ab1.|-]{1,8}",
        ) {
            let targets: Vec<_> = names.iter().map(|(service, version, host)| target(service, version, host)).collect();
            let clusters = clusters(template, &targets);
            for of in &targets {
                let Some(pattern) = clusters.pattern(&of.service, &of.version) else { continue };
                let matches = |name: &str| Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(name.as_bytes());
                let filled = template
                    .replace("{service}", &of.service).replace("{version}", &of.version)
                    .replace("{host}", &of.host).replace("{port}", "80");
                for name in [&filled, &cluster] {
                    let is_found = matches!(clusters.find(name), Match::Target(found) if found.is_same_version(of));
                    prop_assert_eq!(matches(name), is_found, "{} {}", name, pattern);
                }
            }
        }

        #[test]
        fn any_text_is_taken_or_refused(text in ".{0,40}", cluster in ".{0,40}") {
            for text in [text.clone(), format!("regex:(?<service>a)(?<version>b){text}")] {
                if let Ok(template) = Template::parse(&text) {
                    let _ = template.clusters([target("a", "b", "c")]).find(&cluster);
                }
            }
        }
    }
}
