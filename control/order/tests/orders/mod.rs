//! Orders and events for tests.

#![allow(dead_code, reason = "each test file uses its part")]

use graylane_order::{Actor, Approve, Event, Health, Order, Seen, Sight, Start};
use graylane_plan::{Batch, ReleasePlan, Scope};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

pub const ALL: Seen = Seen { converged: 3, total: 3 };
pub const SOME: Seen = Seen { converged: 2, total: 3 };

pub fn plan(batch: Batch) -> ReleasePlan {
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

pub fn started(batch: Batch) -> Order {
    started_with(plan(batch))
}

pub fn started_with(plan: ReleasePlan) -> Order {
    let start = Start {
        id: 7,
        plan: plan.into(),
        content_hash: "h".into(),
        lists_by_stage: vec![BTreeMap::new(); 3],
        authors: ["chen".to_owned()].into(),
        actor: actor(),
    };
    Order::start(start, at(0)).unwrap().0
}

pub fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

pub fn actor() -> Actor {
    Actor { name: "lin".into(), reason: "because".into() }
}

/// What is seen by somebody who watches from the start, and saw what he sees for an hour.
pub fn sight(seen: Seen) -> Sight {
    let converged_for = SignedDuration::from_hours(if seen.is_converged() { 1 } else { 0 });
    Sight { seen, converged_for, frozen_since: None, watching_since: at(0) }
}

pub fn observed(seen: Seen) -> Event {
    Event::Observed(sight(seen))
}

pub fn advance(seen: Seen) -> Event {
    Event::Advance { actor: actor(), sight: sight(seen) }
}

/// The name of the stage that comes next.
pub fn next_stage(order: &Order) -> String {
    let next = order.next_stage().and_then(|next| order.plan.spec.stages.get(next));
    next.map(|stage| stage.name.clone()).unwrap_or_default()
}

pub fn approve(order: &Order) -> Event {
    let approve = Approve {
        actor: Actor { name: "wang".into(), reason: String::new() },
        roles: ["manager".to_owned()].into(),
        role: None,
        stage: next_stage(order),
        hash: order.standing_hash().to_owned(),
    };
    Event::Approve(Box::new(approve), sight(ALL))
}

pub fn judge(health: Health) -> Event {
    let figures = "5xx 3.1 % of 400".into();
    Event::Health { actor: actor(), service: "cards".into(), health, figures }
}

pub fn refused() -> Event {
    Event::Refused { revision: 8, node: "envoy-1".into(), message: "no such file".into() }
}

pub fn lagging() -> Event {
    Event::Lagging { revision: 8, proxies: 2, node: "envoy-1".into(), after: SignedDuration::from_mins(10) }
}

pub fn jump() -> Event {
    Event::ClockJumped { by: SignedDuration::from_hours(1) }
}

pub fn finish(seen: Seen) -> Event {
    Event::Finish { actor: actor(), seen }
}

pub fn pause() -> Event {
    Event::Pause { actor: actor() }
}

pub fn resume() -> Event {
    Event::Resume { actor: actor() }
}

pub fn adjust() -> Event {
    let scope = Scope { all: true, ..Scope::default() };
    let authors = ["zhao".to_owned()].into();
    Event::Adjust { actor: actor(), scope: Box::new(scope), lists: BTreeMap::new(), authors }
}

pub fn rollback(services: &[&str], keep_dependents: bool) -> Event {
    let services = services.iter().map(|service| (*service).to_owned()).collect();
    Event::Rollback { actor: actor(), services, keep_dependents }
}
