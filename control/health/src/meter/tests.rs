use super::*;
use crate::limits::{MAX_BUCKETS, MAX_CLUSTERS_PER_STREAM, MAX_REQUESTS_PER_TICK};

fn said(completed: u64, errors: u64, endpoints: u64) -> Reading {
    Reading {
        completed: Some(completed),
        errors: Some(errors),
        endpoints: Some(endpoints),
        ..Reading::default()
    }
}

fn node(name: &str) -> Arc<str> {
    name.into()
}

fn on(node: &Arc<str>, stream: u64) -> Source<'_> {
    of("loan-v2", node, stream)
}

fn of<'a>(cluster: &'a str, node: &'a Arc<str>, stream: u64) -> Source<'a> {
    Source { node, stream, cluster }
}

fn counted(requests: u64, errors: u64) -> Figures {
    Figures::new(requests, errors, Histogram::default())
}

#[test]
fn a_tick_has_what_every_proxy_counted_since_its_last_report() {
    let (mut meter, a, b) = (Meter::default(), node("a"), node("b"));
    meter.report(on(&a, 1), said(1_000, 500, 1));
    meter.report(on(&b, 1), said(10, 0, 1));
    assert_eq!(meter.tick(), Figures::default(), "what was before is not counted");
    meter.report(on(&a, 1), said(1_010, 501, 1));
    meter.report(on(&b, 1), said(15, 2, 1));
    meter.report(on(&b, 1), said(16, 2, 1));
    assert_eq!(meter.tick(), counted(16, 3));
    assert_eq!(meter.tick(), Figures::default());
}

#[test]
fn who_says_what_cannot_be_is_not_believed_until_it_says_what_can_for_a_while() {
    let a = node("a");
    for odd in [said(990, 10, 0), said(1_000, 9, 0), said(1_000_000, 10, 0), said(1_000, u64::MAX, 0)] {
        let mut meter = Meter::default();
        let mut next = |reading: Reading| {
            meter.report(on(&a, 1), reading);
            (meter.tick(), meter.endpoints())
        };
        assert_eq!(next(said(1_000, 10, 3)), (Figures::default(), Some(3)));
        let (completed, errors) = (odd.completed.unwrap(), odd.errors.unwrap());
        assert_eq!(next(odd), (Figures::default(), None));
        for _ in 2..ticks(STALE) {
            assert_eq!(next(said(completed, errors, 3)), (Figures::default(), None));
        }
        next(said(completed, errors, 3));
        let more = said(completed + 5, errors, 3);
        assert_eq!(next(more), (counted(5, 0), Some(3)));
    }
    let slow = Cumulative::new([], MAX_REQUESTS_PER_TICK * 10);
    let mut meter = Meter::default();
    meter.report(on(&a, 1), said(0, 0, 1));
    (0..4).for_each(|_| drop(meter.tick()));
    let heard = meter.report(on(&a, 1), Reading { times: Some(Times::Since(slow)), ..said(1, 0, 1) });
    assert_eq!(heard, Heard::Implausible(Implausible::TooMany));
    assert_eq!(meter.tick(), Figures::default());
}

#[test]
fn what_does_no_harm_to_a_counter_is_no_count_and_the_counter_stays() {
    let (mut meter, a) = (Meter::default(), node("a"));
    meter.report(on(&a, 1), said(10, 1, 1));
    meter.report(on(&a, 1), Reading::default());
    meter.report(on(&a, 1), said(12, 1, 1));
    assert_eq!((meter.tick(), meter.endpoints()), (counted(2, 0), Some(1)));
}

