//! What only somebody knows who keeps watching: since when that is, for how long all proxies are converged, and whether
//! the wall clock jumped.

use crate::clock::Clock;
use crate::daemon::Convergence;
use graylane_order::Sight;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest time between two looks that is no break: what happens in it is seen soon enough.
const MAX_BREAK: Duration = Duration::from_secs(10);

/// How far the wall clock may be from where the monotonic one puts it. Clocks are slewed all the time; more is a jump.
const MAX_DRIFT: SignedDuration = SignedDuration::from_secs(2);

/// One who keeps watching.
pub(crate) struct Watch {
    /// Since when there was no break.
    since: Timestamp,
    last: Clocks,
    /// Since when a revision of a tenant is wanted, by the monotonic clock.
    wanted_by_tenant: BTreeMap<String, (u64, Duration)>,
    /// Since when every proxy of a tenant runs its wanted revision, by the monotonic clock.
    converged_by_tenant: BTreeMap<String, (u64, Duration)>,
}

/// Both clocks at one moment.
#[derive(Clone, Copy)]
struct Clocks {
    wall: Timestamp,
    elapsed: Duration,
}

// === impl Watch ===

impl Watch {
    /// Starts to watch. A clock that shows an earlier time than when the last thing was done was put back meanwhile, which
    /// the first look will find.
    pub(crate) fn new(clock: &dyn Clock, last_deed: Option<Timestamp>) -> Self {
        let now = Clocks::at(clock);
        let last = Clocks { wall: last_deed.map_or(now.wall, |deed| deed.max(now.wall)), ..now };
        Self {
            since: last.wall,
            last,
            wanted_by_tenant: BTreeMap::new(),
            converged_by_tenant: BTreeMap::new(),
        }
    }

    /// Looks at the clocks, and gives by how much the wall clock jumped since the last look, if it did.
    pub(crate) fn look(&mut self, clock: &dyn Clock) -> Option<SignedDuration> {
        let look = Clocks::at(clock);
        let passed = look.elapsed.saturating_sub(self.last.elapsed);
        let expected = self.last.wall.saturating_add(signed(passed)).unwrap_or(look.wall);
        let jump = Some(look.wall.duration_since(expected)).filter(|jump| jump.abs() > MAX_DRIFT);
        self.last = look;
        if passed > MAX_BREAK {
            // Proxies may have been elsewhere meanwhile.
            self.converged_by_tenant.clear();
        }
        match jump {
            // Nobody watched the time that the clock left out.
            Some(jump) if jump > signed(MAX_BREAK) => self.since = look.wall,
            _ if passed > MAX_BREAK => self.since = look.wall,
            Some(jump) => self.since = self.since.saturating_add(jump).unwrap_or(look.wall).min(look.wall),
            None => {}
        }
        jump
    }

    /// Lets the next look find a jump again.
    pub(crate) fn owe(&mut self, jump: SignedDuration) {
        self.last.wall = self.last.wall.saturating_sub(jump).unwrap_or(self.last.wall);
    }

    /// Notes how far a tenant's wanted revision is now.
    pub(crate) fn saw(&mut self, tenant: &str, convergence: &Convergence) {
        let now = (convergence.wanted, self.last.elapsed);
        note(&mut self.wanted_by_tenant, tenant, now);
        if convergence.seen().is_converged() {
            note(&mut self.converged_by_tenant, tenant, now);
        } else {
            self.converged_by_tenant.remove(tenant);
        }
    }

    /// How long a revision of a tenant is wanted, as far as somebody watched.
    pub(crate) fn wanted_for(&self, tenant: &str, revision: u64, clock: &dyn Clock) -> Duration {
        let since = self.wanted_by_tenant.get(tenant).filter(|(wanted, _)| *wanted == revision);
        since.map_or(Duration::ZERO, |(_, since)| clock.elapsed().saturating_sub(*since))
    }

