//! The control daemon `graylane` and its command line.
//!
//! [`daemon`] keeps plans and orders and publishes the rules that follow; the store makes that last, and [`audit`] tells
//! who did it, which [`caller`] knows; [`metrics`] is what Prometheus reads of it, of the proxies and of the
//! [`measured_store`]; [`api`] and [`cli`] are the two ways in, [`webhooks`] tell what happened, and [`remote`] is how others are
//! called. What a plan means is in `graylane-plan`, how an order moves in `graylane-order`, how everything lasts in `graylane-store`, how proxies get their
//! rules in `graylane-xds`, and how a request is decided in `graylane-rules`.

pub mod api;
pub mod audit;
pub mod caller;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod fleet;
pub mod health;
pub mod inspection;
pub mod measured_store;
pub mod metrics;
pub mod order_event;
pub mod remote;
mod secret;
pub mod webhooks;
