//! What may become of an order, by what was told of it before and what is true at the moment.

use super::order::{ShadowOrder, Told};
use crate::moment::Moment;
use crate::plan::Service;
use crate::run::{Checked, Violation, broken, holds};
use crate::window::Window;
use graylane::daemon::OrderView;
use graylane_order::{Health, Phase};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// How long a daemon may be down, if it misses the opening of a window by it.
const MAX_OUTAGE_MINUTES: u32 = 15;

/// What follows from what the daemon told of an order.
#[derive(Default)]
pub struct Heard {
    /// Whether something went forward that needs converged proxies.
    pub advances: bool,
    /// Whether the rules changed by it.
    pub publishes: bool,
    /// Whether it finished.
    pub finishes: bool,
    /// What happened, for the tally.
    pub events: Vec<&'static str>,
}

// === impl ShadowOrder ===

impl ShadowOrder {
    /// Takes in what the daemon tells now.
    pub(super) fn hear(&mut self, view: &OrderView, moment: &Moment) -> Result<Heard, Violation> {
        let next = Told::of(view, &self.plan);
        let before = std::mem::replace(&mut self.told, next);
        let is_new = before.version == 0;
        // What was said of a version before it was gray is no judgement of it.
        self.health.retain(|service, _| self.told.is_gray(service) <= before.is_gray(service));
        let entered = |told: &Told| told.services.values().map(|(entered, _)| *entered).sum::<usize>();
        let enters = entered(&self.told) > entered(&before);
        let phase_now = self.told.phase;
        let ends = |phase| phase_now == phase && before.phase != phase;
        let (retains, finishes) = (ends(Phase::Retained), ends(Phase::Finished));
        holds("an order's state follows its actions", self.wrong(&before))?;
        self.hear_hash(&before)?;
        self.check_times(&before, enters, retains, moment)?;
        self.check_end(&before, finishes, moment)?;
        let mut events = Vec::new();
        if self.told.entered() > before.entered() {
            events.extend(self.check_gate(moment)?);
        }
        let goes_forward = (enters && !is_new) || retains || finishes;
        if goes_forward {
            self.check_forward(&before, moment)?;
            let is_stopped = moment.stopped.contains_key(self.plan.tenant);
            events.extend(is_stopped.then_some("moved by an exempt person"));
        }
        if enters {
            self.entered_at = moment.time;
        }
        self.forget_praise(&before);
        if retains {
            self.retained_at = moment.time;
        }
        let advances = goes_forward || ends(Phase::RolledBack);
        Ok(Heard { advances, publishes: (enters && !is_new) || finishes, finishes, events })
    }

    /// Forgets who was healthy where gray versions are judged, and others get them now.
    fn forget_praise(&mut self, before: &Told) {
        let has_entered = |service: &str| {
            self.told.services.get(service).map(|(entered, _)| entered)
                > before.services.get(service).map(|(entered, _)| entered)
        };
        self.health.retain(|service, (health, _)| {
            let is_for_others = has_entered(service) || self.told.hash != before.hash;
            !self.plan.is_judged || *health != Health::Healthy || !is_for_others
        });
    }

    /// What of the order's state cannot follow what was told before.
    fn wrong(&self, before: &Told) -> Option<String> {
        let now = &self.told;
        if now.version < before.version || (now.version == before.version && now != before) {
            return Some(format!("{now:?} was told after {before:?}"));
        }
        if now.stage < before.stage || now.stage > before.stage + 1 {
            return Some(format!("stage {} follows stage {}", now.stage, before.stage));
        }
        let is_all_back = now.services.values().all(|(_, is_back)| *is_back);
        if is_all_back != matches!(now.phase, Phase::RollingBack | Phase::RolledBack) {
            return Some(format!("an order is {} with {:?}", now.phase, now.services));
        }
        self.plan.services.iter().find_map(|service| self.wrong_at(service, before))
    }

    fn wrong_at(&self, service: &Service, before: &Told) -> Option<String> {
        let now = &self.told;
        let (name, entered) = (service.name, self.entered(service.name).0);
        if now.is_back(name) != before.is_back(name) {
            return Some(format!("{name} went back, or forth, with no rollback of it"));
        }
        if now.is_back(name) {
            return None;
        }
        let waits = self.plan.is_serial && entered + 1 == now.stage;
        let is_before_first_gate = now.stage == 1 && entered == 0;
        if entered != now.stage && !waits && !is_before_first_gate {
            return Some(format!("{name} is at stage {entered} of {}", now.stage));
        }
        let hurries = |on: &&&str| !now.is_back(on) && now.services[**on].0 < entered;
        let on = service.depends_on.iter().find(hurries)?;
        Some(format!("{name} entered stage {entered} before {on}, on which it depends"))
    }

    /// A changed scope is another content, and nothing else is.
    fn hear_hash(&mut self, before: &Told) -> Checked {
        let (now, is_adjusted) = (self.told.hash.clone(), std::mem::take(&mut self.is_adjusted));
        if before.version == 0 {
            return Ok(());
        }
        if is_adjusted != (now != before.hash) || (is_adjusted && self.hashes.contains(&now)) {
            return broken("an approval is bound to its content", format!("{now} stands after {before:?}"));
        }
        if is_adjusted {
            self.hashes.push(before.hash.clone());
        }
        Ok(())
    }

