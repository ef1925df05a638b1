//! `graylane freeze`.

use crate::cli::client::{Call, path};
use crate::cli::output::{or_dash, table};
use crate::cli::{CliError, Session};
use crate::daemon::FreezeView;
use clap::Subcommand;
use serde_json::{Value, json};
use ureq::http::Method;

#[derive(Subcommand)]
pub(crate) enum FreezeCommand {
    /// Stop the line: nothing goes forward, by itself or by hand; rolling back stays possible
    On {
        /// The tenant
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
        tenant: String,
        /// People with this role may act all the same; may be given more than once
        #[arg(long, value_name = "ROLE")]
        exempt: Vec<String>,
        /// Why, for those who wait
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Start the line again
    Off {
        /// The tenant
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
        tenant: String,
        /// Why, for the audit log
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// List the lines that are stopped
    List,
}

// === impl FreezeCommand ===

impl FreezeCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::On { tenant, exempt, reason } => {
                let body = json!({ "exempt": exempt, "reason": reason });
                let freeze: FreezeView = session.client.send(Method::PUT, call(&tenant, &body))?;
                session.show(&freeze, |freeze| format!("the line of tenant {} is stopped", freeze.tenant))
            }
            Self::Off { tenant, reason } => {
                let call = call(&tenant, &json!({ "reason": reason }));
                let _: Value = session.client.send(Method::DELETE, call)?;
                session.show(&json!({ "tenant": tenant }), |_| format!("the line of tenant {tenant} runs"))
            }
            Self::List => {
                let freezes: Vec<FreezeView> = session.client.get("/freezes")?;
                session.show(&freezes, |freezes| {
                    table(["TENANT", "SINCE", "BY", "EXEMPT", "REASON"], freezes.iter().map(row))
                })
            }
        }
    }
}

fn call(tenant: &str, body: &Value) -> Call {
    Call {
        path: path(["tenants", tenant, "freeze"]),
        body: Some(("application/json", body.to_string().into_bytes())),
        ..Call::default()
    }
}

fn row(freeze: &FreezeView) -> [String; 5] {
    let FreezeView { tenant, by, reason, since, exempt } = freeze.clone();
    let exempt = or_dash(Some(exempt.join(", ")).filter(|exempt| !exempt.is_empty()));
    [tenant, since.to_string(), by, exempt, reason]
}
