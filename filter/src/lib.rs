//! The proxy-wasm filter: reads a request's organisation headers, asks the rules, and sets or removes one header.
//!
//! What can be thought without a proxy lives in [`configuration`], [`header_map`] and [`metrics`] and is tested
//! natively. The rest speaks to the proxy and exists in the wasm module only: `host` holds every host call, `vm` what
//! outlives a configuration, `root` the life of a configuration, and `request` that of a request. A request causes no
//! error, no log line and no growth of memory, and nothing here panics.

pub mod configuration;
pub mod header_map;
#[cfg(target_family = "wasm")]
mod host;
pub mod metrics;
#[cfg(target_family = "wasm")]
mod request;
#[cfg(target_family = "wasm")]
mod root;
#[cfg(target_family = "wasm")]
mod vm;

/// The output header of hand-written rules that name none, and the one that is kept clean while there are no rules.
pub const DEFAULT_OUTPUT_HEADER: &str = "x-gray-version";
