use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::histogram::Histogram;
use crate::policy::{EndpointLimit, ErrorLimits};

/// A judge with what he is told in each tick.
struct Court {
    judge: Judge,
    endpoints: Option<u64>,
    freshness: Freshness,
    is_alone: bool,
}

impl Court {
    fn new(policy: Policy) -> Self {
        Self { judge: Judge::new(policy), endpoints: None, freshness: Freshness::Fresh, is_alone: false }
    }

    fn tick(&mut self, gray: &Figures, stable: &Figures) -> Verdict {
        let Self { endpoints, freshness, is_alone, .. } = *self;
        self.judge.tick(&Observed { gray, stable, endpoints, freshness, is_alone })
    }

    /// So many ticks of the same; the last verdict.
    fn ticks(&mut self, ticks: u32, gray: &Figures, stable: &Figures) -> Verdict {
        (0..ticks).map(|_| self.tick(gray, stable)).last().unwrap()
    }
}

fn figures(requests: u64, errors: u64) -> Figures {
    Figures::new(requests, errors, Histogram::default())
}

/// Requests of which so many took 10 to 20 ms, and the others 200 to 400.
fn timed(fast: u64, slow: u64) -> Figures {
    let bounds = [(10.0, 0), (20.0, fast), (50.0, fast), (100.0, fast), (200.0, fast), (400.0, fast + slow)];
    Figures::new(fast + slow, 0, Histogram::from_cumulative(bounds, fast + slow))
}

fn with_errors(max: Option<f64>, over_stable: Option<f64>) -> Policy {
    Policy { errors: Some(ErrorLimits { max, over_stable }), ..Policy::default() }
}

fn with_latency() -> Policy {
    Policy { latency: Some(LatencyLimit { percentile: 95.0, max_ratio: 1.5 }), ..Policy::default() }
}

fn with_endpoints(min: u64) -> Policy {
    Policy { endpoints: Some(EndpointLimit { min }), ..Policy::default() }
}

#[test]
fn a_version_within_its_limits_is_healthy_when_enough_requests_say_so() {
    let mut court = Court::new(with_errors(Some(0.01), Some(0.01)));
    let (gray, stable) = (figures(10, 0), figures(40, 0));
    assert_eq!(
        court.ticks(4, &gray, &stable),
        Verdict::Undecided(Why::TooFewRequests { seen: 40, wanted: 50 })
    );
    assert_eq!(court.tick(&gray, &stable), Verdict::Healthy(Basis::Limits));
}

#[test]
fn a_version_that_fails_is_found_with_its_figures_and_stays_found() {
    let mut court = Court::new(with_errors(Some(0.01), None));
    court.ticks(240, &figures(10, 0), &figures(40, 0));
    let mut ticks = 0;
    let fault = loop {
        ticks += 1;
        match court.tick(&figures(10, 10), &figures(40, 0)) {
            Verdict::Unhealthy(fault) => break fault,
            _ => assert!(ticks < 5, "a second and a quarter"),
        }
    };
    let (gray, stable) = (Tally::new(10 * ticks, 10 * ticks), Tally::new(40 * ticks, 0));
    let expected = Fault::TooManyErrors { gray, stable, max: 0.01, during: during(ticks) };
    assert_eq!(fault, expected);
    assert_eq!(court.ticks(1_000, &figures(10, 0), &figures(40, 0)), Verdict::Unhealthy(expected.clone()));
    court.freshness = Freshness::Missing;
    assert_eq!(court.tick(&figures(0, 0), &figures(0, 0)), Verdict::Unhealthy(expected));
}

#[test]
fn where_stable_fails_as_often_nobody_is_blamed_and_nobody_is_healthy() {
    let mut court = Court::new(with_errors(Some(0.01), None));
    let verdict = court.ticks(2_000, &figures(10, 5), &figures(40, 20));
    let (gray, stable) = (Tally::new(2_400, 1_200), Tally::new(9_600, 4_800));
    assert_eq!(verdict, Verdict::Undecided(Why::StableFailsToo { gray, stable, max: 0.01 }));
}

#[test]
fn a_judge_who_begins_in_the_middle_of_an_outage_blames_nobody_for_it() {
    let mut court = Court::new(with_errors(Some(0.01), Some(0.01)));
    for tick in 0..2_000 {
        // Stable has two requests a second, and fifty of them only after 25 seconds.
        let stable = if tick % 2 == 1 { figures(1, 1) } else { figures(0, 0) };
        let verdict = court.tick(&figures(10, 10), &stable);
        assert!(matches!(verdict, Verdict::Undecided(_)), "{tick}: {verdict}");
    }
}

