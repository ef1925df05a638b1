//! The command line.

mod client;
mod explain;
mod list;
mod order;
mod output;
mod plan;
mod proxies;
mod serve;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use client::{Client, ClientError};
use std::path::PathBuf;
use std::process::ExitCode;
use thiserror::Error;

/// Gray releases for channel applications in an Envoy mesh.
///
/// Exit codes: 0 done, 1 refused (nothing changed), 2 wrong usage, 3 failed or not reachable (trying again may help).
#[derive(Parser)]
#[command(name = "graylane", version, max_term_width = 110)]
pub struct Cli {
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The daemon to talk to.
    #[arg(
        long,
        global = true,
        env = "GRAYLANE_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:18080"
    )]
    server: String,
    #[command(subcommand)]
    command: Command,
}

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Run the control daemon
    Serve(serve::Serve),
    /// Check, apply and read release plans
    #[command(subcommand)]
    Plan(plan::Plan),
    /// Start, advance, adjust, roll back and finish release orders
    #[command(subcommand)]
    Order(order::OrderCommand),
    /// Upload and read named id lists
    #[command(subcommand)]
    List(list::ListCommand),
    /// Tell which version a request gets, and why
    Explain(explain::Explain),
    /// Show what each proxy should run, acknowledged and runs
    Proxies(proxies::ProxiesCommand),
    /// Print a script that completes this command line in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Why a command did not succeed.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// The daemon was asked, and did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The input cannot be used.
    #[error("{0}")]
    Refused(String),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Waiting took too long.
    #[error("{0}")]
    TimedOut(String),
    /// The daemon could not run.
    #[error("{0:#}")]
    Serve(anyhow::Error),
}

/// What every command that talks to the daemon needs.
pub(crate) struct Session {
    client: Client,
    output: Output,
}

// === impl Cli ===

impl Cli {
    /// Runs the command, and gives the exit code.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let session = Session { client: Client::new(&self.server), output: self.output };
        let done = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Plan(plan) => plan.run(&session),
            Command::Order(order) => order.run(&session),
            Command::List(list) => list.run(&session),
            Command::Explain(explain) => explain.run(&session),
            Command::Proxies(proxies) => proxies.run(&session),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "graylane", &mut std::io::stdout());
                Ok(())
            }
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("graylane: {error}");
                ExitCode::from(error.exit_code())
            }
        }
    }

    /// The help of every command, one after the other: what a test compares.
    #[must_use]
    pub fn all_help() -> String {
        fn add(help: &mut String, path: &str, command: &mut clap::Command) {
            let path = format!("{path} {}", command.get_name()).trim().to_owned();
            help.push_str(&format!("## {path}\n\n{}\n", command.render_long_help()));
            command
                .get_subcommands_mut()
                .filter(|sub| sub.get_name() != "help")
                .for_each(|sub| add(help, &path, sub));
        }
        let mut help = String::new();
        let mut command = Self::command().version("VERSION");
        command.build();
        add(&mut help, "", &mut command);
        help
    }
}

// === impl CliError ===

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => error.exit_code(),
            Self::Refused(_) | Self::Read { .. } => 1,
            Self::TimedOut(_) | Self::Serve(_) => 3,
        }
    }
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read_input(path: &std::path::Path) -> Result<String, CliError> {
    let read = match path.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(path),
    };
    read.map_err(|source| CliError::Read { path: path.into(), source })
}