#[test]
fn who_is_sampled_may_begin_anew_with_what_it_has() {
    let (mut meter, a) = (Meter::default(), node("a"));
    let mut sampled = |at_ms, completed, errors| {
        let sample = Some(Sample { at_ms, age: Duration::ZERO });
        let heard = meter.report(on(&a, 0), Reading { sample, ..said(completed, errors, 1) });
        (heard, meter.tick())
    };
    assert_eq!(sampled(1, 1_000, 10), (Heard::News, Figures::default()));
    assert_eq!(sampled(2, 30, 1), (Heard::News, counted(30, 1)));
    assert_eq!(sampled(3, 20, 2), (Heard::News, counted(20, 2)));
    let leaps = Heard::Implausible(Implausible::TooMany);
    assert_eq!(sampled(4, 10_000_000, 2), (leaps, Figures::default()));
    assert_eq!(sampled(5, 10_000_001, 2), (Heard::Doubted, Figures::default()));
}

#[test]
fn a_series_that_gets_lost_of_one_that_is_sampled_is_no_new_beginning() {
    let a = node("a");
    let told = |at_ms, completed, errors, below_10| Reading {
        sample: Some(Sample { at_ms, age: Duration::ZERO }),
        times: Some(Times::Total(Cumulative::new([(10.0, below_10)], 1_000))),
        ..said(completed, errors, 1)
    };
    for lost in [told(2, 1_010, 40, 900), told(2, 1_010, 90, 400)] {
        let mut meter = Meter::default();
        meter.report(on(&a, 0), told(1, 1_000, 90, 900));
        assert_eq!(meter.report(on(&a, 0), lost), Heard::Implausible(Implausible::Fell));
        assert_eq!(meter.tick(), Figures::default());
    }
}

#[test]
fn two_that_call_themselves_the_same_have_counters_of_their_own_and_the_first_has_the_say() {
    let (mut meter, a) = (Meter::default(), node("a"));
    for round in 0..3 {
        meter.report(on(&a, 1), said(1_000 + round, 10, 3));
        meter.report(on(&a, 2), said(5_000 + 2 * round, 4_000, 0));
    }
    assert_eq!(meter.tick(), counted(2 + 4, 0));
    assert_eq!(meter.endpoints(), Some(3), "that of the first stream");
    for tick in 0..ticks(STALE) {
        assert_eq!(meter.endpoints(), Some(3), "{tick}");
        meter.report(on(&a, 2), said(6_000, 4_000, 0));
        meter.tick();
    }
    assert_eq!(meter.endpoints(), Some(0), "the first one is gone");
}

#[test]
fn each_cluster_of_a_version_has_counters_of_its_own() {
    let (mut meter, a) = (Meter::default(), node("a"));
    let [first, second] = ["outbound|8080|v2|loan", "outbound|9090|v2|loan"];
    let times = |requests| Some(Times::Since(Cumulative::new([(10.0, requests)], requests)));
    for round in 0..100 {
        for (cluster, counts) in [(first, said(1_000 + 5 * round, round, 2)), (second, said(2 * round, 0, 2))]
        {
            let heard = meter.report(of(cluster, &a, 1), Reading { times: times(3), ..counts });
            assert_eq!(heard, Heard::News, "{cluster} {round}");
        }
        let figures = meter.tick();
        let expected = if round == 0 { (0, 0, 0) } else { (7, 1, 6) };
        assert_eq!((figures.tally.requests(), figures.tally.errors(), figures.latency.requests()), expected);
    }
    assert_eq!(meter.endpoints(), Some(2));
}

#[test]
fn endpoints_are_those_of_the_cluster_that_has_the_fewest_and_had_some() {
    let (mut meter, a) = (Meter::default(), node("a"));
    let mut seen = |cluster, endpoints| {
        meter.report(of(cluster, &a, 1), said(0, 0, endpoints));
        meter.endpoints()
    };
    assert_eq!(seen("loan-v2_eu2", 0), Some(0), "nothing else is known");
    assert_eq!(seen("loan-v2_eu1", 3), Some(3), "the version is not in the other zone");
    assert_eq!(seen("loan-v2_eu3", 2), Some(2));
    assert_eq!(seen("loan-v2_eu1", 3), Some(2), "whichever was told last");
    assert_eq!(seen("loan-v2_eu3", 0), Some(0), "there it was");
    for _ in 0..=ticks(STALE) {
        meter.tick();
        meter.report(of("loan-v2_eu1", &a, 1), said(0, 0, 3));
    }
    assert_eq!(meter.endpoints(), Some(3), "of the others nothing is told any more");
}

