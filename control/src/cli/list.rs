//! `graylane list`.

use crate::cli::client::{Call, path};
use crate::cli::output::table;
use crate::cli::tenant::Kind;
use crate::cli::{CliError, Session, Why, read_bytes};
use crate::daemon::ListView;
use clap::{Args, Subcommand};
use graylane_plan::MAX_LIST_BYTES;
use serde_json::{Value, json};
use std::path::PathBuf;
use ureq::http::Method;

#[derive(Subcommand)]
pub(crate) enum ListCommand {
    /// Upload a list, new or in place of the one of its name
    Put {
        /// The list's name
        name: String,
        /// The ids, one per line, or a CSV file with the ids in its first column, in UTF-8; `-` for standard input. A
        /// first line that names the column, like `id` or `teller_id`, is skipped
        #[arg(short, long)]
        file: PathBuf,
        /// The list's tenant; needed unless there is exactly one
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
        tenant: Option<String>,
        /// Refuse unless the list is at this version
        #[arg(long, value_name = "VERSION")]
        if_match: Option<u64>,
        #[command(flatten)]
        why: Why,
    },
    /// List the lists
    List {
        /// Only those of this tenant
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
        tenant: Option<String>,
    },
    /// Print the ids of a list, one per line
    Get(ListName),
    /// Delete a list that no plan names
    Delete {
        #[command(flatten)]
        name: ListName,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Args)]
pub(crate) struct ListName {
    /// The list's name
    name: String,
    /// The list's tenant; needed when several tenants have a list of this name
    #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
    tenant: Option<String>,
}

// === impl ListCommand ===

impl ListCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::Put { name, file, tenant, if_match, why: Why { reason } } => {
                let bytes = read_bytes(&file, MAX_LIST_BYTES)?;
                let tenant = session.only_tenant(tenant)?;
                let progress = Some(session.progress(bytes.len()));
                let path = path(["tenants", &tenant, "lists", &name]);
                let call = Call { path, body: Some(("text/csv", bytes)), if_match, reason, progress };
                let list: ListView = session.client.send(Method::PUT, call)?;
                session.show(&list, |ListView { name, tenant, ids, version, .. }| {
                    format!("list {name} of tenant {tenant} has {ids} ids (version {version})")
                })
            }
            Self::List { tenant } => {
                let mut lists: Vec<ListView> = session.client.get("/lists")?;
                lists.retain(|list| tenant.as_ref().is_none_or(|tenant| list.tenant == *tenant));
                let row = |list: &ListView| {
                    [list.name.clone(), list.tenant.clone(), list.ids.to_string(), list.version.to_string()]
                };
                session
                    .show(&lists, |lists| table(["LIST", "TENANT", "IDS", "VERSION"], lists.iter().map(row)))
            }
            Self::Get(name) => {
                let call = Call { path: name.path(session)?, ..Call::default() };
                let ids = session.client.send_raw(Method::GET, call)?;
                let ids = String::from_utf8_lossy(&ids).trim_end().to_owned();
                session.show(&ids.lines().collect::<Vec<_>>(), |ids| ids.join("\n"))
            }
            Self::Delete { name, why: Why { reason } } => {
                let call = Call { path: name.path(session)?, reason, ..Call::default() };
                let _: Value = session.client.send(Method::DELETE, call)?;
                session.show(&json!({ "deleted": name.name }), |_| format!("list {} deleted", name.name))
            }
        }
    }
}

// === impl ListName ===

impl ListName {
    fn path(&self, session: &Session) -> Result<String, CliError> {
        let tenant = session.tenant_of(self.tenant.clone(), Kind::List, &self.name)?;
        Ok(path(["tenants", &tenant, "lists", &self.name]))
    }
}
