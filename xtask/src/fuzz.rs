//! The fuzzer: forged rule sets and configurations, thrown at the loaders, and whatever may happen on a stream, at the delivery.
//!
//! It starts from the corpus that is kept in the tree and from seeds that are written anew, in the format of the day.
//! What it finds goes into the build output; `fuzz keep` brings the least of it that reaches as much into the tree.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::cargo;
use crate::process;
use crate::steps::{AfterFailure, Steps};
use crate::tools;
use crate::workshop::Workshop;

/// Where the targets of the rules and their kept corpus lie, and the program that writes seeds.
const RULES: &str = "rules/fuzz";
/// Where those of the delivery lie. Its seeds are kept.
const DELIVERY: &str = "control/xds/fuzz";
const TARGETS: [Target; 4] = [
    Target { folder: RULES, name: "load" },
    Target { folder: RULES, name: "configuration" },
    Target { folder: DELIVERY, name: "streams" },
    Target { folder: DELIVERY, name: "requests" },
];
/// Seconds for each target when nobody says.
const SECONDS: u32 = 60;
/// Bytes of an input. Every form of a set fits, and longer ones only take longer.
const INPUT_BYTES_MAX: u32 = 4_096;
/// Megabytes that reading one input may take.
const MEGABYTES_MAX: u32 = 1_024;
/// Seconds that reading one input may take, on a busy machine.
const INPUT_SECONDS_MAX: u32 = 10;
/// Bytes of what is kept in the tree for one target.
const KEPT_BYTES_MAX: u64 = 200_000;

/// A program that takes inputs, and its workspace.
#[derive(Clone, Copy)]
struct Target {
    folder: &'static str,
    name: &'static str,
}

/// `fuzz [SECONDS [TARGET]]` or `fuzz keep`.
pub(crate) fn run(workshop: &Workshop, arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (seconds, only) = match words.as_slice() {
        [] => (SECONDS, None),
        ["keep"] => return keep(workshop),
        [seconds, only @ ..] if only.len() <= 1 => {
            (seconds.parse().ok().filter(|seconds| *seconds > 0).with_context(usage)?, only.first())
        }
        _ => bail!(usage()),
    };
    let chosen = |target: &&Target| only.is_none_or(|only| *only == target.name);
    if !TARGETS.iter().any(|target| chosen(&target)) {
        bail!(usage());
    }
    let mut steps = prepared(Steps::new("fuzz", AfterFailure::Stop), workshop);
    for target in TARGETS.into_iter().filter(|target| chosen(&target)) {
        steps = steps.then(format!("{}, {seconds} s", target.name), move || {
            let found = output(workshop).join("corpus").join(target.name);
            fs::create_dir_all(&found)?;
            let mut command = cargo_fuzz(workshop, "run", target.folder);
            command.arg(target.name);
            command.arg(found).args(starts(workshop, target));
            command.args([
                "--",
                &format!("-max_total_time={seconds}"),
                "-print_final_stats=1",
                "-verbosity=0",
            ]);
            process::run(command.args(limits()))
        });
    }
    steps.run()
}

/// Checks the format of the targets, which are a workspace of their own.
pub(crate) fn check_format(workshop: &Workshop) -> Result<()> {
    [RULES, DELIVERY].into_iter().try_for_each(|folder| {
        let manifest = workshop.root().join(folder).join("Cargo.toml");
        process::run(cargo(workshop, &["fmt", "--check", "--manifest-path"]).arg(manifest))
    })
}

fn usage() -> &'static str {
    "cargo xtask fuzz takes the seconds for each target, then the one target if not all: load, configuration, streams or requests; \
     or `keep`"
}

fn keep(workshop: &Workshop) -> Result<()> {
    let mut steps = prepared(Steps::new("fuzz", AfterFailure::Stop), workshop);
    for target in TARGETS {
        steps =
            steps.then(format!("keep the least of {}", target.name), move || keep_least(workshop, target));
    }
    steps.run()
}

fn prepared<'a>(steps: Steps<'a>, workshop: &'a Workshop) -> Steps<'a> {
    steps
        .then("cargo-fuzz", || tools::ensure_cargo_fuzz(workshop).map(drop))
        .then("the seeds", || {
            let mut command = cargo(workshop, &["run", "--quiet", "--example", "seeds", "--manifest-path"]);
            command.arg(workshop.root().join(RULES).join("Cargo.toml"));
            command.arg("--target-dir").arg(output(workshop));
            process::run(command.arg("--").arg(seeds(workshop)))
        })
        .then("build the targets", || {
            [RULES, DELIVERY]
                .into_iter()
                .try_for_each(|folder| process::run(&mut cargo_fuzz(workshop, "build", folder)))
        })
}

/// Replaces the kept corpus with the fewest and shortest inputs that reach what the kept, the found and the seeds do.
fn keep_least(workshop: &Workshop, target: Target) -> Result<()> {
    let kept = kept(workshop, target);
    let least = output(workshop).join("least").join(target.name);
    let found = output(workshop).join("corpus").join(target.name);
    // It is not there at the first time.
    let _ = fs::remove_dir_all(&least);
    fs::create_dir_all(&least)?;
    fs::create_dir_all(&found)?;
    let mut command = cargo_fuzz(workshop, "run", target.folder);
    command.arg(target.name).arg(&least).args(starts(workshop, target)).arg(found).args([
        "--",
        "-set_cover_merge=1",
        "-use_counters=0",
    ]);
    process::run(command.args(limits()))?;
    let mut bytes = 0;
    for file in fs::read_dir(&least)? {
        bytes += file?.metadata()?.len();
    }
    if bytes > KEPT_BYTES_MAX {
        bail!("{} has {bytes} bytes, over {KEPT_BYTES_MAX}; the tree keeps what it has", least.display());
    }
    let _ = fs::remove_dir_all(&kept);
    fs::create_dir_all(&kept)?;
    for file in fs::read_dir(&least)? {
        let file = file?;
        fs::copy(file.path(), kept.join(file.file_name()))?;
    }
    println!("{}: {bytes} bytes", kept.display());
    Ok(())
}

/// The kept corpus, where there is one, and the seeds.
fn starts(workshop: &Workshop, target: Target) -> Vec<PathBuf> {
    let folders = [kept(workshop, target), seeds(workshop).join(target.name)];
    folders.into_iter().filter(|folder| folder.exists()).collect()
}

fn kept(workshop: &Workshop, target: Target) -> PathBuf {
    workshop.root().join(target.folder).join("corpus").join(target.name)
}

fn seeds(workshop: &Workshop) -> PathBuf {
    output(workshop).join("seeds")
}

fn output(workshop: &Workshop) -> PathBuf {
    workshop.target().join("fuzz")
}

/// With no sanitizer: those need a nightly toolchain, and safe code has little for them to find.
fn cargo_fuzz(workshop: &Workshop, verb: &str, folder: &str) -> Command {
    let mut command = Command::new(tools::cargo_fuzz_path(workshop));
    command.current_dir(workshop.root()).args(["fuzz", verb, "--sanitizer", "none", "--fuzz-dir", folder]);
    command.arg("--target-dir").arg(output(workshop));
    command
}

fn limits() -> [String; 3] {
    [
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-rss_limit_mb={MEGABYTES_MAX}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
    ]
}
