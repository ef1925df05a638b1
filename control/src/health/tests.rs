//! From what proxies count to what orders are told.

use super::*;
use graylane_health::{Basis, Cumulative, Reading, Sample, TICK, Times, Why};
use graylane_order::{Actor, Event, Seen, Sight, Start};
use graylane_plan::ReleasePlan;
use graylane_xds::ClusterReport;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

const PLAN: &str =
    "{ apiVersion: graylane.dev/v1alpha1, kind: ReleasePlan, metadata: { name: p, tenant: retail }, spec: {
    owner: o, services: [{ name: loan, hosts: [loan.local], stable: v1, gray: v2 }],
    stages: [{ name: one, scope: { all: true } }],
    health: { window: 5s, minRequests: 10, errors: { max: 2% } } } }";

fn actor() -> Actor {
    Actor { name: "ann".to_owned(), reason: String::new() }
}

fn order() -> Order {
    order_of(PLAN)
}

fn order_of(plan: &str) -> Order {
    let plan: ReleasePlan = graylane_plan::parse(plan).unwrap();
    let start = Start {
        id: 1,
        plan: Arc::new(plan),
        content_hash: String::new(),
        lists_by_stage: vec![BTreeMap::new()],
        authors: BTreeSet::new(),
        actor: actor(),
    };
    Order::start(start, Timestamp::UNIX_EPOCH).unwrap().0
}

fn told(order: &Order, health: Health) -> Order {
    let event = Event::Health { actor: actor(), service: "loan".to_owned(), health, figures: String::new() };
    order.step(event, Timestamp::UNIX_EPOCH).unwrap().0
}

fn reporter(tenants: &[Arc<str>]) -> Reporter<'_> {
    Reporter { node: "proxy", stream: 1, tenants }
}

fn of_clusters(clusters: BTreeMap<&str, ClusterReport>) -> Reported<'_> {
    Reported { clusters, ..Reported::default() }
}

/// A service with its order and what its one proxy counted.
struct Stage {
    vitals: Vitals,
    order: Order,
    counted: [u64; 4],
    ticks: u32,
}

impl Stage {
    fn new(order: Order) -> Self {
        let mut stage = Self { vitals: Vitals::new(Config::default()), order, counted: [0; 4], ticks: 0 };
        // The first tick finds out who is to be looked after, and the second where counting begins.
        stage.quiet();
        stage.tick([0; 4]);
        stage
    }

    /// A tick with so many requests and errors of gray, and of stable.
    fn tick(&mut self, counted: [u64; 4]) -> Option<Health> {
        for (sum, more) in self.counted.iter_mut().zip(counted) {
            *sum += more;
        }
        let [gray, gray_errors, stable, stable_errors] = self.counted.map(Some);
        let report = |completed, errors| ClusterReport { completed, errors, ..ClusterReport::default() };
        let (gray, stable) = (report(gray, gray_errors), report(stable, stable_errors));
        let by_cluster = BTreeMap::from([("loan-v2", gray), ("loan-v1", stable)]);
        self.vitals.take(reporter(&["retail".into()]), &of_clusters(by_cluster));
        self.quiet()
    }

    /// A tick in which nobody reports. What is to be told is told.
    fn quiet(&mut self) -> Option<Health> {
        self.ticks += 1;
        let words = self.vitals.tick(&[Arc::new(self.order.clone())], TICK * self.ticks);
        let word = words.first()?;
        self.order = told(&self.order, word.health);
        self.vitals.told(word);
        Some(word.health)
    }

    /// What is told within so many ticks.
    fn within(&mut self, ticks: usize, tick: impl Fn(&mut Self) -> Option<Health>) -> Option<Health> {
        (0..ticks).find_map(|_| tick(self))
    }
}

#[test]
fn a_version_is_healthy_when_enough_was_seen_and_faulty_when_it_fails() {
    let mut stage = Stage::new(order());
    assert_eq!(stage.within(20, |stage| stage.tick([10, 0, 40, 0])), Some(Health::Healthy));
    assert_eq!(stage.within(20, |stage| stage.tick([10, 0, 40, 0])), None, "it is said once");
    assert_eq!(stage.within(20, |stage| stage.tick([10, 10, 40, 0])), Some(Health::Faulty));
    let finding = stage.vitals.finding(1, "loan").unwrap();
    assert!(matches!(finding.verdict, Verdict::Unhealthy(_)) && finding.gray.tally.errors() > 0);
    assert_eq!(stage.within(100, |stage| stage.tick([10, 10, 40, 0])), None);
}

