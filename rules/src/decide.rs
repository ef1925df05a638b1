//! The decision: stable, or one version. No allocation, no error.

use crate::limits::{MAX_NAME_BYTES, MAX_VALUE_BYTES};
use crate::loaded::{LoadedService, LoadedTable, Rules};
use crate::model::{Action, Entry, Percent};
use crate::values::Values;
use crate::xxh64::xxh64;

/// Which version a request gets, and why.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'r> {
    /// The service's place in [`Rules::services`]; none for an unknown host.
    pub service: Option<usize>,
    /// The version that the request gets; none for an unknown host.
    pub version: Option<&'r str>,
    /// What the output header has to carry; with none it has to be absent.
    pub header: Option<&'r str>,
    /// Why.
    pub reason: Reason,
}

/// Why a request gets its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No service has this host: stable.
    NoService,
    /// A dimension's header occurs more than once: stable.
    Ambiguous,
    /// No entry ended the search: stable.
    NoEntry,
    /// This entry ended the search.
    Entry(Level, Entry),
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// At a dimension: an index into [`Rules::dimensions`].
    Dimension(u8),
    /// At the entry for everybody.
    All,
}

// === impl Rules ===

impl Rules {
    /// Decides for a request to `host` (`:authority` as it came) with these values.
    #[must_use]
    pub fn decide(&self, host: &[u8], values: &Values<'_>) -> Decision<'_> {
        self.decide_watched(host, values, |_, _, _| ())
    }

    /// Like [`Rules::decide`]; `watch` sees each entry that was met on the way, and whether it ended the search.
    pub(crate) fn decide_watched(
        &self,
        host: &[u8],
        values: &Values<'_>,
        mut watch: impl FnMut(Level, Entry, bool),
    ) -> Decision<'_> {
        let Some((number, service)) = self.service(host) else {
            return Decision { service: None, version: None, header: None, reason: Reason::NoService };
        };
        let reason = match service.release.as_ref().and_then(|(_, table)| self.tables.get(*table)) {
            _ if values.is_ambiguous() => Reason::Ambiguous,
            Some(table) => self.search(table, values, &mut watch),
            None => Reason::NoEntry,
        };
        let (version, is_told) = match &service.release {
            Some((gray, _)) if reason.is_gray() => (gray.as_str(), service.gray_is_told),
            _ => (service.stable.as_str(), service.stable_is_told),
        };
        let header = is_told.then_some(version);
        Decision { service: Some(number), version: Some(version), header, reason }
    }

    #[inline]
    fn service(&self, host: &[u8]) -> Option<(usize, &LoadedService)> {
        let number = self.service_of(without_port(host))?;
        Some((number, self.services.get(number)?))
    }

    /// Asks each dimension that is present, most specific first, then the entry for everybody.
    fn search(
        &self,
        table: &LoadedTable,
        values: &Values<'_>,
        watch: &mut impl FnMut(Level, Entry, bool),
    ) -> Reason {
        let levels = (0..).zip(&table.levels).filter_map(|(level, groups)| {
            let id = values.get(usize::from(level))?;
            let (entry, _) = groups.iter().find(|(_, set)| self.set_contains(*set, id))?;
            Some((Level::Dimension(level), *entry))
        });
        let mut met = levels.chain(table.all.map(|entry| (Level::All, entry)));
        let last = met.find(|(level, entry)| {
            let ends = match entry.action {
                Action::Exclude | Action::Gray => true,
                Action::Percent(percent) => takes(percent, &table.plan, values),
            };
            watch(*level, *entry, ends);
            ends
        });
        last.map_or(Reason::NoEntry, |(level, entry)| Reason::Entry(level, entry))
    }
}

// === impl Reason ===

impl Reason {
    /// Whether the request gets the gray version.
    #[must_use]
    pub fn is_gray(self) -> bool {
        matches!(self, Self::Entry(_, Entry { action: Action::Gray | Action::Percent(_), .. }))
    }
}

/// Whether a percentage takes a request. The bucket is XXH64 of plan, a zero byte and the request's key, modulo 10,000:
/// so one key is on the same side for all services of a plan, and a larger percentage keeps everybody whom a smaller one
/// took. Apart, because most requests meet no percentage, and it needs more of the stack than all the rest.
#[inline(never)]
fn takes(percent: Percent, plan: &str, values: &Values<'_>) -> bool {
    let Some(key) = values.key() else { return false };
    let mut salted = [0; MAX_NAME_BYTES + 1 + MAX_VALUE_BYTES];
    let (salt, rest) = salted.split_at_mut(plan.len().min(MAX_NAME_BYTES));
    salt.copy_from_slice(plan.as_bytes().get(..salt.len()).unwrap_or_default());
    let len = key.len().min(MAX_VALUE_BYTES);
    let slots = rest.get_mut(1..=len).unwrap_or_default();
    slots.copy_from_slice(key.get(..len).unwrap_or_default());
    let used = salt.len() + 1 + len;
    xxh64(0, salted.get(..used).unwrap_or_default()) % 10_000 < u64::from(percent.hundredths())
}

/// `:authority` without its port. A colon inside the brackets of an IPv6 address starts no port.
pub(crate) fn without_port(authority: &[u8]) -> &[u8] {
    let brackets = match authority.first() {
        Some(b'[') => authority.iter().position(|byte| *byte == b']').unwrap_or(0),
        _ => 0,
    };
    let port = authority.get(brackets..).and_then(first_colon);
    port.and_then(|port| authority.get(..brackets + port)).unwrap_or(authority)
}

/// Where the first colon is.
fn first_colon(text: &[u8]) -> Option<usize> {
    let Some(last) = text.last_chunk() else { return text.iter().position(|byte| *byte == b':') };
    let (words, _) = text.as_chunks();
    // The last eight bytes overlap words that have no colon, if they are looked at.
    let last = (last, text.len() - last.len());
    words.iter().zip((0..).step_by(8)).chain([last]).find_map(|(word, at)| Some(at + colon_in(*word)?))
}

/// The first colon of eight bytes, which are looked at all at once.
#[inline]
fn colon_in(bytes: [u8; 8]) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // A colon becomes zero, and the lowest zero byte gets its highest bit (H. S. Warren, "Hacker's Delight", 2nd
    // edition, 6-1).
    let bytes = u64::from_le_bytes(bytes) ^ (u64::from(b':') * EACH);
    let zeros = bytes.wrapping_sub(EACH) & !bytes & (0x80 * EACH);
    (zeros != 0).then(|| zeros.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::without_port;

    #[test]
    fn ports_are_removed() {
        for (authority, host) in [
            ("loan", "loan"),
            ("loan:8080", "loan"),
            ("loan:", "loan"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("[::1", "["),
            ("", ""),
            ("a-service.of-a-long-name:80:90", "a-service.of-a-long-name"),
        ] {
            assert_eq!(without_port(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_first_colon_is_found(text in proptest::collection::vec(b'9'..=b';', 0..40)) {
            assert_eq!(super::first_colon(&text), text.iter().position(|byte| *byte == b':'));
        }
    }
}
