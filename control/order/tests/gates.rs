//! What an order waits for: people, windows, health, settling, the end of a retention; and that it goes on by itself after it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod orders;

use graylane_order::{
    Actor, Approve, Effect, Event, Fault, Freeze, Health, Order, Phase, Refused, Sight, Waiting, WaitsFor,
};
use graylane_plan::{
    Advance, Approvals, Batch, EndpointSpec, FaultAction, HealthSpec, Missed, ReleasePlan, RetentionEnd,
    Slot, Span, WindowSpec,
};
use jiff::{SignedDuration, Timestamp};
use orders::*;
use std::collections::BTreeMap;

fn wants(role: &str, count: u32) -> Approvals {
    Approvals { role: role.into(), count }
}

/// A plan whose second stage needs two managers and an auditor.
fn guarded() -> ReleasePlan {
    let mut plan = plan(Batch::Parallel);
    plan.spec.stages[1].gate.approvals = vec![wants("manager", 2), wants("auditor", 1)];
    plan
}

fn approves(order: &Order, name: &str, roles: &[&str]) -> Approve {
    Approve {
        actor: Actor { name: name.into(), reason: String::new() },
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        role: None,
        stage: next_stage(order),
        hash: order.standing_hash().to_owned(),
    }
}

fn approved(order: &Order, name: &str, roles: &[&str], minute: i64) -> Result<Order, Refused> {
    let event = Event::Approve(Box::new(approves(order, name, roles)), sight(ALL));
    order.step(event, at(minute)).map(|(next, _)| next)
}

fn step(order: &Order, event: Event, minute: i64) -> Order {
    order.step(event, at(minute)).unwrap().0
}

fn waits(order: &Order, minute: i64) -> String {
    order.waits_for(sight(ALL), at(minute)).map(|waiting| waiting.waits_for.to_string()).unwrap_or_default()
}

fn last(order: &Order) -> &str {
    &order.timeline.last().unwrap().what
}

