//! Release plans: the model, the checks, and the way to the rules that the filter reads.
//!
//! [`read`] and [`parse()`] read a plan, [`check()`] says everything that is wrong with it, [`Snapshot`] pins what it means, and
//! [`compile()`] turns a snapshot into a table of rules. The crate does no IO and has no clock: named lists, claimed
//! hosts and baselines come in as a [`World`].
#![forbid(unsafe_code)]

mod check;
mod compile;
mod gate;
mod health;
mod id;
mod list;
mod model;
mod nearest;
mod parse;
mod percentage;
mod problem;
mod snapshot;
mod span;
mod window;
mod world;

pub use check::{check, check_list, check_scope};
pub use compile::{ServiceRules, compile, rule_set};
pub use gate::{Approvals, Calendar, Gate, Missed, Slot, WindowSpec};
pub use health::{EndpointSpec, ErrorSpec, HealthSource, HealthSpec, LatencySpec, Ratio, Share};
pub use list::{MAX_LIST_BYTES, MAX_LIST_IDS, list_hash, parse_list, write_list};
pub use model::{
    API_VERSION, Advance, Batch, FaultAction, Ids, KIND, ListRef, Metadata, ReleasePlan, RetentionEnd, Scope,
    ServiceSpec, Spec, StageSpec,
};
pub use nearest::did_you_mean;
pub use parse::{MAX_PLAN_BYTES, parse, parse_scope, read};
pub use percentage::{Percentage, PercentageError};
pub use problem::{MAX_PROBLEMS, Problem, Severity, in_order};
pub use snapshot::{PinnedList, ResolvedIds, ResolvedScope, Snapshot, snapshot};
pub use span::{MAX_SPAN_SECONDS, Span, SpanError};
pub use window::Window;
pub use world::{Baseline, HostClaim, Lists, PrometheusSource, Tenant, World};
