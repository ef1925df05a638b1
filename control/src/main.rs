//! `graylane`: the control daemon and its command line.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    graylane::cli::Cli::parse().run()
}
