//! A store whose commits are measured.

use graylane_store::{Listed, Rev, Store, StoreError, StoreReader, Stored, Transaction, Watch};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Instant;

/// The upper bounds of the buckets, in seconds: from a fast disk to one that is about to fail.
const COMMIT_SECONDS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What [`kind`] says.
const KINDS: [&str; 6] = ["conflict", "fenced", "full", "too-large", "failed", "other"];

/// How long commits take, and how many fail. Clones share it.
#[derive(Clone, Debug)]
pub struct StoreFigures {
    commits: Histogram,
    errors: Family<[(&'static str, &'static str); 1], Counter>,
}

/// A store, and what is measured of it.
pub struct MeasuredStore<S> {
    store: S,
    figures: StoreFigures,
}

// === impl StoreFigures ===

impl StoreFigures {
    /// Adds the figures to what is scraped.
    pub fn register(&self, registry: &mut Registry) {
        let help = "How long a commit took, also one that failed";
        registry.register_with_unit("store_commit", help, Unit::Seconds, self.commits.clone());
        registry.register("store_errors", "Commits that were refused or failed", self.errors.clone());
    }
}

impl Default for StoreFigures {
    fn default() -> Self {
        let errors = Family::default();
        for kind in KINDS {
            drop(errors.get_or_create(&[("kind", kind)]));
        }
        Self { commits: Histogram::new(COMMIT_SECONDS), errors }
    }
}

/// What kind of error it is, in a word of a label.
const fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Conflict { .. } => "conflict",
        StoreError::Fenced { .. } => "fenced",
        StoreError::Full { .. } => "full",
        StoreError::TooLarge { .. } => "too-large",
        StoreError::Failed(_) | StoreError::Uncertain => "failed",
        _ => "other",
    }
}

// === impl MeasuredStore ===

impl<S> MeasuredStore<S> {
    /// Measures a store.
    pub const fn new(store: S, figures: StoreFigures) -> Self {
        Self { store, figures }
    }
}

impl<S: Store> Store for MeasuredStore<S> {
    fn commit(&self, transaction: &Transaction) -> Result<Rev, StoreError> {
        let began = Instant::now();
        let committed = self.store.commit(transaction);
        self.figures.commits.observe(began.elapsed().as_secs_f64());
        if let Err(error) = &committed {
            self.figures.errors.get_or_create(&[("kind", kind(error))]).inc();
        }
        committed
    }

    fn watch(&self, prefix: &str, after: Rev) -> Result<Watch, StoreError> {
        self.store.watch(prefix, after)
    }
}

impl<S: StoreReader> StoreReader for MeasuredStore<S> {
    fn get(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.store.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listed, StoreError> {
        self.store.list(prefix)
    }

    fn log(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.store.log(after, limit)
    }

    fn log_end(&self) -> Result<u64, StoreError> {
        self.store.log_end()
    }

    fn blob(&self, hash: &str) -> Result<Vec<u8>, StoreError> {
        self.store.blob(hash)
    }

    fn blob_hashes(&self) -> Result<Vec<String>, StoreError> {
        self.store.blob_hashes()
    }

    fn epoch(&self) -> Result<u64, StoreError> {
        self.store.epoch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graylane_store::MemoryStore;
    use prometheus_client::encoding::prometheus_text;

    #[test]
    fn a_commit_is_timed_and_a_refused_one_is_counted_by_kind() {
        let figures = StoreFigures::default();
        let store = MeasuredStore::new(MemoryStore::default(), figures.clone());
        let put = |expects| {
            store.commit(&Transaction {
                expects: vec![("a".to_owned(), expects)],
                puts: vec![("a".to_owned(), b"b".to_vec())],
                ..Transaction::default()
            })
        };
        put(None).unwrap();
        assert!(matches!(put(None), Err(StoreError::Conflict { .. })));
        assert_eq!(store.get("a").unwrap().unwrap().bytes, b"b");
        let (mut registry, mut text) = (Registry::default(), String::new());
        figures.register(&mut registry);
        prometheus_text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("store_commit_seconds_count 2\n"), "{text}");
        assert!(text.contains("store_errors_total{kind=\"conflict\"} 1\n"), "{text}");
        assert!(text.contains("store_errors_total{kind=\"failed\"} 0\n"), "{text}");
    }
}
