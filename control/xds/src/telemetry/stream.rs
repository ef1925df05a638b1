//! What is measured of one stream while it is open.

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::Telemetry;
use crate::stream::Event;
use crate::wire::Frame;

/// An open stream. It counts as such until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenStream {
    telemetry: Arc<Telemetry>,
    requests: Counter,
    _open: Counted,
    awaited: Option<Awaited>,
}

/// A response that the client did not answer yet.
#[derive(Debug)]
struct Awaited {
    since: Instant,
    _awaited: Counted,
}

/// A response on its way to the connection. It counts as queued until that takes it, or goes away.
#[derive(Debug)]
pub(crate) struct Queued {
    frame: Frame,
    sent_bytes: Counter,
    _queued: Counted,
}

/// One in a gauge, for as long as it lives.
#[derive(Debug)]
struct Counted(Gauge);

// === impl OpenStream ===

impl OpenStream {
    /// Takes in that a stream of this protocol opens.
    pub(crate) fn new(telemetry: Arc<Telemetry>, protocol: &'static str) -> Self {
        let label = [("protocol", protocol)];
        telemetry.opened.get_or_create(&label).inc();
        let open = Counted::new(&telemetry.streams.get_or_create_owned(&label));
        let requests = telemetry.requests.get_or_create_owned(&label);
        Self { telemetry, requests, _open: open, awaited: None }
    }

    /// Takes in that the client sent a message.
    pub(crate) fn heard(&self) {
        self.requests.inc();
    }

    /// Takes in what the message was.
    pub(crate) fn happened(&mut self, events: &[Event], now: Instant) {
        for event in events {
            match event {
                Event::Acknowledged { .. } => {
                    self.telemetry.acked.inc();
                    if let Some(Awaited { since, .. }) = self.awaited.take() {
                        self.telemetry.push.observe(now.saturating_duration_since(since));
                    }
                }
                Event::Rejected { .. } => {
                    self.telemetry.nacked.inc();
                    self.telemetry.nacks_by_proxy.inc();
                    self.awaited = None;
                }
                Event::Denied { .. } => self.telemetry.denied(),
                Event::Subscribed { .. } | Event::Unsubscribed { .. } => {}
            }
        }
    }

    /// Takes in that there is a response for the client. One before it that is not answered by now will not be.
    pub(crate) fn made(&mut self, frame: Frame, now: Instant) -> Queued {
        self.give_up();
        self.awaited = Some(Awaited { since: now, _awaited: Counted::new(&self.telemetry.awaited) });
        Queued {
            frame,
            sent_bytes: self.telemetry.sent_bytes.clone(),
            _queued: Counted::new(&self.telemetry.queued),
        }
    }

    fn give_up(&mut self) {
        if self.awaited.take().is_some() {
            self.telemetry.unanswered.inc();
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.give_up();
    }
}

// === impl Queued ===

impl Queued {
    /// Hands the response to its connection.
    pub(crate) fn take(self) -> Frame {
        self.sent_bytes.inc_by(self.frame.len() as u64);
        self.frame
    }
}

// === impl Counted ===

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stream::Protocol;

    fn frame() -> Frame {
        Frame::of(b"a whole response")
    }

    #[test]
    fn a_response_is_queued_until_its_connection_takes_it_or_goes_away() {
        let telemetry = Arc::<Telemetry>::default();
        let mut stream = OpenStream::new(telemetry.clone(), Protocol::EcdsDelta.as_str());
        let figures = || (telemetry.queued.get(), telemetry.awaited.get(), telemetry.sent_bytes.get());
        let first = stream.made(frame(), Instant::now());
        assert_eq!(figures(), (1, 1, 0));
        let second = stream.made(frame(), Instant::now());
        assert_eq!(figures(), (2, 1, 0), "only the last can be answered");
        first.take();
        assert_eq!(figures(), (1, 1, 16));
        drop(second);
        assert_eq!(figures(), (0, 1, 16), "the connection never had it");
        assert_eq!(telemetry.unanswered.get(), 1);
        drop(stream);
        assert_eq!((figures(), telemetry.unanswered.get()), ((0, 0, 16), 2));
    }

    #[test]
    fn convergence_counts_from_the_publish_or_from_a_later_subscription() {
        let (telemetry, start) = (Telemetry::default(), Instant::now());
        let version = crate::version::Version { revision: 2, digest: 7 };
        let at = |seconds| start + Duration::from_secs(seconds);
        telemetry.publishes([("a", version)].into_iter(), at(10));
        let sum = || {
            let (mut registry, mut text) = (prometheus_client::registry::Registry::default(), String::new());
            telemetry.register(&mut registry);
            prometheus_client::encoding::prometheus_text::encode(&mut text, &registry).unwrap();
            let name = "proxy_convergence_seconds_sum{step=\"acked\"} ";
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
        };
        telemetry.acknowledged("a", version, at(0), at(13));
        assert_eq!(sum(), "3.0", "it was there before");
        telemetry.acknowledged("a", version, at(100), at(101));
        assert_eq!(sum(), "4.0", "it came later");
        telemetry.acknowledged("a", crate::version::Version { digest: 8, ..version }, at(0), at(13));
        telemetry.acknowledged("b", version, at(0), at(13));
        assert_eq!(sum(), "4.0", "that is not what is published");
    }
}