#[test]
fn more_clusters_than_a_version_may_have_are_not_heard_until_others_are_gone() {
    let (mut meter, a) = (Meter::default(), node("a"));
    for number in 0..2 * MAX_CLUSTERS_PER_STREAM {
        let heard = meter.report(of(&number.to_string(), &a, 1), said(1, 0, 1));
        assert_eq!(heard == Heard::News, number < MAX_CLUSTERS_PER_STREAM);
    }
    (0..=2 * ticks(STALE)).for_each(|_| drop(meter.tick()));
    assert_eq!(meter.report(of("another", &a, 1), said(1, 0, 1)), Heard::News);
}

#[test]
fn what_is_claimed_in_one_tick_is_added_up() {
    let (mut meter, a) = (Meter::default(), node("a"));
    let most = MAX_REQUESTS_PER_TICK;
    for cluster in ["one", "other"] {
        meter.report(of(cluster, &a, 1), said(0, 0, 1));
    }
    assert_eq!(meter.report(of("one", &a, 1), said(most - 1, 0, 1)), Heard::News);
    assert_eq!(meter.report(of("one", &a, 1), said(most, 0, 1)), Heard::News);
    let one_more = meter.report(of("other", &a, 1), said(1, 0, 1));
    assert_eq!(one_more, Heard::Implausible(Implausible::TooMany));
    assert_eq!((meter.tick(), meter.endpoints()), (Figures::default(), None), "all of it is doubted");

    // Who was silent for a while may have counted for as long, and no longer.
    let after = |silence: u64, requests| {
        let mut meter = Meter::default();
        meter.report(on(&a, 1), said(0, 0, 1));
        (0..silence).for_each(|_| drop(meter.tick()));
        meter.report(on(&a, 1), said(requests, 0, 1))
    };
    assert_eq!(after(20, 21 * most), Heard::News);
    assert_eq!(after(20, 21 * most + 1), Heard::Implausible(Implausible::TooMany));
}

#[test]
fn errors_count_when_they_come_in_another_message_than_their_requests() {
    let requests = |completed| Reading { completed: Some(completed), ..Reading::default() };
    let errors = |errors| Reading { errors: Some(errors), ..Reading::default() };
    let a = node("a");
    // One report in two messages, whichever is first, in one tick or in two.
    for (is_apart, errors_first) in [(false, false), (false, true), (true, true), (true, false)] {
        let mut meter = Meter::default();
        let mut found = Figures::default();
        for round in 0..=10 {
            let mut messages = [requests(100 + 5 * round), errors(50 + 5 * round)];
            if errors_first {
                messages.reverse();
            }
            for message in messages {
                assert_eq!(meter.report(on(&a, 1), message), Heard::News);
                if is_apart {
                    found.merge(&meter.tick());
                }
            }
            (0..4).for_each(|_| found.merge(&meter.tick()));
        }
        // Requests that nobody knew to have failed were counted when they came: their errors are those of the next ones.
        let expected = if is_apart && !errors_first { 45 } else { 50 };
        assert_eq!(found, counted(50, expected), "apart: {is_apart}, errors first: {errors_first}");
    }
}

#[test]
fn errors_that_wait_for_their_requests_are_not_added_up() {
    let (mut meter, a) = (Meter::default(), node("a"));
    meter.report(on(&a, 1), said(0, 0, 1));
    meter.report(on(&a, 1), said(0, 90, 1));
    meter.tick();
    meter.report(on(&a, 1), said(30, 90, 1));
    assert_eq!(meter.tick(), counted(30, 30));
    meter.report(on(&a, 1), said(60, 90, 1));
    assert_eq!(meter.tick(), counted(30, 0), "what was too much is forgotten");
}

