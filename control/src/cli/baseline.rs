//! `graylane baseline`.

use crate::cli::client::{Call, path};
use crate::cli::output::table;
use crate::cli::tenant::Kind;
use crate::cli::{CliError, Session, Why};
use crate::daemon::BaselineView;
use clap::Subcommand;
use serde_json::{Value, json};
use ureq::http::Method;

#[derive(Subcommand)]
pub(crate) enum BaselineCommand {
    /// List the baselines
    List {
        /// Only those of this tenant
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
        tenant: Option<String>,
    },
    /// Forget a service's baseline, once its routes choose that version with no header
    Clear {
        /// The service's name
        service: String,
        /// The service's tenant; needed when several tenants have a baseline of this service
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
        tenant: Option<String>,
        #[command(flatten)]
        why: Why,
    },
}

// === impl BaselineCommand ===

impl BaselineCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::List { tenant } => {
                let mut baselines: Vec<BaselineView> = session.client.get("/baselines")?;
                baselines.retain(|baseline| tenant.as_ref().is_none_or(|tenant| baseline.tenant == *tenant));
                session.show(&baselines, |baselines| {
                    table(["SERVICE", "TENANT", "VERSION", "ROUTE DEFAULT"], baselines.iter().map(row))
                })
            }
            Self::Clear { service, tenant, why: Why { reason } } => {
                let tenant = session.tenant_of(tenant, Kind::Baseline, &service)?;
                let path = path(["tenants", &tenant, "baselines", &service]);
                let _: Value =
                    session.client.send(Method::DELETE, Call { path, reason, ..Call::default() })?;
                session.show(&json!({ "cleared": service, "tenant": tenant }), |_| {
                    format!(
                        "baseline of service {service} of tenant {tenant} cleared: the routes choose it now"
                    )
                })
            }
        }
    }
}

fn row(baseline: &BaselineView) -> [String; 4] {
    let BaselineView { tenant, service, version, route_default } = baseline.clone();
    [service, tenant, version, route_default]
}
