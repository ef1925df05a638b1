//! `graylane proxies`.

mod show;
mod watch;

use crate::cli::client::{escaped, path};
use crate::cli::{CliError, Session};
use crate::daemon::{ProxyPage, ProxyView};
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::time::Duration;

/// The words for how proxies stand, for the help.
pub(crate) const STATES: &str = "\
States, each claiming no more than was observed:
  SYNCED         it acknowledged the wanted revision, and its filter reports to run it
  NOT-REPORTING  it acknowledged the wanted revision; its filter does not report, or the proxy has several
                 resources, of which a report does not tell one from the other
  STALE          it acknowledged or runs something else than the wanted revision, or nothing yet
  NACKED         it refused what it answered last, or its filter reports that it could not read it
  NO-RULES       there is nothing that it should run, and it runs nothing
  GONE           its stream ended; whatever else is told of it is from before; forgotten after 10 minutes";

/// Seconds that `--watch` may last, and lasts unless it is told: a day.
const MAX_WATCH_SECONDS: u64 = 86_400;

#[derive(Args)]
pub(crate) struct ProxiesCommand {
    #[command(subcommand)]
    of: Option<ProxyCommand>,
    #[command(flatten)]
    filter: ProxyFilter,
    /// Show them again when something changes, for at most so many seconds, a day unless given: on a terminal in their
    /// place, and else those that changed, or with `-o json` each time all on one line
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "86400",
        value_parser = clap::value_parser!(u64).range(1..=MAX_WATCH_SECONDS))]
    watch: Option<u64>,
}

#[derive(Subcommand)]
enum ProxyCommand {
    /// Show all that is known of a proxy, for each of its resources
    #[command(after_long_help = STATES)]
    Get {
        /// Its node id
        node: String,
    },
}

/// Which proxies are listed.
#[derive(Args)]
struct ProxyFilter {
    /// Only those with a resource of this tenant
    #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
    tenant: Option<String>,
    /// Only those in this state, like `STALE`; may be given more than once
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<String>,
    /// Only those whose node id starts so
    #[arg(long, value_name = "PREFIX")]
    node: Option<String>,
    /// Only those of this node cluster
    #[arg(long)]
    cluster: Option<String>,
    /// Only those whose node id comes later: more than the last list had
    #[arg(long, value_name = "NODE")]
    after: Option<String>,
    /// At most so many, up to 1000; the resources of one node stay together
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

// === impl ProxiesCommand ===

impl ProxiesCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        let Self { of, filter, watch } = self;
        match (of, watch) {
            (Some(ProxyCommand::Get { .. }), _) if watch.is_some() || filter.is_given() => {
                Err(CliError::refused("`proxies get` shows one proxy, and takes no filter and no --watch"))
            }
            (Some(ProxyCommand::Get { node }), _) => {
                let proxies: Vec<ProxyView> = session.client.get(&path(["proxies", &node]))?;
                session.show(&proxies, |proxies| show::whole(proxies))
            }
            (None, Some(seconds)) => watch::watch(session, &filter.path(), Duration::from_secs(seconds)),
            (None, None) => {
                let page: ProxyPage = session.client.get(&filter.path())?;
                session.show(&page, show::page)
            }
        }
    }
}

// === impl ProxyFilter ===

impl ProxyFilter {
    /// Whether somebody asked for some alone. A tenant is no sign of that: it may come from the environment.
    fn is_given(&self) -> bool {
        !self.states.is_empty() || [&self.node, &self.cluster, &self.after].into_iter().any(Option::is_some)
    }

    /// The path that asks for them.
    fn path(&self) -> String {
        let Self { tenant, states, node, cluster, after, limit } = self;
        let states = Some(states.join(",")).filter(|states| !states.is_empty());
        let mut path = format!("/proxies?limit={limit}");
        for (name, value) in
            [("tenant", tenant), ("state", &states), ("node", node), ("cluster", cluster), ("after", after)]
        {
            if let Some(value) = value {
                let _ = write!(path, "&{name}={}", escaped(value));
            }
        }
        path
    }
}
