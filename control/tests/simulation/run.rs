//! One simulated life of a daemon: steps, and after each one the promises.

use crate::actions::Action;
use crate::bank::TENANTS;
use crate::disk::Disk;
use crate::memory::{ALL_ORDERS, AuditReader, Memory, head};
use crate::proxies::SimFleet;
use crate::shadow::Shadow;
use crate::story::Story;
use crate::tally::Tally;
use crate::time::SimClock;
use fastrand::Rng;
use graylane::config::Config;
use graylane::daemon::{ActionError, Daemon, Once};
use graylane_store::RedbStore;
use jiff::SignedDuration;
use std::sync::Arc;
use std::time::Duration;

/// A promise that was broken, and how.
#[derive(Debug)]
pub struct Violation {
    pub promise: &'static str,
    pub how: String,
}

pub type Checked = Result<(), Violation>;

/// What keeps each tenant's orders from going on, if anything does.
pub type Lags = [Option<String>; TENANTS.len()];

/// A bank with its daemon.
pub struct Simulation {
    pub(crate) rng: Rng,
    pub(crate) clock: SimClock,
    pub(crate) fleet: SimFleet,
    pub(crate) disk: Disk,
    pub(crate) daemon: Daemon,
    /// What the clock had counted when the daemon started.
    pub(crate) daemon_since: Duration,
    pub(crate) shadow: Shadow,
    pub(crate) audit: AuditReader,
    /// Keys that were used: each is for one request.
    keys: u64,
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

/// A daemon on this disk.
pub fn open(disk: &Disk, fleet: &SimFleet, clock: &SimClock) -> Result<Daemon, ActionError> {
    let store = Arc::new(RedbStore::with_backend(disk.clone())?);
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
            keys: 0,
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
            610..622 => self.crash(),
            622..628 => self.fail(),
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
        let lags = self.lags();
        let key = self.some_key(&action, 8);
        let answer = action.ask(&self.daemon, key.clone());
        let told = answer.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
        self.story.tell(|| format!("{action}: {told}"));
        action.judge(answer.as_ref().map(|_| ()), &self.shadow, &lags)?;
        match answer {
            Ok(done) => {
                self.tally.count(action.label());
                self.shadow.take(&action, done.started);
                self.check(&lags)?;
                key.map_or(Ok(()), |key| self.ask_again(&action, key))
            }
            Err(_) if head(&self.daemon) != head_before => {
                broken("what is refused changes nothing", format!("{action:?} did"))
            }
            Err(_) => {
                self.tally.count("refusals");
                self.check(&lags)
            }
        }
    }

    /// Asks for what was done already, with its key.
    pub(crate) fn ask_again(&mut self, action: &Action, key: Once) -> Checked {
        let before = Memory::of(&self.daemon);
        let answer = action.ask(&self.daemon, Some(key));
        self.story.tell(|| format!("the same again, with its key: {answer:?}"));
        self.tally.count("repeats");
        let wrong = match answer {
            Ok(done) if !done.is_repeat => Some("it was done again".to_owned()),
            Ok(_) => (Memory::of(&self.daemon) != before).then(|| "it changed something".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        holds("what is asked again with its key is done once", wrong)
    }

    /// A key for a request, for about one in `of`. Looking is no request.
    pub(crate) fn some_key(&mut self, action: &Action, of: u32) -> Option<Once> {
        let is_some = self.rng.u32(..of) == 0 && !matches!(action, Action::Observe);
        self.keys += u64::from(is_some);
        is_some.then(|| Once::new("lin", &self.keys.to_be_bytes(), action.to_string().as_bytes()))
    }

    /// What keeps each tenant's orders from going on, if anything does.
    pub(crate) fn lags(&self) -> Lags {
        TENANTS.map(|tenant| self.fleet.lags(tenant))
    }

    /// Every promise, after something happened that found the tenants' proxies so.
    pub(crate) fn check(&mut self, lags: &Lags) -> Checked {
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
    fn hear_orders(&mut self, lags: &Lags) -> Checked {
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
            let at = order.tenant();
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
