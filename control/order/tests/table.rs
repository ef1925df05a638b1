//! Every event in every phase has a defined answer, and the laws hold on every road through them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use graylane_order::{Actor, Effect, Event, Order, Phase, Refused, Seen, Start};
use graylane_plan::{Batch, ReleasePlan, Scope, Span};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

const ALL: Seen = Seen { converged: 3, total: 3 };
const SOME: Seen = Seen { converged: 2, total: 3 };

fn plan(batch: Batch) -> ReleasePlan {
    let text = r"
        apiVersion: graylane.dev/v1alpha1
        kind: ReleasePlan
        metadata: { name: p, tenant: retail }
        spec:
          owner: o
          services:
            - { name: loan, hosts: [a], stable: v1, gray: v2 }
            - { name: ledger, hosts: [b], stable: v1, gray: v2, dependsOn: [loan] }
            - { name: cards, hosts: [c], stable: v1, gray: v2 }
          stages:
            - { name: one, scope: { include: { teller: [T1] } } }
            - { name: two, scope: { include: { branch: [B1] } }, hold: 30m }
            - { name: three, scope: { all: true } }
    ";
    let mut plan = graylane_plan::parse(text).unwrap();
    plan.spec.batch = batch;
    plan
}

fn started(batch: Batch) -> Order {
    let start = Start {
        id: 7,
        plan: plan(batch),
        content_hash: "h".into(),
        lists_by_stage: vec![BTreeMap::new(); 3],
        actor: actor(),
    };
    Order::start(start, at(0)).unwrap().0
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

fn actor() -> Actor {
    Actor { name: "lin".into(), reason: "because".into() }
}

fn advance(seen: Seen) -> Event {
    Event::Advance { actor: actor(), seen }
}

fn finish(seen: Seen) -> Event {
    Event::Finish { actor: actor(), seen }
}

fn pause() -> Event {
    Event::Pause { actor: actor() }
}

fn resume() -> Event {
    Event::Resume { actor: actor() }
}

fn adjust() -> Event {
    let scope = Scope { all: true, ..Scope::default() };
    Event::Adjust { actor: actor(), scope: Box::new(scope), lists: BTreeMap::new() }
}

fn rollback(services: &[&str], keep_dependents: bool) -> Event {
    let services = services.iter().map(|service| (*service).to_owned()).collect();
    Event::Rollback { actor: actor(), services, keep_dependents }
}

/// An order in each phase, as close to the end of its stage as it can be.
fn in_phase(phase: Phase) -> Order {
    let mut order = started(Batch::Parallel);
    match phase {
        Phase::Running => {}
        Phase::Retained => {
            order = order.step(advance(ALL), at(1)).unwrap().0;
            order = order.step(advance(ALL), at(60)).unwrap().0;
            order = order.step(Event::Observed(ALL), at(61)).unwrap().0;
        }
        Phase::RollingBack => order = order.step(rollback(&[], false), at(1)).unwrap().0,
        Phase::RolledBack => {
            order = in_phase(Phase::RollingBack).step(Event::Observed(ALL), at(2)).unwrap().0;
        }
        Phase::Finished => order = in_phase(Phase::Retained).step(finish(ALL), at(62)).unwrap().0,
        Phase::Paused => order = order.step(pause(), at(1)).unwrap().0,
        // No event leads here before approvals exist; its answers are defined all the same.
        Phase::AwaitingApproval => order.phase = phase,
    }
    assert_eq!(order.phase, phase);
    order
}

/// What an event does in a phase: the phase after it, or `None` for a refusal.
fn outcome(phase: Phase, event: Event) -> Option<Phase> {
    match in_phase(phase).step(event, at(100)) {
        Ok((next, _)) => Some(next.phase),
        Err(Refused::Phase { .. }) => None,
        Err(other) => panic!("{phase}: {other}"),
    }
}

#[test]
fn every_event_in_every_phase_has_its_answer() {
    use Phase::{
        AwaitingApproval as A, Finished as F, Paused as P, Retained as K, RolledBack as R, RollingBack as B,
        Running as U,
    };
    #[rustfmt::skip]
    let table = [
        //     advance  adjust   pause    resume   rollback all  rollback one  finish   observed
        (A, [  None,    Some(A), Some(P), Some(A), Some(B),      Some(A),      None,    Some(A)]),
        (U, [  Some(U), Some(U), Some(P), Some(U), Some(B),      Some(U),      None,    Some(U)]),
        (P, [  None,    Some(P), Some(P), Some(U), Some(B),      Some(P),      None,    Some(P)]),
        (K, [  None,    Some(K), None,    Some(K), Some(B),      Some(K),      Some(F), Some(K)]),
        (B, [  None,    None,    None,    None,    Some(B),      Some(B),      None,    Some(R)]),
        (R, [  None,    None,    None,    None,    None,         None,         None,    Some(R)]),
        (F, [  None,    None,    None,    None,    None,         None,         None,    Some(F)]),
    ];
    for (phase, expected) in table {
        let events = [
            advance(ALL),
            adjust(),
            pause(),
            resume(),
            rollback(&[], false),
            rollback(&["cards"], false),
            finish(ALL),
            Event::Observed(ALL),
        ];
        let found = events.map(|event| outcome(phase, event));
        assert_eq!(found, expected, "{phase}");
    }
}

#[test]
fn a_stage_is_left_only_when_it_converged_and_was_held() {
    let order = started(Batch::Parallel);
    assert_eq!(order.step(advance(SOME), at(1)), Err(Refused::NotConverged { converged: 2, total: 3 }));
    let (order, effects) = order.step(advance(ALL), at(1)).unwrap();
    assert_eq!((order.stage, effects), (1, vec![Effect::Publish]));
    let held = order.step(advance(ALL), at(30)).unwrap_err();
    assert_eq!(held.to_string(), r#"stage "two" has to be held for 1m more; wait, or roll back"#);
    assert_eq!(order.step(advance(ALL), at(31)).unwrap().0.stage, 2);
}

#[test]
fn the_last_stage_is_retained_by_itself_and_finishing_sets_the_baselines() {
    let order = in_phase(Phase::Retained);
    let (order, _) = order.step(rollback(&["cards"], false), at(62)).unwrap();
    assert_eq!(order.step(finish(SOME), at(63)), Err(Refused::NotConverged { converged: 2, total: 3 }));
    let (order, effects) = order.step(finish(ALL), at(63)).unwrap();
    let baseline = |service: &str| Effect::SetBaseline { service: service.into(), version: "v2".into() };
    assert_eq!(effects, [baseline("loan"), baseline("ledger"), Effect::Publish]);
    assert_eq!(order.gray_services().count(), 0);
}

#[test]
fn a_rollback_takes_the_dependents_along_unless_they_are_kept() {
    let gray =
        |order: &Order| order.gray_services().map(|(service, _)| service.name.clone()).collect::<Vec<_>>();
    let order = started(Batch::Parallel);
    let (without, _) = order.step(rollback(&["loan"], false), at(1)).unwrap();
    assert_eq!((gray(&without), without.phase), (vec!["cards".to_owned()], Phase::Running));
    let (kept, _) = order.step(rollback(&["loan"], true), at(1)).unwrap();
    assert_eq!(gray(&kept), ["ledger", "cards"]);
    let unknown = order.step(rollback(&["mail"], false), at(1)).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        r#"service "mail" is not in the order; its services are cards, ledger, loan"#
    );
}

#[test]
fn a_serial_batch_enters_one_service_after_the_other() {
    let entered =
        |order: &Order| order.gray_services().map(|(service, _)| service.name.clone()).collect::<Vec<_>>();
    let order = started(Batch::Serial);
    assert_eq!(entered(&order), ["loan"]);
    let (same, effects) = order.step(Event::Observed(SOME), at(1)).unwrap();
    assert_eq!((&same, effects), (&order, vec![]));
    assert!(
        matches!(order.step(advance(ALL), at(1)), Err(Refused::NotEntered { service, .. }) if service == "ledger")
    );
    let (order, effects) = order.step(Event::Observed(ALL), at(1)).unwrap();
    assert_eq!(
        (entered(&order), effects),
        (vec!["loan".to_owned(), "ledger".to_owned()], vec![Effect::Publish])
    );
    let (order, _) = order.step(Event::Observed(ALL), at(2)).unwrap();
    let (order, _) = order.step(advance(ALL), at(3)).unwrap();
    let stages: Vec<usize> = order.gray_services().map(|(_, stages)| stages).collect();
    assert_eq!(stages, [2, 1, 1]);
}

#[test]
fn a_pause_stops_what_would_go_on_by_itself_and_resuming_goes_on_where_it_was() {
    let order = started(Batch::Serial);
    let (paused, effects) = order.step(pause(), at(1)).unwrap();
    assert_eq!((paused.phase, effects), (Phase::Paused, vec![]));
    assert_eq!(paused.step(Event::Observed(ALL), at(2)).unwrap().0, paused, "no service enters");
    assert_eq!(paused.step(pause(), at(2)).unwrap().0, paused, "idempotent");
    assert_eq!(
        paused.step(advance(ALL), at(2)).unwrap_err().to_string(),
        "order 7 is Paused: it cannot advance; resume it first"
    );
    let (adjusted, effects) = paused.step(adjust(), at(2)).unwrap();
    assert_eq!((adjusted.phase, effects), (Phase::Paused, vec![Effect::Publish]));
    let (resumed, _) = adjusted.step(resume(), at(3)).unwrap();
    assert_eq!((resumed.phase, resumed.paused_in), (Phase::Running, None));
    assert_eq!(resumed.step(resume(), at(4)).unwrap().0, resumed, "idempotent");
    assert_eq!(resumed.step(Event::Observed(ALL), at(4)).unwrap().0.gray_services().count(), 2);

    let (awaiting, _) = in_phase(Phase::AwaitingApproval).step(pause(), at(1)).unwrap();
    assert_eq!(awaiting.step(resume(), at(2)).unwrap().0.phase, Phase::AwaitingApproval);
}

#[test]
fn an_order_reads_back_as_it_was_written() {
    for order in [in_phase(Phase::Retained), in_phase(Phase::Paused)] {
        let json = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&json).unwrap(), order);
    }
}

