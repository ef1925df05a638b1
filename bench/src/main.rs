//! Benchmarks that check their own answers. `cargo xtask bench <name>` builds and runs one.

mod api;
mod chart;
mod control;
mod figures;
mod filter;
mod goals;
mod health;
mod machine;
mod push;
mod report;
mod table;
mod xds;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Benchmarks that check their own answers.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// What an action of the daemon takes until it is durable; start-up, reads and memory with 10,000 orders in the store
    Control(control::Control),
    /// What a request costs in Envoy with each way to steer, by number of ids; memory, reloads, and time to be served
    Filter(filter::Filter),
    /// Gray versions that are judged: false alarms, the time until a fault is found and taken back, and what a thousand proxies cost
    Health(health::Bench),
    /// From an order's `advance` to the last proxy's ACK, and to the first steered request: daemon and three Envoys
    Push(push::Push),
    /// Ten thousand proxies: publishes, memory, a storm of reconnects, a thousand edits, stuck readers, and the cost per proxy
    Xds(xds::Bench),
}

fn main() -> ExitCode {
    let done = match Cli::parse().benchmark {
        Benchmark::Control(control) => control.run(),
        Benchmark::Filter(filter) => filter.run(),
        Benchmark::Health(bench) => bench.run(),
        Benchmark::Push(push) => push.run(),
        Benchmark::Xds(bench) => bench.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
