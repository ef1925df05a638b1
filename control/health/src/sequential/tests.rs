use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::limits::{PATIENCE, STRETCH, TICK};

/// Ticks of an hour.
const HOUR: u64 = 14_400;

/// A test against a limit on gray's share, by ticks and over stretches, and one against stable's.
fn each_test() -> [Detector; 3] {
    let detector = |limit| Detector::new(limit, PATIENCE);
    let share = detector(Limit::Share(0.01));
    [share.clone(), share.over_stretches(STRETCH), detector(Limit::OverStable(0.005))]
}

/// How many of so many requests fail, each with this probability.
fn draw(rng: &mut Rng, requests: u64, share: f64) -> Tally {
    let (mut errors, mut at) = (0, 0.0);
    loop {
        // How many requests go well until the next one that fails.
        at += (rng.f64().ln() / (-share).ln_1p()).floor() + 1.0;
        if at > requests as f64 {
            return Tally::new(requests, errors);
        }
        errors += 1;
    }
}

fn seen(gray: Tally, stable: Tally) -> Evidence {
    Evidence { gray, stable, ticks: 1 }
}

/// The probability of so many errors, with the binomial coefficient.
fn probability(tally: Tally, share: f64) -> f64 {
    let (n, k) = (tally.requests(), tally.errors());
    let ways: f64 = (0..k).map(|i| (n - i) as f64 / (k - i) as f64).product();
    ways * share.powi(k as i32) * (1.0 - share).powi((n - k) as i32)
}

/// All that so many requests can come to.
fn outcomes(requests: u64) -> impl Iterator<Item = Tally> + Clone {
    (0..=requests).map(move |errors| Tally::new(requests, errors))
}

const SHARES: [f64; 10] = [0.0, 0.001, 0.01, 0.05, 0.2, 0.4, 0.5, 0.8, 0.97, 1.0];

/// The law of the test, by enumerating all outcomes: whatever shares within the limit, and whatever is bet, the expectation of the
/// e-value is at most 1.
#[test]
fn the_expectation_of_each_e_value_is_at_most_one_wherever_the_limit_is_kept() {
    let mut nearest_to_one = 0.0_f64;
    for (gray, stable) in [(1, 1), (1, 9), (9, 1), (4, 6), (10, 3), (12, 12)] {
        for over in [0.0, 0.003, 0.05, 0.3] {
            for bet in [(0.01, 0.02), (0.001, 0.5), (0.2, 0.6), (0.05, 0.95), (0.5, 0.2), (0.4, 0.75)] {
                let alternative = Shares { stable: bet.0, gray: bet.1 };
                for stable_share in SHARES {
                    // On the border, and within.
                    for gray_share in [1.0, 0.7, 0.2, 0.0].map(|part| part * (stable_share + over).min(1.0)) {
                        let expectation: f64 = outcomes(gray)
                            .flat_map(|gray| outcomes(stable).map(move |stable| seen(gray, stable)))
                            .map(|seen| {
                                probability(seen.gray, gray_share)
                                    * probability(seen.stable, stable_share)
                                    * log_e_over_stable(seen, alternative, over).exp()
                            })
                            .sum();
                        assert!(
                            expectation <= 1.0 + 1e-9,
                            "{gray}+{stable}, {over}, {alternative:?}, {gray_share}, {stable_share}: {expectation}"
                        );
                        nearest_to_one = nearest_to_one.max(expectation);
                    }
                }
            }
        }
    }
    assert!(nearest_to_one > 0.99, "it is no waste either: {nearest_to_one}");
    for limit in [0.001, 0.01, 0.3] {
        for guess in guesses(limit).unwrap() {
            for gray_share in [1.0, 0.5, 0.0].map(|part| part * limit) {
                let expectation: f64 = outcomes(12)
                    .map(|gray| probability(gray, gray_share) * log_e_over_share(gray, guess, limit).exp())
                    .sum();
                assert!(expectation <= 1.0 + 1e-9, "{limit} {guess} {gray_share}: {expectation}");
            }
        }
    }
}

