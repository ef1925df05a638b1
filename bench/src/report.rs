//! A report: printed, as JSON for programs, and as Markdown with charts for the repository.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use crate::machine::Machine;
use crate::table::Table;

/// The name that stands for standard output where a file is named.
const STDOUT: &str = "-";

/// Where a report goes, beside standard output.
#[derive(Args)]
pub(crate) struct Destinations {
    /// Write the figures to this file, as a list of rows; with no file, print them in place of the report
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STDOUT)]
    json: Option<PathBuf>,
    /// Write the report to bench/results, where the repository keeps it
    #[arg(long)]
    record: bool,
}

/// What a benchmark found.
pub(crate) struct Report {
    /// The benchmark's name.
    pub(crate) name: &'static str,
    /// With what it was run, if that makes it another report than the one of its name.
    pub(crate) options: Option<String>,
    /// One line: what was measured.
    pub(crate) title: String,
    /// The figures, for people.
    pub(crate) tables: Vec<Table>,
    /// The figures, for programs: one object each.
    pub(crate) rows: Vec<Value>,
    /// The figures, to look at.
    pub(crate) charts: Vec<Chart>,
    /// How, sentence by sentence.
    pub(crate) method: Vec<String>,
    /// Where.
    pub(crate) machine: Machine,
}

/// A drawing that goes beside the report.
pub(crate) struct Chart {
    /// The file's name, as `filter-cpu.svg`.
    pub(crate) file: &'static str,
    /// What it shows, in one sentence.
    pub(crate) caption: String,
    /// The drawing.
    pub(crate) svg: String,
}

// === impl Report ===

impl Report {
    /// Prints the report and writes it where it is wanted.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn publish(&self, destinations: &Destinations) -> Result<()> {
        let json = || Ok::<_, serde_json::Error>(serde_json::to_string_pretty(&self.rows)? + "\n");
        match &destinations.json {
            Some(stdout) if stdout.as_os_str() == STDOUT => print!("{}", json()?),
            Some(path) => {
                println!("{}", self.text());
                write(path, &json()?)?;
            }
            None => println!("{}", self.text()),
        }
        if destinations.record {
            let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
            fs::create_dir_all(&results)?;
            write(&results.join(self.file()), &self.markdown())?;
            for Chart { file, svg, .. } in &self.charts {
                write(&results.join(file), svg)?;
            }
            eprintln!("recorded in bench/results/{}", self.file());
        }
        Ok(())
    }

    /// The file in which it is recorded, as `push-envoys-20.md`.
    fn file(&self) -> String {
        let options = self.options.iter().map(|options| options.replace("--", "-").replace(' ', "-"));
        [self.name.to_owned()].into_iter().chain(options).collect::<String>() + ".md"
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for table in &self.tables {
            text.push('\n');
            text.push_str(&table.text());
        }
        text.push('\n');
        for (name, fact) in self.machine.facts() {
            let _ = writeln!(text, "  {name:<24} {fact}");
        }
        text
    }

    fn markdown(&self) -> String {
        let Self { name, options, title, .. } = self;
        let options = options.as_deref().map(|options| format!(" {options}")).unwrap_or_default();
        let mut text = format!("# {title}\n\nWritten by `cargo xtask bench {name}{options} --record`.\n");
        for Chart { file, caption, .. } in &self.charts {
            let _ = write!(text, "\n![{caption}]({file})\n");
        }
        for table in &self.tables {
            text.push('\n');
            text.push_str(&table.markdown());
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
