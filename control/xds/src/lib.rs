//! Delivers rule sets to Envoy: ECDS over gRPC, and what the proxies answer.
//!
//! [`Xds::publish`] puts one immutable snapshot in place; every stream that hears of it pushes what its proxy lacks. The streams
//! (`stream`) are sans-io: a message in, at most one message out, and events for the table of proxies. Only `server` and
//! `discovery` know sockets and tasks, only `ecds` builds the Envoy resource, only `wire` the responses around it. Rules are opaque bytes here, and only `tls` reads the wall
//! clock, by which certificates end.

mod accept;
mod caller;
mod canary;
mod clusters;
mod discovery;
mod ecds;
mod fields;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod health;
pub mod limits;
mod listener;
mod metrics_service;
mod offer;
mod outbound;
mod pieces;
mod proxies;
mod refusals;
mod report;
mod resource;
mod server;
mod snapshot;
mod spiffe;
mod steered;
mod stream;
mod telemetry;
mod tls;
mod version;
mod wire;

pub use canary::CanaryShare;
pub use clusters::{ClusterReport, whole_count};
pub use ecds::{FilterSettings, RESOURCE_PREFIX, resource_name};
pub use metrics_service::{Reporter, Reports};
pub use proxies::{Nack, ProxyStatus, Standing};
pub use refusals::Refusal;
pub use report::Reported;
pub use resource::{Publication, PublishError};
pub use server::{Prepared, ServeError, Xds};
pub use spiffe::{Grants, SpiffeError, SpiffeId, SpiffePattern};
pub use stream::Protocol;
pub use tls::{Tls, TlsError, TlsFiles};