/// The lesser of both: fair while gray is below the limit, and while it is no worse than stable, and so when the two take turns.
#[test]
fn the_expectation_of_the_lesser_is_at_most_one_where_either_limit_is_kept() {
    let (gray, stable, limit) = (8, 10, 0.05);
    for guess in guesses(limit).unwrap() {
        for known in [0.001, 0.04, 0.3, 0.9] {
            for (gray_share, stable_share) in
                [(0.05, 0.0), (0.05, 0.5), (0.5, 0.5), (0.9, 0.9), (1.0, 1.0), (0.2, 0.3)]
            {
                let expectation: f64 = outcomes(gray)
                    .flat_map(|gray| outcomes(stable).map(move |stable| seen(gray, stable)))
                    .map(|seen| {
                        let alone = log_e_over_share(seen.gray, guess, limit);
                        let compared = log_e_over_stable(seen, Shares { gray: guess, stable: known }, 0.0);
                        let weight =
                            probability(seen.gray, gray_share) * probability(seen.stable, stable_share);
                        weight * alone.min(compared).exp()
                    })
                    .sum();
                assert!(
                    expectation <= 1.0 + 1e-9,
                    "{guess} {known} {gray_share} {stable_share}: {expectation}"
                );
            }
        }
    }
}

#[test]
fn guesses_are_above_the_limit_and_below_all() {
    for limit in [0.0, 1e-9, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999_99, 1.0 - 1e-6] {
        let guesses = guesses(limit).unwrap();
        assert!(guesses.is_sorted(), "{limit}: {guesses:?}");
        assert!(guesses[0] > limit && guesses[ALTERNATIVES - 1] < 1.0, "{limit}: {guesses:?}");
        assert!(guesses[ALTERNATIVES - 1] >= 0.949, "{limit}: {guesses:?}");
    }
    for limit in [1.0, 2.0, f64::INFINITY, f64::NAN] {
        assert_eq!(guesses(limit), None);
    }
}

#[test]
fn no_tick_decides_alone_and_a_few_of_failures_alone_do() {
    for mut detector in each_test() {
        let mut ticks = 0;
        while detector.alarm().is_none() {
            detector.tick(Tally::new(1_000_000, 1_000_000), Some(Tally::new(1_000_000, 0)));
            ticks += 1;
        }
        assert!((4..=5).contains(&ticks), "{detector:?}: {ticks}");
        assert_eq!(detector.alarm().map(|evidence| evidence.ticks), Some(ticks));
    }
}

#[test]
fn a_good_past_hides_nothing_and_a_bad_one_is_forgotten() {
    let [by_ticks, over_stretches, _] = each_test();
    [by_ticks, over_stretches].into_iter().for_each(check_what_is_remembered);
}

fn check_what_is_remembered(mut detector: Detector) {
    (0..HOUR).for_each(|_| detector.tick(Tally::new(10, 0), None));
    (0..3).for_each(|_| detector.tick(Tally::new(10, 10), None));
    assert_eq!(detector.alarm(), None);
    (0..2).for_each(|_| detector.tick(Tally::new(10, 10), None));
    let evidence = detector.alarm().unwrap();
    assert_eq!(evidence, Evidence { gray: Tally::new(50, 50), stable: Tally::default(), ticks: 5 });
    (0..HOUR).for_each(|_| detector.tick(Tally::new(10, 10), None));
    (0..1_200).for_each(|_| detector.tick(Tally::new(10, 0), None));
    assert!(detector.log_evidence() < 0.0, "five minutes: {}", detector.log_evidence());
}