#[test]
fn healthy_is_forgotten_when_nobody_can_say_for_a_window_also_after_a_restart() {
    let mut stage = Stage::new(order());
    assert_eq!(stage.within(20, |stage| stage.tick([10, 0, 40, 0])), Some(Health::Healthy));
    assert_eq!(stage.within(200, Stage::quiet), Some(Health::Unknown));
    let mut restarted = Stage::new(told(&order(), Health::Healthy));
    assert_eq!(restarted.within(15, Stage::quiet), None);
    assert_eq!(restarted.within(10, Stage::quiet), Some(Health::Unknown));
}

#[test]
fn doubts_are_told_within_seconds_and_few_requests_only_after_a_window() {
    let begin = || {
        let mut stage = Stage::new(order_of(&PLAN.replace("window: 5s", "window: 60s")));
        assert_eq!(stage.within(20, |stage| stage.tick([10, 0, 40, 0])), Some(Health::Healthy));
        stage
    };
    // Both fail, so that nobody is to blame.
    let mut doubted = begin();
    assert_eq!(doubted.within(15, |stage| stage.tick([10, 5, 40, 20])), None);
    assert_eq!(doubted.within(10, |stage| stage.tick([10, 5, 40, 20])), Some(Health::Unknown));
    let mut quiet = begin();
    assert_eq!(quiet.within(470, |stage| stage.tick([0, 0, 40, 0])), None);
    assert_eq!(quiet.within(30, |stage| stage.tick([0, 0, 40, 0])), Some(Health::Unknown));
}

#[test]
fn each_stage_is_judged_by_its_own_requests() {
    let plan = PLAN
        .replace("scope: { all: true }", "scope: { include: { teller: [T1] } }")
        .replace("{ name: one,", "{ name: zero, scope: { include: { teller: [T0] } } }, { name: one,");
    let mut stage = Stage::new(order_of(&plan));
    assert_eq!(stage.within(20, |stage| stage.tick([10, 0, 40, 0])), Some(Health::Healthy));
    let seen = Seen { converged: 1, total: 1 };
    let watching_since = Timestamp::UNIX_EPOCH;
    let sight = Sight { seen, converged_for: SignedDuration::ZERO, frozen_since: None, watching_since };
    let event = Event::Advance { actor: actor(), sight };
    stage.order = stage.order.step(event, Timestamp::UNIX_EPOCH).unwrap().0;
    assert_eq!(stage.order.unjudged_service(), Some("loan"));
    assert_eq!(stage.within(50, Stage::quiet), None, "nobody uses it");
    let judged = stage.vitals.finding(1, "loan").unwrap().verdict;
    assert_eq!(judged, Verdict::Undecided(Why::NoTraffic));
    assert_eq!(stage.within(40, |stage| stage.tick([10, 0, 40, 0])), Some(Health::Healthy));
}

#[test]
fn what_a_person_says_of_a_fault_has_it_looked_at_anew() {
    let mut stage = Stage::new(order());
    assert_eq!(stage.within(40, |stage| stage.tick([10, 10, 40, 0])), Some(Health::Faulty));
    stage.order = told(&stage.order, Health::Healthy);
    assert_eq!(stage.within(15, |stage| stage.tick([10, 0, 40, 0])), None, "it is not said again");
    assert_eq!(stage.within(40, |stage| stage.tick([10, 10, 40, 0])), Some(Health::Faulty));
}

#[test]
fn what_is_not_believed_is_counted_and_told_to_the_log_once_a_minute() {
    let mut stage = Stage::new(order());
    stage.tick([10, 0, 40, 0]);
    assert_eq!(stage.vitals.doubted.get(), 0);
    let told = |stage: &Stage| stage.vitals.inner().doubts.logged;
    stage.counted = [0; 4];
    stage.tick([5, 0, 20, 0]);
    let first = told(&stage);
    assert_eq!((stage.vitals.doubted.get(), first), (2, Some(TICK * stage.ticks)), "of both versions");
    // It goes on to fall, and then it is said again, of whom and why.
    let again = (1..).find(|_| {
        stage.counted = [0; 4];
        stage.tick([1, 0, 1, 0]);
        assert!(stage.vitals.inner().doubts.first.as_ref().is_none_or(|doubt| &*doubt.node == "proxy"));
        told(&stage) != first
    });
    assert_eq!(again, Some(240));
    let finding = stage.vitals.finding(1, "loan").unwrap();
    assert_eq!(finding.gray.tally.requests(), 0);
}

#[test]
fn what_filters_of_several_tenants_steer_is_nobodys() {
    let mut stage = Stage::new(order());
    let mut steered = 0;
    let mut seen = |tenants: &[Arc<str>]| {
        for _ in 0..2 {
            steered += 7;
            let steered = BTreeMap::from([(("loan", "v2"), steered), (("cards", "v2"), 1_000 * steered)]);
            let reported = Reported { steered, ..Reported::default() };
            stage.vitals.take(reporter(tenants), &reported);
            stage.tick([0, 0, 40, 0]);
        }
        let finding = stage.vitals.finding(1, "loan").unwrap();
        (finding.gray.steered, finding.verdict.cause())
    };
    assert_eq!(seen(&["retail".into(), "cards".into()]), (0, "no-traffic"));
    assert_eq!(seen(&["retail".into()]), (7, "unanswered"));
}

