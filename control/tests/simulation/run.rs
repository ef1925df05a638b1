//! One simulated life of a daemon: steps, and after each one the promises.

use crate::actions::Action;
use crate::bank::TENANTS;
use crate::disk::{Disk, Fault};
use crate::memory::{ALL_ORDERS, AuditReader, Memory, head};
use crate::proxies::SimFleet;
use crate::shadow::Shadow;
use crate::story::Story;
use crate::tally::Tally;
use crate::time::SimClock;
use fastrand::Rng;
use graylane::clock::Clock as _;
use graylane::config::Config;
use graylane::daemon::{ActionError, Daemon};
use graylane::store::Store;
use jiff::SignedDuration;
use std::sync::Arc;
use std::time::Duration;

/// How often the power may go again while a daemon recovers.
const MAX_CRASHES_IN_RECOVERY: u32 = 3;

/// A promise that was broken, and how.
#[derive(Debug)]
pub struct Violation {
    pub promise: &'static str,
    pub how: String,
}

type Checked = Result<(), Violation>;

/// A bank with its daemon.
pub struct Simulation {
    rng: Rng,
    clock: SimClock,
    fleet: SimFleet,
    disk: Disk,
    daemon: Daemon,
    /// What the clock had counted when the daemon started.
    daemon_since: Duration,
    shadow: Shadow,
    audit: AuditReader,
    pub story: Story,
    pub tally: Tally,
}

/// A promise is broken.
pub fn broken<T>(promise: &'static str, how: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { promise, how: how.into() })
}

/// A promise is broken, if anything is wrong.
pub fn holds(promise: &'static str, wrong: Option<String>) -> Checked {
    wrong.map_or(Ok(()), |how| broken(promise, how))
}

fn open(disk: &Disk, fleet: &SimFleet, clock: &SimClock) -> Result<Daemon, ActionError> {
    let store = Store::with_backend(disk.clone())?;
    Daemon::open(store, Config::default(), Arc::new(fleet.clone()), Arc::new(clock.clone()))
}

// === impl Simulation ===

impl Simulation {
    pub fn new(seed: u64, is_verbose: bool) -> Result<Self, Violation> {
        let mut rng = Rng::with_seed(seed);
        let clock = SimClock::new();
        let (fleet, disk) = (SimFleet::new(clock.clone()), Disk::new(rng.u64(..)));
        let daemon = match open(&disk, &fleet, &clock) {
            Ok(daemon) => daemon,
            Err(error) => return broken("an empty disk opens", error.to_string()),
        };
        let (shadow, audit) = (Shadow::default(), AuditReader::default());
        let story = Story::new(is_verbose);
        let daemon_since = Duration::ZERO;
        Ok(Self {
            rng,
            clock,
            fleet,
            disk,
            daemon,
            daemon_since,
            shadow,
            audit,
            story,
            tally: Tally::default(),
        })
    }

    /// Lets one thing happen, and checks every promise.
    pub fn step(&mut self) -> Checked {
        match self.rng.u32(..1_000) {
            0..300 => {
                let what = self.fleet.step(&mut self.rng);
                self.story.tell(|| what);
                Ok(())
            }
            300..420 => self.pass_time(),
            420..600 => self.act(Action::Observe),
            600..610 => self.set_clock(),
            610..622 => self.crash_during_action(),
            622..628 => self.fail_during_action(),
            _ => {
                let action = Action::random(&self.shadow, &mut self.rng);
                self.act(action)
            }
        }
    }

    fn pass_time(&mut self) -> Checked {
        let time = Duration::from_millis([50, 700, 4_000, 40_000][self.rng.usize(..4)]);
        self.clock.pass(time);
        self.story.tell(|| format!("{time:?} pass"));
        self.act(Action::Observe)
    }

    fn set_clock(&mut self) -> Checked {
        let jump = SignedDuration::from_hours([-1, 1][self.rng.usize(..2)]);
        self.clock.set_by(jump);
        self.story.tell(|| format!("the wall clock is set by {jump:#}"));
        self.act(Action::Observe)
    }