#[test]
fn sparse_requests_are_compared_when_both_sides_have_some() {
    let run = |gray_errors: u64, stable_errors: u64| {
        let mut detector = Detector::new(Limit::Share(0.01), PATIENCE);
        (0..400).for_each(|_| detector.tick(Tally::default(), Some(Tally::new(1, 0))));
        // One request a second on either side, never in the same tick.
        let ticks = (0..400).take_while(|tick| {
            let gray = if tick % 4 == 0 { Tally::new(1, gray_errors) } else { Tally::default() };
            let stable = if tick % 4 == 2 { Tally::new(1, stable_errors) } else { Tally::default() };
            detector.tick(gray, Some(stable));
            detector.alarm().is_none()
        });
        ticks.count()
    };
    assert!(run(1, 0) < 80, "twenty seconds, of one against one: {}", run(1, 0));
    assert_eq!(run(1, 1), 400, "both fail");
    assert_eq!(run(0, 0), 400);
    let mut alone = Detector::new(Limit::OverStable(0.01), PATIENCE);
    (0..1_000).for_each(|_| alone.tick(Tally::new(10, 10), Some(Tally::default())));
    (0..1_000).for_each(|_| alone.tick(Tally::new(10, 10), None));
    assert_eq!(alone.alarm(), None, "there is nothing to compare with");
}

/// Releases of an hour, 200 of each kind, that are as bad as they may be, to the last error: the evidence gets as far as it may, and no more
/// often than promised. Requests come in each tick, or fifteen seconds' worth of them at once and none between.
#[test]
fn false_alarms_are_as_rare_as_promised() {
    for every in [1, 60] {
        for (limit, stretch, gray, stable) in [
            (Limit::Share(0.01), TICK, 0.01, 0.001),
            (Limit::Share(0.01), TICK, 0.05, 0.05),
            (Limit::Share(0.05), TICK, 0.001, 0.001),
            (Limit::Share(0.01), STRETCH, 0.01, 0.004),
            (Limit::Share(0.01), STRETCH, 0.01, 0.01),
            (Limit::Share(0.01), STRETCH, 0.05, 0.05),
            (Limit::OverStable(0.0), TICK, 0.01, 0.01),
            (Limit::OverStable(0.01), TICK, 0.012, 0.002),
        ] {
            let mut most = Vec::new();
            for seed in 0..200 {
                let mut rng = Rng::with_seed(seed);
                let mut detector = Detector::new(limit, PATIENCE * every).over_stretches(stretch);
                let evidence = (0..HOUR).map(|tick| {
                    let times = if tick % u64::from(every) == 0 { u64::from(every) } else { 0 };
                    let gray = draw(&mut rng, 10 * times, gray);
                    detector.tick(gray, Some(draw(&mut rng, 40 * times, stable)));
                    detector.log_evidence()
                });
                most.push(evidence.fold(0.0, f64::max));
            }
            for alpha in [ALPHA, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4] {
                let alarms = most.iter().filter(|most| **most >= -f64::ln(alpha)).count();
                let promised = (HOUR / u64::from(every)) as f64 * alpha * most.len() as f64;
                println!(
                    "{limit:?} {stretch:?} {gray} {stable} {alpha}: {alarms} alarms in {} hours, {promised:.4} promised",
                    most.len()
                );
                // Three standard deviations more, of what is nearly a Poisson distribution.
                assert!(
                    alarms as f64 <= promised + 3.0 * promised.sqrt(),
                    "{every} {limit:?} {stretch:?} {gray} {stable} {alpha}: {alarms}"
                );
            }
        }
    }
}

/// A version near its limit and worse than stable, and now and then both fail alike for a stretch or longer: by ticks and over stretches
/// nobody is blamed, and over what is longer than the turns it is.
#[test]
fn turns_longer_than_a_stretch_blame_nobody() {
    let [by_ticks, over_stretches, _] = each_test();
    let without_end = by_ticks.clone().over_stretches(Duration::MAX);
    for (new, most) in [(by_ticks, 0), (over_stretches, 0), (without_end, 100)] {
        let is_blamed = |seed: &u64| {
            let (mut detector, mut rng) = (new.clone(), Rng::with_seed(*seed));
            (0..2_400).any(|tick| {
                let (gray, stable) = if tick % 300 < 240 { (0.009, 0.001) } else { (0.05, 0.05) };
                let gray = draw(&mut rng, 100, gray);
                detector.tick(gray, Some(draw(&mut rng, 400, stable)));
                detector.alarm().is_some()
            })
        };
        let blamed = (0..100).filter(is_blamed).count();
        println!("{} ticks: {blamed}", new.stretch_ticks);
        assert!(blamed <= most && blamed >= most / 2, "{} ticks: {blamed}", new.stretch_ticks);
    }
}

