//! All orders, so that an action's copy of them costs what it touches and not what there is.

use graylane_order::Order;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Numbers that share a shelf. A clone copies a pointer for each shelf, and a change copies the pointers of one.
const SHELF: u64 = 128;

/// All orders by number, and the active ones apart: most orders of a store have ended. A clone shares them.
#[derive(Clone, Default)]
pub(crate) struct Orders {
    by_shelf: BTreeMap<u64, Arc<BTreeMap<u64, Arc<Order>>>>,
    active: BTreeMap<u64, Arc<Order>>,
    count: usize,
}

// === impl Orders ===

impl Orders {
    pub(crate) fn get(&self, id: &u64) -> Option<&Arc<Order>> {
        self.by_shelf.get(&(id / SHELF))?.get(id)
    }

    /// Puts an order in the place of the one of its number.
    pub(crate) fn insert(&mut self, id: u64, order: Arc<Order>) {
        match order.is_active() {
            true => drop(self.active.insert(id, Arc::clone(&order))),
            false => drop(self.active.remove(&id)),
        }
        let shelf = self.by_shelf.entry(id / SHELF).or_default();
        self.count += usize::from(Arc::make_mut(shelf).insert(id, order).is_none());
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The numbers, oldest first.
    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = &u64> {
        self.by_shelf.values().flat_map(|shelf| shelf.keys())
    }

    /// All, oldest first.
    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &Arc<Order>> {
        self.by_shelf.values().flat_map(|shelf| shelf.values())
    }

    /// Those that are not rolled back or finished, oldest first.
    pub(crate) fn active(&self) -> impl DoubleEndedIterator<Item = &Arc<Order>> {
        self.active.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graylane_order::{Actor, Phase, Start};
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn order(phase: Phase) -> Order {
        let start = Start {
            id: 1,
            plan: Arc::default(),
            content_hash: String::new(),
            lists_by_stage: Vec::new(),
            authors: Default::default(),
            actor: Actor::daemon(),
        };
        Order { phase, ..Order::start(start, Timestamp::UNIX_EPOCH).unwrap().0 }
    }

    fn check(orders: &Orders, expected: &BTreeMap<u64, Arc<Order>>) {
        assert_eq!(orders.len(), expected.len());
        assert!(orders.keys().eq(expected.keys()));
        assert!(orders.values().rev().eq(expected.values().rev()));
        assert!(orders.active().eq(expected.values().filter(|order| order.is_active())));
        assert!((0..4 * SHELF).all(|id| orders.get(&id) == expected.get(&id)));
    }

    proptest! {
        #[test]
        fn shelves_hold_what_a_map_would_and_a_clone_stays_as_it_was(
            inserts in prop::collection::vec((0..4 * SHELF, prop::bool::ANY), 0..200),
        ) {
            let (running, finished) = (order(Phase::Running), order(Phase::Finished));
            let (mut orders, mut expected) = (Orders::default(), BTreeMap::new());
            for (id, is_active) in inserts {
                let before = (orders.clone(), expected.clone());
                let order = Order { id, ..if is_active { running.clone() } else { finished.clone() } };
                let order = Arc::new(order);
                orders.insert(id, Arc::clone(&order));
                expected.insert(id, order);
                check(&orders, &expected);
                check(&before.0, &before.1);
            }
        }
    }
}
