//! What a fuzzer drives: streams against a naive model of them, and bytes as requests. Whatever the bytes are, nothing here panics
//! unless a promise of the delivery is broken.

#![allow(clippy::expect_used, clippy::panic, reason = "a broken promise has to stop the fuzzer")]

mod client;
mod play;

use std::time::Instant;

use prost::Message as _;

use crate::caller::Caller;
use crate::fuzzing::play::Play;
use crate::limits::{Limits, MAX_ERROR_BYTES, MAX_NAME_BYTES};
use crate::proxies::Proxies;
use crate::report::{self, Report};
use crate::stream::delta::Delta;
use crate::stream::sotw::Sotw;
use crate::stream::{Event, Identity, Protocol, Stream, World};

/// Bytes as what happens: publishes, requests, refusals, time. Each byte is taken once, and every input is valid.
#[derive(Debug)]
struct Tape<'a>(&'a [u8]);

/// Plays what the bytes say on a few streams, then lets everybody acknowledge what he is sent.
///
/// # Panics
/// When a promise is broken: see `play` and `client`.
pub fn fuzz_streams(bytes: &[u8]) {
    let mut tape = Tape(bytes);
    let mut play = Play::new(tape.next());
    while let Some(action) = tape.take() {
        play.act(action, &mut tape);
    }
    play.end();
}

/// Reads the bytes as requests of one stream. The first byte says of which kind; before each request stands its length.
///
/// # Panics
/// When a limit does not hold.
pub fn fuzz_requests(bytes: &[u8]) {
    let mut tape = Tape(bytes);
    match tape.next() % 5 {
        0 => hear(Sotw::new(Protocol::EcdsSotw), tape),
        1 => hear(Delta::new(Protocol::EcdsDelta), tape),
        2 => hear(Sotw::new(Protocol::AdsSotw), tape),
        3 => hear(Delta::new(Protocol::AdsDelta), tape),
        _ => report(tape),
    }
}

fn hear<S: Stream>(mut stream: S, mut tape: Tape<'_>) {
    let play = Play::new(0);
    let snapshot = play.snapshots.current();
    let names_max = Limits::DEFAULT.names;
    let world = World { snapshot: &snapshot, history: &play.proxies, caller: &Caller::default(), names_max };
    let mut names = 0;
    while let Some(message) = tape.message() {
        let Ok(request) = S::Request::decode(message) else { return };
        let Ok(output) = stream.on_request(request, &world) else { return };
        for event in output.events {
            match event {
                Event::Subscribed { resource, .. } => {
                    assert!(resource.len() <= MAX_NAME_BYTES);
                    names += 1;
                }
                Event::Unsubscribed { .. } => names -= 1,
                Event::Rejected { message, .. } => assert!(message.len() <= MAX_ERROR_BYTES),
                Event::Acknowledged { .. } => {}
                Event::Denied { .. } => unreachable!("everybody may see everything"),
            }
        }
        assert!((0..=Limits::DEFAULT.names).contains(&names), "{names} names on one stream");
    }
}

fn report(mut tape: Tape<'_>) {
    let proxies = Proxies::new(Limits::DEFAULT.proxies, std::sync::Arc::default());
    while let Some(message) = tape.message() {
        let Ok(node) = report::sender(message) else { return };
        let Ok(Report { of_filter: report, .. }) = Report::read(message) else { return };
        if let Ok(Identity { node, .. }) = Identity::of(node.as_ref()) {
            assert!(proxies.report(&node, None, report, Instant::now()).is_none(), "nobody is connected");
        }
        if let Some(revision) = report.revision {
            assert!(revision <= 1 << 53, "a double cannot say it");
        }
    }
}

// === impl Tape ===

impl<'a> Tape<'a> {
    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next byte, or nothing for ever.
    fn next(&mut self) -> u8 {
        self.take().unwrap_or_default()
    }

    /// The next message, behind its length in two bytes.
    fn message(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes([self.take()?, self.next()]);
        let (message, rest) = self.0.split_at(usize::from(length).min(self.0.len()));
        self.0 = rest;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// What the fuzzer found worth keeping.
    fn replay(target: &str, run: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let inputs: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!inputs.is_empty());
        inputs.iter().for_each(|input| run(&fs::read(input).unwrap()));
    }

    #[test]
    fn streams_keep_their_promises_in_what_the_fuzzer_found() {
        replay("streams", fuzz_streams);
    }

    #[test]
    fn requests_are_read_within_limits_in_what_the_fuzzer_found() {
        replay("requests", fuzz_requests);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn streams_keep_their_promises_whatever_happens(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            fuzz_streams(&bytes);
        }

        #[test]
        fn requests_are_read_within_limits_whatever_they_are(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            fuzz_requests(&bytes);
        }
    }
}
