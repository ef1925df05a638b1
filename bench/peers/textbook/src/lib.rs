//! The filter that one would write after reading the examples of the proxy-wasm SDK: rules as JSON, a set of strings for
//! each dimension of each host, one host call for each header.
//!
//! It does less than Graylane does: it has no exclusions, percentages or counters, takes the first of doubled headers, and
//! leaves an `x-gray-version` of the caller as it is.
#![cfg(target_family = "wasm")]

mod filter;
