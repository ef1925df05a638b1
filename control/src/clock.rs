//! The one place that reads the wall clock.

use jiff::Timestamp;

/// The time now, to the millisecond: finer says nothing to the people who read it.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
