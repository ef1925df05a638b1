//! The verbs. Each one sets up what it needs, so that any of them may be the first that is typed.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::cargo::cargo;
use crate::steps::{AfterFailure, Steps};
use crate::tools::{self, WASM_TARGET};
use crate::workshop::Workshop;
use crate::{envoy, fuzz, judge, process, prometheus, simulation};

const HELP: &str = "\
cargo xtask <verb>

  setup          find or get what is missing: wasm target, Envoy, gRPC for Python, Prometheus, Node.js, wasm test runner, cargo-deny
  demo [--keep]  real Envoys, the daemon and two services: walk a release plan from tellers to the whole bank and back
  test           build everything and run all tests, also in V8 and through a real Envoy
  ci             the lints: format, clippy, licences and sources of crates, docs, the ceiling of the filter's size
  bench <name>   a benchmark of the real daemon, most through real Envoys, in release mode; `bench help` lists them
  bench rules    look-up, load, encode and compile up to a million ids, beside naive ways, and the look-up in V8
  fuzz [SECONDS [TARGET]]
                 forged rule sets, thrown at the loaders, and streams at the delivery: 60 seconds for each of four unless said otherwise
  fuzz keep      bring the least of what the fuzzer found, and reaches as much, into the tree
  sim [MINUTES]  random plans, operators, proxies, faults and crashes in simulated time: 10 minutes unless said otherwise
  help           this text

ENVOY=path uses another Envoy than the pinned one.";

/// Bytes of the filter module. Every proxy fetches it, and compiles it before it serves.
const MAX_FILTER_BYTES: u64 = 150_000;

/// Seconds that one wasm test may take; the runner's own 20 is short for property tests on a busy machine.
const WASM_TEST_SECONDS_MAX: &str = "300";

/// Runs the verb that the arguments name.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let workshop = Workshop::find()?;
    let (verb, rest) =
        arguments.split_first().map_or(("help", &[][..]), |(verb, rest)| (verb.as_str(), rest));
    match verb {
        "setup" => setup(&workshop),
        "demo" => demo(&workshop, rest),
        "test" => test(&workshop),
        "ci" => ci(&workshop),
        "bench" => bench(&workshop, rest),
        "fuzz" => fuzz::run(&workshop, rest),
        "sim" => simulation::run(&workshop, rest),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        other => bail!("`{other}` is no verb of cargo xtask\n\n{HELP}"),
    }
}

fn setup(workshop: &Workshop) -> Result<()> {
    Steps::new("setup", AfterFailure::GoOn)
        .then("wasm target", tools::ensure_wasm_target)
        .then("Envoy", || envoy::ensure(workshop))
        .then("Python packages of the xDS judge", || judge::ensure(workshop))
        .then("Prometheus", || prometheus::ensure(workshop))
        .then("Node.js", tools::ensure_node)
        .then("wasm-bindgen-test-runner", || tools::ensure_wasm_test_runner(workshop).map(drop))
        .then("cargo-deny", || tools::ensure_cargo_deny(workshop).map(drop))
        .run()
}

fn demo(workshop: &Workshop, arguments: &[String]) -> Result<()> {
    let run = ["run", "--quiet", "--package", "graylane-wasm-tests", "--bin", "demo", "--"];
    Steps::new("demo", AfterFailure::Stop)
        .then("wasm target", tools::ensure_wasm_target)
        .then("Envoy", || envoy::ensure(workshop))
        .then("build the filter", || process::run(&mut cargo(workshop, &["filter"])))
        .then("build the daemon", || process::run(&mut cargo(workshop, &["build", "--package", "graylane"])))
        .then("build the demo", || {
            process::run(&mut cargo(workshop, &["build", "--package", "graylane-wasm-tests"]))
        })
        .then("the demo", || process::run(cargo(workshop, &run).args(arguments)))
        .run()
}

fn test(workshop: &Workshop) -> Result<()> {
    let trap_dir = workshop.target().join("trap");
    let native = ["test", "--workspace", "--no-fail-fast"];
    Steps::new("test", AfterFailure::Stop)
        .then("wasm target", tools::ensure_wasm_target)
        .then("Envoy", || envoy::ensure(workshop))
        .then("Python packages of the xDS judge", || judge::ensure(workshop))
        .then("Prometheus", || prometheus::ensure(workshop))
        .then("Node.js", tools::ensure_node)
        .then("wasm-bindgen-test-runner", || tools::ensure_wasm_test_runner(workshop).map(drop))
        .then("build the filter", || process::run(&mut cargo(workshop, &["filter"])))
        .then("build the filter that traps, for one test", || {
            process::run(cargo(workshop, &["filter", "--features", "trap", "--target-dir"]).arg(&trap_dir))
        })
        .then("build the daemon", || process::run(&mut cargo(workshop, &["build", "--package", "graylane"])))
        .then("the laws of the rules, in V8", || in_v8(workshop, &["test", "--package", "graylane-rules"]))
        .then("all native tests, with the real Envoy among them", || {
            process::run(&mut cargo(workshop, &native))
        })
        .run()
}

