//! `graylane order`.

mod sparkline;
mod tree;
mod watch;

use crate::cli::client::Call;
use crate::cli::order_filter::OrderFilter;
use crate::cli::output::{or_dash, table};
use crate::cli::{CliError, Session, read_input};
use crate::daemon::{OrderSummary, OrderView, ServiceView};
use clap::{Args, Subcommand, ValueEnum};
use graylane_order::{Health, Phase};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tree::tree;
use ureq::http::Method;

/// How often `--watch` and `--wait` ask.
const POLL: Duration = Duration::from_millis(200);

/// Seconds that `--wait` may wait: a day.
const MAX_WAIT_SECONDS: u64 = 86_400;

#[derive(Subcommand)]
pub(crate) enum OrderCommand {
    /// Start an order of a plan: its first stage is published
    Start {
        /// The plan's name
        plan: String,
        /// The plan's tenant; needed when several tenants have a plan of this name
        #[arg(long, env = "GRAYLANE_TENANT", hide_env_values = true)]
        tenant: Option<String>,
        #[command(flatten)]
        action: Action,
    },
    /// List orders, newest first
    List(OrderFilter),
    /// Show an order
    Get {
        /// The order's number
        id: u64,
        /// Show it again each time it changes, until it ends
        #[arg(long)]
        watch: bool,
    },
    /// Approve the stage that comes next, as it stands now
    Approve {
        #[command(flatten)]
        target: Target,
        /// The stage, as `order get` showed it; without it, the one that comes next
        #[arg(long)]
        stage: Option<String>,
        /// The role in which to approve, of those that you have; otherwise one that is still needed
        #[arg(long)]
        role: Option<String>,
        /// Refuse unless this content stands, as `order get` showed it; without it, whatever stands now is approved
        #[arg(long, value_name = "HASH")]
        content: Option<String>,
        #[command(flatten)]
        action: Action,
    },
    /// Go to the next stage, once its gate is open
    Advance {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        action: Action,
    },
    /// Change the current stage's scope now, to any other
    Adjust {
        #[command(flatten)]
        target: Target,
        /// The scope in place of the one that holds, as YAML or JSON; `-` for standard input
        #[arg(short, long)]
        file: PathBuf,
        #[command(flatten)]
        action: Action,
    },
    /// Advance no more until it is resumed; the published rules stay
    Pause {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        action: Action,
    },
    /// End a pause
    Resume {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        action: Action,
    },
    /// Put services back to their baseline, in one publish
    Rollback {
        #[command(flatten)]
        target: Target,
        /// Only this service and those that depend on it; may be given more than once
        #[arg(long = "service")]
        services: Vec<String>,
        /// Leave the services that depend on a chosen one where they are
        #[arg(long, requires = "services")]
        keep_dependents: bool,
        #[command(flatten)]
        action: Action,
    },
    /// End the gray period: the gray versions become the baselines
    Finish {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        action: Action,
    },
    /// Say how the gray version of a service does; a fault stops the order, and does what its plan says of faults
    Health {
        #[command(flatten)]
        target: Target,
        /// The service
        #[arg(long)]
        service: String,
        /// How it does
        #[arg(value_enum)]
        health: Judgement,
        /// The figures that say so, for the timeline and the audit log
        #[arg(long, default_value = "")]
        figures: String,
        #[command(flatten)]
        action: Action,
    },
}

/// How a gray version does.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Judgement {
    /// It does well
    Healthy,
    /// It does not
    Faulty,
    /// Nobody knows
    Unknown,
}

#[derive(Args)]
pub(crate) struct Target {
    /// The order's number
    id: u64,
    /// Refuse unless the order is at this version
    #[arg(long, value_name = "VERSION")]
    if_match: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Action {
    /// Why, for the order's timeline
    #[arg(long, default_value = "")]
    reason: String,
    /// Wait until every service entered the stage and every connected proxy runs the result, at most so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60",
        value_parser = clap::value_parser!(u64).range(..=MAX_WAIT_SECONDS))]
    wait: Option<u64>,
}

// === impl OrderCommand ===

