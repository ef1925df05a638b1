//! What happened to an order, as it is told to those who do not watch it.

use graylane_order::{Health, Order, Phase, ServiceState};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Services that one event names; the audit record has all of them.
const MAX_SERVICES: usize = 16;

/// One thing that happened to an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderEvent {
    /// What.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// To which of its services, where it is about some: the first of them by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}

/// What can happen to an order; what matters most first. Of what happens in one step, the first names the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum EventKind {
    /// Services were found faulty.
    Faulty,
    /// Services are put back to their baseline, by itself or by hand.
    RollingBack,
    /// Every service is back at its baseline, in every proxy. An end.
    RolledBack,
    /// The gray versions are the baselines now. An end.
    Finished,
    /// All stages are done; the old version is kept.
    Retained,
    /// The time for which the old version is kept is over, or nearly so.
    RetentionEnds,
    /// It does not go forward any more: somebody, a fault or a refusal stopped it.
    Paused,
    /// It waits for the gate of its next stage: for approvals, or for a window.
    Waiting,
    /// It began.
    Started,
    /// Services entered a stage.
    Entered,
    /// Somebody approved its next stage.
    Approved,
    /// It goes on after a pause.
    Resumed,
    /// The scope of its stage was changed.
    Adjusted,
}

/// A text that names no event.
#[derive(Debug, Error)]
#[error("{0:?} is no event; take some of {known}", known = EventKind::ALL.map(EventKind::label).join(", "))]
pub struct UnknownEvent(String);

// === impl OrderEvent ===

impl OrderEvent {
    /// What happened between two states of an order, what matters most first. With no state before it began.
    #[must_use]
    pub fn between(before: Option<&Order>, after: &Order) -> Vec<Self> {
        let services = |changed: fn(ServiceState, ServiceState) -> bool| -> Vec<String> {
            let was = |name: &String| {
                before.and_then(|before| before.services.get(name)).copied().unwrap_or_default()
            };
            let changed = after.services.iter().filter(|(name, state)| changed(was(name), **state));
            changed.map(|(name, _)| name.clone()).take(MAX_SERVICES).collect()
        };
        let about_services = [
            (
                EventKind::Faulty,
                services(|was, is| is.health == Health::Faulty && was.health != Health::Faulty),
            ),
            (EventKind::RollingBack, services(|was, is| is.rolled_back && !was.rolled_back)),
            (EventKind::Entered, services(|was, is| is.stages_entered > was.stages_entered)),
        ];
        let about_services = about_services
            .into_iter()
            .filter(|(_, services)| !services.is_empty())
            .map(|(kind, services)| Self { kind, services });
        let about_all = EventKind::of_order(before, after).map(|kind| Self { kind, services: Vec::new() });
        let mut events: Vec<Self> = about_services.chain(about_all).collect();
        events.sort_by_key(|event| event.kind);
        events
    }
}

// === impl EventKind ===

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Faulty,
        Self::RollingBack,
        Self::RolledBack,
        Self::Finished,
        Self::Retained,
        Self::RetentionEnds,
        Self::Paused,
        Self::Waiting,
        Self::Started,
        Self::Entered,
        Self::Approved,
        Self::Resumed,
        Self::Adjusted,
    ];

    /// Its name, as receivers get it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Faulty => "order.faulty",
            Self::RollingBack => "order.rollingBack",
            Self::RolledBack => "order.rolledBack",
            Self::Finished => "order.finished",
            Self::Retained => "order.retained",
            Self::RetentionEnds => "order.retentionEnds",
            Self::Paused => "order.paused",
            Self::Waiting => "order.waiting",
            Self::Started => "order.started",
            Self::Entered => "order.entered",
            Self::Approved => "order.approved",
            Self::Resumed => "order.resumed",
            Self::Adjusted => "order.adjusted",
        }
    }

    /// What happened to an order as a whole.
    fn of_order(before: Option<&Order>, after: &Order) -> impl Iterator<Item = Self> {
        let is_new = |phase: Phase| after.phase == phase && before.is_none_or(|before| before.phase != phase);
        let was_paused = before.is_some_and(|before| before.phase == Phase::Paused);
        let goes_on = matches!(after.phase, Phase::Running | Phase::AwaitingApproval);
        let is_changed = |changed: fn(&Order, &Order) -> bool| before.is_some_and(|was| changed(was, after));
        let told = |order: &Order| order.retention.map(|kept| (kept.warned, kept.over));
        let retention_was = before.and_then(told);
        let happened = [
            (Self::RolledBack, is_new(Phase::RolledBack)),
            (Self::Finished, is_new(Phase::Finished)),
            (Self::Retained, is_new(Phase::Retained)),
            (Self::RetentionEnds, retention_was.is_some() && retention_was != told(after)),
            (Self::Paused, is_new(Phase::Paused)),
            (Self::Waiting, is_new(Phase::AwaitingApproval) && !was_paused),
            (Self::Started, before.is_none()),
            (Self::Approved, is_changed(|was, is| is.approvals.len() > was.approvals.len())),
            (Self::Resumed, was_paused && goes_on),
            (Self::Adjusted, is_changed(|was, is| is.standing_hash() != was.standing_hash())),
        ];
        happened.into_iter().filter(|(_, happened)| *happened).map(|(kind, _)| kind)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl From<EventKind> for &'static str {
    fn from(kind: EventKind) -> Self {
        kind.label()
    }
}

impl TryFrom<String> for EventKind {
    type Error = UnknownEvent;

