//! The rule set as the filter reads it: self-contained bytes, and the decision they lead to.
//!
//! [`encode()`] turns a [`RuleSet`] into bytes, [`Rules::load`] checks such bytes once, and [`Rules::decide`] answers
//! for a request from then on with no allocation and no error. The crate does no IO, has no clock and depends on
//! nothing, so that the filter, the daemon's `explain` and the benchmarks decide with the very same code.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

#[cfg(feature = "testing")]
pub mod cases;
mod decide;
mod encode;
mod explain;
#[cfg(feature = "testing")]
pub mod forge;
mod host_index;
mod id_set;
pub mod limits;
mod listing;
mod load;
mod loaded;
mod model;
#[cfg(feature = "testing")]
pub mod naive;
mod order;
mod sets;
#[cfg(feature = "testing")]
pub mod strategies;
mod values;
mod wire;
mod words;
mod xxh64;

pub use decide::{Decision, Level, Reason};
pub use encode::{EncodeError, encode, encode_few};
pub use explain::{Explanation, Step, Verdict};
pub use id_set::{IdSet, IdSetBuilder};
pub use load::LoadError;
pub use loaded::{LoadedService, Rules};
pub use model::{
    Action, Dimension, Entry, Group, Percent, Release, RuleSet, Service, Table, is_header_name, is_host,
    is_name,
};
pub use values::{Edit, Incoming, Values};
pub use xxh64::xxh64;
