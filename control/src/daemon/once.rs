//! Actions that are asked for again because their answer was lost: they are done once.
//!
//! What an action did is stored under the caller's key in the transaction that does it. So a repeated request is answered
//! and not done again, after a crash too. One that was refused is not kept: nothing changed, and it may be asked anew.

use crate::daemon::ActionError;
use crate::daemon::state::{Draft, read};
use graylane_store::Store;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// How long an answer is kept: nobody repeats a request of yesterday because its answer was lost.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Answers that are kept, of all callers. In memory each is a few hundred bytes; the oldest give way.
const MAX_ANSWERS: usize = 10_000;

/// Answers that one action forgets, so that no action pays for all that became old over a weekend.
const MAX_FORGOTTEN: usize = 100;

/// What the keys of answers start with in the store.
const PREFIX: &str = "once";

/// What has to hold for an action to be done.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The version that the caller saw; another is refused.
    pub if_match: Option<u64>,
    /// By which it is known again.
    pub once: Option<Once>,
    /// The roles of the caller, which gates and stopped lines ask for.
    pub roles: BTreeSet<String>,
}

/// By which an action is known that is asked for again.
#[derive(Clone, Debug)]
pub struct Once {
    /// Where its answer is stored: by caller and key.
    place: String,
    /// The hash of all that was asked.
    request: String,
}

/// An action that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done<T> {
    /// The answer.
    pub value: T,
    /// Whether it was done before, and only told again.
    pub is_repeat: bool,
}

/// What the store keeps of an action that was done.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    at: Timestamp,
    request: String,
    outcome: T,
}

/// The answers that are kept: where each is, since when, and to which request. What was answered is in the store alone.
#[derive(Default)]
pub(crate) struct Answers {
    by_place: BTreeMap<String, (Timestamp, String)>,
    by_age: BTreeSet<(Timestamp, String)>,
}

/// What a change does to the answers.
pub(crate) struct Kept {
    at: Timestamp,
    once: Once,
    /// The places of those that give way.
    forgotten: Vec<String>,
}

// === impl Terms ===

impl From<Option<u64>> for Terms {
    fn from(if_match: Option<u64>) -> Self {
        Self { if_match, ..Self::default() }
    }
}

// === impl Once ===

impl Once {
    /// By a caller's key, and the hash of what it asks with it.
    #[must_use]
    pub fn new(caller: &str, key: &[u8], request: &[u8]) -> Self {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Self { place: format!("{PREFIX}/{caller}/{}", hex(&Sha256::digest(key))), request: hex(request) }
    }
}

// === impl Done ===

impl<T> Done<T> {
    /// The same, with another answer.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Done<U> {
        Done { value: map(self.value), is_repeat: self.is_repeat }
    }

    /// The same, with an answer that may be missing.
    ///
    /// # Errors
    /// When it is.
    pub fn try_map<U, E>(self, map: impl FnOnce(T) -> Result<U, E>) -> Result<Done<U>, E> {
        Ok(Done { value: map(self.value)?, is_repeat: self.is_repeat })
    }
}

// === impl Answers ===

impl Answers {
    /// Whether a value of the store is an answer.
    pub(crate) fn owns(key: &str) -> bool {
        key.split_once('/').is_some_and(|(kind, _)| kind == PREFIX)
    }

    /// Takes in one that is stored.
    pub(crate) fn load(&mut self, place: &str, bytes: &[u8]) -> Result<(), ActionError> {
        let Record { at, request, .. } = read::<Record<serde::de::IgnoredAny>>(place, bytes)?;
        self.insert(at, place.to_owned(), request);
        Ok(())
    }

    /// Takes in what a change did.
    pub(crate) fn keep(&mut self, kept: Kept) {
        for place in &kept.forgotten {
            self.remove(place);
        }
        self.remove(&kept.once.place);
        self.insert(kept.at, kept.once.place, kept.once.request);
    }

    /// Whether this was done at a time that counts still.
    fn knows(&self, once: &Once, now: Timestamp) -> Result<bool, ActionError> {
        match self.by_place.get(&once.place) {
            Some((at, _)) if is_old(*at, now) => Ok(false),
            Some((_, request)) if *request != once.request => Err(ActionError::KeyReused),
            found => Ok(found.is_some()),
        }
    }