    /// Asks the daemon for something, on a disk that works.
    fn act(&mut self, action: Action) -> Checked {
        let head_before = head(&self.daemon);
        let lags = TENANTS.map(|tenant| self.fleet.lags(tenant));
        let answer = action.ask(&self.daemon);
        let told = answer.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
        self.story.tell(|| format!("{action}: {told}"));
        action.judge(answer.as_ref().map(|_| ()), &self.shadow)?;
        match answer {
            Ok(started) => {
                self.tally.count(action.label());
                self.shadow.take(&action, started);
            }
            Err(_) if head(&self.daemon) != head_before => {
                return broken("what is refused changes nothing", format!("{action:?} did"));
            }
            Err(_) => self.tally.count("refusals"),
        }
        self.check(&lags)
    }

    /// The power goes while the daemon does something, or right after it.
    fn crash_during_action(&mut self) -> Checked {
        let after_syncs = self.rng.u32(..4);
        self.act_on_failing_disk(Fault::PowerCut { after_syncs })
    }

    /// The disk fails while the daemon does something. Nothing it says about its disk is certain then, so it is started
    /// again.
    fn fail_during_action(&mut self) -> Checked {
        let after_syncs = self.rng.u32(..2);
        let fault = if self.rng.bool() { Fault::Full } else { Fault::SyncFails { after_syncs } };
        self.act_on_failing_disk(fault)
    }

    fn act_on_failing_disk(&mut self, fault: Fault) -> Checked {
        let action = Action::random(&self.shadow, &mut self.rng);
        let (before, disk) = (Memory::of(&self.daemon), self.disk.fork());
        let clock = self.clock.fork();
        let fleet = self.fleet.fork(clock.clone());
        let lags = TENANTS.map(|tenant| self.fleet.lags(tenant));
        self.disk.set_fault(Some(fault));
        let answer = action.ask(&self.daemon);
        self.disk.set_fault(None);
        let told = answer.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
        self.story.tell(|| format!("{fault:?} during this: {action}: {told}"));
        self.restart()?;
        let now = Memory::of(&self.daemon);
        let is_acknowledged = answer.is_ok();
        if now == before && !is_acknowledged {
            self.tally.count("actions that a fault undid");
            return self.check(&lags);
        }
        let (after, started) = self.done(&action, &disk, &fleet, &clock)?;
        let promise = "an acknowledged action survives, and one that is not is there wholly or not at all";
        match now == after {
            true => {
                let is_lost = if is_acknowledged {
                    "actions that a fault came after"
                } else {
                    "actions that a fault only hid"
                };
                self.tally.count(is_lost);
                self.shadow.take(&action, started);
            }
            // Observing is nobody's action: what came of it may be there in part, order by order.
            false if matches!(action, Action::Observe) => {}
            false if is_acknowledged => return broken(promise, after.difference(&now)),
            false => {
                return broken(
                    promise,
                    format!("{}\n  and {}", before.difference(&now), after.difference(&now)),
                );
            }
        }
        self.check(&lags)
    }

    /// What a daemon knows after an action that nothing disturbs, from the disk as it was before.
    fn done(
        &self,
        action: &Action,
        disk: &Disk,
        fleet: &SimFleet,
        clock: &SimClock,
    ) -> Result<(Memory, Option<u64>), Violation> {
        let now = clock.elapsed();
        clock.show(self.daemon_since);
        let daemon = match open(disk, fleet, clock) {
            Ok(daemon) => daemon,
            Err(error) => return broken("what was synced opens", error.to_string()),
        };
        clock.show(now);
        let started = action.ask(&daemon).unwrap_or_default();
        Ok((Memory::of(&daemon), started))
    }

