//! `graylane proxies`.

use crate::cli::output::{age, or_dash, table};
use crate::cli::{CliError, Session};
use crate::daemon::ProxyView;
use clap::Args;

#[derive(Args)]
pub(crate) struct ProxiesCommand {
    /// Only those of this tenant
    #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
    tenant: Option<String>,
}

// === impl ProxiesCommand ===

impl ProxiesCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        let mut proxies: Vec<ProxyView> = session.client.get("/proxies")?;
        proxies.retain(|proxy| self.tenant.as_ref().is_none_or(|tenant| *tenant == proxy.tenant));
        session.show(&proxies, |proxies| {
            table(
                ["NODE", "TENANT", "STATE", "WANTED", "ACKNOWLEDGED", "APPLIED", "AGE", "LAST ERROR"],
                proxies.iter().map(|proxy| {
                    [
                        proxy.node.clone(),
                        proxy.tenant.clone(),
                        state(proxy).to_owned(),
                        or_dash(proxy.wanted),
                        or_dash(proxy.acknowledged),
                        or_dash(proxy.applied),
                        age(proxy.age_seconds),
                        or_dash(proxy.last_error.as_ref()),
                    ]
                }),
            )
        })
    }
}

/// One word that claims no more than was observed: a proxy whose filter does not report is only `ACKNOWLEDGED`.
fn state(proxy: &ProxyView) -> &'static str {
    match proxy {
        ProxyView { connected: false, .. } => "GONE",
        ProxyView { rejected_config: true, .. } => "REJECTED",
        ProxyView { last_error: Some(_), .. } => "NACKED",
        ProxyView { wanted, acknowledged, .. } if wanted != acknowledged => "STALE",
        ProxyView { wanted, applied: Some(applied), .. } if *wanted == Some(*applied) => "SYNCED",
        ProxyView { applied: Some(_), .. } => "STALE",
        ProxyView { applied: None, .. } => "ACKNOWLEDGED",
    }
}