#[test]
fn a_stage_is_entered_when_the_last_person_approved() {
    let order = step(&started_with(guarded()), advance(ALL), 1);
    assert_eq!((order.phase, order.stage), (Phase::AwaitingApproval, 0));
    assert_eq!(waits(&order, 1), r#"the approval of stage "two" by manager, 0 of 2 given"#);
    let order = approved(&order, "wang", &["manager", "auditor"], 2).unwrap();
    assert_eq!(
        approved(&order, "wang", &["manager", "auditor"], 3).unwrap(),
        order,
        "given twice is given once"
    );
    let mut again = approves(&order, "wang", &["manager", "auditor"]);
    again.role = Some("auditor".into());
    let twice = order.step(Event::Approve(Box::new(again), sight(ALL)), at(3)).unwrap_err();
    assert_eq!(
        twice.to_string(),
        r#"wang approved stage "two" as manager, and counts once; somebody else has to"#
    );
    let order = approved(&order, "zhao", &["auditor"], 4).unwrap();
    assert_eq!(approved(&order, "qian", &["auditor"], 5), Err(Refused::Enough { stage: "two".into() }));
    let event = Event::Approve(Box::new(approves(&order, "sun", &["manager"])), sight(ALL));
    let (order, effects) = order.step(event, at(6)).unwrap();
    assert_eq!((order.phase, order.stage, effects), (Phase::Running, 1, vec![Effect::Publish]));
    assert_eq!(order.awaited, None);
}

#[test]
fn approvals_may_come_before_somebody_advances() {
    let mut plan = guarded();
    plan.spec.stages[1].gate.approvals = vec![wants("manager", 1)];
    let order = approved(&started_with(plan), "wang", &["manager"], 1).unwrap();
    assert_eq!((order.phase, order.stage), (Phase::Running, 0));
    let order = step(&order, advance(ALL), 2);
    assert_eq!((order.phase, order.stage), (Phase::Running, 1));
}

#[test]
fn the_first_gate_is_there_from_the_start_and_nobody_is_gray_before_it() {
    let mut plan = plan(Batch::Parallel);
    plan.spec.stages[0].gate.approvals = vec![wants("manager", 1)];
    let order = started_with(plan);
    assert_eq!((order.phase, order.gray_services().count()), (Phase::AwaitingApproval, 0));
    let order = approved(&order, "wang", &["manager"], 1).unwrap();
    assert_eq!((order.phase, order.gray_services().count()), (Phase::Running, 3));
}

#[test]
fn nobody_approves_his_own_work_or_without_the_role_or_what_he_did_not_see() {
    let order = step(&started_with(guarded()), advance(ALL), 1);
    for author in ["chen", "lin"] {
        let own = approved(&order, author, &["manager"], 2).unwrap_err().to_string();
        assert!(own.contains("wrote the plan, started or adjusted order 7; somebody else has to"), "{own}");
    }
    let none = approved(&order, "wang", &["teller"], 2).unwrap_err();
    assert_eq!(
        none.to_string(),
        r#"wang has no role that stage "two" still needs an approval of; it needs manager, auditor"#
    );
    let mut other = approves(&order, "wang", &["manager"]);
    other.hash = "older".into();
    let other = order.step(Event::Approve(Box::new(other), sight(ALL)), at(2)).unwrap_err();
    assert_eq!(
        other.to_string(),
        "content h stands now, not older; look at the order again, and approve what it says"
    );
    let mut later = approves(&order, "wang", &["manager"]);
    later.stage = "three".into();
    let later = order.step(Event::Approve(Box::new(later), sight(ALL)), at(2)).unwrap_err();
    assert!(matches!(later, Refused::OtherStage { next, .. } if next == "two"));
}

/// F34: a change while a stage is waited for inherits no approval.
#[test]
fn a_changed_scope_voids_the_approvals_and_makes_its_author_one() {
    let order = step(&started_with(guarded()), advance(ALL), 1);
    let before = order.standing_hash().to_owned();
    let order = approved(&order, "wang", &["manager"], 2).unwrap();
    let order = step(&order, adjust(), 3);
    assert!(
        last(&order).starts_with("the approvals of wang are void, because the scope changed"),
        "{}",
        last(&order)
    );
    assert_eq!((order.approvals.len(), order.approved(1)[0].by.len()), (0, 0));
    assert_ne!(order.standing_hash(), before);
    let mut old = approves(&order, "wang", &["manager"]);
    old.hash = before;
    let old = order.step(Event::Approve(Box::new(old), sight(ALL)), at(4));
    assert!(matches!(old, Err(Refused::OtherContent { .. })));
    assert!(approved(&order, "wang", &["manager"], 5).is_ok());
}

/// A plan whose second stage may be entered from 20:00 to 22:00 UTC, that is from minute 1,200 to 1,320 of each day.
fn windowed(missed: Missed) -> ReleasePlan {
    let mut plan = plan(Batch::Parallel);
    let time = |time: &str| Some(time.to_owned());
    let evening = Slot { from: time("20:00"), to: time("22:00"), ..Slot::default() };
    let window = WindowSpec { time_zone: "UTC".into(), allow: vec![evening], deny: vec![], missed };
    plan.spec.stages[1].gate.window = Some(window);
    plan
}

#[test]
fn a_stage_waits_for_its_window_and_enters_as_it_opens() {
    let order = step(&started_with(windowed(Missed::Skip)), advance(ALL), 1);
    assert_eq!(waits(&order, 1), r#"the window of stage "two", which opens at 1970-01-01T20:00:00Z"#);
    assert_eq!(
        order.step(advance(ALL), at(2)).unwrap_err().to_string(),
        r#"order 7 enters stage "two" by itself; it waits for the window of stage "two", which opens at 1970-01-01T20:00:00Z"#
    );
    assert_eq!(step(&order, observed(ALL), 1_199), order);
    let opened = step(&order, observed(SOME), 1_200);
    assert_eq!((opened.stage, last(&opened)), (0, r#"the window of stage "two" is open"#));
    assert_eq!(
        step(&opened, observed(SOME), 1_201),
        opened,
        "not before the stage before it converged, and told once"
    );
    let restarted = Event::Observed(Sight { watching_since: at(1_210), ..sight(ALL) });
    assert_eq!(step(&opened, restarted, 1_211).stage, 1, "a restart does not make it one that nobody saw");
    assert_eq!(step(&order, observed(ALL), 1_200).stage, 1);
    assert_eq!(step(&order, observed(ALL), 1_320), order, "it is shut again");
    let inside = step(&started_with(windowed(Missed::Skip)), advance(ALL), 1_250);
    assert_eq!(inside.stage, 1, "who asks while it is open missed nothing");
}

/// F38.
#[test]
fn a_window_that_opened_unseen_is_skipped_or_used_late_as_the_plan_says() {
    let restarted = |minute| Event::Observed(Sight { watching_since: at(minute), ..sight(ALL) });
    let order = step(&started_with(windowed(Missed::Skip)), advance(ALL), 1);
    let skipped = step(&order, restarted(1_210), 1_211);
    let told = r#"waits for the window of stage "two", which opens at 1970-01-02T20:00:00Z; nobody watched as it opened at 1970-01-01T20:00:00Z"#;
    assert_eq!((last(&skipped), skipped.phase), (told, Phase::AwaitingApproval));
    assert_eq!(step(&skipped, restarted(1_210), 1_300), skipped, "it is told once");
    assert_eq!(step(&skipped, restarted(1_310), 1_311), skipped, "a second restart does not make it new");
    assert_eq!(step(&skipped, restarted(1_310), 1_440 + 1_200).stage, 1, "the next one is used");
    let order = step(&started_with(windowed(Missed::LateStart)), advance(ALL), 1);
    assert_eq!(step(&order, restarted(1_210), 1_211).stage, 1);
}

#[test]
fn a_stopped_line_goes_forward_for_nobody_but_the_exempt_and_backward_for_all() {
    let mut plan = plan(Batch::Serial);
    plan.spec.advance = Advance::Auto;
    let order = started_with(plan);
    let frozen = Sight { frozen_since: Some(at(5)), ..sight(ALL) };
    assert_eq!(step(&order, Event::Observed(frozen), 60), order);
    assert_eq!(order.waits_for(frozen, at(60)), Some(Waiting { waits_for: WaitsFor::Thaw, since: at(5) }));
    let back = step(&order, rollback(&[], false), 61);
    assert_eq!(step(&back, Event::Observed(frozen), 62).phase, Phase::RolledBack);

    let actor = Actor { name: "sun".into(), reason: "payday".into() };
    let freeze = Freeze { actor, since: at(5), exempt: ["sre".to_owned()].into() };
    assert_eq!(freeze.admit("retail", &["sre".to_owned()].into()), Ok(()));
    assert_eq!(
        freeze.admit("retail", &["manager".to_owned()].into()).unwrap_err().to_string(),
        "the line of tenant \"retail\" is stopped by sun since 1970-01-01T00:05:00Z (payday); rolling back is possible, \
         and `freeze off` ends it"
    );
}

#[test]
fn an_opening_that_was_watched_counts_after_a_pause_or_a_stopped_line_and_a_restart() {
    let order = step(&started_with(windowed(Missed::Skip)), advance(ALL), 1);
    let restarted = Event::Observed(Sight { watching_since: at(1_210), ..sight(ALL) });
    let paused = step(&step(&order, pause(), 2), observed(ALL), 1_200);
    assert_eq!((paused.phase, last(&paused)), (Phase::Paused, r#"the window of stage "two" is open"#));
    assert_eq!(step(&step(&paused, resume(), 1_211), restarted.clone(), 1_212).stage, 1);
    let frozen = Sight { frozen_since: Some(at(5)), ..sight(ALL) };
    let stopped = step(&order, Event::Observed(frozen), 1_200);
    assert_eq!((stopped.stage, step(&stopped, restarted, 1_211).stage), (0, 1));
}

#[test]
fn an_order_that_goes_on_by_itself_is_not_late_for_a_window_that_opened_unseen() {
    let auto = |missed| {
        let mut plan = windowed(missed);
        plan.spec.advance = Advance::Auto;
        plan.spec.stages[0].hold = Some(Span::from_seconds(600));
        started_with(plan)
    };
    let restarted = |watching_since, minute| {
        let sight = Sight { watching_since: at(watching_since), ..sight(ALL) };
        step(&auto(Missed::Skip), Event::Observed(sight), minute)
    };
    let skipped = restarted(1_210, 1_211);
    assert_eq!(skipped.phase, Phase::AwaitingApproval);
    assert!(
        last(&skipped).ends_with("nobody watched as it opened at 1970-01-01T20:00:00Z"),
        "{}",
        last(&skipped)
    );
    assert_eq!(restarted(1_199, 1_211).stage, 1, "somebody watched");
    let late = Event::Observed(Sight { watching_since: at(1_210), ..sight(ALL) });
    assert_eq!(step(&auto(Missed::LateStart), late, 1_211).stage, 1);
    let mut inside = auto(Missed::Skip);
    inside.stage_since = at(1_195);
    let late = Event::Observed(Sight { watching_since: at(1_210), ..sight(ALL) });
    assert_eq!(
        step(&inside, late, 1_211).stage,
        1,
        "its hold time was over when the window was open already"
    );
}

#[test]
fn a_serial_batch_settles_before_the_next_service_enters() {
    let mut plan = plan(Batch::Serial);
    plan.spec.settle = Some(Span::from_seconds(600));
    let order = started_with(plan);
    let seen_for =
        |minutes| Event::Observed(Sight { converged_for: SignedDuration::from_mins(minutes), ..sight(ALL) });
    assert_eq!(step(&order, seen_for(9), 20), order, "converged for a shorter time");
    assert_eq!(step(&order, seen_for(60), 9), order, "entered a shorter time ago");
    let entered = step(&order, seen_for(10), 10);
    assert_eq!(last(&entered), r#"service "ledger" entered stage "one""#);
    let judged = |order: &Order, health, minute| {
        let event = Event::Health { actor: actor(), service: "loan".into(), health, figures: String::new() };
        step(order, event, minute)
    };
    let faulty = judged(&entered, Health::Faulty, 11);
    assert_eq!(step(&faulty, seen_for(60), 40), faulty);
    assert_eq!(waits(&faulty, 40), r#"service "loan", which is faulty"#);
    assert_eq!(faulty.waits_for(sight(ALL), at(40)).unwrap().since, at(11));
    let healthy = judged(&faulty, Health::Healthy, 41);
    assert_eq!(waits(&healthy, 50), r#"all services to do well for 10m before "cards" enters"#);
    assert_eq!(step(&healthy, seen_for(60), 51).gray_services().count(), 3);
}

#[test]
fn an_order_advances_by_itself_when_its_plan_says_so() {
    let mut plan = plan(Batch::Parallel);
    plan.spec.advance = Advance::Auto;
    let order = step(&started_with(plan), observed(ALL), 1);
    assert_eq!((order.stage, order.timeline[1].actor.name.as_str()), (1, "graylane"));
    assert_eq!(step(&order, observed(SOME), 60), order);
    assert_eq!(step(&order, observed(ALL), 30), order, "it is held");
    assert_eq!(waits(&order, 30), "the hold time, which ends at 1970-01-01T00:31:00Z");
    let order = step(&step(&order, observed(ALL), 31), observed(ALL), 32);
    assert_eq!(order.phase, Phase::Retained);
}

fn retained(end: RetentionEnd) -> Order {
    let mut plan = plan(Batch::Parallel);
    plan.spec.advance = Advance::Auto;
    (plan.spec.retention, plan.spec.at_retention_end) = (Some(Span::from_seconds(36_000)), Some(end));
    let order = step(&started_with(plan), observed(ALL), 0);
    step(&step(&order, observed(ALL), 30), observed(ALL), 30)
}

#[test]
fn a_retention_warns_before_it_ends_and_then_does_what_was_chosen() {
    let stays = retained(RetentionEnd::Stay);
    assert_eq!(stays.retention.unwrap().until, at(630));
    assert_eq!(step(&stays, observed(ALL), 569), stays);
    let warned = step(&stays, observed(ALL), 570);
    assert!(
        last(&warned).starts_with("the retention ends at 1970-01-01T10:30:00Z; then on, until"),
        "{}",
        last(&warned)
    );
    assert_eq!(step(&warned, observed(ALL), 571), warned, "once");
    let over = step(&warned, observed(ALL), 630);
    assert_eq!(
        (over.phase, waits(&over, 700).as_str()),
        (Phase::Retained, "`order finish` or `order rollback`")
    );
    assert_eq!(step(&over, observed(ALL), 9_999), over);

    let finishes = step(&retained(RetentionEnd::Finish), observed(ALL), 570);
    assert_eq!(
        last(&finishes),
        "the retention ends at 1970-01-01T10:30:00Z; then the order finishes by itself"
    );
    assert_eq!(step(&finishes, observed(SOME), 630).phase, Phase::Retained);
    let (finished, effects) = finishes.step(observed(ALL), at(630)).unwrap();
    assert_eq!((finished.phase, effects.len()), (Phase::Finished, 4));
}

#[test]
fn a_fault_does_what_the_plan_says_and_its_figures_are_the_reason() {
    let order = |action| {
        let mut plan = plan(Batch::Parallel);
        plan.spec.health = Some(HealthSpec { on_fault: action, ..HealthSpec::default() });
        started_with(plan)
    };
    let faulty = |action, service: &str| {
        let figures = "5xx 3.1 % of 400, stable 0.1 %".into();
        let health = Health::Faulty;
        let event = Event::Health { actor: actor(), service: service.into(), health, figures };
        order(action).step(event, at(1)).unwrap()
    };
    let (marked, effects) = faulty(None, "loan");
    assert_eq!((marked.phase, effects), (Phase::Running, vec![]));
    assert_eq!(marked.step(advance(ALL), at(2)), Err(Refused::Faulty { service: "loan".into() }));
    let (paused, effects) = faulty(Some(FaultAction::Pause), "loan");
    assert_eq!((paused.phase, effects), (Phase::Paused, vec![]));
    let (part, effects) = faulty(Some(FaultAction::RollbackService), "loan");
    assert_eq!(effects, [Effect::Publish]);
    assert_eq!(part.gray_services().map(|(service, _)| service.name.as_str()).collect::<Vec<_>>(), ["cards"]);
    let actor = &part.timeline.last().unwrap().actor;
    assert_eq!(actor.name, "graylane");
    assert_eq!(actor.reason, r#"service "loan" is faulty: 5xx 3.1 % of 400, stable 0.1 %"#);
    let (whole, effects) = faulty(Some(FaultAction::RollbackOrder), "cards");
    assert_eq!((whole.phase, effects), (Phase::RollingBack, vec![Effect::Publish]));
}

#[test]
fn the_last_fault_of_each_service_is_kept_with_its_figures_whatever_follows() {
    let mut plan = plan(Batch::Parallel);
    plan.spec.health =
        Some(HealthSpec { on_fault: Some(FaultAction::RollbackService), ..HealthSpec::default() });
    let judged = |order: &Order, service: &str, health, figures: &str, minute| {
        let event =
            Event::Health { actor: actor(), service: service.into(), health, figures: figures.into() };
        step(order, event, minute)
    };
    let order = judged(&started_with(plan), "loan", Health::Faulty, "5xx 3 %", 1);
    let order = judged(&order, "loan", Health::Healthy, "nobody calls it", 2);
    let first = Fault { at: at(1), actor: actor(), figures: "5xx 3 %".into() };
    assert_eq!(order.faults, BTreeMap::from([("loan".to_owned(), first)]));
    let order = judged(&order, "loan", Health::Faulty, "p99 2 s", 3);
    let event = Event::Rollback { actor: actor(), services: Vec::new(), keep_dependents: false };
    let order = step(&step(&order, event, 4), observed(ALL), 5);
    assert_eq!((order.phase, order.faults["loan"].figures.as_str()), (Phase::RolledBack, "p99 2 s"));
    assert_eq!(order.faults.len(), 1);
}

#[test]
fn who_waits_for_a_first_verdict_does_so_since_the_stage_began() {
    let mut plan = plan(Batch::Parallel);
    plan.spec.health = Some(HealthSpec { endpoints: Some(EndpointSpec { min: 1 }), ..HealthSpec::default() });
    plan.spec.stages[0].gate.approvals = vec![wants("manager", 1)];
    let order = approved(&started_with(plan), "wang", &["manager"], 3).unwrap();
    let waiting = order.waits_for(sight(ALL), at(7)).unwrap();
    assert_eq!(waiting.waits_for, WaitsFor::Verdict { service: "loan".into() });
    assert_eq!(waiting.since, at(3));
}

#[test]
fn what_nobody_can_say_holds_an_order_back_where_the_plan_wants_to_know() {
    let mut plan = plan(Batch::Parallel);
    plan.spec.health = Some(HealthSpec { endpoints: Some(EndpointSpec { min: 1 }), ..HealthSpec::default() });
    let order = started_with(plan);
    assert_eq!(waits(&order, 1), r#"a verdict on service "loan""#);
    assert_eq!(order.step(advance(ALL), at(1)), Err(Refused::Unjudged { service: "loan".into() }));
    let judged = |order: &Order, service: &str, health| {
        let event = Event::Health { actor: actor(), service: service.into(), health, figures: String::new() };
        step(order, event, 2)
    };
    let half = judged(&order, "loan", Health::Healthy);
    assert_eq!(half.step(advance(ALL), at(2)), Err(Refused::Unjudged { service: "ledger".into() }));
    let whole = judged(&judged(&half, "ledger", Health::Healthy), "cards", Health::Healthy);
    let second = step(&whole, advance(ALL), 2);
    assert_eq!(second.stage, 1);
    assert_eq!(waits(&second, 3), r#"a verdict on service "loan""#, "others get it now");
    let adjusted = step(&whole, adjust(), 2);
    assert_eq!(adjusted.step(advance(ALL), at(2)), Err(Refused::Unjudged { service: "loan".into() }));
    let unknown = judged(&whole, "loan", Health::Unknown);
    assert_eq!(unknown.step(advance(ALL), at(2)), Err(Refused::Unjudged { service: "loan".into() }));
}

#[test]
fn what_was_said_of_a_version_before_it_was_gray_is_no_judgement_of_it() {
    let mut plan = plan(Batch::Serial);
    plan.spec.health =
        Some(HealthSpec { on_fault: Some(FaultAction::RollbackOrder), ..HealthSpec::default() });
    let judged = |order: &Order, minute| {
        let (service, health) = ("cards".into(), Health::Faulty);
        step(order, Event::Health { actor: actor(), service, health, figures: String::new() }, minute)
    };
    let early = judged(&started_with(plan), 1);
    assert_eq!((early.phase, early.services["cards"].health), (Phase::Running, Health::Faulty));
    let entered = step(&step(&early, observed(ALL), 2), observed(ALL), 3);
    assert_eq!(
        (entered.services["cards"].stages_entered, entered.services["cards"].health),
        (1, Health::Unknown)
    );
    assert_eq!(judged(&entered, 4).phase, Phase::RollingBack, "said again, it is acted on");
}

/// F25.
#[test]
fn an_order_whose_rules_a_proxy_refused_stops_and_says_who_and_why() {
    let stopped = step(&started_with(plan(Batch::Parallel)), refused(), 1);
    assert_eq!(stopped.phase, Phase::Paused);
    let actor = &stopped.timeline.last().unwrap().actor;
    assert_eq!(
        (actor.name.as_str(), actor.reason.as_str()),
        ("graylane", r#"proxy "envoy-1" refused revision 8: no such file"#)
    );
    assert_eq!(
        step(&step(&stopped, resume(), 2), observed(SOME), 3).phase,
        Phase::Running,
        "it is not stopped twice"
    );
    assert_eq!(step(&stopped, rollback(&[], false), 2).phase, Phase::RollingBack);
    let noted = step(&stopped, refused(), 2);
    assert_eq!(last(&noted), r#"proxy "envoy-1" refused revision 8: no such file"#);
}

#[test]
fn an_order_whose_proxies_lag_stops_and_says_how_many_and_for_how_long() {
    let stopped = step(&started_with(plan(Batch::Parallel)), lagging(), 1);
    assert_eq!(stopped.phase, Phase::Paused);
    let reason = &stopped.timeline.last().unwrap().actor.reason;
    assert_eq!(reason, r#"2 proxies do not run revision 8 after 10m, "envoy-1" the first"#);
    assert_eq!(step(&stopped, lagging(), 2), stopped, "it is told once");
}

/// F37.
#[test]
fn a_clock_that_jumps_shortens_no_hold_and_lengthens_none() {
    let order = step(&started_with(plan(Batch::Parallel)), advance(ALL), 1);
    assert_eq!(order.hold_left(at(11)), SignedDuration::from_mins(20));
    let jumped =
        |by: i64, minute| step(&order, Event::ClockJumped { by: SignedDuration::from_mins(by) }, minute);
    assert_eq!(jumped(60, 71).hold_left(at(71)), SignedDuration::from_mins(20));
    assert_eq!(last(&jumped(60, 71)), "the clock jumped by 1h; what has to last lasts as long as before");
    assert_eq!(jumped(-60, -49).hold_left(at(-49)), SignedDuration::from_mins(20));
    assert_eq!(
        order.hold_left(at(-600)),
        SignedDuration::from_mins(30),
        "a jump that nobody saw adds nothing"
    );
    let ended = step(&step(&order, rollback(&[], false), 5), observed(ALL), 6);
    assert_eq!(step(&ended, Event::ClockJumped { by: SignedDuration::from_mins(9) }, 15), ended);
}

#[test]
fn a_jump_over_an_opening_does_not_make_it_one_that_came_before_the_order_waited() {
    let order = step(&started_with(windowed(Missed::Skip)), advance(ALL), 1);
    let jumped = step(&order, Event::ClockJumped { by: SignedDuration::from_mins(1_229) }, 1_230);
    let looks = Event::Observed(Sight { watching_since: at(1_230), ..sight(ALL) });
    let skipped = step(&jumped, looks, 1_231);
    assert_eq!((skipped.stage, skipped.awaited.unwrap().opening.unwrap().skipped), (0, true));
}

#[test]
fn an_order_that_finishes_by_itself_warns_before_also_when_nobody_watched() {
    let late = step(&retained(RetentionEnd::Finish), observed(ALL), 9_999);
    assert_eq!((late.phase, late.retention.unwrap().until), (Phase::Retained, at(9_999 + 60)));
    assert!(last(&late).starts_with("the retention ends at"), "{}", last(&late));
    assert_eq!(step(&late, observed(ALL), 9_999 + 59).phase, Phase::Retained);
    assert_eq!(step(&late, observed(ALL), 9_999 + 60).phase, Phase::Finished);
}

#[test]
fn what_follows_a_fault_that_was_rolled_back_settles_too() {
    let mut plan = plan(Batch::Serial);
    plan.spec.settle = Some(Span::from_seconds(600));
    plan.spec.health =
        Some(HealthSpec { on_fault: Some(FaultAction::RollbackService), ..HealthSpec::default() });
    plan.spec.services[1].depends_on.clear();
    let figures = String::new();
    let event = Event::Health { actor: actor(), service: "loan".into(), health: Health::Faulty, figures };
    let order = step(&started_with(plan), event, 1);
    assert_eq!(order.timeline.last().unwrap().actor.reason, r#"service "loan" is faulty"#);
    assert_eq!(step(&order, observed(ALL), 10), order);
    assert_eq!(last(&step(&order, observed(ALL), 11)), r#"service "ledger" entered stage "one""#);
}

#[test]
fn an_order_of_an_older_version_reads_as_one_with_no_gates() {
    let mut json = serde_json::to_value(started_with(plan(Batch::Parallel))).unwrap();
    let fields = json.as_object_mut().unwrap();
    for field in ["authors", "phaseSince"] {
        assert!(fields.remove(field).is_some());
    }
    let services = fields["services"].as_object_mut().unwrap();
    for service in services.values_mut() {
        service.as_object_mut().unwrap().retain(|field, _| !field.starts_with("health"));
    }
    let order: Order = serde_json::from_value(json).unwrap();
    assert_eq!((order.phase_since, order.standing_hash()), (Timestamp::UNIX_EPOCH, "h"));
    assert_eq!(step(&order, advance(ALL), 1).stage, 1);
}
