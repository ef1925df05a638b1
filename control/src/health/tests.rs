//! From what proxies count to what orders are told.

use super::*;
use graylane_order::{Actor, Event, Start};
use graylane_plan::ReleasePlan;
use jiff::Timestamp;

const PLAN: &str =
    "{ apiVersion: graylane.dev/v1alpha1, kind: ReleasePlan, metadata: { name: p, tenant: retail }, spec: {
    owner: o, services: [{ name: loan, hosts: [loan.local], stable: v1, gray: v2 }],
    stages: [{ name: one, scope: { all: true } }],
    health: { window: 5s, minRequests: 10, errors: { max: 2% } } } }";

fn actor() -> Actor {
    Actor { name: "ann".to_owned(), reason: String::new() }
}

fn order() -> Order {
    let plan: ReleasePlan = graylane_plan::parse(PLAN).unwrap();
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
        self.vitals.take("proxy", &["retail".into()], &by_cluster);
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
fn what_a_person_says_of_a_fault_has_it_looked_at_anew() {
    let mut stage = Stage::new(order());
    assert_eq!(stage.within(40, |stage| stage.tick([10, 10, 40, 0])), Some(Health::Faulty));
    stage.order = told(&stage.order, Health::Healthy);
    assert_eq!(stage.within(15, |stage| stage.tick([10, 0, 40, 0])), None, "it is not said again");
    assert_eq!(stage.within(40, |stage| stage.tick([10, 10, 40, 0])), Some(Health::Faulty));
}

#[test]
fn clusters_of_others_and_of_no_judged_order_count_nothing() {
    let mut stage = Stage::new(order());
    let mut completed = 0;
    for _ in 0..20 {
        completed += 100;
        let report = ClusterReport { completed: Some(completed), ..ClusterReport::default() };
        let by_cluster = BTreeMap::from([("loan-v3", report.clone()), ("other", report.clone())]);
        stage.vitals.take("proxy", &["retail".into()], &by_cluster);
        stage.vitals.take("proxy", &["cards".into()], &BTreeMap::from([("loan-v2", report)]));
        assert_eq!(stage.quiet(), None);
    }
    assert_eq!(stage.vitals.finding(1, "loan").unwrap().gray.tally.requests(), 0);
    stage.vitals.tick(&[], Duration::from_secs(60));
    assert!(stage.vitals.finding(1, "loan").is_none());
}