#[test]
fn what_a_first_report_tells_in_another_message_was_before_and_what_begins_later_counts() {
    let (mut meter, a) = (Meter::default(), node("a"));
    meter.report(on(&a, 1), Reading { endpoints: Some(1), ..Reading::default() });
    meter.tick();
    meter.report(on(&a, 1), said(5_000, 4_000, 1));
    assert_eq!(meter.tick(), Figures::default());
    // An Envoy tells nothing of counters that never counted.
    let b = node("b");
    meter.report(on(&b, 1), Reading { endpoints: Some(1), ..Reading::default() });
    (0..4).for_each(|_| drop(meter.tick()));
    meter.report(on(&b, 1), said(3, 2, 1));
    assert_eq!(meter.tick(), counted(3, 2));
}

#[test]
fn of_one_node_a_few_streams_are_heard_and_another_when_one_of_them_is_silent() {
    let (mut meter, a) = (Meter::default(), node("a"));
    let all = 1..=2 * MAX_STREAMS_PER_NODE as u64;
    // Sidecars that share a name: some count, and they stay the same ones.
    for round in 0..200 {
        for stream in all.clone() {
            let heard = meter.report(on(&a, stream), said(round, 0, 1));
            assert_eq!(heard == Heard::News, stream <= MAX_STREAMS_PER_NODE as u64, "{round} {stream}");
        }
        let expected = if round == 0 { 0 } else { MAX_STREAMS_PER_NODE as u64 };
        assert_eq!(meter.tick(), counted(expected, 0));
    }
    // One that comes back again and again takes the place of what it was.
    let (mut meter, mut heard) = (Meter::default(), 0);
    for stream in 0..1_000 {
        heard += u32::from(meter.report(on(&a, stream), said(0, 0, 1)) == Heard::News);
        assert!(meter.by_stream.len() <= MAX_STREAMS_PER_NODE);
        (0..20).for_each(|_| drop(meter.tick()));
    }
    assert_eq!(heard, 1_000, "one in five seconds");
    assert_eq!(meter.report(on(&node("b"), 1), said(0, 0, 1)), Heard::News);
}

#[test]
fn a_node_that_comes_back_is_doubted_as_it_was_and_a_twin_is_doubted_alone() {
    let (mut meter, a) = (Meter::default(), node("a"));
    let fell = Heard::Implausible(Implausible::Fell);
    meter.report(on(&a, 1), said(0, 0, 3));
    for (round, liar) in [2, 3].into_iter().enumerate() {
        meter.report(on(&a, liar), said(10, 10, 0));
        assert_eq!(meter.report(on(&a, liar), said(9, 9, 0)), fell);
        let honest = meter.report(on(&a, 1), said(5 * (round as u64 + 1), 0, 3));
        assert_eq!(honest, Heard::News, "{liar}");
        assert_eq!((meter.tick(), meter.endpoints()), (counted(5, 0), Some(3)));
    }
    // What is new under this name begins where the liar left off, and is believed after a while, however the liar goes on.
    for tick in 1..ticks(STALE) {
        assert_eq!(meter.report(on(&a, 4), said(tick, 0, 3)), Heard::Doubted, "{tick}");
        meter.report(on(&a, 3), said(1_000 - tick, 0, 0));
        meter.tick();
    }
    assert_eq!(meter.report(on(&a, 4), said(100, 0, 3)), Heard::News);
}

