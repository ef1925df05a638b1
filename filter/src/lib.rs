//! The proxy-wasm filter: reads a request's organisation headers, asks the rules, and sets or removes one header.
//!
//! What can be thought without a proxy lives in [`configuration`], [`header_map`], [`metrics`] and `memory` and is tested
//! natively. The rest speaks to the proxy and exists in the wasm module only: `host` holds the line to it, `vm` what
//! serves, and `request` what happens to a request. A request causes no error, no log line and no growth of memory, and
//! nothing here panics. The module does without the standard library, whose panics and formats would be half of it.
#![no_std]

#[macro_use]
extern crate alloc;
#[cfg(not(target_family = "wasm"))]
extern crate std;

pub mod abi;
pub mod configuration;
pub mod header_map;
#[cfg(target_family = "wasm")]
mod host;
pub mod memory;
pub mod metrics;
#[cfg(target_family = "wasm")]
mod request;
#[cfg(target_family = "wasm")]
mod vm;

/// The output header of hand-written rules that name none, and the one that is kept clean while there are no rules.
pub const DEFAULT_OUTPUT_HEADER: &str = "x-gray-version";