    fn try_from(text: String) -> Result<Self, UnknownEvent> {
        Self::ALL.into_iter().find(|kind| kind.label() == text).ok_or(UnknownEvent(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graylane_order::{Actor, Approve, Event, Seen, Sight, Start};
    use jiff::{SignedDuration, Timestamp};
    use std::collections::BTreeMap;

    const PLAN: &str = "
        apiVersion: graylane.dev/v1alpha1
        kind: ReleasePlan
        metadata: { name: p, tenant: retail }
        spec:
          owner: o
          batch: BATCH
          health: { errors: { max: 5 }, onFault: ACTION }
          retention: 10d
          services:
            - { name: loan, hosts: [a], stable: v1, gray: v2 }
            - { name: cards, hosts: [b], stable: v1, gray: v2 }
          stages:
            - { name: one, scope: { include: { teller: [T1] } } }
            - { name: two, scope: { all: true }, gate: { approvals: [{ role: risk, count: 1 }] } }
    ";

    /// An order that is stepped, and what happened in the last step.
    struct Life {
        order: Order,
        told: Vec<String>,
        hours: i64,
    }

    impl Life {
        fn start(batch: &str, action: &str) -> Self {
            let plan = graylane_plan::parse(&PLAN.replace("BATCH", batch).replace("ACTION", action)).unwrap();
            let start = Start {
                id: 7,
                plan: plan.into(),
                content_hash: "h".into(),
                lists_by_stage: vec![BTreeMap::new(); 2],
                authors: Default::default(),
                actor: actor("lin"),
            };
            let order = Order::start(start, Timestamp::UNIX_EPOCH).unwrap().0;
            Self { told: told(None, &order), order, hours: 0 }
        }

        fn step(&mut self, event: Event) -> &[String] {
            self.hours += 1;
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(self.hours);
            let next = self.order.step(event, now).unwrap().0;
            self.told = told(Some(&self.order), &next);
            self.order = next;
            &self.told
        }

        fn health(&mut self, service: &str, health: Health) -> &[String] {
            let (actor, service) = (Actor::daemon(), service.to_owned());
            self.step(Event::Health { actor, service, health, figures: "5 of 9 failed".into() })
        }
    }

    fn actor(name: &str) -> Actor {
        Actor { name: name.into(), reason: String::new() }
    }

    fn sight() -> Sight {
        Sight { seen: Seen { converged: 1, total: 1 }, ..Sight::default() }
    }

    fn told(before: Option<&Order>, after: &Order) -> Vec<String> {
        let told =
            |event: OrderEvent| format!("{} {}", event.kind, event.services.join(",")).trim().to_owned();
        OrderEvent::between(before, after).into_iter().map(told).collect()
    }

    #[test]
    fn a_whole_life_is_told_step_by_step() {
        let mut life = Life::start("parallel", "pause");
        assert_eq!(life.told, ["order.started", "order.entered cards,loan"]);
        assert_eq!(life.step(Event::Pause { actor: actor("lin") }), ["order.paused"]);
        assert_eq!(life.step(Event::Pause { actor: actor("lin") }), [""; 0]);
        assert_eq!(life.step(Event::Resume { actor: actor("lin") }), ["order.resumed"]);
        for service in ["loan", "cards"] {
            assert_eq!(life.health(service, Health::Healthy), [""; 0]);
        }
        assert_eq!(life.step(Event::Advance { actor: actor("lin"), sight: sight() }), ["order.waiting"]);
        let approve = Approve {
            actor: actor("wang"),
            roles: ["risk".to_owned()].into(),
            role: None,
            stage: "two".into(),
            hash: "h".into(),
        };
        let approved = life.step(Event::Approve(Box::new(approve), sight()));
        assert_eq!(approved, ["order.entered cards,loan", "order.approved"]);
        for service in ["loan", "cards"] {
            assert_eq!(life.health(service, Health::Healthy), [""; 0]);
        }
        assert_eq!(life.step(Event::Observed(sight())), ["order.retained"]);
        life.hours += 24 * 9;
        assert_eq!(life.step(Event::Observed(sight())), ["order.retentionEnds"]);
        life.hours += 24;
        assert_eq!(life.step(Event::Observed(sight())), ["order.retentionEnds"]);
        let seen = sight().seen;
        assert_eq!(life.step(Event::Finish { actor: actor("lin"), seen }), ["order.finished"]);
    }

    #[test]
    fn a_fault_is_told_with_what_follows_and_matters_most() {
        let mut life = Life::start("serial", "rollback-service");
        assert_eq!(life.told, ["order.started", "order.entered loan"]);
        assert_eq!(life.health("loan", Health::Faulty), ["order.faulty loan", "order.rollingBack loan"]);
        let rollback = Event::Rollback { actor: actor("lin"), services: Vec::new(), keep_dependents: false };
        assert_eq!(life.step(rollback), ["order.rollingBack cards"]);
        assert_eq!(life.step(Event::Observed(sight())), ["order.rolledBack"]);
        let mut life = Life::start("parallel", "pause");
        assert_eq!(life.health("cards", Health::Faulty), ["order.faulty cards", "order.paused"]);
        let scope = Box::new(graylane_plan::Scope { all: true, ..Default::default() });
        let adjust =
            Event::Adjust { actor: actor("lin"), scope, lists: BTreeMap::new(), authors: Default::default() };
        assert_eq!(life.step(adjust), ["order.adjusted"]);
    }

    #[test]
    fn events_are_written_by_their_names_and_sorted_by_weight() {
        assert!(EventKind::ALL.is_sorted());
        for kind in EventKind::ALL {
            let name = serde_json::to_string(&kind).unwrap();
            assert_eq!(name, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<EventKind>(&name).unwrap(), kind);
        }
        let refused = serde_json::from_str::<EventKind>("\"order.gone\"").unwrap_err().to_string();
        assert!(refused.starts_with("\"order.gone\" is no event; take some of order.faulty, "), "{refused}");
    }
}
