//! What a simulated daemon does not survive, and what the next one has to know then.

use crate::actions::{Action, Done, Request, What};
use crate::disk::{Disk, Fault};
use crate::memory::{AuditReader, Memory};
use crate::proxies::SimFleet;
use crate::run::{Checked, Simulation, Violation, broken, holds, open};
use crate::shadow::ShadowOrder;
use crate::time::SimClock;
use graylane::clock::Clock as _;
use graylane::daemon::{ActionError, Once};
use jiff::Timestamp;
use std::error::Error;
use std::time::Duration;

/// How often the power may go again while a daemon recovers.
const MAX_CRASHES_IN_RECOVERY: u32 = 3;

/// Documents that operators send on to a daemon whose disk fails.
const MAX_SENT_ON: usize = 2;

/// What is promised.
const SURVIVES: &str = "an acknowledged action survives, and one that is not is there wholly or not at all";

/// The world as it was before a fault, apart from the world that goes on.
struct Before {
    memory: Memory,
    disk: Disk,
    clock: SimClock,
    daemon_since: Duration,
    fleet: SimFleet,
}

/// Something that was asked of a daemon whose disk fails.
struct Asked {
    request: Request,
    key: Option<Once>,
    answer: Result<Done, ActionError>,
}

// === impl Simulation ===

impl Simulation {
    /// The power goes while the daemon does something, or right after it.
    pub(crate) fn crash(&mut self) -> Checked {
        let after_syncs = self.rng.u32(..4);
        self.act_on_failing_disk(Fault::PowerCut { after_syncs })
    }

    /// The disk fails while the daemon does something, or is full; then the daemon is started again.
    pub(crate) fn fail(&mut self) -> Checked {
        let after_syncs = self.rng.u32(..2);
        let fault = if self.rng.bool() { Fault::Full } else { Fault::SyncFails { after_syncs } };
        self.act_on_failing_disk(fault)
    }

    fn act_on_failing_disk(&mut self, fault: Fault) -> Checked {
        self.follow_clock()?;
        let request = self.some_request();
        let before = self.before();
        let moment = self.moment(&request);
        let asked = self.ask_failing(fault, request);
        let unwatched = self.restart()?;
        let now = Memory::of(&self.daemon);
        let done = Self::done(&asked, &before, &now)?;
        for (Asked { request, answer, .. }, done) in asked.iter().zip(&done) {
            self.tally.count(match (done, answer) {
                (None, _) => "actions that a fault undid",
                (Some(_), Ok(_)) => "actions that a fault came after",
                (Some(_), Err(_)) => "actions that a fault only hid",
            });
            if let Some(done) = done {
                self.shadow.take(request, done.started, moment.time);
            }
        }
        self.check(&moment)?;
        self.miss_openings(unwatched);
        self.retry(&asked, &done, &before, &now)
    }

    fn miss_openings(&mut self, unwatched: Option<(Timestamp, Timestamp)>) {
        let Some((from, to)) = unwatched else { return };
        for order in self.shadow.orders.values_mut() {
            if order.miss_opening(from, to) {
                self.tally.count("openings let pass");
            }
        }
    }

    /// An operator who got no answer, or lost it, asks again with the key.
    fn retry(&mut self, asked: &[Asked], done: &[Option<Done>], before: &Before, now: &Memory) -> Checked {
        let keyed = asked.iter().position(|asked| asked.key.is_some());
        let Some((at, Asked { request, key: Some(key), .. })) =
            keyed.and_then(|at| Some((at, asked.get(at)?)))
        else {
            return Ok(());
        };
        self.follow_clock()?;
        if done[at].is_some() {
            return self.ask_again(request, key.clone());
        }
        let moment = self.moment(request);
        let answer = request.ask(&self.daemon, Some(key.clone()));
        self.story.tell(|| format!("what was lost again, with its key: {answer:?}"));
        let Ok(again) = answer else { return self.check(&moment) };
        if again.is_repeat {
            // Of what changes nothing, only the daemon can know whether it was done.
            let (with_it, _) = Self::replay(asked, before, |other| other == at || done[other].is_some())?;
            let lost = (with_it != *now).then(|| "it was not done, and told as if it were".to_owned());
            return holds("what is asked again with its key is done once", lost);
        }
        self.shadow.take(request, again.started, moment.time);
        self.check(&moment)?;
        self.ask_again(request, key.clone())
    }

    /// Lets the daemon look, if the wall clock jumped: what is asked next changes only what it is about.
    fn follow_clock(&mut self) -> Checked {
        if self.has_jumped { self.act(Request::look()) } else { Ok(()) }
    }

    /// What somebody asks for whose daemon's disk is about to fail.
    fn some_request(&mut self) -> Request {
        let request = Request::random(&self.shadow, self.clock.now(), &mut self.rng);
        let Action::Order { id, what: What::Approve { .. }, .. } = &request.action else { return request };
        // What follows an approval goes by what this daemon saw before, which the one that replays did not.
        let is_plain = |order: &ShadowOrder| !order.plan.goes_by_looks();
        if self.shadow.orders.get(id).is_none_or(is_plain) { request } else { Request::look() }
    }