#[test]
fn what_comes_after_nothing_is_of_another_stretch() {
    let take = |bet: &mut Bet, alone, compared| bet.take(LogE { alone, compared }, Evidence::default(), 60);
    let mut bet = Bet::default();
    take(&mut bet, 3.0, 1.0);
    take(&mut bet, -1.0, 2.0);
    assert_eq!(bet.log_m(), 2.0, "what spoke for and against it is set off");
    bet.pass(1);
    take(&mut bet, 1.0, -1.0);
    assert_eq!(bet.log_m(), 1.0, "and not beyond");
    assert_eq!(bet.since.ticks, 1);

    // Neither is what waited for something to be compared with.
    let mut detector = Detector::new(Limit::Share(0.01), PATIENCE);
    detector.tick(Tally::new(9, 9), Some(Tally::default()));
    detector.miss();
    (0..3).for_each(|_| detector.tick(Tally::default(), Some(Tally::new(100, 0))));
    assert_eq!(detector.strongest().since, Evidence { ticks: 1, ..Evidence::default() });
}

#[test]
fn the_time_between_lumps_is_a_part_of_the_time_that_is_told() {
    // With less patience the time before the first lump is not known to be its own.
    for (patience, before_the_first) in [(PATIENCE, 20), (PATIENCE * 9, 60)] {
        let mut detector = Detector::new(Limit::Share(0.01), patience);
        while detector.alarm().is_none() {
            (0..59).for_each(|_| detector.tick(Tally::default(), Some(Tally::default())));
            detector.tick(Tally::new(600, 600), Some(Tally::new(2_400, 0)));
        }
        let Evidence { gray, ticks, .. } = detector.alarm().unwrap();
        assert_eq!((gray, ticks), (Tally::new(2_400, 2_400), before_the_first + 3 * 60));
    }
}

/// What two instances count, one of gray alone and one of stable alone, each sampled every fifteen seconds at its own time: they are
/// compared, and an outage of both is nobody's fault, though it is told of gray a lump earlier or later.
#[test]
fn sides_that_come_apart_are_compared_and_an_outage_of_both_blames_nobody() {
    let run = |apart: u64, gray_share: &dyn Fn(u64) -> f64, stable_share: &dyn Fn(u64) -> f64| {
        let mut rng = Rng::with_seed(apart);
        let mut detector = Detector::new(Limit::Share(0.01), PATIENCE * 9);
        (0..HOUR).position(|tick| {
            let mut lump = |phase: u64, requests: u64, share: &dyn Fn(u64) -> f64| {
                let share = |second: u64| share((tick / 4).saturating_sub(second));
                let is_due = tick % 60 == phase;
                // Fifteen seconds, each with its own share.
                let seconds = (0..15).map(|second| draw(&mut rng, requests, share(second)));
                if is_due { seconds.fold(Tally::default(), Tally::plus) } else { Tally::default() }
            };
            let gray = lump(0, 40, gray_share);
            detector.tick(gray, Some(lump(apart, 160, stable_share)));
            detector.alarm().is_some()
        })
    };
    for apart in [0, 1, 20, 31, 59] {
        let found = run(apart, &|second| if second < 600 { 0.001 } else { 0.5 }, &|_| 0.001);
        let lumps = found.map(|tick| tick as u64 / 60 - 600 / 15);
        assert!(lumps.is_some_and(|lumps| (3..=7).contains(&lumps)), "{apart}: {lumps:?}");
        for outage in [10, 45, 120, 900] {
            let both = |second: u64| if second % 1_200 < outage { 0.9 } else { 0.001 };
            assert_eq!(run(apart, &both, &both), None, "{apart}, {outage} s");
        }
    }
}

