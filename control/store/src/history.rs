//! What changed lately, for those who watch.

use crate::limits::{MAX_HISTORY_BYTES, MAX_HISTORY_EVENTS};
use crate::{Rev, StoreError, Transaction};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// One value that a commit changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The commit's revision.
    pub revision: Rev,
    /// The value's key.
    pub key: String,
    /// What became of it.
    pub change: Change,
}

/// What became of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has these bytes now.
    Put(Arc<[u8]>),
    /// It is gone.
    Deleted,
}

/// Follows what changes. It holds nothing but its place, so a slow reader costs nothing; one that is too slow is told so.
#[derive(Debug)]
pub struct Watch {
    history: Arc<History>,
    prefix: String,
    after: Rev,
    bell: watch::Receiver<Rev>,
}

/// The events of the last commits, within limits.
#[derive(Debug)]
pub(crate) struct History {
    kept: Mutex<Kept>,
    /// Tells the revision of the last commit.
    bell: watch::Sender<Rev>,
}

#[derive(Debug)]
struct Kept {
    /// In the order of commits, and inside one of keys.
    events: VecDeque<Event>,
    bytes: usize,
    /// Every event behind this revision is there.
    complete_after: Rev,
}

// === impl Watch ===

impl Watch {
    /// The events that are there and were not told yet; none when there are none.
    ///
    /// # Errors
    /// When some are no longer kept: the reader was too slow.
    pub fn poll(&mut self) -> Result<Vec<Event>, StoreError> {
        let (events, until) = self.history.behind(&self.prefix, self.after)?;
        self.after = until;
        Ok(events)
    }

    /// Waits until there are events, and gives them.
    ///
    /// # Errors
    /// When some are no longer kept, or the store is closed.
    pub async fn next(&mut self) -> Result<Vec<Event>, StoreError> {
        loop {
            let after = self.after;
            if self.bell.wait_for(|revision| *revision > after).await.is_err() {
                return Err(StoreError::Uncertain);
            }
            let events = self.poll()?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// The revision up to which everything was told.
    #[must_use]
    pub fn revision(&self) -> Rev {
        self.after
    }
}

// === impl History ===

impl History {
    /// Begins behind the revision that a store has when it is opened.
    pub(crate) fn new(revision: Rev) -> Arc<Self> {
        let kept = Kept { events: VecDeque::new(), bytes: 0, complete_after: revision };
        Arc::new(Self { kept: Mutex::new(kept), bell: watch::Sender::new(revision) })
    }

    /// The revision of the last commit.
    pub(crate) fn revision(&self) -> Rev {
        *self.bell.borrow()
    }

    /// Takes in what a commit changed. Commits come one after the other.
    pub(crate) fn add(&self, revision: Rev, transaction: &Transaction) {
        let mut kept = self.kept();
        for (key, change) in changes(transaction) {
            kept.bytes += change.len();
            kept.events.push_back(Event { revision, key: key.to_owned(), change });
        }
        kept.forget(revision);
        drop(kept);
        self.bell.send_replace(revision);
    }

    pub(crate) fn watch(self: &Arc<Self>, prefix: &str, after: Rev) -> Result<Watch, StoreError> {
        if after < self.kept().complete_after || after > self.revision() {
            return Err(StoreError::Compacted { after });
        }
        let (history, bell) = (Arc::clone(self), self.bell.subscribe());
        Ok(Watch { history, prefix: prefix.to_owned(), after, bell })
    }

    /// The events behind a revision, and the revision up to which these are all.
    fn behind(&self, prefix: &str, after: Rev) -> Result<(Vec<Event>, Rev), StoreError> {
        let kept = self.kept();
        if after < kept.complete_after {
            return Err(StoreError::Compacted { after });
        }
        let from = kept.events.partition_point(|event| event.revision <= after);
        let events = kept.events.range(from..).filter(|event| event.key.starts_with(prefix));
        let events = events.cloned().collect();
        // A commit whose events are there rings the bell a moment later; it is told by its events already.
        let last = kept.events.back().map_or(after, |event| event.revision);
        Ok((events, last.max(after)))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Kept ===

impl Kept {
    /// Forgets the oldest commits, whole, until what is kept is within the limits. The last one stays.
    fn forget(&mut self, last: Rev) {
        while self.events.len() > MAX_HISTORY_EVENTS || self.bytes > MAX_HISTORY_BYTES {
            let Some(oldest) =
                self.events.front().map(|event| event.revision).filter(|oldest| *oldest != last)
            else {
                return;
            };
            while let Some(event) = self.events.pop_front_if(|event| event.revision == oldest) {
                self.bytes -= event.change.len();
            }
            self.complete_after = oldest;
        }
    }
}

// === impl Change ===

impl Change {
    fn len(&self) -> usize {
        match self {
            Self::Put(bytes) => bytes.len(),
            Self::Deleted => 0,
        }
    }
}

/// What becomes of each key, one after the other in their order.
fn changes(transaction: &Transaction) -> BTreeMap<&str, Change> {
    let puts =
        transaction.puts.iter().map(|(key, bytes)| (key.as_str(), Change::Put(bytes.as_slice().into())));
    let deletes = transaction.deletes.iter().map(|key| (key.as_str(), Change::Deleted));
    puts.chain(deletes).collect()
}
