//! The daemon is asked to end at random moments while operators work.

use crate::daemon::Daemon;
use crate::ledger::Ledger;
use crate::operator::Operator;
use fastrand::Rng;
use rustix::process::Signal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How often the daemon is asked to end.
const ENDS: usize = 20;

/// The most actions that are acknowledged before.
const MAX_ACTIONS: usize = 12;

/// The longest that an end may take with no drain: nobody is slow here.
const LONGEST_END: Duration = Duration::from_secs(5);

#[test]
fn who_is_answered_when_the_daemon_is_asked_to_end_loses_nothing_and_nothing_is_done_without_an_answer() {
    let data = tempfile::tempdir().unwrap();
    let mut rng = Rng::new();
    let mut operators = ["retail", "corporate"].map(|tenant| Operator::new(tenant, rng.u64(..)));
    let mut ledger = Ledger::default();
    for end in 0..=ENDS {
        let daemon = Daemon::start_with(data.path(), &["--drain", "0s"]);
        ledger.read_on(&daemon);
        for operator in &mut operators {
            assert!(!ledger.settle(operator), "end {end}: done without an answer");
            operator.unanswered = None;
        }
        let (count, actions) = (AtomicUsize::new(0), rng.usize(..MAX_ACTIONS));
        let server = daemon.server.clone();
        std::thread::scope(|scope| {
            let working = operators.iter_mut().map(|operator| scope.spawn(|| operator.work(&server, &count)));
            let working: Vec<_> = working.collect();
            while count.load(Ordering::Relaxed) < actions && !working.iter().any(|one| one.is_finished()) {
                std::thread::yield_now();
            }
            let asked = Instant::now();
            daemon.signal(Signal::TERM);
            assert_eq!(daemon.ended(), Some(0), "end {end}");
            assert!(asked.elapsed() < LONGEST_END, "end {end}: {:?}", asked.elapsed());
        });
        assert!(count.into_inner() >= actions, "end {end}: an operator gave up before");
    }
}
