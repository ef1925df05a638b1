//! Sorting. In the filter's module the sort of the language, which is a copy for each type of item, would be a fifth of
//! all bytes; so there one small sort serves all types.

use alloc::vec::Vec;
use core::cmp::Ordering;

/// Sorts; equal items come in any order.
pub(crate) fn sort_by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    if cfg!(target_family = "wasm") {
        sort_by_number(items, &mut compare);
    } else {
        items.sort_unstable_by(compare);
    }
}

/// Sorts the numbers of the items, which takes one sort for all types, and then moves each item once.
fn sort_by_number<T>(items: &mut [T], compare: &mut dyn FnMut(&T, &T) -> Ordering) {
    let mut order: Vec<u32> = (0..items.len() as u32).collect();
    merge_sort(&mut order, &mut |a, b| match (items.get(a as usize), items.get(b as usize)) {
        (Some(a), Some(b)) => compare(a, b),
        _ => Ordering::Equal,
    });
    for start in 0..items.len() {
        let mut at = start;
        // Each place tells where its item is; the one that it had moves on to there.
        while let Some(from) = order.get_mut(at).map(|from| core::mem::replace(from, at as u32) as usize)
            && from != start
        {
            items.swap(at, from);
            at = from;
        }
    }
}

/// Merges sorted runs of one, two, four and more numbers, until one is left.
#[inline(never)]
fn merge_sort(numbers: &mut Vec<u32>, compare: &mut dyn FnMut(u32, u32) -> Ordering) {
    let mut merged = numbers.clone();
    let mut run = 1;
    while run < numbers.len() {
        for (runs, place) in numbers.chunks(2 * run).zip(merged.chunks_mut(2 * run)) {
            let (mut left, mut right) = runs.split_at(run.min(runs.len()));
            for slot in place {
                let side = match (left.first(), right.first()) {
                    (Some(a), Some(b)) if compare(*a, *b).is_gt() => &mut right,
                    (None, _) => &mut right,
                    _ => &mut left,
                };
                if let Some((first, rest)) = side.split_first() {
                    (*slot, *side) = (*first, rest);
                }
            }
        }
        core::mem::swap(numbers, &mut merged);
        run *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::{sort_by, sort_by_number};
    use std::string::String;
    use std::vec::Vec;

    proptest::proptest! {
        #[test]
        fn sorts_as_the_language_does(mut items: Vec<String>) {
            let (mut expected, mut again) = (items.clone(), items.clone());
            expected.sort();
            sort_by_number(&mut items, &mut String::cmp);
            assert_eq!(items, expected);
            sort_by(&mut again, String::cmp);
            assert_eq!(again, expected);
        }
    }
}