impl OrderCommand {
    pub(crate) fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::Start { plan, tenant, action } => {
                let body = json!({ "plan": plan, "tenant": tenant, "reason": action.reason });
                let order = session.client.post("/orders", &body)?;
                action.finish(session, order, true)
            }
            Self::List(filter) => list(session, &filter.path(), filter.limit),
            Self::Get { id, watch: false } => {
                let order: OrderView = session.client.get(&format!("/orders/{id}"))?;
                show(session, &order)
            }
            Self::Get { id, watch: true } => watch::watch(session, id),
            Self::Approve { target, stage, role, content, action } => {
                // Both of one answer, so that what is approved was there together.
                let order: OrderView = session.client.get(&format!("/orders/{}", target.id))?;
                let next = order.next_stage.map(|next| next.name).unwrap_or_default();
                let (stage, content) = (stage.unwrap_or(next), content.unwrap_or(order.standing_hash));
                let body = json!({ "stage": stage, "role": role, "content": content });
                action.send(session, &target, "approve", body)
            }
            Self::Advance { target, action } => action.send(session, &target, "advance", json!({})),
            Self::Adjust { target, file, action } => {
                let scope = read_input(&file)?;
                action.send(session, &target, "adjust", json!({ "scope": scope }))
            }
            Self::Pause { target, action } => action.send(session, &target, "pause", json!({})),
            Self::Resume { target, action } => action.send(session, &target, "resume", json!({})),
            Self::Rollback { target, services, keep_dependents, action } => {
                let body = json!({ "services": services, "keepDependents": keep_dependents });
                action.send(session, &target, "rollback", body)
            }
            Self::Finish { target, action } => action.send(session, &target, "finish", json!({})),
            Self::Health { target, service, health, figures, action } => {
                let body = json!({ "service": service, "health": Health::from(health), "figures": figures });
                action.send(session, &target, "health", body)
            }
        }
    }
}

// === impl Judgement ===

impl From<Judgement> for Health {
    fn from(judgement: Judgement) -> Self {
        match judgement {
            Judgement::Healthy => Self::Healthy,
            Judgement::Faulty => Self::Faulty,
            Judgement::Unknown => Self::Unknown,
        }
    }
}

// === impl Action ===

impl Action {
    fn send(self, session: &Session, target: &Target, action: &str, mut body: Value) -> Result<(), CliError> {
        if let Some(fields) = body.as_object_mut() {
            fields.insert("reason".into(), json!(self.reason));
        }
        let call = Call {
            path: format!("/orders/{}/{action}", target.id),
            body: Some(("application/json", body.to_string().into_bytes())),
            if_match: target.if_match,
            ..Call::default()
        };
        let order = session.client.send(Method::POST, call)?;
        let goes_on = matches!(action, "advance" | "resume");
        self.finish(session, order, goes_on)
    }

    /// Waits if that was asked for, and shows the order. What `goes_on` has not come to its end when somebody pauses it.
    fn finish(self, session: &Session, mut order: OrderView, goes_on: bool) -> Result<(), CliError> {
        if let Some(seconds) = self.wait {
            let deadline = Instant::now() + Duration::from_secs(seconds);
            while !is_settled(&order) {
                if Instant::now() > deadline {
                    return Err(CliError::TimedOut(timed_out(&order, seconds)));
                }
                sleep(POLL);
                order = session.client.get(&format!("/orders/{}", order.id))?;
            }
            if goes_on && order.phase == Phase::Paused {
                let id = order.id;
                return Err(CliError::TimedOut(format!(
                    "order {id} was changed, and then paused; see `order get {id}`"
                )));
            }
        }
        show(session, &order)
    }
}

/// Shows an order, with charts where there is a terminal for them.
fn show(session: &Session, order: &OrderView) -> Result<(), CliError> {
    session.show(order, |order| tree(order, session.is_on_terminal()))
}

/// Whether all that an action brings about is done: in a serial batch the services follow one by one.
fn is_settled(order: &OrderView) -> bool {
    let has_moved = match order.phase {
        Phase::RollingBack => false,
        Phase::RolledBack | Phase::Finished => true,
        // No service enters before somebody acts, or a window opens.
        Phase::Paused | Phase::AwaitingApproval => true,
        _ => order.services.iter().all(|service| has_entered(order, service)),
    };
    has_moved && order.convergence.converged == order.convergence.total
}

