//! What the simulation found, told step by step.

use crate::actions::{Action, Request, What};
use crate::disk::{Disk, Fault};
use crate::operators::OPERATORS;
use crate::proxies::SimFleet;
use crate::run::open;
use crate::time::SimClock;
use graylane::daemon::{ActionError, Daemon};
use graylane_order::Refused;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::time::Duration;

struct World {
    disk: Disk,
    clock: SimClock,
    fleet: SimFleet,
    daemon: Daemon,
}

// === impl World ===

impl World {
    fn new() -> Self {
        let (disk, clock) = (Disk::new(1), SimClock::new());
        let fleet = SimFleet::new(clock.clone());
        let daemon = open(&disk, &fleet, &clock).unwrap();
        Self { disk, clock, fleet, daemon }
    }

    fn ask(&self, action: Action) -> Result<(), ActionError> {
        by_lin(action).ask(&self.daemon, None).map(drop)
    }

    /// Starts an order of a plan with two stages that are held for half a minute.
    fn start(&self, first_gate: &Value) {
        let stage = |name: &str, gate: &Value| json!({ "name": name, "scope": { "include": { "teller": ["T1"] } }, "gate": gate, "hold": "30s" });
        let plan = json!({
            "apiVersion": "graylane.dev/v1alpha1",
            "kind": "ReleasePlan",
            "metadata": { "name": "spring", "tenant": "retail" },
            "spec": {
                "owner": "release-manager",
                "batch": "parallel",
                "services": [{ "name": "loan", "hosts": ["loan.bank"], "stable": "v1", "gray": "v2" }],
                "stages": [stage("one", first_gate), stage("two", &json!({}))],
            },
        });
        self.ask(Action::ApplyPlan { text: plan.to_string(), plan: None }).unwrap();
        self.ask(Action::Start { tenant: "retail", plan: "spring" }).unwrap();
    }

    fn advance(&self) -> Result<(), ActionError> {
        self.ask(Action::Order { id: 1, what: What::Advance, if_match: None })
    }

    /// How long the stage has still to be held, as whoever advances is told.
    fn hold_left(&self) -> Option<SignedDuration> {
        match self.advance() {
            Err(ActionError::Refused(Refused::Hold { left, .. })) => Some(left),
            _ => None,
        }
    }
}

fn by_lin(action: Action) -> Request {
    Request { by: &OPERATORS[0], action }
}

#[test]
fn a_hold_is_not_over_because_the_clock_jumped_before_the_daemon_looked() {
    for hours in [-1, 1] {
        let world = World::new();
        world.start(&json!({}));
        world.clock.pass(Duration::from_secs(10));
        world.daemon.observe_orders();
        world.clock.set_by(SignedDuration::from_hours(hours));
        assert_eq!(world.hold_left(), Some(SignedDuration::from_secs(20)), "{hours}");
        world.clock.pass(Duration::from_secs(20));
        assert!(world.advance().is_ok());
    }
}

#[test]
fn a_hold_that_begins_after_a_jump_and_before_a_look_lasts_as_long() {
    let world = World::new();
    world.clock.set_by(SignedDuration::from_hours(-1));
    world.start(&json!({}));
    world.clock.pass(Duration::from_secs(10));
    world.daemon.observe_orders();
    assert_eq!(world.hold_left(), Some(SignedDuration::from_secs(20)));
}

#[test]
fn a_jump_of_the_clock_that_a_full_disk_hid_is_followed_when_there_is_room() {
    let world = World::new();
    world.start(&json!({}));
    world.clock.set_by(SignedDuration::from_hours(1));
    world.disk.set_fault(Some(Fault::Full));
    world.daemon.observe_orders();
    world.disk.set_fault(None);
    assert_eq!(world.hold_left(), Some(SignedDuration::from_secs(30)));
}

#[test]
fn an_order_that_waits_for_its_first_gate_changes_no_rules_also_at_a_start() {
    let world = World::new();
    world.ask(Action::PutList { tenant: "retail", name: "pilots", ids: ["T0".to_owned()].into() }).unwrap();
    let before = world.fleet.revision("retail");
    world.start(&json!({ "approvals": [{ "role": "manager", "count": 1 }] }));
    let _daemon = open(&world.disk.cut(), &world.fleet, &world.clock).unwrap();
    assert_eq!(world.fleet.revision("retail"), before);
    assert_eq!(world.fleet.broken(), None);
}

#[test]
fn nothing_is_acknowledged_after_a_write_that_failed() {
    let World { disk, daemon, .. } = World::new();
    let put =
        |id: &str| by_lin(Action::PutList { tenant: "retail", name: "pilots", ids: [id.to_owned()].into() });
    assert!(put("T0").ask(&daemon, None).is_ok());
    disk.set_fault(Some(Fault::SyncFails { after_syncs: 1 }));
    assert!(put("T1").ask(&daemon, None).is_err());
    let told = put("T0").ask(&daemon, None).unwrap_err().to_string();
    assert!(told.contains("start the daemon again"), "it changes nothing, if T1 was not written: {told}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let failure = async { tokio::time::timeout(Duration::from_secs(10), daemon.store_failure()).await };
    assert!(runtime.block_on(failure).is_ok(), "`graylane serve` ends when this does");
}