    /// The power goes, and comes back; it may go again while the daemon recovers.
    fn restart(&mut self) -> Checked {
        let releases = self.fleet.releases();
        self.disk = self.disk.cut();
        self.fleet.lose_daemon();
        self.clock.pass(Duration::from_millis(self.rng.u64(10..70_000)));
        for again in 0..=MAX_CRASHES_IN_RECOVERY {
            self.tally.count("starts after a crash");
            let crashes = again < MAX_CRASHES_IN_RECOVERY && self.rng.u8(..4) == 0;
            let after_syncs = self.rng.u32(..3);
            self.disk.set_fault(crashes.then_some(Fault::PowerCut { after_syncs }));
            let opened = open(&self.disk, &self.fleet, &self.clock);
            match opened {
                Ok(daemon) if self.disk.has_power() => {
                    self.disk.set_fault(None);
                    self.daemon = daemon;
                    break;
                }
                Err(error) if self.disk.has_power() => {
                    return broken("a store opens after a crash", chain(&error));
                }
                _ => {
                    self.tally.count("crashes while recovering");
                    self.story.tell(|| "the power goes while the daemon recovers".to_owned());
                    self.disk = self.disk.cut();
                }
            }
        }
        self.daemon_since = self.clock.elapsed();
        self.story.tell(|| "a new daemon serves".to_owned());
        for (tenant, release) in releases {
            let (was, is) = (release.rules.revision(), self.fleet.revision(&tenant));
            if is < was {
                return broken("revisions only grow", format!("{tenant} has {is} after {was}"));
            }
        }
        self.audit = AuditReader::default();
        Ok(())
    }

    /// Every promise, after something happened that found the tenants' proxies so.
    fn check(&mut self, lags: &[Option<String>; TENANTS.len()]) -> Checked {
        holds("revisions only grow, and equal content keeps its own", self.fleet.broken())?;
        holds("the audit chain verifies and only grows", self.audit.read_on(&self.daemon))?;
        self.hear_orders(lags)?;
        holds("one active order per service", self.shadow.check_holders())?;
        for tenant in TENANTS {
            let Some(rules) = self.fleet.rules(tenant) else { continue };
            holds("published rules are what the orders say", self.shadow.check_rules(tenant, &rules))?;
            holds(
                "nobody goes back from gray while stages advance",
                self.shadow.check_flips(tenant, &rules),
            )?;
        }
        Ok(())
    }

    /// Hears what became of the orders, and that none went on that had to wait.
    fn hear_orders(&mut self, lags: &[Option<String>; TENANTS.len()]) -> Checked {
        let mut published = [false; TENANTS.len()];
        let mut summaries = self.daemon.orders(&ALL_ORDERS);
        summaries.reverse();
        if summaries.len() != self.shadow.orders.len() {
            let count = self.shadow.orders.len();
            return broken(
                "an acknowledged action survives",
                format!("{} orders, not {count}", summaries.len()),
            );
        }
        for summary in summaries {
            let Some(order) = self.shadow.orders.get_mut(&summary.id) else {
                return broken(
                    "an acknowledged action survives",
                    format!("order {} is not ours", summary.id),
                );
            };
            let view = match self.daemon.order(summary.id) {
                Ok(view) if view.version != order.told.version || view.phase != order.told.phase => view,
                Ok(_) => continue,
                Err(error) => return broken("an acknowledged action survives", error.to_string()),
            };
            let heard = order.hear(&view);
            holds("an order's state follows its actions", heard.wrong)?;
            let at = TENANTS.iter().position(|tenant| *tenant == order.plan.tenant).unwrap_or_default();
            if heard.advances {
                let promise = "no order goes on without convergence";
                let which = |how: &String| format!("order {} went on, and {how}", summary.id);
                holds(promise, lags[at].as_ref().map(which))?;
                self.tally.count("orders that went on");
                let is_overtaken = published[at] && !self.fleet.is_empty(order.plan.tenant);
                let overtaken = is_overtaken.then(|| "another one published before it".to_owned());
                holds(promise, overtaken.as_ref().map(which))?;
            }
            published[at] |= heard.publishes;
        }
        Ok(())
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes =
        std::iter::successors(error.source(), |error| error.source()).map(|cause| format!(": {cause}"));
    error.to_string() + &causes.collect::<String>()
}
