//! Waiting: on a condition, with a deadline, never for a time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Long enough for a slow machine; a test that needs it all has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// How often a condition is asked.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Asks until the condition gives a value, at most [`DEADLINE`]; what it said last becomes the error.
pub fn until<T>(what: &str, condition: impl FnMut() -> Result<T>) -> Result<T> {
    until_within(DEADLINE, what, condition)
}

/// [`until`] with a deadline of its own.
pub fn until_within<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(last) if started.elapsed() >= deadline => {
                bail!("waited {} s in vain: {what}: {last:#}", deadline.as_secs_f32())
            }
            Err(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}