    /// Those that give way to one more at `place`.
    fn giving_way(&self, place: &str, now: Timestamp) -> Vec<String> {
        let over = (self.by_age.len() + 1).saturating_sub(MAX_ANSWERS);
        let oldest = self.by_age.iter().filter(|(_, other)| other != place).take(MAX_FORGOTTEN);
        let gives_way = |(count, (at, _)): &(usize, &(Timestamp, String))| *count < over || is_old(*at, now);
        oldest.enumerate().take_while(gives_way).map(|(_, (_, place))| place.clone()).collect()
    }

    fn insert(&mut self, at: Timestamp, place: String, request: String) {
        self.by_age.insert((at, place.clone()));
        self.by_place.insert(place, (at, request));
    }

    fn remove(&mut self, place: &str) {
        if let Some((at, _)) = self.by_place.remove(place) {
            self.by_age.remove(&(at, place.to_owned()));
        }
    }
}

// === impl Kept ===

impl Kept {
    /// What gives way, for the transaction.
    pub(crate) fn forgotten(&self) -> &[String] {
        &self.forgotten
    }
}

// === impl Draft ===

impl Draft<'_> {
    /// Runs an action, or gives what it answered when it was asked for before.
    pub(crate) fn once<T: Serialize + DeserializeOwned>(
        &mut self,
        once: Option<Once>,
        store: &dyn Store,
        action: impl FnOnce(&mut Self) -> Result<T, ActionError>,
    ) -> Result<Done<T>, ActionError> {
        let Some(once) = once else { return action(self).map(|value| Done { value, is_repeat: false }) };
        if self.answers().knows(&once, self.now)? {
            let stored = store.get(&once.place)?;
            let bytes = stored.as_ref().map(|stored| stored.bytes.as_slice()).unwrap_or_default();
            let Record { outcome, .. } = read::<Record<T>>(&once.place, bytes)?;
            return Ok(Done { value: outcome, is_repeat: true });
        }
        let record = Record { at: self.now, request: once.request.clone(), outcome: action(self)? };
        self.put(once.place.clone(), &record)?;
        let forgotten = self.answers().giving_way(&once.place, self.now);
        self.keep(Kept { at: self.now, once, forgotten });
        Ok(Done { value: record.outcome, is_repeat: false })
    }
}

fn is_old(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) > KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// Keeps an answer as an action would.
    fn keep(answers: &mut Answers, once: Once, now: Timestamp) -> usize {
        let forgotten = answers.giving_way(&once.place, now);
        let count = forgotten.len();
        answers.keep(Kept { at: now, once, forgotten });
        count
    }

    #[test]
    fn a_key_is_its_callers_and_stands_for_one_request_for_a_day() {
        let mut answers = Answers::default();
        let ask = |caller, request: &[u8]| Once::new(caller, b"key", request);
        keep(&mut answers, ask("ann", b"one"), at(0));
        assert!(answers.knows(&ask("ann", b"one"), at(86_400)).unwrap());
        assert!(!answers.knows(&ask("bob", b"two"), at(1)).unwrap());
        assert!(matches!(answers.knows(&ask("ann", b"two"), at(1)), Err(ActionError::KeyReused)));
        assert!(!answers.knows(&ask("ann", b"two"), at(86_401)).unwrap());
        keep(&mut answers, ask("ann", b"two"), at(86_401));
        assert!(answers.knows(&ask("ann", b"two"), at(86_402)).unwrap());
        assert_eq!((answers.by_place.len(), answers.by_age.len()), (1, 1));
    }

    #[test]
    fn the_oldest_answers_give_way_a_few_at_a_time() {
        let mut answers = Answers::default();
        let one = |number: usize| Once::new("bot", &number.to_le_bytes(), b"");
        for number in 0..MAX_ANSWERS + 5 {
            keep(&mut answers, one(number), at(number as i64));
        }
        assert_eq!(answers.by_age.len(), MAX_ANSWERS);
        assert!(!answers.knows(&one(4), at(0)).unwrap() && answers.knows(&one(5), at(0)).unwrap());
        let later = at(KEPT.as_secs() * 2);
        assert_eq!(keep(&mut answers, one(MAX_ANSWERS + 5), later), MAX_FORGOTTEN);
        assert_eq!(answers.by_place.len(), MAX_ANSWERS + 1 - MAX_FORGOTTEN);
    }
}