/// Outages of both, of every size, with both versions recovering: nobody is blamed.
#[test]
fn what_fails_alike_is_never_an_alarm() {
    let mut rng = Rng::with_seed(7);
    for new in each_test() {
        for run in 0..300 {
            let mut detector = new.clone();
            let mut share = 0.001;
            for tick in 0..2_400 {
                if tick % 120 == 0 {
                    share = [0.001, 0.02, 0.2, 0.5, 0.9, 0.999][rng.usize(..6)];
                }
                let (requests, times) = (1 + run % 40, [1, 4, 20][tick % 3]);
                let gray = draw(&mut rng, requests, share);
                detector.tick(gray, Some(draw(&mut rng, requests * times, share)));
                assert_eq!(detector.alarm(), None, "{new:?}, run {run}, tick {tick}");
            }
        }
    }
}

/// An outage of both, that is seen of gray a little earlier, and later again that it is over.
#[test]
fn what_is_seen_of_gray_two_ticks_earlier_or_later_is_never_an_alarm() {
    for new in each_test() {
        for (gray_ticks, stable_ticks) in [(200..400, 202..402), (202..402, 200..400), (200..400, 202..398)] {
            for share in [0.1, 0.5, 0.999] {
                let mut rng = Rng::with_seed(3);
                let mut detector = new.clone();
                for tick in 0..800 {
                    let mut side = |ticks: &std::ops::Range<i32>, requests| {
                        draw(&mut rng, requests, if ticks.contains(&tick) { share } else { 0.001 })
                    };
                    let gray = side(&gray_ticks, 10);
                    detector.tick(gray, Some(side(&stable_ticks, 40)));
                    assert_eq!(detector.alarm(), None, "{new:?} {share} {gray_ticks:?}, tick {tick}");
                }
            }
        }
    }
}

/// How many ticks after a fault began the alarm is raised, in the middle and in nine of ten cases, with 40 requests a second to gray and
/// 160 to stable, which fails one of a thousand.
#[test]
fn faults_are_found_in_time() {
    for (share, middle_max, most_max) in [(0.999_999, 5, 5), (0.5, 8, 9), (0.1, 40, 60), (0.04, 160, 260)] {
        for new in each_test() {
            let (middle, most) = delays(&new, 10, share, 0.001);
            println!(
                "{:?} of {} ticks, {share}: {middle} ticks, {most} in nine of ten",
                new.limit, new.stretch_ticks
            );
            assert!(middle <= middle_max && most <= most_max, "{new:?}, {share}: {middle} {most}");
        }
    }
}

/// A version that has three times as many as it may, and eight times as many as stable, which has none in most ticks: with 12 requests a
/// second it is found in minutes, and tick by tick in a quarter of an hour.
#[test]
fn few_of_few_requests_are_found_over_stretches() {
    let [by_ticks, over_stretches, _] = each_test();
    let (middle, most) = delays(&over_stretches, 3, 0.032, 0.004);
    println!("{middle} ticks, {most} in nine of ten");
    assert!(middle <= 800 && most <= 1_600, "{middle} {most}");
    let (middle, _) = delays(&by_ticks, 3, 0.032, 0.004);
    assert!(middle > 3_000, "or stretches are of no use: {middle}");
}

/// After how many ticks a fault is found, in the middle and in nine of ten cases; an hour if it is not. Gray has so many requests a tick,
/// and stable four times as many.
fn delays(new: &Detector, requests: u64, share: f64, stable: f64) -> (u64, u64) {
    let mut delays: Vec<u64> =
        (0..100).map(|seed| delay(new.clone(), requests, share, stable, seed)).collect();
    delays.sort_unstable();
    (delays[50], delays[90])
}

fn delay(mut detector: Detector, requests: u64, share: f64, stable: f64, seed: u64) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let mut goes_on = |share: f64| {
        let gray = draw(&mut rng, requests, share);
        detector.tick(gray, Some(draw(&mut rng, 4 * requests, stable)));
        detector.alarm().is_none()
    };
    assert!((0..1_000).all(|_| goes_on(0.001)), "it is blamed before its fault");
    (1..HOUR).find(|_| !goes_on(share)).unwrap_or(HOUR)
}