    /// What an order of a tenant sees.
    pub(crate) fn sight(
        &self,
        tenant: &str,
        convergence: &Convergence,
        frozen_since: Option<Timestamp>,
        clock: &dyn Clock,
    ) -> Sight {
        let since = self.converged_by_tenant.get(tenant);
        let since =
            since.filter(|(wanted, _)| *wanted == convergence.wanted && convergence.seen().is_converged());
        let converged_for = since.map_or(Duration::ZERO, |(_, since)| clock.elapsed().saturating_sub(*since));
        Sight {
            seen: convergence.seen(),
            converged_for: signed(converged_for),
            frozen_since,
            watching_since: self.since,
        }
    }
}

/// Keeps the time of the first look at a revision.
fn note(by_tenant: &mut BTreeMap<String, (u64, Duration)>, tenant: &str, now: (u64, Duration)) {
    let entry = by_tenant.entry(tenant.to_owned()).or_insert(now);
    if entry.0 != now.0 {
        *entry = now;
    }
}

// === impl Clocks ===

impl Clocks {
    fn at(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), elapsed: clock.elapsed() }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Clocks that stand where they were put.
    struct Set(Mutex<(i64, u64)>);

    impl Set {
        fn put(&self, wall: i64, elapsed: u64) {
            *self.0.lock().unwrap() = (wall, elapsed);
        }
    }

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            at(self.0.lock().unwrap().0)
        }

        fn elapsed(&self) -> Duration {
            Duration::from_secs(self.0.lock().unwrap().1)
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn jump(seconds: i64) -> Option<SignedDuration> {
        Some(SignedDuration::from_secs(seconds))
    }

    #[test]
    fn a_jump_is_what_the_monotonic_clock_did_not_see() {
        let clock = Set(Mutex::new((1_000, 0)));
        let mut watch = Watch::new(&clock, None);
        for (wall, elapsed, found, since) in [
            (1_001, 1, None, 1_000),
            (1_004, 2, None, 1_000),
            (1_008, 3, jump(3), 1_003),
            (4_609, 4, jump(3_600), 4_609),
            (1_010, 5, jump(-3_600), 1_009),
            (1_030, 25, None, 1_030),
            (1_020, 26, jump(-11), 1_019),
        ] {
            clock.put(wall, elapsed);
            assert_eq!((watch.look(&clock), watch.since), (found, at(since)), "{wall}");
        }
    }

    #[test]
    fn a_jump_that_is_owed_is_found_again() {
        let clock = Set(Mutex::new((1_000, 0)));
        let mut watch = Watch::new(&clock, None);
        clock.put(4_601, 1);
        assert_eq!(watch.look(&clock), jump(3_600));
        watch.owe(SignedDuration::from_secs(3_600));
        clock.put(4_602, 2);
        assert_eq!((watch.look(&clock), watch.look(&clock)), (jump(3_600), None));
    }

    #[test]
    fn a_clock_that_was_put_back_while_nobody_watched_is_found_by_what_was_done_before() {
        let clock = Set(Mutex::new((1_000, 0)));
        let mut watch = Watch::new(&clock, Some(at(4_600)));
        assert_eq!((watch.look(&clock), watch.look(&clock)), (jump(-3_600), None));
        assert_eq!(watch.since, at(1_000), "before it was opened nobody watched");
        assert_eq!(Watch::new(&clock, Some(at(900))).look(&clock), None);
    }

    #[test]
    fn proxies_are_converged_since_they_run_this_revision_without_a_break() {
        let clock = Set(Mutex::new((0, 0)));
        let mut watch = Watch::new(&clock, None);
        let mut see = |second: u64, wanted: u64, converged: usize| {
            clock.put(second.cast_signed(), second);
            watch.look(&clock);
            let convergence = Convergence { wanted, converged, total: 2, ..Convergence::default() };
            watch.saw("retail", &convergence);
            watch.sight("retail", &convergence, None, &clock).converged_for.as_secs()
        };
        assert_eq!((see(1, 1, 2), see(4, 1, 2)), (0, 3));
        assert_eq!((see(5, 2, 2), see(7, 2, 2)), (0, 2), "another revision");
        assert_eq!((see(8, 2, 1), see(9, 2, 2), see(10, 2, 2)), (0, 0, 1), "a proxy was behind");
    }
}
