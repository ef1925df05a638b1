//! Every event in every phase has a defined answer, and the laws hold on every road through them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod orders;

use graylane_order::{Actor, Approved, Effect, Event, Health, Order, Phase, Refused, Seen, Sight};
use graylane_plan::{Advance, Approvals, Batch, FaultAction, HealthSpec, RetentionEnd, Span};
use orders::*;
use proptest::prelude::*;
use std::sync::Arc;

/// An order in each phase, as close to the end of its stage as it can be.
fn in_phase(phase: Phase) -> Order {
    let mut order = started(Batch::Parallel);
    match phase {
        Phase::Running => {}
        Phase::Retained => {
            order = order.step(advance(ALL), at(1)).unwrap().0;
            order = order.step(advance(ALL), at(60)).unwrap().0;
            order = order.step(observed(ALL), at(61)).unwrap().0;
        }
        Phase::RollingBack => order = order.step(rollback(&[], false), at(1)).unwrap().0,
        Phase::RolledBack => {
            order = in_phase(Phase::RollingBack).step(observed(ALL), at(2)).unwrap().0;
        }
        Phase::Finished => order = in_phase(Phase::Retained).step(finish(ALL), at(62)).unwrap().0,
        Phase::Paused => order = order.step(pause(), at(1)).unwrap().0,
        Phase::AwaitingApproval => {
            Arc::make_mut(&mut order.plan).spec.stages[1].gate.approvals =
                vec![Approvals { role: "manager".into(), count: 2 }];
            order = order.step(advance(ALL), at(1)).unwrap().0;
        }
    }
    assert_eq!(order.phase, phase);
    order
}

