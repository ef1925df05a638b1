//! Where a figure was measured: the machine without its name, and the versions.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use graylane_wasm_tests::places;

/// What a reader must know to compare.
pub(crate) struct Machine {
    facts: Vec<(&'static str, String)>,
}

// === impl Machine ===

impl Machine {
    /// Looks around. To be called before anything is started, so that the load is that of others.
    pub(crate) fn here() -> Self {
        let cores = thread::available_parallelism().map_or(0, usize::from);
        let facts = vec![
            ("measured on", jiff::Timestamp::now().strftime("%F").to_string()),
            ("commit of the tree", commit()),
            ("cores", format!("{cores} ({})", cpu().unwrap_or_else(unknown))),
            ("memory", memory().unwrap_or_else(unknown)),
            ("kernel", said(Command::new("uname").arg("-sr"))),
            ("load before, 1 minute", load().unwrap_or_else(unknown)),
            ("compiler", said(Command::new("rustc").arg("--version"))),
            (
                "profile",
                if cfg!(debug_assertions) { "debug: not for comparison" } else { "release" }.to_owned(),
            ),
        ];
        Self { facts }
    }

    /// Adds the version of the proxies, where there are some.
    pub(crate) fn add_envoy(&mut self) {
        let envoy =
            places::envoy().map_or_else(|_| unknown(), |envoy| said(Command::new(envoy).arg("--version")));
        self.facts.push(("Envoy", envoy_version(&envoy).unwrap_or(envoy)));
    }

    /// Adds which file system holds a folder: a durable write costs what it costs there.
    pub(crate) fn add_file_system(&mut self, data: &Path) {
        self.facts
            .push(("daemon's file system", said(Command::new("stat").args(["-f", "-c", "%T"]).arg(data))));
    }

    /// Each fact with its name.
    pub(crate) fn facts(&self) -> &[(&'static str, String)] {
        &self.facts
    }
}

/// The commit, and whether the tree is that of the commit.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        said(Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments))
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    // A report that is being written is no change to what is measured.
    match git(&["status", "--porcelain", "--", ":/", ":(exclude,top)bench/results"]).as_str() {
        "" | "unknown" => commit,
        _ => format!("{commit} with changes"),
    }
}

fn cpu() -> Option<String> {
    value_of(&fs::read_to_string("/proc/cpuinfo").ok()?, "model name")
}

fn memory() -> Option<String> {
    let total = value_of(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")?;
    let kib: u64 = total.split(' ').next()?.parse().ok()?;
    Some(format!("{:.1} GiB", kib as f64 / f64::from(1 << 20)))
}

fn load() -> Option<String> {
    Some(fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.to_owned())
}

fn value_of(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The version out of `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
fn envoy_version(said: &str) -> Option<String> {
    Some(said.split_once("version:")?.1.trim().split('/').nth(1)?.to_owned())
}

fn said(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    output.map_or_else(unknown, |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}
