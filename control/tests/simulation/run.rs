//! One simulated life of a daemon: steps, and after each one the promises.

use crate::actions::Request;
use crate::bank::TENANTS;
use crate::disk::Disk;
use crate::memory::{ALL_ORDERS, AuditReader, Memory, head};
use crate::moment::Moment;
use crate::plan::OnFault;
use crate::proxies::SimFleet;
use crate::shadow::{Shadow, ShadowOrder};
use crate::story::Story;
use crate::tally::Tally;
use crate::time::SimClock;
use fastrand::Rng;
use graylane::clock::Clock as _;
use graylane::config::Config;
use graylane::daemon::{ActionError, Daemon, Once};
use graylane_order::Phase;
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

/// Orders that wait, by what they wait for.
pub const WAITS: [&str; 12] = [
    "looks at waits for proxies",
    "looks at waits for health",
    "looks at waits for verdict",
    "looks at waits for settling",
    "looks at waits for hold",
    "looks at waits for approval",
    "looks at waits for window",
    "looks at waits for thaw",
    "looks at waits for resume",
    "looks at waits for advance",
    "looks at waits for finish",
    "looks at waits for retention",
];

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
    /// Since when the daemon's looks find each tenant's proxies converged to a revision.
    converged: [Option<(u64, Duration)>; TENANTS.len()],
    /// What the wall clock was set by since the daemon looked.
    pub(crate) unseen: SignedDuration,
    /// Whether the wall clock jumped, and the daemon of now did not look since.
    pub(crate) has_jumped: bool,
    /// Time that a wall clock skipped which was set forward while no daemon watched: nobody can know.
    pub(crate) skipped: Duration,
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
    let daemon = Daemon::open(store, Config::default(), Arc::new(fleet.clone()), Arc::new(clock.clone()))?;
    fleet.serve_daemon();
    Ok(daemon)
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
            converged: Default::default(),
            unseen: SignedDuration::ZERO,
            has_jumped: false,
            skipped: Duration::ZERO,
            keys: 0,
            story,
            tally: Tally::default(),
        })
    }

    /// Lets one thing happen, and checks every promise.
    pub fn step(&mut self) -> Checked {
        match self.rng.u32(..1_000) {
            0..280 => {
                let what = self.fleet.step(&mut self.rng);
                self.story.tell(|| what);
                Ok(())
            }
            280..400 => self.pass_time(),
            400..560 => self.act(Request::look()),
            560..572 => {
                self.set_clock();
                if self.rng.bool() { self.act(Request::look()) } else { Ok(()) }
            }
            572..584 => self.crash(),
            584..590 => self.fail(),
            _ => {
                let request = Request::random(&self.shadow, self.clock.now(), &mut self.rng);
                self.act(request)
            }
        }
    }

    fn pass_time(&mut self) -> Checked {
        let time = Duration::from_millis([50, 700, 4_000, 40_000][self.rng.usize(..4)]);
        self.clock.pass(time);
        self.story.tell(|| format!("{time:?} pass"));
        self.act(Request::look())
    }

    /// The wall clock jumps.
    pub(crate) fn set_clock(&mut self) {
        let jump = SignedDuration::from_hours([-1, 1][self.rng.usize(..2)]);
        self.clock.set_by(jump);
        self.unseen += jump;
        self.has_jumped = true;
        self.story.tell(|| format!("the wall clock is set by {jump:#}"));
        self.tally.count("jumps of the wall clock");
    }

    /// Asks the daemon for something, on a disk that works.
    pub(crate) fn act(&mut self, request: Request) -> Checked {
        let head_before = head(&self.daemon);
        let moment = self.moment(&request);
        let key = self.some_key(&request, 8);
        let answer = request.ask(&self.daemon, key.clone());
        if request.is_look() {
            (self.unseen, self.has_jumped) = (SignedDuration::ZERO, false);
        }
        let told = answer.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
        self.story.tell(|| format!("{request}: {told}"));
        request.judge(answer.as_ref().map(|_| ()), &self.shadow, &moment)?;
        match answer {
            Ok(done) => {
                self.tally.count(request.action.label());
                self.shadow.take(&request, done.started, moment.time);
                self.check(&moment)?;
                key.map_or(Ok(()), |key| self.ask_again(&request, key))?;
                if request.is_look() { self.look_again() } else { Ok(()) }
            }
            // The daemon writes down that the clock jumped, whatever it is asked for.
            Err(_) if head(&self.daemon) != head_before && !moment.has_jumped => {
                broken("what is refused changes nothing", format!("{request:?} did"))
            }
            Err(_) => {
                self.tally.count("refusals");
                self.check(&moment)
            }
        }
    }

    /// An order that waits for nothing goes on at the next look, or has something to wait for then.
    fn look_again(&mut self) -> Checked {
        let mut idle = Vec::new();
        for order in self.daemon.orders(&ALL_ORDERS) {
            match order.waits_for {
                Some(waits) => self.tally.count(waiting(&waits.kind)),
                None if self.shadow.orders.get(&order.id).is_some_and(ShadowOrder::is_active) => {
                    idle.push((order.id, order.version));
                }
                None => {}
            }
        }
        if idle.is_empty() {
            return Ok(());
        }
        let moment = self.moment(&Request::look());
        self.daemon.observe_orders();
        self.check(&moment)?;
        for (id, version) in idle {
            let Ok(order) = self.daemon.order(id) else { continue };
            if order.version == version && order.waits_for.is_none() {
                let how = format!("order {id}, which is {}, stays and waits for nothing", order.phase);
                return broken("an order goes on or tells what it waits for", how);
            }
        }
        Ok(())
    }

    /// The world as it is before a request.
    pub(crate) fn moment(&mut self, request: &Request) -> Moment {
        let now = self.clock.elapsed();
        let lags = TENANTS.map(|tenant| self.fleet.lags(tenant));
        for ((converged, lag), tenant) in self.converged.iter_mut().zip(&lags).zip(TENANTS) {
            let revision = self.fleet.revision(tenant);
            if request.is_look() {
                let since = converged.filter(|(of, _)| *of == revision).map_or(now, |(_, since)| since);
                *converged = lag.is_none().then_some((revision, since));
            }
        }
        let lasts = |since: Option<(u64, Duration)>| since.map_or(Duration::ZERO, |(_, since)| now - since);
        Moment {
            asked: request.clone(),
            lags,
            wall: self.clock.now(),
            time: now + self.skipped,
            converged_for: self.converged.map(lasts),
            stopped: self.shadow.stopped.clone(),
            has_jumped: self.has_jumped,
        }
    }

    /// A new daemon watches: what the clock skipped before is time that passed, as far as it can know.
    pub(crate) fn forget_watch(&mut self) {
        self.converged = Default::default();
        let unseen = std::mem::take(&mut self.unseen);
        self.skipped += Duration::try_from(unseen).unwrap_or_default();
    }

    /// Asks for what was done already, with its key.
    pub(crate) fn ask_again(&mut self, request: &Request, key: Once) -> Checked {
        let before = Memory::of(&self.daemon);
        let answer = request.ask(&self.daemon, Some(key));
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
    pub(crate) fn some_key(&mut self, request: &Request, of: u32) -> Option<Once> {
        let is_some = self.rng.u32(..of) == 0 && !request.is_look();
        self.keys += u64::from(is_some);
        is_some.then(|| Once::new(request.by.name, &self.keys.to_be_bytes(), request.to_string().as_bytes()))
    }

    /// Every promise, after something was asked for at that moment.
    pub(crate) fn check(&mut self, moment: &Moment) -> Checked {
        holds("revisions only grow, and equal content keeps its own", self.fleet.broken())?;
        holds("the audit chain verifies and only grows", self.audit.read_on(&self.daemon))?;
        self.shadow.watch_windows(moment);
        self.hear_orders(moment)?;
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
    fn hear_orders(&mut self, moment: &Moment) -> Checked {
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
            match order.fault.take() {
                Some(OnFault::Pause) if summary.phase != Phase::Paused => {
                    let how = format!("order {} is {}, and was to be paused", summary.id, summary.phase);
                    return broken("a fault has the consequence that the plan says", how);
                }
                Some(OnFault::Pause) => self.tally.count("paused by a fault"),
                Some(_) => self.tally.count("rolled back by a fault"),
                None => {}
            }
            let (at, tenant) = (order.tenant(), order.plan.tenant);
            let view = match self.daemon.order(summary.id) {
                Ok(view) if view.version != order.told.version || view.phase != order.told.phase => view,
                Ok(_) => continue,
                Err(error) => return broken("an acknowledged action survives", error.to_string()),
            };
            let heard = self.shadow.hear(&view, moment)?;
            heard.events.into_iter().for_each(|event| self.tally.count(event));
            if heard.finishes && !moment.finishes(summary.id) {
                self.tally.count("finished by itself");
            }
            if heard.advances {
                let promise = "no order goes on without convergence";
                let which = |how: &String| format!("order {} went on, and {how}", summary.id);
                holds(promise, moment.lags[at].as_ref().map(which))?;
                self.tally.count("orders that went on");
                let is_overtaken = published[at] && !self.fleet.is_empty(tenant);
                let overtaken = is_overtaken.then(|| "another one published before it".to_owned());
                holds(promise, overtaken.as_ref().map(which))?;
            }
            published[at] |= heard.publishes;
        }
        Ok(())
    }
}

/// What is counted of an order that waits for something of a kind.
fn waiting(kind: &str) -> &'static str {
    let known = WAITS.iter().find(|what| what.rsplit(' ').next() == Some(kind));
    known.copied().unwrap_or("orders that wait for something else")
}