/// What an event does in a phase: the phase after it, or `None` for a refusal.
fn outcome(phase: Phase, event: Event) -> Option<Phase> {
    match in_phase(phase).step(event, at(100)) {
        Ok((next, _)) => Some(next.phase),
        Err(Refused::Phase { .. } | Refused::Gate { .. } | Refused::NoGate { .. }) => None,
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
        //     approve  advance  adjust   pause    resume   roll all  roll one  finish   faulty   observed jump     refused  lagging
        (A, [  Some(A), None,    Some(A), Some(P), Some(A), Some(B),  Some(A),  None,    Some(A), Some(A), Some(A),  Some(P),  Some(P)]),
        (U, [  None,    Some(U), Some(U), Some(P), Some(U), Some(B),  Some(U),  None,    Some(U), Some(U), Some(U),  Some(P),  Some(P)]),
        (P, [  None,    None,    Some(P), Some(P), Some(U), Some(B),  Some(P),  None,    Some(P), Some(P), Some(P),  Some(P),  Some(P)]),
        (K, [  None,    None,    Some(K), None,    Some(K), Some(B),  Some(K),  Some(F), Some(K), Some(K), Some(K),  Some(K),  Some(K)]),
        (B, [  None,    None,    None,    None,    None,    Some(B),  Some(B),  None,    None,    Some(R), Some(B),  Some(B),  Some(B)]),
        (R, [  None,    None,    None,    None,    None,    None,     None,     None,    None,    Some(R), Some(R),  Some(R),  Some(R)]),
        (F, [  None,    None,    None,    None,    None,    None,     None,     None,    None,    Some(F), Some(F),  Some(F),  Some(F)]),
    ];
    for (phase, expected) in table {
        let events = [
            approve(&in_phase(phase)),
            advance(ALL),
            adjust(),
            pause(),
            resume(),
            rollback(&[], false),
            rollback(&["cards"], false),
            finish(ALL),
            judge(Health::Faulty),
            observed(ALL),
            jump(),
            refused(),
            lagging(),
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
    let (same, effects) = order.step(observed(SOME), at(1)).unwrap();
    assert_eq!((&same, effects), (&order, vec![]));
    assert!(
        matches!(order.step(advance(ALL), at(1)), Err(Refused::NotEntered { service, .. }) if service == "ledger")
    );
    let (order, effects) = order.step(observed(ALL), at(1)).unwrap();
    assert_eq!(
        (entered(&order), effects),
        (vec!["loan".to_owned(), "ledger".to_owned()], vec![Effect::Publish])
    );
    let (order, _) = order.step(observed(ALL), at(2)).unwrap();
    let (order, _) = order.step(advance(ALL), at(3)).unwrap();
    let stages: Vec<usize> = order.gray_services().map(|(_, stages)| stages).collect();
    assert_eq!(stages, [2, 1, 1]);
}

#[test]
fn a_pause_stops_what_would_go_on_by_itself_and_resuming_goes_on_where_it_was() {
    let order = started(Batch::Serial);
    let (paused, effects) = order.step(pause(), at(1)).unwrap();
    assert_eq!((paused.phase, effects), (Phase::Paused, vec![]));
    assert_eq!(paused.step(observed(ALL), at(2)).unwrap().0, paused, "no service enters");
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
    assert_eq!(resumed.step(observed(ALL), at(4)).unwrap().0.gray_services().count(), 2);

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
    assert_eq!(
        order.step(Event::Advance { actor, sight: sight(ALL) }, at(0)),
        Err(Refused::Reason { bytes: 1_025 })
    );
}

/// What may happen: an event is made for the order that it meets.
#[derive(Clone, Debug)]
enum Deed {
    Any(Event),
    Approve,
    Freeze(bool),
}

fn deed() -> impl Strategy<Value = Deed> {
    let seen = || prop_oneof![Just(ALL), Just(SOME), Just(Seen::default())];
    let services = prop::collection::vec(prop_oneof![Just("loan"), Just("ledger"), Just("cards")], 0..2);
    prop_oneof![
        4 => seen().prop_map(|seen| Deed::Any(advance(seen))),
        1 => Just(Deed::Any(adjust())),
        1 => Just(Deed::Any(pause())),
        2 => Just(Deed::Any(resume())),
        1 => (services, any::<bool>()).prop_map(|(services, keep)| Deed::Any(rollback(&services, keep))),
        1 => seen().prop_map(|seen| Deed::Any(finish(seen))),
        6 => seen().prop_map(|seen| Deed::Any(observed(seen))),
        1 => prop::sample::select(vec![Health::Faulty, Health::Healthy]).prop_map(|health| Deed::Any(judge(health))),
        1 => Just(Deed::Any(jump())),
        3 => Just(Deed::Approve),
        1 => any::<bool>().prop_map(Deed::Freeze),
    ]
}

fn any_order() -> impl Strategy<Value = Order> {
    let fault = prop::sample::select(vec![
        None,
        Some(FaultAction::Pause),
        Some(FaultAction::RollbackService),
        Some(FaultAction::RollbackOrder),
    ]);
    let end = prop::sample::select(vec![RetentionEnd::Stay, RetentionEnd::Finish]);
    (any::<[bool; 4]>(), 0_u64..60, fault, end).prop_map(|([serial, auto, gate, first], hold, fault, end)| {
        let mut plan = plan(if serial { Batch::Serial } else { Batch::Parallel });
        let spec = &mut plan.spec;
        spec.advance = if auto { Advance::Auto } else { Advance::Manual };
        spec.settle = Some(Span::from_seconds(hold * 30));
        spec.health = Some(HealthSpec { on_fault: fault, ..HealthSpec::default() });
        (spec.retention, spec.at_retention_end) = (Some(Span::from_seconds(7_200)), Some(end));
        spec.stages[2].hold = Some(Span::from_seconds(hold * 60));
        let manager = || vec![Approvals { role: "manager".into(), count: 1 }];
        spec.stages[1].gate.approvals = if gate { manager() } else { vec![] };
        spec.stages[0].gate.approvals = if first { manager() } else { vec![] };
        started_with(plan)
    })
}

proptest! {
    #[test]
    fn the_laws_hold_on_every_road(start in any_order(), deeds in prop::collection::vec((deed(), 0_i64..40), 0..60)) {
        let (mut order, mut minute, mut frozen_since) = (start, 0, None);
        for (deed, later) in deeds {
            minute += later;
            let event = match deed {
                Deed::Any(Event::Observed(sight)) => Event::Observed(Sight { frozen_since, ..sight }),
                Deed::Any(event) => event,
                Deed::Approve => approve(&order),
                Deed::Freeze(on) => { frozen_since = on.then_some(at(minute)); continue }
            };
            let accepts_rollback = order.is_active();
            prop_assert_eq!(order.step(rollback(&[], false), at(minute)).is_ok(), accepts_rollback);
            let Ok((next, effects)) = order.step(event.clone(), at(minute)) else { continue };
            prop_assert_eq!(next == order, next.version == order.version, "a version grows with each change");
            prop_assert_eq!(next.paused_in.is_some(), next.phase == Phase::Paused);
            let waits = next.phase == Phase::AwaitingApproval || next.paused_in == Some(Phase::AwaitingApproval);
            prop_assert_eq!(next.awaited.is_some(), waits);
            let is_forward = next.stage > order.stage
                || next.services.iter().any(|(name, state)| state.stages_entered > order.services[name].stages_entered);
            if is_forward {
                let seen = match &event {
                    Event::Advance { sight, .. } | Event::Approve(_, sight) | Event::Observed(sight) => sight,
                    other => return Err(TestCaseError::fail(format!("{other:?} moves nobody forward"))),
                };
                prop_assert!(seen.seen.is_converged(), "nothing goes forward before it converged");
                prop_assert!(seen.frozen_since.is_none(), "nothing goes forward while the line is stopped");
                prop_assert!(order.faulty_service().is_none(), "nothing goes forward with a fault");
                prop_assert!(matches!(order.phase, Phase::Running | Phase::AwaitingApproval));
                let is_new = next.stage > order.stage || order.awaited.is_some();
                let is_approved = next.approved(next.stage).iter().all(Approved::is_complete);
                prop_assert!(is_approved || !is_new, "no stage is entered through a closed gate");
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
            let looks = sight(ALL);
            let settled = next.step(Event::Observed(looks), at(minute)).unwrap().0;
            let goes_on = settled != next || matches!(next.phase, Phase::RolledBack | Phase::Finished);
            prop_assert!(goes_on || next.waits_for(looks, at(minute)).is_some(), "who does not go on waits for something");
            order = next;
        }
    }
}
