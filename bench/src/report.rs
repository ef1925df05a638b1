//! A report: printed, as JSON for programs, and as Markdown for the repository.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::figures::Row;
use crate::machine::Machine;

/// Where a report goes, beside standard output.
#[derive(Args)]
pub(crate) struct Destinations {
    /// Write the rows to this file: what, n, median_ms, p99_ms, max_ms
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report to bench/results, where the repository keeps it
    #[arg(long)]
    record: bool,
}

/// What a benchmark found.
pub(crate) struct Report {
    /// The benchmark's name.
    pub(crate) name: &'static str,
    /// One line: what was measured.
    pub(crate) title: String,
    /// How, sentence by sentence.
    pub(crate) method: Vec<String>,
    /// Where.
    pub(crate) machine: Machine,
    /// The figures.
    pub(crate) rows: Vec<Row>,
}

// === impl Report ===

impl Report {
    /// Prints the report and writes it where it is wanted.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn publish(&self, destinations: &Destinations) -> Result<()> {
        println!("{}", self.text());
        if let Some(path) = &destinations.json {
            write(path, &(serde_json::to_string_pretty(&self.rows)? + "\n"))?;
        }
        if destinations.record {
            let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
            fs::create_dir_all(&results)?;
            write(&results.join(self.name).with_extension("md"), &self.markdown())?;
            println!("recorded in bench/results/{}.md", self.name);
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.title);
        let _ = writeln!(
            text,
            "  {:<24} {:>5} {:>9} {:>9} {:>9} {:>9}  ms",
            "", "n", "median", "p90", "p99", "max"
        );
        for Row { what, n, median_ms, p90_ms, p99_ms, max_ms, .. } in &self.rows {
            let _ = writeln!(
                text,
                "  {what:<24} {n:>5} {median_ms:>9.2} {p90_ms:>9.2} {p99_ms:>9.2} {max_ms:>9.2}"
            );
        }
        text.push('\n');
        for Row { what, meaning, .. } in &self.rows {
            let _ = writeln!(text, "  {what:<24} {meaning}");
        }
        text.push('\n');
        for (name, fact) in self.machine.facts() {
            let _ = writeln!(text, "  {name:<24} {fact}");
        }
        text
    }

    fn markdown(&self) -> String {
        let Self { name, title, .. } = self;
        let mut text = format!(
            "# {title}\n\nWritten by `cargo xtask bench {name} --record`. All times are in milliseconds.\n\n"
        );
        text.push_str("| what | n | median | p90 | p99 | max | meaning |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |\n");
        for Row { what, meaning, n, median_ms, p90_ms, p99_ms, max_ms } in &self.rows {
            let figures = format!("{median_ms:.2} | {p90_ms:.2} | {p99_ms:.2} | {max_ms:.2}");
            let _ = writeln!(text, "| `{what}` | {n} | {figures} | {meaning} |");
        }
        text.push_str("\n## How\n\n");
        for sentence in &self.method {
            let _ = writeln!(text, "- {sentence}");
        }
        text.push_str("\n## Where\n\n| | |\n| --- | --- |\n");
        for (name, fact) in self.machine.facts() {
            let _ = writeln!(text, "| {name} | {fact} |");
        }
        text
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