#[test]
fn with_too_little_of_stable_the_largest_share_counts_alone() {
    let mut court = Court::new(with_errors(Some(0.01), None));
    let nothing = figures(0, 0);
    let ticks = (1..).find(|_| matches!(court.tick(&figures(10, 10), &nothing), Verdict::Unhealthy(_)));
    assert!(ticks.is_some_and(|ticks| (20..=26).contains(&ticks)), "{ticks:?}: five seconds, and the test");
    let mut court = Court::new(with_errors(None, Some(0.01)));
    let verdict = court.ticks(500, &figures(10, 10), &nothing);
    assert_eq!(verdict, Verdict::Undecided(Why::StableTooFewRequests { seen: 0, wanted: 50 }));
}

#[test]
fn worse_than_stable_is_a_fault_below_the_largest_share_too() {
    let mut court = Court::new(with_errors(Some(0.5), Some(0.01)));
    court.ticks(240, &figures(10, 0), &figures(40, 0));
    let verdict = court.ticks(60, &figures(10, 1), &figures(40, 0));
    assert!(matches!(verdict, Verdict::Unhealthy(Fault::WorseThanStable { .. })), "{verdict}");
}

#[test]
fn what_is_over_the_limit_without_proof_is_not_decided_yet() {
    let mut court = Court::new(with_errors(Some(0.01), None));
    court.ticks(5, &figures(10, 0), &figures(40, 0));
    let verdict = court.tick(&figures(10, 1), &figures(40, 0));
    let (gray, stable) = (Tally::new(60, 1), Tally::new(240, 0));
    let fault = Fault::TooManyErrors { gray, stable, max: 0.01, during: TICK * 6 };
    assert_eq!(verdict, Verdict::Undecided(Why::NotYet(fault)));
}

#[test]
fn no_traffic_no_data_and_stale_data_are_neither_healthy_nor_a_fault() {
    let (gray, stable, nothing) = (figures(10, 10), figures(40, 0), figures(0, 0));
    let mut court = Court::new(with_errors(Some(0.01), None));
    assert_eq!(court.ticks(300, &nothing, &stable), Verdict::Undecided(Why::NoTraffic));
    court.freshness = Freshness::Missing;
    assert_eq!(court.ticks(300, &gray, &stable), Verdict::Undecided(Why::NoData));
    let age = Duration::from_secs(30);
    court.freshness = Freshness::Stale(age);
    assert_eq!(court.ticks(300, &gray, &stable), Verdict::Undecided(Why::StaleData { age }));
}

#[test]
fn endpoints_that_are_gone_are_a_fault_at_once_and_those_that_never_came_are_not() {
    let (gray, stable) = (figures(10, 0), figures(40, 0));
    let mut court = Court::new(with_endpoints(2));
    assert_eq!(court.ticks(9, &gray, &stable), Verdict::Undecided(Why::EndpointsUnknown));
    court.endpoints = Some(1);
    assert_eq!(court.ticks(9, &gray, &stable), Verdict::Undecided(Why::NeverUp { ready: 1, min: 2 }));
    court.endpoints = Some(2);
    assert_eq!(court.tick(&gray, &stable), Verdict::Healthy(Basis::Limits));
    court.endpoints = Some(1);
    assert_eq!(court.tick(&gray, &stable), Verdict::Unhealthy(Fault::NoEndpoints { ready: 1, min: 2 }));
}

#[test]
fn a_slow_version_is_found_and_one_that_is_as_slow_as_stable_is_not() {
    let stable = timed(39, 1);
    let mut court = Court::new(with_latency());
    assert_eq!(court.ticks(240, &timed(10, 0), &stable), Verdict::Healthy(Basis::Limits));
    let slower = (1..200).find(|_| matches!(court.tick(&timed(6, 4), &stable), Verdict::Unhealthy(_)));
    assert!(slower.is_some_and(|ticks| ticks < 30), "{slower:?}");
    let mut court = Court::new(with_latency());
    court.ticks(240, &timed(10, 0), &stable);
    let verdict = court.ticks(2_000, &timed(6, 4), &timed(24, 16));
    assert_eq!(verdict, Verdict::Healthy(Basis::Limits), "both are slow: {verdict}");
}

