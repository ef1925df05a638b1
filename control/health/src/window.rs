//! The last minute, or whatever the policy says: the figures that people are told.

use std::collections::VecDeque;
use std::time::Duration;

use crate::figures::{Figures, Tally};
use crate::histogram::Histogram;
use crate::limits::{MAX_POINTS, MAX_SLOTS, TICK, ticks};

/// What gray and stable did in the last ticks.
///
/// It has at most [`MAX_SLOTS`] slots. In a window of more ticks than that, a slot has several, and goes as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    slots: VecDeque<Slot>,
    /// How many slots there may be.
    slots_max: usize,
    ticks_per_slot: usize,
    /// Ticks in the youngest slot.
    ticks_in_last: usize,
}

/// One or several ticks.
#[derive(Clone, Debug, Default)]
struct Slot {
    gray: Figures,
    stable: Figures,
}

/// What gray and stable did, part by part of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// How much time a point is of. The oldest and the youngest may be of less.
    pub point: Duration,
    /// Requests and errors of gray, oldest first; at most [`MAX_POINTS`].
    pub gray: Vec<Tally>,
    /// Those of stable, of the same time.
    pub stable: Vec<Tally>,
}

/// One of the two versions that a window has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Gray,
    Stable,
}

// === impl Window ===

impl Window {
    /// A window of so much time, rounded down to whole ticks; of one tick at least.
    pub(crate) fn new(length: Duration) -> Self {
        let ticks = usize::try_from(ticks(length)).unwrap_or(usize::MAX).max(1);
        let ticks_per_slot = ticks.div_ceil(MAX_SLOTS);
        let slots_max = ticks / ticks_per_slot;
        Self { slots: VecDeque::new(), slots_max, ticks_per_slot, ticks_in_last: ticks_per_slot }
    }

    /// Takes the next tick, and lets go what is too old.
    pub(crate) fn push(&mut self, gray: &Figures, stable: &Figures) {
        if self.ticks_in_last >= self.ticks_per_slot {
            self.slots.push_back(Slot::default());
            self.ticks_in_last = 0;
        }
        if self.slots.len() > self.slots_max {
            self.slots.pop_front();
        }
        self.ticks_in_last += 1;
        if let Some(slot) = self.slots.back_mut() {
            slot.gray.merge(gray);
            slot.stable.merge(stable);
        }
    }

