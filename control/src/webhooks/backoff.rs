//! How long to wait before the next try.

use std::time::Duration;

/// Before the second try, at most.
const FIRST: Duration = Duration::from_secs(1);

/// Before any try, at most.
const LONGEST: Duration = Duration::from_secs(300);

/// What a receiver may ask to be waited for, at most: its word is not to end the deliveries.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// How long to wait after some failures in a row: twice as long after each, and of that by `lot`, from 0 to 1, from half to all, so that
/// webhooks that failed together do not come back together. A receiver that asked for a time gets it.
pub(super) fn delay(failures: u32, lot: f64, asked: Option<Duration>) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    doubled.mul_f64(0.5 + lot.clamp(0.0, 1.0) / 2.0).max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_delay_doubles_from_one_second_to_five_minutes() {
        let longest: Vec<u64> = (1..=11).map(|failures| delay(failures, 1.0, None).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay(u32::MAX, 0.0, None), LONGEST / 2);
        assert_eq!(delay(1, 0.0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(delay(11, 0.0, Some(Duration::from_secs(7))), LONGEST / 2);
        assert_eq!(delay(1, 0.0, Some(Duration::MAX)), LONGEST_ASKED);
    }

    proptest! {
        #[test]
        fn a_delay_is_from_half_to_all_of_what_it_is_at_most(failures in 1_u32..40, lot in 0.0..=1.0) {
            let (longest, delay) = (delay(failures, 1.0, None), delay(failures, lot, None));
            prop_assert!(longest / 2 <= delay && delay <= longest);
        }
    }
}