#[test]
fn latency_is_not_judged_where_stable_is_not_known() {
    let mut court = Court::new(with_latency());
    let verdict = court.ticks(300, &timed(0, 10), &timed(0, 0));
    assert_eq!(verdict, Verdict::Undecided(Why::StableTooFewRequests { seen: 0, wanted: 50 }));
    let open = Figures::new(40, 0, Histogram::from_cumulative([(10.0, 0)], 40));
    let verdict = court.ticks(300, &timed(0, 10), &open);
    assert_eq!(verdict, Verdict::Undecided(Why::TooCoarse { percentile: 95.0, last_ms: 10.0 }));
}

#[test]
fn a_limit_that_is_no_number_is_not_tested() {
    let mut court = Court::new(with_errors(Some(f64::NAN), Some(f64::NAN)));
    assert_eq!(court.ticks(500, &figures(10, 10), &figures(40, 0)), Verdict::Healthy(Basis::Limits));
}

#[test]
fn what_is_not_limited_is_not_tested() {
    let mut court = Court::new(Policy::default());
    assert_eq!(court.ticks(500, &timed(0, 10), &timed(40, 0)), Verdict::Healthy(Basis::Limits));
    assert_eq!(court.ticks(500, &figures(10, 10), &figures(40, 0)), Verdict::Healthy(Basis::Limits));
}

/// An hour each with all limits, at rates that go up and down, gray like stable: nobody is blamed.
#[test]
fn healthy_releases_are_left_alone() {
    for seed in 0..8 {
        let mut rng = Rng::with_seed(seed);
        let mut court =
            Court::new(Policy { latency: with_latency().latency, ..with_errors(Some(0.02), Some(0.005)) });
        let mut draw = |requests: u64, share: f64| {
            let count =
                |share: f64, rng: &mut Rng| (0..requests).filter(|_| rng.f64() < share).count() as u64;
            let (errors, slow) = (count(share, &mut rng), count(0.06, &mut rng));
            Figures { tally: Tally::new(requests, errors), ..timed(requests - slow, slow) }
        };
        for tick in 0..14_400_u64 {
            let requests = 2 + (tick / 500) % 9;
            let (gray, stable) = (draw(requests, 0.004), draw(4 * requests, 0.004));
            let verdict = court.tick(&gray, &stable);
            assert!(!matches!(verdict, Verdict::Unhealthy(_)), "seed {seed}, tick {tick}: {verdict}");
        }
    }
}

/// The same in lumps of fifteen seconds, and a fault after an hour: it is found, and not before it is there.
#[test]
fn lumps_of_fifteen_seconds_are_judged_like_ticks() {
    for seed in 0..8 {
        let mut rng = Rng::with_seed(seed);
        let limits = Policy { latency: with_latency().latency, ..with_errors(Some(0.02), Some(0.005)) };
        let mut court = Court::new(Policy { patience: Duration::from_secs(45), ..limits });
        let mut draw = |requests: u64, share: f64| {
            let count =
                |share: f64, rng: &mut Rng| (0..requests).filter(|_| rng.f64() < share).count() as u64;
            let (errors, slow) = (count(share, &mut rng), count(0.06, &mut rng));
            Figures { tally: Tally::new(requests, errors), ..timed(requests - slow, slow) }
        };
        let nothing = figures(0, 0);
        let (mut found, mut healthy) = (None, 0);
        for tick in 0..16_800_u64 {
            let share = if tick < 14_400 { 0.004 } else { 0.2 };
            let requests = 60 * (2 + (tick / 500) % 9);
            let verdict = match tick % 60 {
                // Samples are never told quite on time.
                at if at == tick / 60 % 7 => court.tick(&draw(requests, share), &draw(4 * requests, 0.004)),
                _ => court.tick(&nothing, &nothing),
            };
            if matches!(verdict, Verdict::Unhealthy(_)) {
                found = found.or(Some(tick));
            }
            healthy += u64::from(verdict == Verdict::Healthy(Basis::Limits));
        }
        assert!(found.is_some_and(|tick| (14_580..=14_820).contains(&tick)), "seed {seed}: {found:?}");
        assert!(healthy > 7_200, "seed {seed}: more than half of the hour, {healthy}");
    }
}

