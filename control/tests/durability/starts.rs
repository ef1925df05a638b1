//! Starts that must not be, and what is there before a start is over.

use crate::daemon::{Daemon, run};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Starts a daemon that ends by itself, and gives its exit code, what it said, and how long it took.
fn ends(data: &std::path::Path) -> (Option<i32>, String, Duration) {
    let began = Instant::now();
    let data = data.to_str().unwrap();
    let output = run(&["serve", "--http", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--data", data], "");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), began.elapsed())
}

/// F06.
#[test]
fn a_second_daemon_is_refused_within_a_second_and_a_killed_one_leaves_no_lock() {
    let data = tempfile::tempdir().unwrap();
    let first = Daemon::start(data.path());
    let (code, said, took) = ends(data.path());
    assert_eq!(code, Some(3));
    assert!(said.contains("is in use by another process; stop that one, or give another --data"), "{said}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(first.request("GET", "/api/v1/orders", &[], b"").status, 200, "the first one serves on");
    first.kill();
    Daemon::start(data.path());
}

/// F10.
#[test]
fn a_daemon_that_cannot_load_its_store_never_answers() {
    let data = tempfile::tempdir().unwrap();
    Daemon::start(data.path()).kill();
    std::fs::write(data.path().join("graylane.redb"), b"").unwrap();
    // Ports that were free a moment ago: nobody may listen there while the daemon tries.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (http, xds) = (free(), free());
    let mut child = Command::new(env!("CARGO_BIN_EXE_graylane"));
    child.args(["serve", "--http", &http, "--xds", &xds, "--data"]).arg(data.path());
    let mut child = child.stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        assert!(TcpStream::connect(&http).is_err() && TcpStream::connect(&xds).is_err());
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3));
    assert!(said.contains("is damaged: it has no bytes; move it away and restore a backup"), "{said}");
}
