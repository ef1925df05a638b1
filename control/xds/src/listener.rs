//! Hears a stream's messages, within the limits of how late and how often it may speak.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};

use crate::gate::Gate;
use crate::limits::{FIRST_MESSAGE_TIMEOUT, MESSAGES_BURST_SECONDS};
use crate::telemetry::Reason;

/// What a stream may still say.
#[derive(Debug)]
pub(crate) struct Listener {
    /// When its first message is due.
    first_due: Instant,
    allowance: Allowance,
}

/// The messages that a stream may send: so many in a second, and at once what it did not send for some seconds.
#[derive(Debug)]
struct Allowance {
    per_second: u32,
    /// When it may send the first message for which nothing is saved. A token bucket as one time: the generic cell rate algorithm,
    /// ITU-T I.371.
    due: Instant,
}

// === impl Listener ===

impl Listener {
    pub(crate) fn new(gate: &Gate) -> Self {
        let now = Instant::now();
        let allowance = Allowance::new(gate.limits.messages_per_second, now);
        Self { first_due: now + FIRST_MESSAGE_TIMEOUT, allowance }
    }

    /// The first message, if it comes in time; none at the end.
    pub(crate) async fn first<Q>(
        &mut self,
        inbound: &mut Streaming<Q>,
        gate: &Gate,
    ) -> Result<Option<Q>, Status> {
        timeout_at(self.first_due, self.next(inbound, gate)).await.unwrap_or_else(|_| {
            let text = format!("no message came within {FIRST_MESSAGE_TIMEOUT:?}; say who you are");
            Err(gate.refuse(Reason::Silent, Status::deadline_exceeded(text)))
        })
    }

    /// The next message; none at the end. What is given up while it waits loses no message.
    pub(crate) async fn next<Q>(
        &mut self,
        inbound: &mut Streaming<Q>,
        gate: &Gate,
    ) -> Result<Option<Q>, Status> {
        let message = inbound.message().await?;
        if message.is_some() && !self.allowance.take(Instant::now()) {
            let limit = self.allowance.per_second;
            let text = format!("more than {limit} messages in a second came for long, which is the limit");
            return Err(gate.refuse(Reason::Flood, Status::resource_exhausted(text)));
        }
        Ok(message)
    }
}

// === impl Allowance ===

impl Allowance {
    fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: per_second.max(1), due: now }
    }

    /// Takes in that a message came. False: it came too soon.
    fn take(&mut self, now: Instant) -> bool {
        self.due = self.due.max(now) + Duration::from_secs(1) / self.per_second;
        self.due - now <= Duration::from_secs(MESSAGES_BURST_SECONDS.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_may_send_what_it_saved_up_at_once_and_then_no_more_than_its_rate() {
        let start = Instant::now();
        let mut allowance = Allowance::new(100, start);
        let mut sent_at = |at: Duration| (0..).take_while(|_| allowance.take(start + at)).count();
        assert_eq!(sent_at(Duration::ZERO), 1_000);
        let second = Duration::from_secs(1);
        assert!((99..=100).contains(&sent_at(second)), "a message that was refused counts, too");
        assert_eq!(sent_at(second * 1_000), 1_000, "nobody saves more than that");
    }
}
