//! What is published since when, by which convergence is measured.

use std::collections::BTreeMap;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::version::Version;

/// The published versions by resource, each with its time. Readers take no lock.
#[derive(Debug, Default)]
pub(super) struct Publishes(ArcSwap<BTreeMap<String, (Version, Instant)>>);

// === impl Publishes ===

impl Publishes {
    /// Puts these versions in place of all. Gives how many of them are new.
    pub(super) fn replace<'a>(
        &self,
        versions: impl Iterator<Item = (&'a str, Version)>,
        now: Instant,
    ) -> u64 {
        let (before, mut new) = (self.0.load(), 0);
        let since = |(resource, version): (&str, Version)| {
            let known = before.get(resource).filter(|(known, _)| *known == version);
            new += u64::from(known.is_none());
            (resource.to_owned(), known.copied().unwrap_or((version, now)))
        };
        let after = versions.map(since).collect();
        self.0.store(std::sync::Arc::new(after));
        new
    }

    /// Since when a resource is published, if its version is the one that is meant.
    pub(super) fn since(&self, resource: &str, is_meant: impl Fn(Version) -> bool) -> Option<Instant> {
        let published = self.0.load();
        published.get(resource).filter(|(version, _)| is_meant(*version)).map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_stays_published_keeps_its_time() {
        let publishes = Publishes::default();
        let version = |revision| Version { revision, digest: revision };
        let (first, second) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        assert_eq!(publishes.replace([("a", version(1)), ("b", version(1))].into_iter(), first), 2);
        assert_eq!(publishes.replace([("a", version(1)), ("b", version(2))].into_iter(), second), 1);
        let since = |resource, revision| publishes.since(resource, |found| found == version(revision));
        assert_eq!((since("a", 1), since("b", 2)), (Some(first), Some(second)));
        assert_eq!((since("b", 1), since("c", 1)), (None, None));
        assert_eq!(publishes.replace([].into_iter(), second), 0);
        assert_eq!(since("a", 1), None);
    }
}