#[test]
fn clusters_of_others_and_of_no_judged_order_count_nothing() {
    let mut stage = Stage::new(order());
    let mut completed = 0;
    for _ in 0..20 {
        completed += 100;
        let report = ClusterReport { completed: Some(completed), ..ClusterReport::default() };
        let by_cluster = BTreeMap::from([("loan-v3", report.clone()), ("other", report.clone())]);
        stage.vitals.take(reporter(&["retail".into()]), &of_clusters(by_cluster));
        let by_cluster = BTreeMap::from([("loan-v2", report)]);
        stage.vitals.take(reporter(&["cards".into()]), &of_clusters(by_cluster));
        assert_eq!(stage.quiet(), None);
    }
    assert_eq!(stage.vitals.finding(1, "loan").unwrap().gray.tally.requests(), 0);
    stage.vitals.tick(&[], Duration::from_secs(60));
    assert!(stage.vitals.finding(1, "loan").is_none());
}

/// A configuration with Prometheus.
fn with_prometheus() -> Config {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "prometheus: { url: 'http://prometheus.example' }").unwrap();
    Config::read(file.path()).unwrap()
}

/// A service of which Prometheus has a sample every fifteen seconds.
struct Sampled {
    vitals: Vitals,
    order: Arc<Order>,
    /// Requests of each version, and errors of gray.
    counted: [u64; 2],
    sampled: Duration,
    now: Duration,
    /// Of whom is told, how many ticks after the sample at least.
    versions: Vec<(&'static str, u32)>,
}

impl Sampled {
    fn new() -> Self {
        let plan = PLAN.replace("window: 5s", "source: prometheus, window: 60s, latency: {}");
        let order = Arc::new(order_of(&plan));
        let (vitals, start) = (Vitals::new(with_prometheus()), Duration::ZERO);
        let versions = vec![("v1", 0), ("v2", 0)];
        let mut stage = Self { vitals, order, counted: [0; 2], sampled: start, now: start, versions };
        stage.tick();
        stage
    }

    fn question(&self) -> Arc<Question> {
        let [question] = &self.vitals.questions()[..] else { panic!("one service") };
        Arc::clone(question)
    }

    /// Tells the last sample, as if it was so old.
    fn tell(&self, age: Duration) {
        self.vitals.take_samples(&self.question(), self.told(age), Duration::ZERO);
    }

    fn told(&self, age: Duration) -> Vec<Told> {
        let [requests, errors] = self.counted;
        let sample = Sample { at_ms: u64::try_from(self.sampled.as_millis()).unwrap(), age };
        let due = self.versions.iter().filter(|(_, after)| self.now >= self.sampled + TICK * *after);
        let told = due.map(|(version, _)| Told {
            version: (*version).to_owned(),
            instance: "proxy".into(),
            reading: Reading {
                completed: Some(requests),
                errors: Some(if *version == "v2" { errors } else { 0 }),
                steered: None,
                times: Some(Times::Total(Cumulative::new([(10.0, requests)], requests))),
                endpoints: Some(1),
                sample: Some(sample),
            },
        });
        told.collect()
    }

    /// Counts so many requests and errors, takes a sample, and lets the time until the next one go by, in which it is told three times.
    /// Gives what the order is told.
    fn scrape(&mut self, [requests, errors]: [u64; 2]) -> Vec<Health> {
        self.counted = [self.counted[0] + requests, self.counted[1] + errors];
        self.sampled = self.now;
        let mut words = Vec::new();
        for tick in 0..60 {
            if tick % 20 == 0 {
                self.tell(self.now - self.sampled);
            }
            words.extend(self.tick());
        }
        words
    }

    fn tick(&mut self) -> Vec<Health> {
        self.now += TICK;
        let words = self.vitals.tick(&[Arc::clone(&self.order)], self.now);
        words.iter().map(|word| word.health).collect()
    }

