//! Plans that are judged by Prometheus, where the daemon knows one and where it knows none.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;

use daemon::{Daemon, run};
use std::thread;
use std::time::{Duration, Instant};

const EXAMPLE: &str = include_str!("../examples/prometheus.yaml");
const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");

fn plan(window: &str) -> String {
    let health = format!("{{ source: prometheus, window: {window}, errors: {{ max: 2% }}, onFault: pause }}");
    format!("{PLAN}  health: {health}\n")
}

#[test]
fn a_plan_that_is_judged_by_prometheus_needs_one_in_the_configuration() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("prometheus.yaml");
    // No authorities of this machine are needed so.
    std::fs::write(&file, EXAMPLE.replace("https://", "http://")).unwrap();
    let file = file.to_str().unwrap();
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();

    let daemon = Daemon::start_with(data.path(), &["--config", file]);
    let short = daemon.cli(&["plan", "apply", "-f", "-"], &plan("30s"));
    assert!(said(&short).contains("spec.health.window: 30s is less than 45s"), "{short:?}");
    daemon.json(&["plan", "apply", "-f", "-"], &plan("60s"));
    daemon.kill();

    let daemon = Daemon::start(data.path());
    let refused = "spec.health.source: prometheus is not there";
    for (args, input) in
        [(&["order", "start", "loan-2026-11"][..], ""), (&["plan", "apply", "-f", "-"], &plan("61s"))]
    {
        let output = daemon.cli(args, input);
        assert!(output.status.code() == Some(1) && said(&output).contains(refused), "{output:?}");
    }
    daemon.kill();

    let daemon = Daemon::start_with(data.path(), &["--config", file]);
    daemon.json(&["order", "start", "loan-2026-11"], "");
    let shown = || String::from_utf8(daemon.cli(&["order", "get", "1"], "").stdout).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !shown().contains("nobody counts v2: Prometheus gave no sample of it") {
        assert!(Instant::now() < deadline, "{}", shown());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_plan_is_checked_by_what_the_configuration_says_of_prometheus_if_that_is_given() {
    let data = tempfile::tempdir().unwrap();
    let (with, without) = (data.path().join("with.yaml"), data.path().join("without.yaml"));
    std::fs::write(&with, EXAMPLE).unwrap();
    std::fs::write(&without, "proxies: {}").unwrap();
    for (config, window, expected) in [
        (None, "30s", "the plan is good"),
        (Some(&with), "60s", "the plan is good"),
        (Some(&with), "30s", "spec.health.window: 30s is less than 45s"),
        (Some(&without), "60s", "spec.health.source: prometheus is not there"),
    ] {
        let config = config.map(|file| ["--config", file.to_str().unwrap()]);
        let args =
            [&["plan", "check", "-f", "-"][..], config.as_ref().map_or(&[], |args| &args[..])].concat();
        let output = run(&args, &plan(window));
        assert!(String::from_utf8_lossy(&output.stdout).contains(expected), "{output:?}");
    }
}
