//! `graylane rules`.

use crate::cli::client::{Call, path};
use crate::cli::{CliError, Session, Why};
use clap::Subcommand;
use serde_json::{Value, json};
use ureq::http::Method;

#[derive(Subcommand)]
pub(crate) enum RulesCommand {
    /// Publish a tenant's rules anew that a proxy refused, once what was wrong with the proxy is mended
    Retry {
        /// The tenant
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
        tenant: String,
        #[command(flatten)]
        why: Why,
    },
}

// === impl RulesCommand ===

impl RulesCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        let Self::Retry { tenant, why: Why { reason } } = self;
        let path = path(["tenants", &tenant, "rules", "retry"]);
        let _: Value = session.client.send(Method::POST, Call { path, reason, ..Call::default() })?;
        session.show(&json!({ "tenant": tenant }), |_| {
            format!("what proxies of tenant {tenant} refused is forgotten, and published anew where it is held back; resume its orders")
        })
    }
}