    fn verdict(&self) -> Verdict {
        self.vitals.finding(1, "loan").unwrap().verdict
    }
}

#[test]
fn samples_are_judged_and_those_that_are_old_by_any_clock_are_neither_healthy_nor_a_fault() {
    let mut stage = Sampled::new();
    assert_eq!(stage.verdict(), Verdict::Undecided(Why::NoData));
    assert!((0..6).any(|_| stage.scrape([100, 0]).contains(&Health::Healthy)));
    let no_answer = |_: &Sampled| {};
    let the_same_answer = |stage: &Sampled| stage.tell(stage.now - stage.sampled);
    let a_server_that_stands_still = |stage: &Sampled| stage.tell(Duration::from_millis(1));
    for answer in [no_answer as fn(&Sampled), the_same_answer, a_server_that_stands_still] {
        stage.scrape([100, 0]);
        assert_eq!(stage.verdict(), Verdict::Healthy(Basis::Limits));
        // What was sampled last is fifteen seconds old, and it may be forty-five, and a tick because it was told before one.
        for tick in 1..400 {
            answer(&stage);
            let words = stage.tick();
            assert!(!words.contains(&Health::Faulty));
            let is_stale = matches!(stage.verdict(), Verdict::Undecided(Why::StaleData { .. }));
            assert_eq!(is_stale, tick > 121, "{tick}: {}", stage.verdict());
        }
        (0..4).for_each(|_| drop(stage.scrape([100, 0])));
    }
}

#[test]
fn a_sample_was_as_old_when_it_came_as_it_was_when_it_was_asked_for_and_the_answer_took_time() {
    let mut stage = Sampled::new();
    let told = stage.told(Duration::from_secs(40));
    stage.vitals.take_samples(&stage.question(), told, Duration::from_secs(3));
    let stale = (1..1_000).find(|_| {
        stage.tick();
        matches!(stage.verdict(), Verdict::Undecided(Why::StaleData { .. }))
    });
    assert_eq!(stale, Some(10), "after two seconds, seen at the first tick");
}

#[test]
fn a_fault_is_found_in_samples_of_which_each_counts_once() {
    let mut stage = Sampled::new();
    (0..6).for_each(|_| drop(stage.scrape([100, 0])));
    let finding = stage.vitals.finding(1, "loan").unwrap();
    let counted = [finding.gray.tally.requests(), finding.gray.latency.requests()];
    assert_eq!((finding.source, counted), (HealthSource::Prometheus, [400, 400]), "in a window of four");
    let found = (1..=10).find(|_| stage.scrape([100, 50]).contains(&Health::Faulty));
    assert!(found.is_some_and(|scrapes| (4..=5).contains(&scrapes)), "{found:?} {}", stage.verdict());
    let seconds = found.unwrap() * 15;
    assert!(stage.verdict().to_string().contains(&format!("failed in {seconds} s")), "{}", stage.verdict());
}

#[test]
fn versions_whose_instances_are_sampled_apart_are_compared() {
    let mut stage = Sampled::new();
    stage.versions = vec![("v1", 40), ("v2", 0)];
    (0..10).for_each(|_| drop(stage.scrape([100, 0])));
    assert_eq!(stage.verdict(), Verdict::Healthy(Basis::Limits));
    let found = (1..=10).find(|_| stage.scrape([100, 50]).contains(&Health::Faulty));
    assert!(found.is_some_and(|scrapes| (4..=6).contains(&scrapes)), "{found:?} {}", stage.verdict());
}

#[test]
fn a_version_whose_comparison_is_not_sampled_any_more_is_not_blamed_alone() {
    let mut stage = Sampled::new();
    (0..6).for_each(|_| drop(stage.scrape([100, 0])));
    stage.versions = vec![("v2", 0)];
    for scrape in 0..20 {
        let words = stage.scrape([100, if scrape < 3 { 0 } else { 100 }]);
        assert!(!words.contains(&Health::Faulty), "{scrape}: {}", stage.verdict());
    }
    assert!(matches!(stage.verdict(), Verdict::Undecided(Why::StaleData { .. })), "{}", stage.verdict());
}

#[test]
fn nobody_counts_but_the_source_that_the_plan_names() {
    let mut by_prometheus = Sampled::new();
    let mut by_envoy = Stage::new(order());
    let report = |completed| ClusterReport {
        completed: Some(completed),
        errors: Some(completed),
        ..ClusterReport::default()
    };
    for count in 1..100 {
        let by_cluster = BTreeMap::from([("loan-v2", report(count * 10)), ("loan-v1", report(count))]);
        by_prometheus.vitals.take(reporter(&["retail".into()]), &of_clusters(by_cluster));
        by_prometheus.tick();
        let question = by_prometheus.question();
        let sample = Some(Sample { at_ms: count, age: TICK });
        let reading =
            Reading { completed: Some(count * 10), errors: Some(count * 10), sample, ..Reading::default() };
        let told = Told { version: "v2".to_owned(), instance: "proxy".into(), reading };
        by_envoy.vitals.take_samples(&question, vec![told], Duration::ZERO);
        assert_eq!(by_envoy.quiet(), None);
    }
    assert_eq!(by_prometheus.verdict(), Verdict::Undecided(Why::NoData));
    let finding = by_envoy.vitals.finding(1, "loan").unwrap();
    assert_eq!((finding.source, finding.gray.tally.requests()), (HealthSource::Envoy, 0));
    assert!(by_envoy.vitals.questions().is_empty());
}