fn has_entered(order: &OrderView, service: &ServiceView) -> bool {
    service.rolled_back || service.stage.as_ref() == Some(&order.stage.name)
}

fn timed_out(order: &OrderView, seconds: u64) -> String {
    let OrderView { id, stage, convergence, .. } = order;
    let waiting: Vec<&str> = order
        .services
        .iter()
        .filter(|service| !has_entered(order, service))
        .map(|service| service.name.as_str())
        .collect();
    let waiting = match waiting.as_slice() {
        [] => String::new(),
        waiting => format!(", and services {} have not entered stage {}", waiting.join(", "), stage.name),
    };
    format!(
        "order {id} was changed, but after {seconds} s {} of {} proxies run revision {}{waiting}; see `graylane proxies`",
        convergence.converged, convergence.total, convergence.wanted
    )
}

fn list(session: &Session, path: &str, limit: usize) -> Result<(), CliError> {
    let orders: Vec<OrderSummary> = session.client.get(path)?;
    session.show(&orders, |orders| {
        let table = table(
            ["ORDER", "TENANT", "PLAN", "PHASE", "STAGE", "CONVERGED", "WAITS FOR"],
            orders.iter().map(|order| {
                let OrderSummary { id, tenant, plan, phase, stage, waits_for, convergence, .. } = order;
                let stage = format!("{} ({}/{})", stage.name, stage.number, stage.of);
                let converged = match convergence.ignored {
                    0 => format!("{}/{}", convergence.converged, convergence.total),
                    ignored => {
                        format!("{}/{}, {ignored} ignored", convergence.converged, convergence.total)
                    }
                };
                let waits = or_dash(waits_for.as_ref().map(|waits| &waits.what));
                [id.to_string(), tenant.clone(), plan.clone(), phase.to_string(), stage, converged, waits]
            }),
        );
        match orders.last() {
            Some(last) if orders.len() >= limit => {
                format!("{table}\nThese are {limit}; see older ones with --before {}", last.id)
            }
            _ => table.to_string(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An order in a stage `two`, with the stages that its services entered.
    fn order(phase: &str, entered: [&str; 2], converged: usize) -> OrderView {
        let service = |stage: &str| {
            let rolled_back = stage == "rolled back";
            json!({ "name": "loan", "stable": "v1", "gray": "v2", "stage": stage, "rolledBack": rolled_back,
                "health": "Unknown", "converged": converged, "total": 2 })
        };
        let stage = json!({ "name": "two", "number": 2, "of": 2, "since": "2026-11-01T00:00:00Z", "holdLeftSeconds": 0,
            "scope": null });
        let seen =
            json!({ "wanted": 3, "acknowledged": 2, "applied": 2, "converged": converged, "total": 2 });
        serde_json::from_value(json!({ "id": 1, "tenant": "retail", "plan": "p", "contentHash": "", "phase": phase,
            "phaseSince": "2026-11-01T00:00:00Z", "standingHash": "", "authors": [], "stages": ["one", "two"], "approvals": [],
            "stage": stage, "services": entered.map(service), "convergence": seen, "timeline": [], "version": 1 }))
        .unwrap()
    }

    #[test]
    fn waiting_ends_when_every_service_of_a_serial_batch_entered_and_every_proxy_follows() {
        for (phase, entered, converged, settled) in [
            ("Running", ["two", "two"], 2, true),
            ("Running", ["two", "two"], 1, false),
            ("Running", ["two", "one"], 2, false),
            ("Running", ["two", "rolled back"], 2, true),
            ("RollingBack", ["rolled back", "rolled back"], 2, false),
            ("RolledBack", ["rolled back", "rolled back"], 2, true),
            ("Finished", ["two", "one"], 2, true),
            ("Paused", ["two", "one"], 2, true),
            ("AwaitingApproval", ["two", "one"], 2, true),
            ("Paused", ["two", "two"], 1, false),
            ("Finished", ["two", "two"], 1, false),
        ] {
            assert_eq!(
                is_settled(&order(phase, entered, converged)),
                settled,
                "{phase} {entered:?} {converged}"
            );
        }
        let waiting = timed_out(&order("Running", ["two", "one"], 2), 60);
        assert!(waiting.contains("services loan have not entered stage two"), "{waiting}");
    }
}