    /// Asks for one thing and perhaps some more, while the disk fails.
    fn ask_failing(&mut self, fault: Fault, first: Request) -> Vec<Asked> {
        self.disk.set_fault(Some(fault));
        let mut requests = vec![first];
        // What came of a look at the proxies is told by no answer, so nothing is asked after one.
        if !requests[0].is_look() {
            let (more, now) = (self.rng.usize(..=MAX_SENT_ON), self.clock.now());
            requests.extend((0..more).map(|_| Request::document(&self.shadow, now, &mut self.rng)));
        }
        let mut asked = Vec::new();
        for request in requests {
            let key = self.some_key(&request, 2);
            let answer = request.ask(&self.daemon, key.clone());
            let told = answer.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
            self.story.tell(|| format!("{fault:?} during this: {request}: {told}"));
            asked.push(Asked { request, key, answer });
        }
        self.disk.set_fault(None);
        asked
    }

    fn before(&self) -> Before {
        let clock = self.clock.fork();
        let (memory, disk, fleet) =
            (Memory::of(&self.daemon), self.disk.fork(), self.fleet.fork(clock.clone()));
        Before { memory, disk, clock, daemon_since: self.daemon_since, fleet }
    }

    /// Which of the actions were done, as what the new daemon knows tells.
    fn done(asked: &[Asked], before: &Before, now: &Memory) -> Result<Vec<Option<Done>>, Violation> {
        let is_acknowledged = |asked: &Asked| asked.answer.is_ok();
        if *now == before.memory && !asked.iter().any(is_acknowledged) {
            return Ok(asked.iter().map(|_| None).collect());
        }
        // Looking is nobody's action: what came of it may be there in part, order by order.
        if asked.first().is_some_and(|asked| asked.request.is_look()) {
            return Ok(vec![Some(Done::default())]);
        }
        let mut differences = String::new();
        for chosen in 0..1_u32 << asked.len() {
            let is_chosen = |at: usize| chosen & 1 << at != 0;
            if asked.iter().enumerate().any(|(at, asked)| is_acknowledged(asked) && !is_chosen(at)) {
                continue;
            }
            let (memory, done) = Self::replay(asked, before, is_chosen)?;
            if memory == *now {
                return Ok(done);
            }
            differences += &format!("\n  if {chosen:b} were done: {}", memory.difference(now));
        }
        broken(SURVIVES, differences)
    }

    /// What a daemon knows after some of the actions, which nothing disturbs, from the world as it was before.
    fn replay(
        asked: &[Asked],
        before: &Before,
        is_chosen: impl Fn(usize) -> bool,
    ) -> Result<(Memory, Vec<Option<Done>>), Violation> {
        let Before { disk, clock, daemon_since, fleet, .. } = before;
        let (disk, clock) = (disk.fork(), clock.fork());
        let fleet = fleet.fork(clock.clone());
        clock.tell_once(*daemon_since);
        let daemon = match open(&disk, &fleet, &clock) {
            Ok(daemon) => daemon,
            Err(error) => return broken("what was synced opens", chain(&error)),
        };
        let known = Memory::of(&daemon);
        let changed = (known != before.memory).then(|| before.memory.difference(&known));
        holds("a start changes nothing", changed)?;
        let ask = |(at, Asked { request, key, .. }): (usize, &Asked)| {
            is_chosen(at).then(|| request.ask(&daemon, key.clone()).ok()).flatten()
        };
        let done = asked.iter().enumerate().map(ask).collect();
        Ok((Memory::of(&daemon), done))
    }

    /// The power goes, and comes back; it may go again while the daemon recovers. Gives from when to when nobody watched, if
    /// the clock did not jump meanwhile.
    fn restart(&mut self) -> Result<Option<(Timestamp, Timestamp)>, Violation> {
        let releases = self.fleet.releases();
        self.disk = self.disk.cut();
        self.fleet.lose_daemon();
        let lost_at = self.clock.now();
        self.clock.pass(Duration::from_millis(self.rng.u64(10..70_000)));
        // Somebody waits for a window, and it is at night that daemons are down.
        let opens_in = self.shadow.active().find_map(|(_, order)| order.opens_in(self.clock.now()));
        if let Some(minutes) = opens_in.filter(|_| self.rng.bool()) {
            self.clock.pass(Duration::from_mins(minutes.into()));
        }
        if self.rng.u8(..6) == 0 {
            self.set_clock();
            self.tally.count("jumps of the wall clock while no daemon runs");
        }
        self.fleet.start_daemon();
        for again in 0..=MAX_CRASHES_IN_RECOVERY {
            self.tally.count("starts after a crash");
            let crashes = again < MAX_CRASHES_IN_RECOVERY && self.rng.u8(..4) == 0;
            let after_syncs = self.rng.u32(..3);
            self.disk.set_fault(crashes.then_some(Fault::PowerCut { after_syncs }));
            match open(&self.disk, &self.fleet, &self.clock) {
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
        let unwatched = self.unseen.is_zero().then(|| (lost_at, self.clock.now()));
        self.forget_watch();
        self.audit = AuditReader::default();
        self.story.tell(|| "a new daemon serves".to_owned());
        for (tenant, release) in releases {
            let (was, is) = (release.rules.revision(), self.fleet.revision(&tenant));
            if is < was {
                return broken("revisions only grow", format!("{tenant} has {is} after {was}"));
            }
        }
        Ok(unwatched)
    }
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told += &format!(": {error}");
        cause = error.source();
    }
    told
}
