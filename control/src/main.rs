//! `graylane`: the control daemon and its command line.

use clap::Parser;
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Rule sets are megabytes that come and go on many threads: the system's allocator keeps a share of them for each thread.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    graylane::cli::Cli::parse().run()
}