proptest! {
    /// Whatever is observed: an answer in one line; and a fault stays.
    #[test]
    fn any_figures_are_judged(
        limits in (any::<f64>(), any::<f64>(), any::<f64>(), any::<f64>(), any::<u64>(), any::<u64>()),
        ticks in prop::collection::vec(
            ((any::<u64>(), any::<u64>(), any::<u64>()), (any::<u64>(), any::<u64>()), prop::option::of(any::<u64>()), 0..3_u8), 0..30
        ),
    ) {
        let (max, over, percentile, max_ratio, min, min_requests) = limits;
        let mut court = Court::new(Policy {
            min_requests,
            latency: Some(LatencyLimit { percentile, max_ratio }),
            endpoints: Some(EndpointLimit { min }),
            ..with_errors(Some(max), Some(over))
        });
        let mut was_unhealthy = false;
        for (gray, stable, endpoints, freshness) in ticks {
            court.endpoints = endpoints;
            court.freshness =
                [Freshness::Fresh, Freshness::Missing, Freshness::Stale(Duration::MAX)][usize::from(freshness)];
            let figures = |n: u64, errors| Figures::new(n, errors, Histogram::from_cumulative([(max, errors), (1.0, n)], n));
            let gray = Figures { steered: gray.2, ..figures(gray.0, gray.1) };
            let verdict = court.tick(&gray, &figures(stable.0, stable.1));
            prop_assert!(!verdict.to_string().contains('\n'));
            let is_unhealthy = matches!(verdict, Verdict::Unhealthy(_));
            prop_assert!(is_unhealthy || !was_unhealthy);
            was_unhealthy = is_unhealthy;
        }
    }
}

/// Five requests a minute, one every twelve seconds, beside a stable version that does well.
#[test]
fn five_requests_a_minute_are_too_few_to_praise_and_nine_that_fail_in_a_row_are_blamed() {
    const TICKS_BETWEEN: u32 = 48;
    /// What is said behind each request, for two hours.
    fn said(errors: u64) -> impl Iterator<Item = Verdict> {
        let mut court = Court::new(Policy { min_requests: 20, ..with_errors(Some(0.02), Some(0.01)) });
        (0..600).map(move |_| {
            court.tick(&figures(1, errors), &figures(1, 0));
            court.ticks(TICKS_BETWEEN - 1, &figures(0, 0), &figures(1, 0))
        })
    }
    let is_undecided = |verdict: &Verdict| {
        matches!(verdict, Verdict::Undecided(Why::TooFewRequests { seen: 1..=5, wanted: 20 }))
    };
    assert!(said(0).all(|verdict| is_undecided(&verdict)));
    let failed = said(1).position(|verdict| !is_undecided(&verdict));
    assert_eq!(failed, Some(8), "the ninth, a minute and a half behind the first");
    assert!(matches!(said(1).nth(8), Some(Verdict::Unhealthy(_))));
}

/// So many requests that a filter steered to it, of which none came to an end.
fn steered(requests: u64) -> Figures {
    Figures { steered: requests, ..Figures::default() }
}

#[test]
fn a_version_that_answers_nothing_of_what_is_steered_to_it_for_a_window_is_faulty() {
    let stable = figures(40, 0);
    for policy in [with_errors(Some(0.01), None), with_latency(), with_endpoints(1)] {
        let mut court = Court::new(policy);
        court.endpoints = Some(1);
        court.ticks(240, &figures(10, 0), &stable);
        // What it answered goes out of the window a minute later.
        for tick in 1..240 {
            let verdict = court.tick(&steered(2), &stable);
            assert!(!matches!(verdict, Verdict::Unhealthy(_)), "{tick}: {verdict}");
        }
        let verdict = court.tick(&steered(2), &stable);
        let during = Duration::from_secs(60);
        assert_eq!(verdict, Verdict::Unhealthy(Fault::Unanswered { steered: 480, during }));
    }
}

#[test]
fn requests_that_are_still_on_their_way_are_no_fault_and_are_told() {
    let (stable, nothing) = (figures(40, 0), figures(0, 0));
    let mut court = Court { endpoints: Some(1), ..Court::new(with_errors(Some(0.01), None)) };
    assert_eq!(court.ticks(240, &nothing, &stable), Verdict::Undecided(Why::NoTraffic));
    // They had no whole window yet, however many there are.
    assert_eq!(
        court.ticks(239, &steered(5), &stable),
        Verdict::Undecided(Why::Unanswered { steered: 1_195 })
    );
    court.tick(&Figures { steered: 5, ..figures(1, 0) }, &stable);
    let verdict = court.ticks(239, &steered(5), &stable);
    assert!(matches!(verdict, Verdict::Undecided(Why::TooFewRequests { seen: 1, .. })), "{verdict}");
    assert!(matches!(court.tick(&steered(5), &stable), Verdict::Unhealthy(Fault::Unanswered { .. })));
    // One that was given up on, and all others just now.
    let mut court = Court { endpoints: Some(1), ..Court::new(with_errors(Some(0.01), None)) };
    court.tick(&steered(1), &stable);
    court.ticks(238, &nothing, &stable);
    let verdict = court.tick(&steered(100), &stable);
    assert_eq!(verdict, Verdict::Undecided(Why::Unanswered { steered: 101 }));
}