#[test]
fn a_timeline_and_a_reason_have_their_limits() {
    let mut order = started(Batch::Parallel);
    for minute in 0..2_000 {
        order = order.step(adjust(), at(minute)).unwrap().0;
    }
    assert_eq!(order.timeline.len(), graylane_order::limits::MAX_TIMELINE);
    assert_eq!(order.timeline[0].what, "started");
    let actor = Actor { name: "lin".into(), reason: "x".repeat(1_025) };
    assert_eq!(order.step(Event::Advance { actor, seen: ALL }, at(0)), Err(Refused::Reason { bytes: 1_025 }));
}

fn event() -> impl Strategy<Value = Event> {
    let seen = || prop_oneof![Just(ALL), Just(SOME), Just(Seen::default())];
    let services = prop::collection::vec(prop_oneof![Just("loan"), Just("ledger"), Just("cards")], 0..2);
    prop_oneof![
        4 => seen().prop_map(advance),
        1 => Just(adjust()),
        1 => Just(pause()),
        2 => Just(resume()),
        1 => (services, any::<bool>()).prop_map(|(services, keep)| rollback(&services, keep)),
        1 => seen().prop_map(finish),
        4 => seen().prop_map(Event::Observed),
    ]
}

proptest! {
    #[test]
    fn the_laws_hold_on_every_road(serial: bool, hold in 0_u64..60, events in prop::collection::vec((event(), 0_i64..40), 0..40)) {
        let mut order = started(if serial { Batch::Serial } else { Batch::Parallel });
        order.plan.spec.stages[2].hold = Some(Span::from_seconds(hold * 60));
        let mut minute = 0;
        for (event, later) in events {
            minute += later;
            let accepts_rollback = order.is_active();
            prop_assert_eq!(order.step(rollback(&[], false), at(minute)).is_ok(), accepts_rollback);
            let Ok((next, effects)) = order.step(event.clone(), at(minute)) else { continue };
            prop_assert_eq!(next == order, next.version == order.version, "a version grows with each change");
            prop_assert_eq!(next.paused_in.is_some(), next.phase == Phase::Paused);
            let may_advance = matches!(event, Event::Advance { seen, .. } if seen.is_converged());
            prop_assert!(next.stage == order.stage || may_advance, "no stage is left before it converged");
            if order.phase == Phase::Paused && next.phase == Phase::Paused {
                let entered = |order: &Order| order.services.values().map(|state| state.stages_entered).sum::<usize>();
                prop_assert_eq!(entered(&next), entered(&order), "nothing goes on in a pause");
            }
            let moved = next.gray_services().ne(order.gray_services()) || next.adjusted != order.adjusted;
            prop_assert!(!moved || effects.contains(&Effect::Publish), "what requests get changes by a publish");
            for (name, state) in &next.services {
                prop_assert!(state.stages_entered >= order.services[name].stages_entered, "stages only widen");
                prop_assert!(state.stages_entered <= next.stage + 1);
                prop_assert!(state.rolled_back >= order.services[name].rolled_back, "nothing goes forward again");
            }
            if let Event::Rollback { .. } = &event {
                prop_assert_eq!(next.step(event, at(minute)).map(|(again, _)| again), Ok(next.clone()), "idempotent");
            }
            order = next;
        }
    }
}