fn any_tally() -> impl Strategy<Value = Tally> {
    let count = prop_oneof![0_u64..100, any::<u64>(), Just(u64::MAX)];
    (count.clone(), count).prop_map(|(requests, errors)| Tally::new(requests, errors))
}

fn any_limit() -> impl Strategy<Value = Limit> {
    let share = prop_oneof![0.0_f64..=1.0, any::<f64>(), Just(f64::NAN)];
    (share, any::<bool>())
        .prop_map(|(share, alone)| if alone { Limit::Share(share) } else { Limit::OverStable(share) })
}

proptest! {
    /// By the definition: `M <- max(1, M) * E`, with the lesser of both e-values as `E`. And over stretches nothing is found later.
    #[test]
    fn a_stretch_of_one_tick_is_a_plain_cusum_and_a_longer_one_finds_no_less(
        ticks in prop::collection::vec((-3.0_f64..8.0, -3.0_f64..8.0), 0..200),
        stretch_ticks in 2_u64..40,
    ) {
        let (mut by_ticks, mut over_stretches, mut log_m) = (Bet::default(), Bet::default(), 0.0_f64);
        let most = (ALTERNATIVES as f64).ln() - ALPHA.ln();
        for (alone, compared) in ticks {
            let seen = Evidence { ticks: 1, ..Evidence::default() };
            by_ticks.take(LogE { alone, compared }, seen, 1);
            over_stretches.take(LogE { alone, compared }, seen, stretch_ticks);
            log_m = (log_m.max(0.0) + alone.min(compared).min(-ALPHA.ln() / 4.0)).min(most);
            prop_assert!((by_ticks.log_m() - log_m).abs() < 1e-9, "{} {log_m}", by_ticks.log_m());
            prop_assert!(over_stretches.log_m() >= log_m - 1e-9, "{} {log_m}", over_stretches.log_m());
        }
    }

    #[test]
    fn the_evidence_is_finite_whatever_comes(
        limit in any_limit(),
        stretch in prop_oneof![Just(TICK), Just(STRETCH), Just(Duration::MAX)],
        ticks in prop::collection::vec((any_tally(), prop::option::of(any_tally())), 0..60),
    ) {
        let mut detector = Detector::new(limit, PATIENCE).over_stretches(stretch);
        for (gray, stable) in ticks {
            detector.tick(gray, stable);
            prop_assert!(detector.log_evidence().is_finite());
            if let Some(evidence) = detector.alarm() {
                prop_assert!(evidence.gray.errors() > 0, "nothing is blamed for nothing");
            }
        }
    }

    /// Against all points of the null on a fine grid: none is nearer.
    #[test]
    fn the_nearest_null_is_the_nearest(
        n in (1_u64..1_000, 1_u64..1_000),
        over in 0.0_f64..0.5,
        stable in 0.000_1_f64..0.99,
        further in 0.001_f64..0.999,
    ) {
        let gray = stable + over + (1.0 - stable - over) * further;
        prop_assume!(gray < 0.999_999);
        let alternative = Shares { gray, stable };
        let seen = seen(Tally::new(n.0, 0), Tally::new(n.1, 0));
        let kl = |from: f64, to: f64| from * (from / to).ln() + (1.0 - from) * ((1.0 - from) / (1.0 - to)).ln();
        let distance = |null: Shares| n.0 as f64 * kl(gray, null.gray) + n.1 as f64 * kl(stable, null.stable);
        let found = nearest_null(seen, alternative, over);
        prop_assert!((found.gray - found.stable - over).abs() < 1e-9);
        let least = distance(found);
        for step in 1..2_000 {
            let stable = f64::from(step) / 2_000.0;
            for gray in [stable + over, stable + over * 0.5, stable * 0.9] {
                if gray < 1.0 {
                    let other = Shares { gray, stable };
                    prop_assert!(distance(other) >= least * (1.0 - 1e-9) - 1e-12, "{other:?} is nearer than {found:?}");
                }
            }
        }
    }
}
