//! Whether the gray version of a service does worse than it may, from counted requests.
//!
//! A [`Judge`] takes what gray and stable did in each [`TICK`] and gives a [`Verdict`]. Its alarms are those of a sequential test
//! ([`sequential`]), so that they may be asked four times a second for weeks. There is no clock and no IO in here.

mod figures;
mod histogram;
mod judge;
pub mod limits;
mod meter;
mod policy;
pub mod sequential;
pub mod template;
mod verdict;
mod window;

pub use figures::{Figures, Tally};
pub use histogram::{Cumulative, Histogram};
pub use judge::{Freshness, Judge, Observed};
pub use limits::TICK;
pub use meter::{Heard, Implausible, Meter, Reading, Sample, Source, Times};
pub use policy::{EndpointLimit, ErrorLimits, LatencyLimit, Policy};
pub use verdict::{Basis, Fault, Verdict, Why};
pub use window::Series;