/// Runs tests or benchmarks of a package in V8.
fn in_v8(workshop: &Workshop, arguments: &[&str]) -> Result<()> {
    let mut command = cargo(workshop, arguments);
    command.args(["--target", WASM_TARGET]);
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", tools::wasm_test_runner_path(workshop)?);
    process::run(command.env("WASM_BINDGEN_TEST_TIMEOUT", WASM_TEST_SECONDS_MAX))
}

fn ci(workshop: &Workshop) -> Result<()> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    let clippy_wasm = [
        "clippy",
        "-p",
        "graylane-filter",
        "-p",
        "graylane-rules",
        "--target",
        WASM_TARGET,
        "--",
        "-D",
        "warnings",
    ];
    let docs = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    Steps::new("ci", AfterFailure::GoOn)
        .then("wasm target", tools::ensure_wasm_target)
        .then("cargo-deny", || tools::ensure_cargo_deny(workshop).map(drop))
        .then("format", || process::run(&mut cargo(workshop, &["fmt", "--all", "--check"])))
        .then("format of the fuzz targets", || fuzz::check_format(workshop))
        .then("clippy", || process::run(&mut cargo(workshop, &clippy)))
        .then("clippy for wasm", || process::run(&mut cargo(workshop, &clippy_wasm)))
        .then("licences, sources and banned crates", || deny(workshop))
        .then("docs", || process::run(cargo(workshop, &docs).env("RUSTDOCFLAGS", "-Dwarnings")))
        .then("the filter's size", || filter_size(workshop))
        .run()
}

fn deny(workshop: &Workshop) -> Result<()> {
    let mut command = Command::new(tools::cargo_deny_path(workshop));
    // Advisories need a database from the network at every run, so they are no part of this.
    command.current_dir(workshop.root()).args(["--all-features", "check", "bans", "licenses", "sources"]);
    process::run(&mut command)
}

fn filter_size(workshop: &Workshop) -> Result<()> {
    process::run(&mut cargo(workshop, &["filter"]))?;
    let bytes = fs::metadata(workshop.filter_module())?.len();
    println!("graylane_filter.wasm: {bytes} bytes, of {MAX_FILTER_BYTES}");
    if bytes > MAX_FILTER_BYTES {
        bail!("graylane_filter.wasm: {bytes} bytes is over the limit of {MAX_FILTER_BYTES}");
    }
    Ok(())
}

fn bench(workshop: &Workshop, arguments: &[String]) -> Result<()> {
    let help = ["help".to_owned()];
    let arguments = if arguments.is_empty() { &help } else { arguments };
    if arguments.iter().any(|word| ["help", "--help", "-h"].contains(&word.as_str())) {
        // Whoever asks what there is should not wait for a release build.
        let ask = ["run", "--quiet", "--package", "graylane-bench", "--"];
        return process::run(cargo(workshop, &ask).args(arguments));
    }
    if arguments.first().is_some_and(|name| name == "rules") {
        return bench_rules(workshop);
    }
    let run = ["run", "--release", "--package", "graylane-bench", "--"];
    let mut steps = Steps::new("bench", AfterFailure::Stop);
    // The daemon's own figures need no proxy.
    if arguments.first().is_none_or(|name| name != "control") {
        steps = steps
            .then("wasm target", tools::ensure_wasm_target)
            .then("Envoy", || envoy::ensure(workshop))
            .then("build the filter", || process::run(&mut cargo(workshop, &["filter"])));
    }
    if arguments.first().is_some_and(|name| name == "filter") {
        steps = steps.then("build the filters that it is compared with", || peers(workshop));
    }
    steps
        .then("build the daemon", || {
            process::run(&mut cargo(workshop, &["build", "--release", "--package", "graylane"]))
        })
        .then("the benchmark", || process::run(cargo(workshop, &run).args(arguments)))
        .run()
}

/// The benchmarks that need no proxy.
fn bench_rules(workshop: &Workshop) -> Result<()> {
    let rules = ["bench", "--package", "graylane-rules", "--features", "testing", "--bench"];
    let million = ["bench", "--package", "graylane-plan", "--bench", "million"];
    Steps::new("bench", AfterFailure::Stop)
        .then("wasm target", tools::ensure_wasm_target)
        .then("Node.js", tools::ensure_node)
        .then("wasm-bindgen-test-runner", || tools::ensure_wasm_test_runner(workshop).map(drop))
        .then("look-up, load and encode", || process::run(cargo(workshop, &rules).arg("rules")))
        .then("the look-up in V8", || in_v8(workshop, &[&rules[..], &["v8"]].concat()))
        .then("from a list to its rules", || process::run(&mut cargo(workshop, &million)))
        .run()
}

fn peers(workshop: &Workshop) -> Result<()> {
    let build =
        ["build", "--package", "graylane-bench-textbook", "--target", WASM_TARGET, "--profile", "wasm"];
    process::run(&mut cargo(workshop, &build))
}