    /// How much time it has.
    pub(crate) fn length(&self) -> Duration {
        let full = self.slots.len().saturating_sub(1).saturating_mul(self.ticks_per_slot);
        let ticks = if self.slots.is_empty() { 0 } else { full.saturating_add(self.ticks_in_last) };
        TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// Requests that filters steered to one version.
    pub(crate) fn steered(&self, side: Side) -> u64 {
        self.figures(side).fold(0, |sum, figures| sum.saturating_add(figures.steered))
    }

    /// Those of the earlier half.
    pub(crate) fn steered_early(&self, side: Side) -> u64 {
        let early = self.figures(side).take(self.slots.len() / 2);
        early.fold(0, |sum, figures| sum.saturating_add(figures.steered))
    }

    /// Requests and errors of one version.
    pub(crate) fn tally(&self, side: Side) -> Tally {
        self.figures(side).fold(Tally::default(), |sum, figures| sum.plus(figures.tally))
    }

    /// How long the requests of one version took.
    pub(crate) fn latency(&self, side: Side) -> Histogram {
        self.figures(side).fold(Histogram::default(), |mut sum, figures| {
            sum.merge(&figures.latency);
            sum
        })
    }

    /// What both versions did in each of as many parts of the window as people are shown.
    pub(crate) fn series(&self) -> Series {
        let slots_per_point = self.slots_max.div_ceil(MAX_POINTS);
        let points = |side| {
            let tallies: Vec<Tally> = self.figures(side).map(|figures| figures.tally).collect();
            let sum = |slots: &[Tally]| slots.iter().copied().fold(Tally::default(), Tally::plus);
            // From the youngest on: what is too old for a whole point is the first to go.
            let mut points: Vec<Tally> = tallies.rchunks(slots_per_point).map(sum).collect();
            points.reverse();
            points
        };
        let ticks = u32::try_from(slots_per_point * self.ticks_per_slot).unwrap_or(u32::MAX);
        Series { point: TICK.saturating_mul(ticks), gray: points(Side::Gray), stable: points(Side::Stable) }
    }

    fn figures(&self, side: Side) -> impl Iterator<Item = &Figures> {
        self.slots.iter().map(move |slot| match side {
            Side::Gray => &slot.gray,
            Side::Stable => &slot.stable,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn figures(requests: u64, errors: u64) -> Figures {
        Figures::new(requests, errors, Histogram::from_cumulative([(10.0, errors)], requests))
    }

    #[test]
    fn an_endless_window_has_bounded_memory() {
        let mut window = Window::new(Duration::MAX);
        (0..10_000).for_each(|_| window.push(&figures(1, 0), &figures(1, 1)));
        assert!(window.slots.len() <= MAX_SLOTS);
        assert_eq!(window.tally(Side::Gray), Tally::new(10_000, 0));
        let mut window = Window::new(Duration::ZERO);
        (0..3).for_each(|n| window.push(&figures(n, 0), &figures(1, 1)));
        assert_eq!((window.tally(Side::Gray).requests(), window.length()), (2, TICK), "one tick at least");
    }

    #[test]
    fn a_series_is_oldest_first_and_its_points_are_of_the_same_time() {
        let mut window = Window::new(TICK * 90);
        (0..90).for_each(|tick| window.push(&figures(tick, 0), &figures(1, u64::from(tick > 86))));
        let series = window.series();
        assert_eq!((series.point, series.gray.len()), (TICK * 3, MAX_POINTS));
        assert_eq!((series.gray[0], series.gray[29]), (Tally::new(1 + 2, 0), Tally::new(87 + 88 + 89, 0)));
        assert_eq!((series.stable[28], series.stable[29]), (Tally::new(3, 0), Tally::new(3, 3)));
    }

    proptest! {
        /// Against all ticks in a list: the last of them, as many as fit, less a part of a slot in a long window.
        #[test]
        fn it_is_the_sum_of_the_last_ticks(
            ticks in prop::collection::vec((0_u64..50, 0_u64..50), 1..1_500),
            wanted in 1_u32..1_000,
        ) {
            let mut window = Window::new(TICK * wanted);
            for (requests, errors) in &ticks {
                window.push(&figures(*requests, *errors), &figures(*errors, 0));
            }
            let kept = (window.length().as_millis() / TICK.as_millis()) as usize;
            let wanted = wanted as usize;
            prop_assert!(kept <= wanted.min(ticks.len()));
            prop_assert!(kept + 2 * wanted.div_ceil(MAX_SLOTS) > wanted.min(ticks.len()));
            prop_assert!(wanted > MAX_SLOTS || kept == wanted.min(ticks.len()));
            let mut naive = Figures::default();
            ticks[ticks.len() - kept..].iter().for_each(|(n, errors)| naive.merge(&figures(*n, *errors)));
            prop_assert_eq!(window.tally(Side::Gray), naive.tally);
            prop_assert_eq!(window.latency(Side::Gray), naive.latency);
            let series = window.series();
            prop_assert!(series.gray.len() <= MAX_POINTS && series.gray.len() == series.stable.len());
            let covered = series.point * series.gray.len() as u32;
            prop_assert!(covered >= window.length() && covered < window.length() + 2 * series.point);
            for (points, side) in [(series.gray, Side::Gray), (series.stable, Side::Stable)] {
                prop_assert_eq!(points.into_iter().fold(Tally::default(), Tally::plus), window.tally(side));
            }
        }
    }
}
