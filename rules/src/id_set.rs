//! A set of ids, flat and sorted: one allocation for all bytes, one for where each id ends.

use crate::order::sort_by;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// A sorted set of byte strings.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdSet {
    /// The ids one after the other, in order.
    bytes: Vec<u8>,
    /// Where each id ends in `bytes`; it starts where the one before it ends.
    ends: Vec<u32>,
}

/// Collects ids in any order, then sorts them once.
#[derive(Default)]
pub struct IdSetBuilder {
    bytes: Vec<u8>,
    spans: Vec<(u32, u32)>,
}

// === impl IdSet ===

impl IdSet {
    /// How many ids there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The ids in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// Whether `id` is in the set.
    #[must_use]
    pub fn contains(&self, id: &[u8]) -> bool {
        search(self.len(), id, |at| self.get(at))
    }

    /// The ids that both sets hold, in ascending order.
    pub fn intersection<'a>(&'a self, other: &'a IdSet) -> impl Iterator<Item = &'a [u8]> {
        let (few, many) = if self.len() <= other.len() { (self, other) } else { (other, self) };
        few.iter().filter(|id| many.contains(id))
    }

    fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(at).copied().unwrap_or(0);
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }
}

impl core::fmt::Debug for IdSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.iter().map(alloc::string::String::from_utf8_lossy)).finish()
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for IdSet {
    fn from_iter<I: IntoIterator<Item = T>>(ids: I) -> Self {
        let mut builder = IdSetBuilder::default();
        ids.into_iter().for_each(|id| builder.push(id.as_ref()));
        builder.build()
    }
}

// === impl IdSetBuilder ===

impl IdSetBuilder {
    /// Adds an id. Ids past the four gigabytes that an end can name are left out; the limits lie far below.
    pub fn push(&mut self, id: &[u8]) {
        let start = self.bytes.len();
        if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(start + id.len())) {
            self.bytes.extend_from_slice(id);
            self.spans.push((start, end));
        }
    }

    /// Sorts, drops what occurs twice, and gives the set.
    #[must_use]
    pub fn build(self) -> IdSet {
        let Self { bytes, mut spans } = self;
        let id = |span: &(u32, u32)| bytes.get(span.0 as usize..span.1 as usize).unwrap_or_default();
        sort_by(&mut spans, |a, b| id(a).cmp(id(b)));
        spans.dedup_by(|a, b| id(a) == id(b));
        let mut set = IdSet { bytes: Vec::with_capacity(bytes.len()), ends: Vec::with_capacity(spans.len()) };
        for span in &spans {
            set.bytes.extend_from_slice(id(span));
            set.ends.push(set.bytes.len() as u32);
        }
        set
    }
}

/// Binary search for `id` among `len` ids in ascending order, the `at`-th of which is `get(at)`.
pub(crate) fn search<'a>(len: usize, id: &[u8], get: impl Fn(usize) -> &'a [u8]) -> bool {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        match get(middle).cmp(id) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::IdSet;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    proptest::proptest! {
        #[test]
        fn holds_what_a_tree_set_holds(ids: Vec<Vec<u8>>, probe: Vec<u8>) {
            let set: IdSet = ids.iter().collect();
            let tree: BTreeSet<Vec<u8>> = ids.into_iter().collect();
            assert!(set.iter().eq(tree.iter()));
            assert_eq!(set.contains(&probe), tree.contains(&probe));
            assert!(tree.iter().all(|id| set.contains(id)));
        }
    }
}
