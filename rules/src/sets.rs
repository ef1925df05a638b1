//! How id sets lie in the bytes: exact, small, and asked as they lie.
//!
//! A set is one part for each length of its ids and, where they end in digits, each text before the digits (`T` of
//! `T0000017`). The digits of such a part have one width, so they are numbers, which the encoder keeps as runs or in
//! blocks, whichever is smaller. All other ids of one length are kept whole, ordered by their hash. Loading a set
//! checks its lengths and nothing that grows with its ids; whatever forged bytes claim, a read past an end gives zeros.

mod bits;
mod blocks;
mod hashed;
mod numbers;
mod part;

pub(crate) use part::Set;

#[cfg(test)]
mod tests {
    use super::Set;
    use crate::IdSet;
    use crate::wire::{Reader, Writer};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    fn encoded(ids: &IdSet) -> (Vec<u8>, Set) {
        let mut out = Writer::default();
        Set::write(&mut out, ids);
        let mut reader = Reader::new(&out.bytes, 0);
        let set = Set::read(&mut reader).unwrap();
        assert!(reader.is_at_end());
        (out.bytes, set)
    }

    /// Encodes, and asks for every id, for its neighbours, and for some others.
    fn check(ids: impl IntoIterator<Item = impl AsRef<[u8]>>, others: &[Vec<u8>]) -> f64 {
        let ids: IdSet = ids.into_iter().collect();
        let (bytes, set) = encoded(&ids);
        assert_eq!(set.to_id_set(&bytes), ids);
        assert_eq!(set.len(), ids.len());
        for id in ids.iter() {
            assert!(set.contains(&bytes, id), "{}", String::from_utf8_lossy(id));
            for delta in [1, 255] {
                let mut near = id.to_vec();
                let last = near.last_mut().unwrap();
                *last = last.wrapping_add(delta);
                assert_eq!(set.contains(&bytes, &near), ids.contains(&near));
            }
        }
        for other in others {
            assert_eq!(set.contains(&bytes, other), ids.contains(other));
        }
        bytes.len() as f64 / ids.len() as f64
    }

    /// Numbers from a small generator (SplitMix64), the same in every run.
    fn random(count: usize) -> impl Iterator<Item = u64> {
        (1..=count as u64).map(|at| {
            let mut mixed = at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        })
    }

    fn id() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => "[TU]?[0-9]{1,6}",
            2 => "T[0-9]{18,24}",
            2 => "T0{4}[0-9]{3}",
            2 => "[A-Z]{1,5}",
            1 => "[a-z]{1,3}[0-9]{0,2}[a-z]?",
        ]
        .prop_map(String::into_bytes)
        .boxed()
        .prop_union(vec(any::<u8>(), 1..5).boxed())
    }

    proptest! {
        #[test]
        fn an_encoded_set_holds_what_the_plain_one_holds(ids in vec(id(), 1..300), others in vec(id(), 0..100)) {
            check(ids, &others);
        }

        #[test]
        fn clusters_and_gaps_are_exact(starts in vec(0_u64..100_000_000, 1..20), lens in vec(1_u64..500, 20), steps in vec(1_u64..4, 20)) {
            let ranges = starts.iter().zip(lens.iter().zip(&steps));
            let numbers = ranges.flat_map(|(start, (len, step))| (0..*len).map(move |at| start + at * step));
            check(numbers.map(|number| std::format!("T{number:09}")), &[]);
        }

        #[test]
        fn forged_sets_are_refused_or_harmless(
            ids in vec(id(), 1..60),
            edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            others in vec(id(), 0..20),
        ) {
            let (mut bytes, _) = encoded(&ids.iter().collect());
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(set) = Set::read(&mut Reader::new(&bytes, 0)) {
                ids.iter().chain(&others).for_each(|id| _ = set.contains(&bytes, id));
                prop_assert!(set.to_id_set(&bytes).len() <= set.len());
            }
        }
    }

    #[test]
    fn a_million_ids_take_the_bytes_that_were_promised() {
        let teller = |number: u64| std::format!("T{:08}", number % 100_000_000);
        assert!(check(random(1_000_000).map(teller), &[]) < 1.5);
        assert!(check((0..1_000_000).map(|at| teller(at / 10_000 * 37_000 + at % 10_000)), &[]) < 0.1);
        let text =
            |number: u64| std::format!("{:012x}", number >> 16).replace(|c: char| c.is_ascii_digit(), "x");
        assert!(check(random(200_000).map(text), &[]) < 16.0);
        assert!(check(random(200_000).map(|number| std::format!("{:012x}", number >> 16)), &[]) < 16.0);
    }

    #[test]
    fn of_many_texts_before_digits_as_many_as_can_are_kept_as_numbers() {
        let of_letter = |letter: char| (0..1_000).map(move |at| std::format!("{letter}{at:07}"));
        // Of 20 letters 16 are runs, and the ids of four are whole, 9 bytes each.
        assert!(check(('A'..='T').flat_map(of_letter), &[]) < 2.0);
    }

    #[test]
    fn ids_that_cluster_where_others_are_far_are_still_found_at_once() {
        let near = (0..100_000).map(|at| at * 3);
        let far = (1..100).map(|at| at * 100_000_000_000_000_000);
        check(near.chain(far).map(|number: u64| std::format!("{number:019}")), &[]);
    }
}
