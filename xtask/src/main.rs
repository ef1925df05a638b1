//! `cargo xtask <verb>`: everything that one does with this repository, with no other tool installed.

mod apt;
mod cargo;
mod envoy;
mod fuzz;
mod judge;
mod process;
mod prometheus;
mod simulation;
mod steps;
mod tools;
mod verbs;
mod workshop;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match verbs::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
