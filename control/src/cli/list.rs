//! `graylane list`.

use crate::cli::client::Call;
use crate::cli::output::table;
use crate::cli::{CliError, Session, read_input};
use crate::daemon::ListView;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;
use ureq::http::Method;

#[derive(Subcommand)]
pub(crate) enum ListCommand {
    /// Upload a list, new or in place of the one of its name
    Put {
        /// The list's name
        name: String,
        /// The ids, one per line, or a CSV file with the ids in its first column; `-` for standard input
        #[arg(short, long)]
        file: PathBuf,
        /// The list's tenant
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true, default_value = "retail")]
        tenant: String,
        /// Refuse unless the list is at this version
        #[arg(long, value_name = "VERSION")]
        if_match: Option<u64>,
    },
    /// List the lists
    List {
        /// Only those of this tenant
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
        tenant: Option<String>,
    },
    /// Print the ids of a list, one per line
    Get {
        /// The list's name
        name: String,
        /// The list's tenant
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true, default_value = "retail")]
        tenant: String,
    },
    /// Delete a list that no plan names
    Delete {
        /// The list's name
        name: String,
        /// The list's tenant
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true, default_value = "retail")]
        tenant: String,
    },
}

// === impl ListCommand ===

impl ListCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::Put { name, file, tenant, if_match } => {
                let body = Some(("text/csv", read_input(&file)?.into_bytes()));
                let path = format!("/tenants/{tenant}/lists/{name}");
                let list: ListView = session.client.send(Method::PUT, Call { path, body, if_match })?;
                session.show(&list, |list| {
                    format!("list {} has {} ids (version {})", list.name, list.ids, list.version)
                });
            }
            Self::List { tenant } => {
                let mut lists: Vec<ListView> = session.client.get("/lists")?;
                lists.retain(|list| tenant.as_ref().is_none_or(|tenant| list.tenant == *tenant));
                let row = |list: &ListView| {
                    [list.name.clone(), list.tenant.clone(), list.ids.to_string(), list.version.to_string()]
                };
                session
                    .show(&lists, |lists| table(["LIST", "TENANT", "IDS", "VERSION"], lists.iter().map(row)));
            }
            Self::Get { name, tenant } => {
                let path = format!("/tenants/{tenant}/lists/{name}");
                let ids = session.client.send_raw(Method::GET, Call { path, ..Call::default() })?;
                let ids = String::from_utf8_lossy(&ids).trim_end().to_owned();
                session.show(&ids.lines().collect::<Vec<_>>(), |ids| ids.join("\n"));
            }
            Self::Delete { name, tenant } => {
                let path = format!("/tenants/{tenant}/lists/{name}");
                let _: Value = session.client.send(Method::DELETE, Call { path, ..Call::default() })?;
                session.show(&json!({ "deleted": name }), |_| format!("list {name} deleted"));
            }
        }
        Ok(())
    }
}
