//! The names of clusters, looked up.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use regex::bytes::Regex;

use super::Part;

/// Bytes of a cluster's name that is looked up. Longer ones are nobody's.
pub const MAX_CLUSTER_BYTES: usize = 1_024;

/// Digits of a port.
pub(super) const MAX_PORT_DIGITS: usize = 5;

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

// === impl Clusters ===

impl Clusters {
    /// The names that these have by a template.
    pub(super) fn filled_in(parts: &[Part], targets: impl IntoIterator<Item = Target>) -> Self {
        let mut by_before = BTreeMap::<_, BTreeMap<_, _>>::new();
        for target in targets {
            let (before, rest) = fill_in(parts, &target);
            give(by_before.entry(before).or_default(), rest, target);
        }
        Self(Names::FilledIn(by_before))
    }

    /// The names in which a regular expression finds these.
    pub(super) fn found(regex: &Regex, targets: impl IntoIterator<Item = Target>) -> Self {
        let mut by_found = BTreeMap::new();
        for target in targets {
            give(&mut by_found, Found::of(regex, &target), target);
        }
        Self(Names::Found(regex.clone(), by_found))
    }

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
        let patterns = self.names(service, version).map(|(before, rest)| pattern(before, rest));
        patterns.reduce(|all, name| format!("{all}|{name}"))
    }

    /// One of the same names, with `{port}` for any port, for people who wonder why there is no such cluster.
    #[must_use]
    pub fn example(&self, service: &str, version: &str) -> Option<String> {
        let (before, rest) = self.names(service, version).next()?;
        Some(before.map_or_else(|| rest.to_owned(), |before| format!("{before}{{port}}{rest}")))
    }

    /// What stands before the port, if there is one, and the rest of each name that is of this version and of no other.
    fn names(&self, service: &str, version: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
        let by_before = match &self.0 {
            Names::FilledIn(by_before) => Some(by_before),
            Names::Found(..) => None,
        };
        let is_theirs = move |owner: &Owner| matches!(owner, Owner::One(target) if target.service == service && target.version == version);
        by_before.into_iter().flatten().flat_map(move |(before, by_rest)| {
            let theirs = by_rest.iter().filter(move |(_, owner)| is_theirs(owner));
            theirs.map(move |(rest, _)| (before.as_deref(), rest.as_str()))
        })
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
    pub(super) fn is_same_version(&self, other: &Self) -> bool {
        self.service == other.service && self.version == other.version
    }
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