#[test]
fn whose_histogram_has_other_bounds_each_time_is_not_believed() {
    let (mut meter, honest, liar) = (Meter::default(), node("honest"), node("liar"));
    let times = |bound: f64| Reading {
        times: Some(Times::Since(Cumulative::new([(bound, 9), (2.0 * bound, 10)], 10))),
        ..said(0, 0, 1)
    };
    for round in 0..200_u32 {
        let nothing = Reading { times: Some(Times::Since(Cumulative::default())), ..said(0, 0, 1) };
        meter.report(on(&honest, 1), nothing);
        meter.report(on(&honest, 1), times(10.0));
        let heard = meter.report(on(&liar, 2), times(f64::from(round) + 0.5));
        assert_eq!(heard == Heard::Implausible(Implausible::OtherBounds), round > 0);
        let expected = if round == 0 { 0 } else { 10 };
        let expected = Histogram::from_cumulative([(10.0, expected / 10 * 9), (20.0, expected)], expected);
        assert_eq!(meter.tick().latency, expected);
    }
}

#[test]
fn a_histogram_of_more_buckets_than_are_kept_says_nothing() {
    let (mut meter, a) = (Meter::default(), node("a"));
    let times = |bounds: usize| {
        let bounds = (1..=bounds).map(|bound| (bound as f64, 10));
        Reading { times: Some(Times::Since(Cumulative::new(bounds, 10))), ..said(0, 0, 1) }
    };
    for (bounds, counted) in [(MAX_BUCKETS, 0), (MAX_BUCKETS, 10), (MAX_BUCKETS + 1, 0), (MAX_BUCKETS, 10)] {
        assert_eq!(meter.report(on(&a, 1), times(bounds)), Heard::News);
        assert_eq!(meter.tick().latency.requests(), counted, "{bounds}");
    }
}

#[test]
fn what_filters_steer_is_counted_like_requests() {
    let (mut meter, a) = (Meter::default(), node("a"));
    let steered = |steered| Reading { steered: Some(steered), ..Reading::default() };
    meter.report(of("", &a, 1), steered(100));
    meter.report(on(&a, 1), said(50, 0, 1));
    assert_eq!(meter.tick(), Figures::default());
    meter.report(of("", &a, 1), steered(107));
    meter.report(on(&a, 1), said(55, 1, 1));
    assert_eq!(meter.tick(), Figures { steered: 7, ..counted(5, 1) });
    assert_eq!(meter.endpoints(), Some(1), "the filter has no say in it");
    for (sum, more) in [(3, 0), (5, 2)] {
        assert_eq!(meter.report(of("", &a, 1), steered(sum)), Heard::News, "it may count anew");
        assert_eq!(meter.tick(), Figures { steered: more, ..Figures::default() });
    }
    let too_many = meter.report(of("", &a, 1), steered(u64::MAX));
    assert_eq!(too_many, Heard::Implausible(Implausible::TooMany));
}

#[test]
fn who_was_away_for_long_begins_anew() {
    let (mut meter, a) = (Meter::default(), node("a"));
    meter.report(on(&a, 1), said(10, 0, 1));
    (0..=ticks(STALE)).for_each(|_| drop(meter.tick()));
    assert_eq!(meter.endpoints(), None);
    meter.report(on(&a, 1), said(5_000, 4_000, 1));
    assert_eq!((meter.tick(), meter.endpoints()), (Figures::default(), Some(1)));
}

fn sampled(at_ms: u64, age: Duration, completed: u64) -> Reading {
    Reading { sample: Some(Sample { at_ms, age }), ..said(completed, 0, 1) }
}

#[test]
fn a_sample_counts_once_whoever_tells_it_and_how_often() {
    let (mut meter, a) = (Meter::new(Duration::from_secs(45)), node("a"));
    let age = Duration::from_secs(1);
    assert_eq!(meter.report(on(&a, 1), sampled(1_000, age, 500)), Heard::News);
    assert_eq!(meter.report(on(&a, 1), sampled(1_000, age, 500)), Heard::NoNews, "told again");
    assert_eq!(meter.report(on(&a, 1), sampled(16_000, age, 520)), Heard::News);
    assert_eq!(
        meter.report(on(&a, 1), sampled(9_000, age, 510)),
        Heard::NoNews,
        "by another server, which lags"
    );
    assert_eq!(meter.report(on(&a, 1), sampled(24_000, age, 530)), Heard::News);
    assert_eq!(meter.tick(), counted(30, 0));
}

