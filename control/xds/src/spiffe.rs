//! Who a certificate names, and which tenants that one may be served.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::ecds;
use crate::limits::MAX_SPIFFE_BYTES;

/// What every SPIFFE id begins with.
const SCHEME: &str = "spiffe://";

/// The id of a workload, as in the URI of its certificate: `spiffe://bank.example/ns/retail/sa/loan`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpiffeId(Arc<str>);

/// One id, or all that begin with the same path: `spiffe://bank.example/ns/retail/sa/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffePattern {
    text: String,
    /// Whether anything may follow.
    is_open: bool,
}

/// Which tenants each id may be served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(BTreeMap<String, Vec<SpiffePattern>>);

/// Why a text is no SPIFFE id, or no pattern of some.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpiffeError {
    /// It is of another scheme, or has no trust domain or no path.
    #[error("has to be like spiffe://bank.example/ns/retail/sa/loan: a trust domain and a path")]
    Shape,
    /// It has a character that no SPIFFE id has.
    #[error(
        "has a character other than letters, digits, '-', '_', '.' and '/', or a segment of the path is empty, '.' or '..'"
    )]
    Character,
    /// The star is not the whole last segment.
    #[error(
        "has a '*' that is not the whole last segment of the path, as in spiffe://bank.example/ns/retail/sa/*"
    )]
    Star,
    /// It is too long.
    #[error("is over the limit of {MAX_SPIFFE_BYTES} bytes")]
    TooLong,
}

// === impl SpiffeId ===

impl SpiffeId {
    /// Reads an id.
    ///
    /// # Errors
    /// What is none by the SPIFFE standard.
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        check(text)?;
        Ok(Self(text.into()))
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(text: &str) -> Result<(), SpiffeError> {
    if text.len() > MAX_SPIFFE_BYTES {
        return Err(SpiffeError::TooLong);
    }
    let rest = text.strip_prefix(SCHEME).ok_or(SpiffeError::Shape)?;
    let (domain, path) = rest.split_once('/').ok_or(SpiffeError::Shape)?;
    if domain.is_empty() || path.is_empty() {
        return Err(SpiffeError::Shape);
    }
    let usual = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_domain = domain.chars().all(|c| usual(c) && !c.is_ascii_uppercase());
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(usual);
    let is_whole = is_domain && path.split('/').all(is_segment);
    is_whole.then_some(()).ok_or(SpiffeError::Character)
}

// === impl SpiffePattern ===

impl SpiffePattern {
    /// Reads an id, or one with a `*` in the place of its last segment, for which anything may stand, also several segments.
    ///
    /// # Errors
    /// What could match no id, or would match those whose names merely begin alike.
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        let Some(open) = text.strip_suffix("/*") else {
            let problem = |error| if text.contains('*') { SpiffeError::Star } else { error };
            return check(text).map(|()| Self { text: text.into(), is_open: false }).map_err(problem);
        };
        match open.strip_prefix(SCHEME) {
            _ if open.contains('*') => return Err(SpiffeError::Star),
            // All of a trust domain.
            Some(domain) if !domain.contains('/') => check(&format!("{open}/a"))?,
            _ => check(open)?,
        }
        Ok(Self { text: format!("{open}/"), is_open: true })
    }

    fn matches(&self, id: &SpiffeId) -> bool {
        match self.is_open {
            true => id.as_str().starts_with(&self.text),
            false => id.as_str() == self.text,
        }
    }
}

// === impl Grants ===

impl Grants {
    /// Each tenant with those who may be served it.
    #[must_use]
    pub fn new(by_tenant: BTreeMap<String, Vec<SpiffePattern>>) -> Self {
        Self(by_tenant)
    }

    /// Whether nobody may be served anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }

    /// Whether this one may be served a resource. One that is no tenant's is nobody's.
    pub(crate) fn allow(&self, id: &SpiffeId, resource: &str) -> bool {
        let tenant = Some(ecds::tenant_of(resource)).filter(|tenant| !tenant.is_empty());
        let patterns = tenant.and_then(|tenant| self.0.get(tenant));
        patterns.is_some_and(|patterns| patterns.iter().any(|pattern| pattern.matches(id)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn matches(pattern: &str, id: &str) -> bool {
        SpiffePattern::parse(pattern).unwrap().matches(&SpiffeId::parse(id).unwrap())
    }

    #[test]
    fn a_star_stands_for_whole_segments() {
        let all = "spiffe://bank.example/ns/retail/*";
        assert!(matches(all, "spiffe://bank.example/ns/retail/sa/loan"));
        assert!(matches(all, "spiffe://bank.example/ns/retail/loan"));
        assert!(!matches(all, "spiffe://bank.example/ns/retail"));
        assert!(!matches(all, "spiffe://bank.example/ns/retail-evil/sa/loan"));
        assert!(!matches(all, "spiffe://bank.example.evil/ns/retail/sa/loan"));
        assert!(matches("spiffe://bank.example/*", "spiffe://bank.example/a/b"));
        assert!(!matches("spiffe://bank.example/*", "spiffe://other.example/a/b"));
        assert!(matches("spiffe://b/x", "spiffe://b/x") && !matches("spiffe://b/x", "spiffe://b/xy"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_it_has_to_be() {
        use SpiffeError::{Character, Shape, Star, TooLong};
        let long = format!("spiffe://b/{}", "x".repeat(MAX_SPIFFE_BYTES));
        for (text, error) in [
            ("", Shape),
            ("https://b/x", Shape),
            ("spiffe://b", Shape),
            ("spiffe:///x", Shape),
            ("spiffe://b/", Shape),
            ("spiffe://B/x", Character),
            ("spiffe://b/x y", Character),
            ("spiffe://b/../x", Character),
            ("spiffe://b//x", Character),
            ("spiffe://b/x/", Character),
            ("spiffe://b/x*", Star),
            ("spiffe://*/x", Star),
            ("spiffe://b/*/x", Star),
            ("spiffe://b/*/*", Star),
            ("spiffe://*", Shape),
            (long.as_str(), TooLong),
        ] {
            assert_eq!(SpiffePattern::parse(text), Err(error), "{text}");
        }
        assert_eq!(SpiffePattern::parse("/*"), Err(Shape));
        assert_eq!(SpiffeId::parse("spiffe://b/*"), Err(Character), "no certificate has a star");
    }

    #[test]
    fn a_name_that_is_no_tenants_is_nobodys() {
        let all = vec![SpiffePattern::parse("spiffe://b/*").unwrap()];
        let grants = Grants::new([("retail".to_owned(), all.clone()), (String::new(), all)].into());
        let id = SpiffeId::parse("spiffe://b/x").unwrap();
        assert!(grants.allow(&id, "graylane.v1.retail"));
        assert!(!grants.allow(&id, "graylane.v1.cards") && !grants.allow(&id, "retail"));
    }

    proptest! {
        #[test]
        fn an_id_is_matched_by_itself_and_by_each_star_above_it(segments in prop::collection::vec("[a-z0-9]{1,5}", 1..6)) {
            let id = format!("spiffe://b.example/{}", segments.join("/"));
            prop_assert!(matches(&id, &id));
            for above in 0..segments.len() {
                let pattern = [&["spiffe://b.example".to_owned()], &segments[..above], &["*".to_owned()]].concat().join("/");
                prop_assert!(matches(&pattern, &id));
            }
            let (below, beside) = (format!("{id}/*"), format!("{id}0/*"));
            prop_assert!(!matches(&below, &id) && !matches(&beside, &id));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = (SpiffeId::parse(&text), SpiffePattern::parse(&format!("spiffe://{text}")));
        }
    }
}
