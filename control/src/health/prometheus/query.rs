//! What Prometheus is asked: queries of the configuration, with placeholders for the version that is meant.
//!
//! A placeholder is `$service`, as in Grafana's variables: PromQL has braces of its own, and no dollar outside of quotes. It is filled in
//! as a regular expression, because one version may have several clusters, so it stands in quotes behind `=~`.

use graylane_health::template::{Clusters, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Bytes of a query, as it is written.
pub const MAX_QUERY_BYTES: usize = 4_096;

/// The label by which a question finds again what a series is: version and figure.
pub(super) const LABEL: &str = "graylane";

/// What puts series together.
const OR: &str = "\nor\n";

/// The queries for one version.
#[derive(Clone, Debug)]
pub struct Queries {
    /// Requests that came to an end since an instance started, for each instance a counter.
    pub completed: Query,
    /// Those of them that failed.
    pub errors: Query,
    /// How long they took: counters by `le`, in milliseconds.
    pub latency: Option<Query>,
    /// Endpoints that may be sent requests, as an instance sees them.
    pub endpoints: Option<Query>,
    /// When an instance was sampled, in seconds since 1970.
    pub sampled: Query,
}

/// A query with placeholders.
#[derive(Clone, Debug)]
pub struct Query(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(Placeholder),
}

/// What a query leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placeholder {
    /// The names of the version's clusters, as the tenant's `clusters` makes them.
    Cluster,
    /// The service's name.
    Service,
    /// The version's name.
    Version,
    /// The service's hosts.
    Host,
    /// The tenant's name.
    Tenant,
}

/// What a series is of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    Completed,
    Errors,
    Latency,
    Endpoints,
    Sampled,
}

/// What is asked of one service: all figures of both versions in one query, so that they are of the same moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) tenant: String,
    pub(crate) service: String,
    pub(crate) query: String,
}

/// Why a text is no query. Each says what to write.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueryError {
    /// It is too long.
    #[error(
        "has {bytes} bytes, over the limit of {MAX_QUERY_BYTES}; record a rule in Prometheus, and ask for that"
    )]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A bracket or a quote has no other one.
    #[error("has a {0} without its other one")]
    Unbalanced(char),
    /// There is no such placeholder.
    #[error("has {0}, and there are $cluster, $service, $version, $host and $tenant")]
    Unknown(String),
    /// A placeholder stands where no regular expression does.
    #[error(
        "has {0} in a place where no regular expression is read; write it in quotes behind =~, like cluster=~\"{0}\""
    )]
    Misplaced(Placeholder),
    /// It does not tell versions from each other.
    #[error("does not tell versions from each other; write $cluster, or $version")]
    NoVersion,
    /// It does not tell services from each other.
    #[error("does not tell services from each other; write $cluster, $service or $host")]
    NoService,
}

// === impl Queries ===

impl Queries {
    /// Whether they need the names of clusters.
    pub(crate) fn have_clusters(&self) -> bool {
        self.by_figure().any(|(_, query)| query.has(Placeholder::Cluster))
    }

    /// What to ask of the services of these targets; their times of those alone that are in `timed`, because they are many series. A
    /// service is left out when it has no clusters of its own, and the queries go by them.
    pub(in crate::health) fn questions(
        &self,
        tenant: &str,
        targets: &BTreeSet<Target>,
        timed: &BTreeSet<String>,
        clusters: &Clusters,
    ) -> Vec<Arc<Question>> {
        let mut by_service = BTreeMap::<&str, BTreeMap<&str, Vec<&str>>>::new();
        for Target { service, version, host } in targets {
            by_service.entry(service).or_default().entry(version).or_default().push(host);
        }
        let question = |(service, by_version): (&str, BTreeMap<&str, Vec<&str>>)| {
            let versions = by_version.into_iter().map(|(version, hosts)| {
                let filling = filling([tenant, service, version], &hosts, clusters);
                self.of_version(version, timed.contains(service), &filling)
            });
            let Some(queries) = versions.collect::<Option<Vec<_>>>() else {
                tracing::warn!(%tenant, %service, "Prometheus is not asked: a version has no cluster that is of no other");
                return None;
            };
            let (tenant, service) = (tenant.to_owned(), service.to_owned());
            Some(Arc::new(Question { tenant, service, query: queries.join(OR) }))
        };
        by_service.into_iter().filter_map(question).collect()
    }

