//! Finds a host among many, whatever its case, with one look.

use crate::words::{caseless, last_word};
use alloc::vec;
use alloc::vec::Vec;

/// An odd number with bits all over: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Half the way from one word's factor to that of the next: any number with bits all over.
const SPREAD_STEP: u64 = 0x27D4_EB2F_1656_67C5;

/// Open addressing with linear probing, at most half full.
pub(crate) struct HostIndex {
    /// One more than the host's place, or zero. As many as a power of two.
    slots: Vec<u32>,
}

// === impl HostIndex ===

impl HostIndex {
    /// The index of hosts that are numbered as they come.
    pub(crate) fn new<'a>(hosts: impl ExactSizeIterator<Item = &'a [u8]>) -> Self {
        let mut slots = vec![0_u32; (hosts.len() * 2).next_power_of_two()];
        for (host, number) in hosts.zip(1_u32..) {
            let len = slots.len();
            let free = probe(host, len).find(|slot| slots.get(*slot) == Some(&0));
            if let Some(slot) = free.and_then(|slot| slots.get_mut(slot)) {
                *slot = number;
            }
        }
        Self { slots }
    }

    /// The places of hosts that may be `host`.
    #[inline]
    pub(crate) fn places<'a>(&'a self, host: &[u8]) -> impl Iterator<Item = usize> + use<'a> {
        let numbers = probe(host, self.slots.len()).map_while(|slot| self.slots.get(slot).copied());
        numbers.take_while(|number| *number != 0).map(|number| number as usize - 1)
    }
}

/// All slots, from the host's own one on.
#[inline]
fn probe(host: &[u8], slots: usize) -> impl Iterator<Item = usize> + use<> {
    let mask = slots - 1;
    let first = (hash(host) >> 32) as usize;
    (0..slots).map(move |step| (first + step) & mask)
}

/// A sum of products, because multiplications that need not wait for each other take little time.
#[inline]
fn hash(host: &[u8]) -> u64 {
    let (words, _) = host.as_chunks::<8>();
    let mut factor = SPREAD;
    let sum = words.iter().map(|word| u64::from_le_bytes(*word)).chain([last_word(host)]).fold(
        0_u64,
        |sum, word| {
            factor = factor.wrapping_add(2 * SPREAD_STEP);
            sum.wrapping_add(caseless(word).wrapping_mul(factor))
        },
    );
    (sum ^ (sum >> 32)).wrapping_mul(SPREAD)
}

#[cfg(test)]
mod tests {
    use super::HostIndex;
    use std::string::String;
    use std::vec::Vec;

    #[test]
    fn every_host_is_among_its_places_in_any_case_and_few_others_are() {
        let hosts: Vec<String> =
            (0..1_000).map(|at| std::format!("service-{at}.retail.svc.cluster.local")).collect();
        let index = HostIndex::new(hosts.iter().map(String::as_bytes));
        let mut looks = 0;
        for (at, host) in hosts.iter().enumerate() {
            let before = index.places(host.to_uppercase().as_bytes()).position(|place| place == at);
            looks += before.unwrap() + 1;
        }
        assert!(looks < 2_000, "{looks} looks for 1,000 hosts");
        assert_eq!(HostIndex::new([].into_iter()).places(b"loan").count(), 0);
    }
}