    /// The gate of the stage that was just entered.
    fn check_gate(&self, moment: &Moment) -> Result<Vec<&'static str>, Violation> {
        let number = self.told.entered();
        let which = |how: String| format!("stage {number} of order {} was entered, but {how}", self.id);
        holds("no stage is entered without its approvals", self.lacks(number).map(which))?;
        let late = self.has_missed.then(|| which("its window opened while no daemon ran".to_owned()));
        holds("an opening that nobody saw is let pass, if the plan says so", late)?;
        let stage = &self.plan.stages[number - 1];
        let window = stage.window.as_ref();
        if window.is_some_and(|window| !window.is_open(moment.wall, self.plan.calendar.as_ref())) {
            let how = which(format!("at {} this is shut: {window:?}", moment.wall));
            return broken("no stage is entered outside its window", how);
        }
        let approved = (!stage.approvals.is_empty()).then_some("stages entered after approvals");
        let in_window = window.map(|_| "stages entered in their window");
        Ok(approved.into_iter().chain(in_window).collect())
    }

    /// The minutes until the window opens that is waited for, if it does soon, and not for those who were not there.
    pub fn opens_in(&self, now: Timestamp) -> Option<u32> {
        let waits = self.told.phase == Phase::AwaitingApproval
            && self.next_window().is_some_and(|window| !window.starts_late)
            && !self.is_window_open(now);
        let is_open = |minutes: &u32| self.is_window_open(now + SignedDuration::from_mins((*minutes).into()));
        (1..MAX_OUTAGE_MINUTES).find(is_open).filter(|_| waits)
    }

    /// Notes that the window which is waited for opened while no daemon ran, between two times.
    pub fn miss_opening(&mut self, from: Timestamp, to: Timestamp) -> bool {
        let is_open = |at| self.is_window_open(at);
        let misses = self.told.phase == Phase::AwaitingApproval
            && self.next_window().is_some_and(|window| !window.starts_late)
            && !is_open(from)
            && is_open(to - SignedDuration::from_secs(1))
            && is_open(to);
        self.has_missed |= misses;
        misses
    }

    /// Forgets the opening that was missed when it is over.
    pub(super) fn watch_window(&mut self, moment: &Moment) {
        self.has_missed &= self.is_window_open(moment.wall) && !moment.has_jumped;
    }

    fn is_window_open(&self, at: Timestamp) -> bool {
        self.next_window().is_some_and(|window| window.is_open(at, self.plan.calendar.as_ref()))
    }

    fn next_window(&self) -> Option<&Window> {
        self.plan.stages.get(self.next() - 1)?.window.as_ref()
    }

    /// What has to last lasts, by a clock that nobody sets.
    fn check_times(&self, before: &Told, enters: bool, retains: bool, moment: &Moment) -> Checked {
        let lasted = |since: Duration, seconds: u64, what: &str| {
            let (passed, needed) = (moment.time.saturating_sub(since), Duration::from_secs(seconds));
            let how = || format!("order {} went on {passed:?} after {what}, not {needed:?}", self.id);
            (passed < needed).then(how)
        };
        let is_next_stage = self.told.entered() > before.entered();
        if (is_next_stage && before.entered() > 0) || retains {
            let hold = self.plan.stages[before.entered() - 1].hold_seconds;
            let wrong = lasted(self.entered_at, hold, "it entered a stage");
            holds("a stage is held as long as it has to, whatever the wall clock shows", wrong)?;
        }
        if enters && !is_next_stage {
            let settle = self.plan.settle_seconds;
            let is_here = |name: &&String| before.services[*name] == (before.entered(), false);
            let judged = self.health.iter().filter(|(name, _)| is_here(name)).map(|(_, (_, since))| *since);
            // Those that went back before they were joined are nobody's to wait for.
            if before.services.keys().any(|name| is_here(&name)) {
                let since = judged.chain([self.entered_at]).max().unwrap_or_default();
                let well = lasted(since, settle, "a service entered or was judged");
                let converged = Duration::from_secs(settle) > moment.converged_for[self.tenant()];
                let converged = converged.then(|| format!("converged for {:?}", moment.converged_for));
                holds("the next service enters when the others settled", well.or(converged))?;
            }
        }
        Ok(())
    }

    /// An order finishes as its plan says, or when somebody says so.
    fn check_end(&self, before: &Told, finishes: bool, moment: &Moment) -> Checked {
        let kept = moment.time.saturating_sub(self.retained_at);
        let is_over = self.plan.retention_seconds.is_some_and(|seconds| kept >= Duration::from_secs(seconds));
        let by_itself = finishes && !moment.finishes(self.id);
        let promise = "the old version is kept as long as it has to be, whatever the wall clock shows";
        let said_over = self.told.is_over && !before.is_over;
        if (by_itself || said_over) && !is_over {
            return broken(promise, format!("that of order {} was over after {kept:?}", self.id));
        }
        let unasked = by_itself && self.plan.at_retention_end != Some("finish");
        holds(promise, unasked.then(|| "an order finished that nobody finished".to_owned()))
    }

    fn check_forward(&self, before: &Told, moment: &Moment) -> Checked {
        if !moment.moves(self.id, self.plan.tenant) {
            let how = format!("order {} became {:?}", self.id, self.told);
            return broken("nothing goes forward while the line is stopped", how);
        }
        let faulty = self.faulty(before);
        let faulty = faulty.map(|service| format!("order {} went on with {service}, which is", self.id));
        holds("nothing goes forward with a faulty gray service", faulty)?;
        let unjudged = self.unjudged(before);
        let unjudged =
            unjudged.map(|service| format!("order {} went on, and nobody can say of {service}", self.id));
        holds("nothing goes forward while nobody can say", unjudged)
    }
}
