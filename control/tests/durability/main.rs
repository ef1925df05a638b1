//! The real daemon, killed, without room, and beside another one: what it acknowledged stays, and what it serves goes on.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[path = "../daemon/mod.rs"]
mod daemon;
mod drains;
mod full;
mod kills;
mod ledger;
mod operator;
mod proxy;
mod starts;
