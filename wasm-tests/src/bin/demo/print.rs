//! How the demo talks: narrow tables, one line of meaning for each step, the time since the start.

use std::fmt::Write as _;
use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

use crate::callers::{Group, Service};
use crate::observe::Observation;
use crate::walk::Outcome;

/// Differences that are printed for one step; further ones are counted.
const DIFFERENCES_SHOWN_MAX: usize = 10;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";
const GREEN: &str = "32";

/// Prints to standard output, with colours on a terminal.
pub(crate) struct Printer {
    started: Instant,
    has_colours: bool,
}

// === impl Printer ===

impl Printer {
    /// A printer whose clock starts now.
    pub(crate) fn new() -> Self {
        let has_colours = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { started: Instant::now(), has_colours }
    }

    /// What all of this is.
    pub(crate) fn title(&self, text: &str) {
        println!("{}\n", self.paint(BOLD, text));
    }

    /// A step begins.
    pub(crate) fn heading(&self, text: &str) {
        let time = format!("[{:>5.1} s]", self.started.elapsed().as_secs_f64());
        println!("\n{} {}", self.paint(DIM, &time), self.paint(BOLD, text));
    }

    /// A sentence.
    pub(crate) fn line(&self, text: &str) {
        println!("  {text}");
    }

    /// A command that is run, or may be.
    pub(crate) fn command(&self, command: &str) {
        println!("  {}", self.paint(DIM, &format!("$ {command}")));
    }

    /// Who got which version, beside what was expected: one row for each group of callers. It also says who of them
    /// should have moved since the step before.
    pub(crate) fn table(&self, observations: &[Observation<'_>]) {
        let [first, second] = Service::ALL.map(Service::name);
        println!("\n  {:<26}  {:>7}  {first:<24}  {second}", "", "");
        let columns = format!("{:<11}  {:<11}", "expected", "got");
        println!("  {:<26}  {:>7}  {columns}  {}", "who", "callers", columns.trim_end());
        for group in Group::ALL {
            self.row(group, observations);
        }
        println!();
    }

    fn row(&self, group: Group, observations: &[Observation<'_>]) {
        let mut row = format!("  {:<26}", group.label());
        let (mut is_as_expected, mut has_moved) = (true, false);
        for service in Service::ALL {
            let is_in_cell = |seen: &&Observation<'_>| seen.caller.group == group && seen.service == service;
            let cell: Vec<&Observation<'_>> = observations.iter().filter(is_in_cell).collect();
            is_as_expected &= cell.iter().all(|seen| seen.is_as_expected());
            has_moved |= cell.iter().any(|seen| seen.expected != seen.expected_before);
            if service == Service::Loan {
                let _ = write!(row, "  {:>7}", cell.len());
            }
            let expected = counted(cell.iter().map(|seen| seen.expected));
            let got = counted(cell.iter().map(|seen| seen.agreed()));
            let _ = write!(row, "  {expected:<11}  {got:<11}");
        }
        let verdict = if is_as_expected { self.paint(GREEN, "ok") } else { self.paint(RED, "DIFFERS") };
        println!("{row}  {verdict}{}", if has_moved { ", moved" } else { "" });
    }

    /// What the table comes to, and each difference in words.
    pub(crate) fn verdict(&self, requests: usize, proxies: usize, differences: &[String]) {
        let sent = format!("{requests} requests through {proxies} proxies");
        if differences.is_empty() {
            self.line(&format!("{sent}: all as expected."));
            return;
        }
        self.line(&self.paint(RED, &format!("{sent}: {} differ from the expectation:", differences.len())));
        for difference in differences.iter().take(DIFFERENCES_SHOWN_MAX) {
            self.line(&format!("- {difference}"));
        }
        let more = differences.len().saturating_sub(DIFFERENCES_SHOWN_MAX);
        if more > 0 {
            self.line(&format!("- and {more} more"));
        }
    }

    /// How it all ended; the last line is the whole answer.
    pub(crate) fn summary(&self, outcome: &Outcome) {
        self.heading("Background load, from before the first step until after the last");
        let Outcome { requests, failures, mixed, slowest, complaints, .. } = outcome;
        self.line(&format!(
            "{requests} requests, {failures} failed, {mixed} went elsewhere than their decision says; the slowest took {}.",
            shown(*slowest)
        ));
        complaints.iter().for_each(|complaint| self.line(&format!("- {complaint}")));
        let Outcome { steps, checked, differences, .. } = outcome;
        let took = shown(self.started.elapsed());
        let counts = format!(
            "{steps} steps, {checked} checked requests, {differences} differ; {requests} in the background, {failures} failed; {took}"
        );
        match outcome.is_as_expected() {
            true => println!("\n{} {counts}", self.paint(GREEN, "AS EXPECTED:")),
            false => println!("\n{} {counts}", self.paint(RED, "NOT AS EXPECTED:")),
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        match self.has_colours {
            true => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// A time as people read it.
pub(crate) fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 0.1 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.1} s"),
    }
}

/// `v2` when all are, else how many are what: `7 v2, 18 v1`.
fn counted<'a>(versions: impl Iterator<Item = &'a str>) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for version in versions {
        let short = if version.starts_with('v') && version.len() == 2 { version } else { "?" };
        match counts.iter_mut().find(|(known, _)| *known == short) {
            Some((_, count)) => *count += 1,
            None => counts.push((short, 1)),
        }
    }
    counts.sort_unstable_by(|one, two| two.0.cmp(one.0));
    match counts.as_slice() {
        [(version, _)] => (*version).to_owned(),
        _ => {
            counts.iter().map(|(version, count)| format!("{count} {version}")).collect::<Vec<_>>().join(", ")
        }
    }
}