#[test]
fn a_sample_is_as_old_as_it_is_and_not_as_young_as_it_was_told() {
    let stale = Duration::from_secs(45);
    let (mut meter, a) = (Meter::new(stale), node("a"));
    assert_eq!(meter.report(on(&a, 1), sampled(1_000, Duration::from_secs(46), 0)), Heard::NoNews);
    assert_eq!(meter.report(on(&a, 1), sampled(1_000, Duration::MAX, 0)), Heard::NoNews);
    assert_eq!(meter.endpoints(), None);
    assert_eq!(meter.report(on(&a, 1), sampled(2_000, Duration::from_secs(44), 0)), Heard::News);
    assert_eq!(meter.endpoints(), Some(1));
    (0..8).for_each(|_| drop(meter.tick()));
    assert_eq!(meter.endpoints(), None, "two seconds later");
    assert_eq!(meter.report(on(&a, 1), sampled(60_000, Duration::ZERO, 700)), Heard::News);
    assert_eq!(meter.tick(), Figures::default(), "what is that long ago is of no tick");
}

#[test]
fn a_server_that_stands_still_never_becomes_news_again() {
    let (mut meter, a) = (Meter::new(Duration::from_secs(15)), node("a"));
    assert_eq!(meter.report(on(&a, 1), sampled(1_000, Duration::ZERO, 10)), Heard::News);
    for _ in 0..1_000 {
        assert_eq!(meter.report(on(&a, 1), sampled(1_000, Duration::ZERO, 10)), Heard::NoNews);
        meter.tick();
    }
    assert_eq!(meter.endpoints(), None);
}

#[test]
fn there_are_never_more_proxies_than_there_may_be() {
    let mut meter = Meter::default();
    for number in 0..MAX_STREAMS + 1_000 {
        let heard = meter.report(on(&node(&number.to_string()), 1), said(1, 0, 1));
        assert_eq!(heard == Heard::News, number < MAX_STREAMS);
    }
    assert_eq!(meter.report(on(&node("0"), 1), said(2, 0, 1)), Heard::News, "who is known goes on");
    assert_eq!((meter.by_stream.len(), meter.tick().tally.requests()), (MAX_STREAMS, 1));
}

#[test]
fn times_of_all_requests_are_told_by_what_they_grew() {
    let (mut meter, a) = (Meter::default(), node("a"));
    let mut told = |at_ms, below_10: u64, requests: u64| {
        let times = Some(Times::Total(Cumulative::new([(10.0, below_10)], requests)));
        let sample = Some(Sample { at_ms, age: Duration::ZERO });
        meter.report(on(&a, 0), Reading { completed: Some(requests), times, sample, ..Reading::default() });
        meter.tick().latency
    };
    assert_eq!(told(1, 100, 200), Histogram::default(), "what was before is not counted");
    assert_eq!(told(2, 103, 205), Histogram::from_cumulative([(10.0, 3)], 5));
    assert_eq!(told(3, 1, 4), Histogram::from_cumulative([(10.0, 1)], 4), "it began anew");
}

#[test]
fn more_than_half_of_the_proxies_say_how_few_endpoints_there_are() {
    let mut meter = Meter::default();
    let mut seen = |name, endpoints| {
        meter.report(on(&node(name), 1), said(0, 0, endpoints));
        meter.endpoints()
    };
    assert_eq!([seen("a", 0), seen("a", 3), seen("b", 3), seen("b", 0)].map(Option::unwrap), [0, 3, 3, 3]);
    assert_eq!(["c", "d", "e"].map(|never_up| seen(never_up, 0).unwrap()), [3; 3], "they never saw any");
    assert_eq!([seen("c", 3), seen("c", 0)].map(Option::unwrap), [3, 0], "more than half of the others");
}
