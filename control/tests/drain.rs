//! The end of the daemon: the real program, by signals.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;

use daemon::Daemon;
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");

/// How long anything may take before the test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// The longest that an end may take beside its drain: nobody is slow here.
const MARGIN: Duration = Duration::from_secs(4);

/// Waits until the daemon says that it is not ready.
fn until_it_drains(daemon: &Daemon) {
    let deadline = Instant::now() + DEADLINE;
    while daemon.request("GET", "/readyz", &[], b"").status != 503 {
        assert!(Instant::now() < deadline, "it is ready all the time");
    }
}

/// Waits until the daemon takes no connection any more.
fn until_it_takes_nobody(daemon: &Daemon) {
    let (address, deadline) = (daemon.server.trim_start_matches("http://"), Instant::now() + DEADLINE);
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "it takes connections all the time");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_daemon_that_is_asked_to_end_is_not_ready_at_once_and_serves_for_its_drain() {
    for signal in [Signal::TERM, Signal::INT] {
        let data = tempfile::tempdir().unwrap();
        let daemon = Daemon::start_with(data.path(), &["--drain", "2s"]);
        let answer = daemon.request("GET", "/readyz", &[], b"");
        assert_eq!((answer.text.as_str(), answer.header("connection")), ("ok", None));
        let asked = Instant::now();
        daemon.signal(signal);
        until_it_drains(&daemon);
        assert_eq!(daemon.request("GET", "/livez", &[], b"").status, 200);
        let answer = daemon.request("GET", "/api/v1/plans", &[], b"");
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        daemon.json(&["plan", "apply", "-f", "-"], PLAN);
        assert_eq!(daemon.ended(), Some(0));
        let took = asked.elapsed();
        assert!((Duration::from_secs(2)..Duration::from_secs(2) + MARGIN).contains(&took), "{took:?}");
        let daemon = Daemon::start(data.path());
        assert_eq!(daemon.json(&["plan", "list"], "")[0]["name"], "loan-2026-11");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(data.path(), &["--drain", "10m"]);
    daemon.signal(Signal::TERM);
    until_it_drains(&daemon);
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(), Some(3), "not everybody was answered, as far as it knows");
    assert!(asked.elapsed() < MARGIN, "{:?}", asked.elapsed());
}

#[test]
fn a_call_that_was_begun_is_answered() {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(data.path(), &["--drain", "0s"]);
    let address = daemon.server.trim_start_matches("http://").to_owned();
    let mut caller = TcpStream::connect(&address).unwrap();
    caller.set_read_timeout(Some(DEADLINE)).unwrap();
    let (first, rest) = PLAN.split_at(PLAN.len() / 2);
    let head = format!(
        "POST /api/v1/plans HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/yaml\r\ncontent-length: {}\r\n\
         expect: 100-continue\r\n\r\n",
        PLAN.len()
    );
    caller.write_all(head.as_bytes()).unwrap();
    let mut answer = vec![0; 1 << 10];
    let count = caller.read(&mut answer).unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 100 "), "the call has begun");
    caller.write_all(first.as_bytes()).unwrap();
    daemon.signal(Signal::TERM);
    until_it_takes_nobody(&daemon);
    caller.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    assert_eq!(daemon.ended(), Some(0));
    let daemon = Daemon::start(data.path());
    assert_eq!(daemon.json(&["plan", "list"], "")[0]["name"], "loan-2026-11");
}