#[test]
fn nobody_is_blamed_for_no_answers_alone_of_few_or_without_a_limit() {
    let (stable, nothing) = (figures(40, 0), figures(0, 0));
    let limits = || with_errors(Some(0.01), None);
    // Stable answers nothing either, the requests are too few, nothing is limited, or nobody counts gray.
    for (policy, each, stable, endpoints) in [
        (limits(), 5, &nothing, Some(1)),
        (limits(), 0, &stable, Some(1)),
        (Policy::default(), 5, &stable, Some(1)),
        (limits(), 5, &stable, None),
    ] {
        let mut court = Court { endpoints, ..Court::new(policy) };
        for tick in 0..2_000_u64 {
            let gray = steered(if tick % 48 == 0 { 1 } else { each });
            let verdict = court.tick(&gray, stable);
            assert!(matches!(verdict, Verdict::Undecided(Why::Unanswered { .. })), "{tick}: {verdict}");
        }
    }
    // What was steered before nobody could say is not waited for.
    let mut court = Court { endpoints: Some(1), ..Court::new(limits()) };
    for _ in 0..20 {
        court.freshness = Freshness::Fresh;
        court.ticks(200, &steered(5), &stable);
        court.freshness = Freshness::Missing;
        assert_eq!(court.tick(&nothing, &nothing), Verdict::Undecided(Why::NoData));
    }
}

#[test]
fn where_all_requests_are_gray_nothing_is_compared_and_its_own_limits_hold() {
    let nothing = figures(0, 0);
    let alone = |policy| Court { is_alone: true, ..Court::new(policy) };
    let latency = with_latency().latency;
    let mut court = alone(Policy { latency, ..with_errors(Some(0.01), Some(0.01)) });
    assert_eq!(court.ticks(20, &timed(10, 0), &nothing), Verdict::Healthy(Basis::OwnLimits));
    let found = (1..).find(|_| matches!(court.tick(&figures(10, 10), &nothing), Verdict::Unhealthy(_)));
    assert!(found.is_some_and(|ticks| ticks <= 5), "{found:?}: nobody waits for stable");
    // What is there of stable is compared all the same.
    let mut court = alone(with_errors(Some(0.5), Some(0.01)));
    court.ticks(240, &figures(10, 0), &figures(40, 0));
    assert!(matches!(court.ticks(60, &figures(10, 1), &figures(40, 0)), Verdict::Unhealthy(_)));
    for policy in [with_errors(None, Some(0.01)), with_latency()] {
        let verdict = alone(policy).ticks(500, &timed(10, 0), &nothing);
        assert_eq!(verdict, Verdict::Undecided(Why::NothingToCompare));
    }
    let mut court = alone(Policy { endpoints: with_endpoints(1).endpoints, ..with_latency() });
    court.endpoints = Some(1);
    assert_eq!(court.ticks(20, &timed(10, 0), &nothing), Verdict::Healthy(Basis::OwnLimits));
}

#[test]
fn a_stage_is_judged_by_what_is_seen_in_it_and_what_spoke_against_gray_stays() {
    let (good, stable) = (figures(10, 0), figures(40, 0));
    let mut court = Court::new(with_errors(Some(0.01), Some(0.01)));
    assert_eq!(court.ticks(20, &good, &stable), Verdict::Healthy(Basis::Limits));
    court.judge.begin_stage();
    // What is reported in the first five seconds may be of the stage before.
    assert_eq!(court.ticks(20, &good, &stable), Verdict::Undecided(Why::NoTraffic));
    let verdict = court.ticks(4, &good, &stable);
    assert_eq!(verdict, Verdict::Undecided(Why::TooFewRequests { seen: 40, wanted: 50 }));
    // Half of the evidence from before, and half from after.
    let ticks_to_blame = |begins_after: Option<u32>| {
        let mut court = Court::new(with_errors(Some(0.01), None));
        court.ticks(240, &good, &stable);
        let mut ticks = 0;
        loop {
            ticks += 1;
            if let Verdict::Unhealthy(_) = court.tick(&figures(10, 1), &stable) {
                return ticks;
            }
            if begins_after == Some(ticks) {
                court.judge.begin_stage();
            }
        }
    };
    let (undisturbed, disturbed) = (ticks_to_blame(None), ticks_to_blame(Some(3)));
    assert!(undisturbed > 4 && disturbed == undisturbed, "{undisturbed} {disturbed}");
}
