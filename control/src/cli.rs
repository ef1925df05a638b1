//! The command line.

mod audit;
mod baseline;
mod client;
mod error;
mod explain;
mod freeze;
mod list;
mod offline;
mod order;
mod order_filter;
mod output;
mod plan;
mod problem;
mod progress;
mod proxies;
mod rules;
mod screen;
mod serve;
mod store;
mod tenant;
mod token;
mod webhook;

pub(crate) use error::CliError;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use client::Client;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use token::Credentials;

/// Gray releases for channel applications in an Envoy mesh.
///
/// Exit codes: 0 done; 1 refused, nothing changed; 2 wrong usage; 3 failed, not reachable or not in time: trying again may
/// help, but where the message says that a change may have been done, read it again first.
///
/// Answers go to standard output. What goes wrong is told on standard error: in words or, with `-o json`, as one object
/// with `detail`, `errors` (a list of `path` and `message`) and, when the daemon refused, its `status` and `title`. Only
/// wrong usage is always told in words.
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
        value_name = "URL",
        value_parser = client::parse_server,
        env = "GRAYLANE_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:18080"
    )]
    server: String,
    /// The file with your token, where the daemon wants one; GRAYLANE_TOKEN may hold the token itself
    #[arg(long, global = true, value_name = "FILE", env = "GRAYLANE_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
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
    /// Start, approve, advance, adjust, pause, resume, roll back and finish release orders
    #[command(subcommand)]
    Order(order::OrderCommand),
    /// Stop a tenant's line: everything but rolling back; and start it again
    #[command(subcommand)]
    Freeze(freeze::FreezeCommand),
    /// Upload and read named id lists
    #[command(subcommand)]
    List(list::ListCommand),
    /// Read the baselines that finished orders left, and clear them
    #[command(subcommand)]
    Baseline(baseline::BaselineCommand),
    /// Try again what proxies refused
    #[command(subcommand)]
    Rules(rules::RulesCommand),
    /// Read the audit log, and check that nobody changed it
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Back up, restore and check the data directory of a daemon that does not run
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Tell which version a request gets, and why
    Explain(explain::Explain),
    /// Show how each proxy stands: what it should run, acknowledged and runs
    #[command(after_long_help = proxies::STATES)]
    Proxies(proxies::ProxiesCommand),
    /// See how webhooks stand that tell of orders, and try them
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Make a token for a person or a robot, and print what the daemon's configuration needs of it
    Token(token::Token),
    /// Print a script that completes this command line in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Why somebody does something.
#[derive(Args)]
pub(crate) struct Why {
    /// Why, for the audit log
    #[arg(long, default_value = "")]
    reason: String,
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
        let credentials = Credentials::new(self.token_file);
        let session = Session { client: Client::new(&self.server, credentials), output: self.output };
        let done = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Plan(plan) => plan.run(&session),
            Command::Order(order) => order.run(&session),
            Command::Freeze(freeze) => freeze.run(&session),
            Command::List(list) => list.run(&session),
            Command::Baseline(baseline) => baseline.run(&session),
            Command::Rules(rules) => rules.run(&session),
            Command::Audit(audit) => audit.run(&session),
            Command::Store(store) => store.run(&session),
            Command::Explain(explain) => explain.run(&session),
            Command::Proxies(proxies) => proxies.run(&session),
            Command::Webhook(webhook) => webhook.run(&session),
            Command::Token(token) => token.run(self.output),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "graylane", &mut script);
                output::print(&String::from_utf8_lossy(&script).trim_end())
            }
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
            Err(error) => {
                let code = error.exit_code();
                self.output.complain(&error.into_problem());
                ExitCode::from(code)
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

/// Reads a file, or standard input for `-`.
pub(crate) fn read_input(path: &Path) -> Result<String, CliError> {
    open(path).and_then(io::read_to_string).map_err(|source| CliError::Read { path: path.into(), source })
}

/// Reads a file, or standard input for `-`, that may have at most `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: usize) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = open(path).and_then(|input| input.take(limit as u64 + 1).read_to_end(&mut bytes));
    match read {
        Err(source) => Err(CliError::Read { path: path.into(), source }),
        Ok(count) if count > limit => {
            let size = fs::metadata(path).ok().map(|file| file.len()).filter(|size| *size > limit as u64);
            let size =
                size.map_or_else(|| "more bytes than".to_owned(), |size| format!("{size} bytes, over"));
            let path = path.display();
            Err(CliError::refused(format!("{path} has {size} the limit of {limit}; split it in two")))
        }
        Ok(_) => Ok(bytes),
    }
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    match path.as_os_str() == "-" {
        true => Ok(Box::new(io::stdin())),
        false => Ok(Box::new(fs::File::open(path)?)),
    }
}