    /// The queries for a version, if all their placeholders are given. Each series is labelled with what it is.
    fn of_version(
        &self,
        version: &str,
        is_timed: bool,
        filling: &BTreeMap<Placeholder, String>,
    ) -> Option<String> {
        let wanted = self.by_figure().filter(|(figure, _)| *figure != Figure::Latency || is_timed);
        let queries = wanted.map(|(figure, query)| {
            let query = query.fill_in(filling)?;
            Some(format!("label_replace((\n{query}\n), \"{LABEL}\", \"{version} {figure}\", \"\", \"\")"))
        });
        Some(queries.collect::<Option<Vec<_>>>()?.join(OR))
    }

    fn by_figure(&self) -> impl Iterator<Item = (Figure, &Query)> {
        let Self { completed, errors, latency, endpoints, sampled } = self;
        let all = [
            (Figure::Completed, Some(completed)),
            (Figure::Errors, Some(errors)),
            (Figure::Latency, latency.as_ref()),
            (Figure::Endpoints, endpoints.as_ref()),
            (Figure::Sampled, Some(sampled)),
        ];
        all.into_iter().filter_map(|(figure, query)| Some((figure, query?)))
    }
}

// === impl Query ===

impl Query {
    /// Reads a query with placeholders. What else is in it is Prometheus's to understand.
    ///
    /// # Errors
    /// When it is too long, when brackets or quotes do not fit, or when placeholders are unknown, in a wrong place, or too few.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(QueryError::TooLong { bytes: text.len() });
        }
        let query = Self(read(text)?);
        let has_cluster = query.has(Placeholder::Cluster);
        match query {
            _ if !has_cluster && !query.has(Placeholder::Version) => Err(QueryError::NoVersion),
            _ if !has_cluster && !query.has(Placeholder::Service) && !query.has(Placeholder::Host) => {
                Err(QueryError::NoService)
            }
            query => Ok(query),
        }
    }

    fn has(&self, placeholder: Placeholder) -> bool {
        self.0.contains(&Part::Placeholder(placeholder))
    }

    /// The query with regular expressions in its places, if all are given.
    fn fill_in(&self, filling: &BTreeMap<Placeholder, String>) -> Option<String> {
        let filled = self.0.iter().map(|part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Placeholder(placeholder) => filling.get(placeholder).map(|regex| quoted(regex)),
        });
        filled.collect()
    }
}

// === impl Placeholder ===

impl Placeholder {
    const ALL: [Self; 5] = [Self::Cluster, Self::Service, Self::Version, Self::Host, Self::Tenant];
}

impl fmt::Display for Placeholder {
    /// As it is written: `$cluster`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "$cluster",
            Self::Service => "$service",
            Self::Version => "$version",
            Self::Host => "$host",
            Self::Tenant => "$tenant",
        })
    }
}

// === impl Figure ===

impl Figure {
    const ALL: [Self; 5] = [Self::Completed, Self::Errors, Self::Latency, Self::Endpoints, Self::Sampled];

    /// The version and the figure that a series is labelled with.
    pub(super) fn find(label: &str) -> Option<(&str, Self)> {
        let (version, word) = label.rsplit_once(' ')?;
        let figure = Self::ALL.into_iter().find(|figure| figure.to_string() == word)?;
        Some((version, figure))
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Endpoints => "endpoints",
            Self::Sampled => "sampled",
        })
    }
}

/// Takes a query apart: what is in quotes, where alone placeholders stand, and what is not. Comments are left out.
fn read(text: &str) -> Result<Vec<Part>, QueryError> {
    let (mut parts, mut open, mut rest) = (Vec::new(), Vec::new(), text);
    while let Some(at) = rest.find(['"', '\'', '`', '#']) {
        let (outside, quoted) = rest.split_at(at);
        read_brackets(outside, &mut open)?;
        read_placeholders(outside, false, &mut parts)?;
        let (quoted, behind) = quoted.split_at(quoted_bytes(quoted)?);
        // In backquotes a backslash is one.
        let is_regex = outside.trim_end().ends_with('~') && !quoted.starts_with('`');
        if !quoted.starts_with('#') {
            read_placeholders(quoted, is_regex, &mut parts)?;
        }
        rest = behind;
    }
    read_brackets(rest, &mut open)?;
    read_placeholders(rest, false, &mut parts)?;
    open.pop().map_or(Ok(parts), |bracket| Err(QueryError::Unbalanced(bracket)))
}

