//! The testbed: real Envoys, the real daemon, real upstreams and clients, for the tests, the demo and the benchmarks.
//!
//! Every part runs on ports of the OS, is waited for by a condition with a deadline, and is gone when its value is
//! dropped. Envoys start from the files in `envoy-configs`, so what users copy is what is tested.

mod client;
mod config;
mod daemon;
mod delivery;
mod envoy;
mod load;
mod process;
mod relay;
mod rules_file;
mod testbed;
mod upstream;

pub mod places;
pub mod prometheus;
pub mod release;
pub mod wait;

pub use client::{Answer, Client, Request};
pub use config::EnvoyConfig;
pub use daemon::{CliOutcome, Daemon};
pub use delivery::Delivery;
pub use envoy::{Envoy, validate};
pub use load::{Load, LoadReport, LoadSettings};
pub use process::free_address;
pub use relay::Relay;
pub use release::{Release, ReleaseSettings};
pub use rules_file::{RulesFile, Staged, move_into_place};
pub use testbed::{LEDGER_HOST, LOAN_HOST, Testbed, TestbedSettings};
pub use upstream::{Mood, Upstream};
