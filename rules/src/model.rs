//! The rule set as plain data: what a compiler builds and what a loaded one can be turned back into.

use crate::id_set::IdSet;
use crate::limits::{MAX_HEADER_BYTES, MAX_HOST_BYTES, MAX_NAME_BYTES};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// All rules of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// Whose rules these are.
    pub tenant: String,
    /// The dimensions, most specific first.
    pub dimensions: Vec<Dimension>,
    /// The request header that carries the version, in lower case.
    pub output_header: String,
    /// The services, in any order.
    pub services: Vec<Service>,
}

/// One organisation dimension of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// Its name, e.g. `teller`.
    pub name: String,
    /// The request header that carries it, in lower case, e.g. `x-teller`.
    pub header: String,
}

/// One service and which of its versions a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The hosts (`:authority` values, in lower case, without port) by which it is called, in any order.
    pub hosts: Vec<String>,
    /// The version that a request gets which is not gray: the service's baseline.
    pub stable: String,
    /// The version that routes choose when the output header is absent. Where it is not `stable`, stable requests
    /// carry the header too.
    pub route_default: String,
    /// What lets requests onto another version, if anything does.
    pub release: Option<Release>,
}

/// The gray version of a service and who gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The version that gray requests get.
    pub gray: String,
    /// Who is gray. Services of a batch share it.
    pub table: Arc<Table>,
}

/// The union of a plan's scopes up to a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The plan's name, which is also the salt of its percentages.
    pub plan: String,
    /// The names of the stages reached, in order; [`Entry::stage`] points here.
    pub stages: Vec<String>,
    /// One list of groups for each dimension, in the rule set's order of dimensions.
    pub levels: Vec<Vec<Group>>,
    /// The entry for everybody, asked after all dimensions.
    pub all: Option<Entry>,
}

/// Ids of one dimension that share an entry.
///
/// Groups of a level may overlap. The strongest entry counts: an exclusion before gray, gray before a percentage,
/// the larger percentage before the smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What holds for the ids.
    pub entry: Entry,
    /// The ids.
    pub ids: Arc<IdSet>,
}

/// What a stage says of an id, or of everybody. The order is strength: the smallest entry of an id counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// What to do.
    pub action: Action,
    /// Which stage says so: an index into [`Table::stages`].
    pub stage: u8,
}

/// What to do with a request that an entry matches. The order is strength, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Stable, and the search ends.
    Exclude,
    /// Gray, and the search ends.
    Gray,
    /// Gray for this share of keys; the others go on to the next dimension.
    Percent(Percent),
}

/// A percentage with two decimals, kept as hundredths: 0 to 10,000. The larger one is the *smaller* value in order,
/// because it is the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u16);

// === impl Table ===

impl Table {
    /// Adds ids to a level, or to the group there that has the same entry already.
    pub fn add(&mut self, level: usize, entry: Entry, ids: Arc<IdSet>) {
        if self.levels.len() <= level {
            self.levels.resize(level + 1, Vec::new());
        }
        let Some(groups) = self.levels.get_mut(level) else { return };
        match groups.iter_mut().find(|group| group.entry == entry) {
            Some(group) if group.ids.is_empty() => group.ids = ids,
            Some(group) => group.ids = Arc::new(group.ids.iter().chain(ids.iter()).collect()),
            None => groups.push(Group { entry, ids }),
        }
    }

    /// Sets the entry for everybody, unless a stronger one stands already.
    pub fn add_all(&mut self, entry: Entry) {
        self.all = Some(self.all.map_or(entry, |before| before.min(entry)));
    }
}

// === impl Percent ===

impl Percent {
    /// Everybody who has a key.
    pub const FULL: Self = Self(10_000);

    /// From hundredths of a percent; none over 10,000.
    #[must_use]
    pub const fn from_hundredths(hundredths: u16) -> Option<Self> {
        if hundredths <= Self::FULL.0 { Some(Self(hundredths)) } else { None }
    }

    /// In hundredths of a percent, 0 to 10,000.
    #[must_use]
    pub const fn hundredths(self) -> u16 {
        self.0
    }
}

impl Ord for Percent {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        other.0.cmp(&self.0)
    }
}

impl PartialOrd for Percent {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exclude => f.write_str("exclude"),
            Self::Gray => f.write_str("gray"),
            Self::Percent(percent) => percent.fmt(f),
        }
    }
}

/// Whether `text` can name a tenant, service, version, plan, stage or dimension: 1 to 63 ASCII letters, digits,
/// `-`, `_` or `.`, with a letter or digit at both ends.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= MAX_NAME_BYTES && bytes.iter().all(inner) && outer(bytes.first()) && outer(bytes.last())
}

/// Whether `text` can be a host of a rule set: 1 to 253 visible ASCII characters in lower case with no port.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let byte_fits =
        |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && !b"/?#@,".contains(&byte);
    (1..=MAX_HOST_BYTES).contains(&text.len())
        && text.bytes().all(byte_fits)
        && crate::decide::without_port(text.as_bytes()).len() == text.len()
}

/// Whether `text` can name a request header of a rule set: 1 to 64 lower-case letters, digits, `-` or `_`.
#[must_use]
pub fn is_header_name(text: &str) -> bool {
    let byte_fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=MAX_HEADER_BYTES).contains(&text.len()) && text.bytes().all(byte_fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn stronger_entries_come_first() {
        let percent = |hundredths| Action::Percent(Percent::from_hundredths(hundredths).unwrap());
        let by_strength = [Action::Exclude, Action::Gray, percent(10_000), percent(20), percent(0)];
        assert!(by_strength.is_sorted());
    }

    #[test]
    fn percentages_print_as_people_write_them() {
        for (hundredths, text) in
            [(0, "0%"), (5, "0.05%"), (2_000, "20%"), (1_250, "12.5%"), (10_000, "100%")]
        {
            assert_eq!(Percent::from_hundredths(hundredths).unwrap().to_string(), text);
        }
        assert_eq!(Percent::from_hundredths(10_001), None);
    }

    #[test]
    fn names_hosts_and_headers_have_their_alphabets() {
        assert!(is_name("loan-2026.11_a") && is_name("v1"));
        assert!(
            !["", "-a", "a-", "a b", "贷款", "a/b"].iter().any(|name| is_name(name))
                && !is_name(&"a".repeat(64))
        );
        assert!(is_host("loan.retail.svc.cluster.local") && is_host("[::1]"));
        assert!(!["", "Loan", "loan:80", "[::1]:80", "a b", "a/b"].iter().any(|host| is_host(host)));
        assert!(is_header_name("x-teller") && !is_header_name("X-Teller") && !is_header_name(":authority"));
    }
}