/// How long a text in quotes is, with them, or a comment.
fn quoted_bytes(text: &str) -> Result<usize, QueryError> {
    let mut chars = text.char_indices();
    let Some((_, quote)) = chars.next() else { return Ok(0) };
    if quote == '#' {
        return Ok(text.find('\n').unwrap_or(text.len()));
    }
    while let Some((at, next)) = chars.next() {
        match next {
            '\\' if quote != '`' => drop(chars.next()),
            next if next == quote => return Ok(at + 1),
            _ => {}
        }
    }
    Err(QueryError::Unbalanced(quote))
}

/// Follows brackets outside of quotes; `open` has those that are open.
fn read_brackets(outside: &str, open: &mut Vec<char>) -> Result<(), QueryError> {
    for next in outside.chars() {
        let other = match next {
            '(' | '[' | '{' => {
                open.push(next);
                continue;
            }
            ')' => '(',
            ']' => '[',
            '}' => '{',
            _ => continue,
        };
        open.pop_if(|last| *last == other).ok_or(QueryError::Unbalanced(next))?;
    }
    Ok(())
}

/// Finds placeholders, which may be there if it `is_regex`. A dollar that begins no name is left as it is: it ends a regular
/// expression, or names a group.
fn read_placeholders(text: &str, is_regex: bool, parts: &mut Vec<Part>) -> Result<(), QueryError> {
    let is_of_name = |next: char| next.is_ascii_alphanumeric() || next == '_';
    let begins_name = |text: &str| text.starts_with(|next: char| next.is_ascii_alphabetic() || next == '_');
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        let (name, behind) = behind.split_at(behind.find(|next| !is_of_name(next)).unwrap_or(behind.len()));
        if behind.strip_prefix('{').is_some_and(begins_name) && name.is_empty() {
            let braces = behind.split_inclusive('}').next().unwrap_or(behind);
            return Err(QueryError::Unknown(format!("${braces}")));
        }
        if begins_name(name) {
            let written = format!("${name}");
            let known = Placeholder::ALL.into_iter().find(|known| known.to_string() == written);
            let placeholder = known.ok_or(QueryError::Unknown(written))?;
            if !is_regex {
                return Err(QueryError::Misplaced(placeholder));
            }
            parts.extend([Part::Text(before.to_owned()), Part::Placeholder(placeholder)]);
        } else {
            parts.push(Part::Text(format!("{before}${name}")));
        }
        rest = behind;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(())
}

/// What placeholders stand for: regular expressions.
fn filling(
    [tenant, service, version]: [&str; 3],
    hosts: &[&str],
    clusters: &Clusters,
) -> BTreeMap<Placeholder, String> {
    let hosts: Vec<String> = hosts.iter().map(|host| regex::escape(host)).collect();
    let mut filling = BTreeMap::from([
        (Placeholder::Tenant, regex::escape(tenant)),
        (Placeholder::Service, regex::escape(service)),
        (Placeholder::Version, regex::escape(version)),
        (Placeholder::Host, hosts.join("|")),
    ]);
    filling.extend(clusters.pattern(service, version).map(|pattern| (Placeholder::Cluster, pattern)));
    filling
}

/// A regular expression as it is written between quotes, of either kind.
fn quoted(regex: &str) -> String {
    let quoteless = regex.replace('"', r"\x22").replace('\'', r"\x27").replace('\n', r"\x0a");
    quoteless.replace('\\', r"\\")
}

#[cfg(test)]
mod tests {
    use super::*;
    use graylane_health::template::Template;
    use proptest::prelude::*;

    fn filled(query: &str, filling: &[(Placeholder, &str)]) -> String {
        let filling =
            filling.iter().map(|(placeholder, regex)| (*placeholder, (*regex).to_owned())).collect();
        Query::parse(query).unwrap().fill_in(&filling).unwrap()
    }

