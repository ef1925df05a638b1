//! The daemon before an independent judge: a client of xDS that shares no code with it, for each way of delivery.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use graylane_wasm_tests::{Daemon, places};

/// Longer than any one scenario takes, also one that waits in vain.
const LINE_TIMEOUT: Duration = Duration::from_secs(60);
/// Scenarios of a mode. Fewer than these were not all run.
const SCENARIOS_MIN: usize = 20;

/// Everybody is sent what is new at once: the judge's clients are not all alive at the same time, and one that does not answer would
/// be waited for as a canary.
const CONFIG: &str = "proxies: { canary: { percent: 100 } }";

/// The judge; gone when dropped.
struct Judge(Child);

impl Drop for Judge {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs all scenarios of a mode, each of which prints its name and verdict.
fn check_the_scenarios(mode: &str) {
    let mut daemon = Daemon::start_with(CONFIG).unwrap();
    let (program, packages) = places::judge().unwrap();
    let mut command = Command::new("python3");
    command.arg(program).args([mode, &daemon.xds().to_string(), &daemon.http().to_string()]);
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut judge = Judge(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut answers = judge.0.stdin.take().unwrap();
    let printed = BufReader::new(judge.0.stdout.take().unwrap());
    let (lines_tx, lines) = mpsc::channel();
    thread::spawn(move || printed.lines().map_while(Result::ok).try_for_each(|line| lines_tx.send(line)));

    let (mut passed, mut failures) = (0, Vec::new());
    loop {
        let line = match lines.recv_timeout(LINE_TIMEOUT) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{mode}: the judge hangs after {passed} passed"),
        };
        if line == "RESTART" {
            daemon.run().unwrap();
            writeln!(answers, "restarted").unwrap();
            continue;
        }
        println!("{mode}: {line}");
        if line.starts_with("ok ") { passed += 1 } else { failures.push(line) }
    }
    assert!(failures.is_empty(), "{mode}, {passed} passed:\n{}", failures.join("\n"));
    assert!(judge.0.wait().unwrap().success(), "{mode}: the judge itself failed");
    assert!(passed >= SCENARIOS_MIN, "{mode}: {passed} scenarios ran, expected {SCENARIOS_MIN} or more");
}

#[test]
fn a_foreign_client_is_content_with_ecds_state_of_the_world() {
    check_the_scenarios("ecds");
}

#[test]
fn a_foreign_client_is_content_with_ecds_delta() {
    check_the_scenarios("ecds-delta");
}

#[test]
fn a_foreign_client_is_content_with_ads_state_of_the_world() {
    check_the_scenarios("ads");
}

#[test]
fn a_foreign_client_is_content_with_ads_delta() {
    check_the_scenarios("ads-delta");
}
