//! `graylane webhook`.

use crate::cli::client::{Call, path};
use crate::cli::output::{or_dash, plain, table};
use crate::cli::{CliError, Session};
use crate::webhooks::{WebhookTried, WebhookView};
use clap::Subcommand;
use ureq::http::Method;

#[derive(Subcommand)]
pub(crate) enum WebhookCommand {
    /// List the webhooks of the daemon's configuration, and how each of them stands
    List,
    /// Send a test to the receiver of a webhook, and show what it answers
    Test {
        /// The webhook's name
        name: String,
    },
}

// === impl WebhookCommand ===

impl WebhookCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::List => {
                let webhooks: Vec<WebhookView> = session.client.get("/webhooks")?;
                session.show(&webhooks, |webhooks| {
                    table(
                        ["NAME", "FORMAT", "HOST", "RECORD", "UNDELIVERED SINCE", "PROBLEM"],
                        webhooks.iter().map(row),
                    )
                })
            }
            Self::Test { name } => {
                let call = Call { path: path(["webhooks", &name, "test"]), ..Call::default() };
                let tried: WebhookTried = session.client.send(Method::POST, call)?;
                match &tried.problem {
                    None => session.show(&tried, |tried| format!("{} took the test", tried.host)),
                    Some(problem) => Err(CliError::NotTaken(format!(
                        "{} did not take the test: {}",
                        tried.host,
                        plain(problem)
                    ))),
                }
            }
        }
    }
}

fn row(webhook: &WebhookView) -> [String; 6] {
    let WebhookView { name, format, host, record, undelivered_since, problem, .. } = webhook.clone();
    let problem = or_dash(problem.as_deref().map(plain));
    [name, format, host, record.to_string(), or_dash(undelivered_since), problem]
}