    #[test]
    fn placeholders_are_filled_in_where_regular_expressions_are_read() {
        let regex = [(Placeholder::Cluster, r#"a\.b|"c'"#), (Placeholder::Tenant, "retail")];
        assert_eq!(
            filled(
                "sum without (x) (m{c =~ \"$cluster\", t=~'^$tenant$', n!~\"$cluster-old\"}) # all {",
                &regex
            ),
            concat!(
                r#"sum without (x) (m{c =~ "a\\.b|\\x22c\\x27", t=~'^retail$', "#,
                r#"n!~"a\\.b|\\x22c\\x27-old"}) "#
            )
        );
        let grouped = r#"label_replace(m{c=~"$cluster"}, "a", "$1 ${2}", "b", "(.*)-(.*)$")"#;
        assert!(filled(grouped, &regex).contains(r#""$1 ${2}", "b", "(.*)-(.*)$""#));
    }

    #[test]
    fn other_texts_are_refused_with_what_to_write() {
        for (query, part) in [
            ("", "versions from each other"),
            ("up", "versions from each other"),
            (r#"m{v=~"$version"}"#, "services from each other"),
            (r#"m{c=~"$cluster""#, "a { without"),
            (r#"m{c=~"$cluster"}]"#, "a ] without"),
            (r#"(m{c=~"$cluster")}"#, "a ) without"),
            (r#"m{c=~"$cluster}"#, "a \" without"),
            (r#"m{c=~"$cluster\"}"#, "a \" without"),
            (r#"m{c=~"$clusters"}"#, "has $clusters, and there are $cluster, "),
            (r#"m{c=~"${cluster}"}"#, "has ${cluster}, and there are"),
            (r#"m{c="$cluster"}"#, "write it in quotes behind =~, like cluster=~\"$cluster\""),
            ("m{c=~`$cluster`}", "no regular expression is read"),
            ("m{c=~$cluster}", "no regular expression is read"),
        ] {
            let refused = Query::parse(query).unwrap_err().to_string();
            assert!(refused.contains(part), "{query}: {refused}");
        }
        let bytes = MAX_QUERY_BYTES + 1;
        assert_eq!(Query::parse(&"x".repeat(bytes)).unwrap_err(), QueryError::TooLong { bytes });
    }

    fn queries() -> Queries {
        let query = |name: &str| Query::parse(&format!("{name}{{c=~\"$cluster\"}}")).unwrap();
        Queries {
            completed: query("done"),
            errors: query("failed"),
            latency: Some(query("time")),
            endpoints: None,
            sampled: query("at"),
        }
    }

    #[test]
    fn a_question_asks_for_all_figures_of_both_versions_at_once() {
        let target = |version: &str| Target {
            service: "loan".to_owned(),
            version: version.to_owned(),
            host: "loan.local".to_owned(),
        };
        let targets = BTreeSet::from([target("v1"), target("v2")]);
        let clusters = Template::default().clusters(targets.clone());
        let ask = |timed: &[&str]| {
            let timed = timed.iter().map(ToString::to_string).collect();
            queries().questions("retail", &targets, &timed, &clusters)
        };
        let [question] = &ask(&[])[..] else { panic!("one service") };
        assert_eq!((question.tenant.as_str(), question.service.as_str()), ("retail", "loan"));
        let part = |version: &str, figure: &str, query: &str| {
            format!(
                "label_replace((\n{query}{{c=~\"loan\\\\-{version}\"}}\n), \"graylane\", \"{version} {figure}\", \"\", \"\")"
            )
        };
        let of = |version| {
            [("completed", "done"), ("errors", "failed"), ("sampled", "at")]
                .map(|(figure, query)| part(version, figure, query))
        };
        assert_eq!(question.query, [of("v1"), of("v2")].concat().join("\nor\n"));
        let [timed] = &ask(&["loan"])[..] else { panic!("one service") };
        assert!(timed.query.contains(&part("v2", "latency", "time")), "{}", timed.query);
        let unknown =
            Template::parse("regex:(?<service>.+)-(?<version>v.+)").unwrap().clusters(targets.clone());
        assert!(queries().questions("retail", &targets, &BTreeSet::new(), &unknown).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in r#"[$a-z{}()"'`#~=\\\n ]{0,40}"#) {
            let _ = Query::parse(&text);
            if let Ok(query) = Query::parse(&format!("m{{c=~\"$cluster\"}}{text}")) {
                prop_assert!(query.fill_in(&BTreeMap::from([(Placeholder::Cluster, "x".to_owned())])).is_some() || text.contains('$'));
            }
        }

        /// What is between quotes stays there, whatever is filled in.
        #[test]
        fn nothing_that_is_filled_in_ends_the_quotes(name in ".{0,20}", quote in "[\"']") {
            let query = Query::parse(&format!("m{{c=~{quote}$cluster{quote}}}")).unwrap();
            let filled = query.fill_in(&BTreeMap::from([(Placeholder::Cluster, regex::escape(&name))])).unwrap();
            let quoted = filled.strip_prefix("m{c=~").unwrap().strip_suffix('}').unwrap();
            prop_assert_eq!(quoted_bytes(quoted).unwrap(), quoted.len());
            prop_assert!(!quoted.contains('\n'));
            let read = quoted[1..quoted.len() - 1].replace(r"\\", r"\");
            let regex = regex::bytes::Regex::new(&format!("^(?:{read})$")).unwrap();
            prop_assert!(regex.is_match(name.as_bytes()), "{} {}", read, name);
        }
    }
}
