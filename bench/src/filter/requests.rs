//! The requests, byte for byte, and what must come back.

use std::fmt::Write as _;
use std::sync::Arc;

use graylane_wasm_tests::LOAN_HOST;

use crate::filter::ids::{GRAY, Ids};

/// A host that has no rules.
const OTHER_HOST: &str = "cards.retail.svc.cluster.local";
/// Branches and regions that requests carry, and that are not gray. The gray ones have lower numbers.
const PLACES: usize = 90;

/// The headers that come with any request of a bank's web channel, beside the host and ours.
const ORDINARY: [(&str, &str); 15] = [
    (
        "user-agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    ("accept", "application/json, text/plain, */*"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    (
        "authorization",
        "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6IjIwMjYtMTEifQ.eyJzdWIiOiJ1MTIzNDU2IiwiYXVkIjoibG9hbiJ9.c2lnbmF0dXJl",
    ),
    ("cookie", "SESSION=6f1e2d3c4b5a69788796a5b4c3d2e1f0; lb=node-17; consent=necessary; theme=light"),
    ("origin", "https://teller.bank.example"),
    ("referer", "https://teller.bank.example/loans/applications/48213"),
    ("x-request-id", "7d0c9a4e-7d53-4f1f-9c5e-3e8f3a1b6c2d"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", "bank=t61rcWkgMzE"),
    ("x-forwarded-for", "10.20.30.40"),
    ("x-forwarded-proto", "https"),
    ("sec-fetch-mode", "cors"),
    ("x-channel", "counter"),
];

/// What the rules say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The teller is gray.
    Gray,
    /// All three headers are there, and none of their ids is gray.
    Stable,
    /// None of our headers is there.
    NoHeaders,
    /// All three headers are there, and the host has no rules.
    NoRules,
}

/// Requests of one outcome, sent in turn. Clones share the bytes and take turns of their own.
#[derive(Clone)]
pub(crate) struct Requests {
    bytes: Arc<Vec<Vec<u8>>>,
    next: usize,
    /// The body of the answer.
    pub(crate) body: &'static str,
}

// === impl Outcome ===

impl Outcome {
    /// All there are, those of the acceptance first.
    pub(crate) const ALL: [Self; 4] = [Self::Gray, Self::Stable, Self::NoHeaders, Self::NoRules];

    /// How reports call it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Gray => "gray",
            Self::Stable => "stable",
            Self::NoHeaders => "no-headers",
            Self::NoRules => "no-rules",
        }
    }

    /// The body that the route of such a request answers with.
    pub(crate) const fn body(self) -> &'static str {
        match self {
            Self::Gray => "gray",
            Self::Stable | Self::NoHeaders | Self::NoRules => "stable",
        }
    }
}

// === impl Requests ===

impl Requests {
    /// Requests that these ids give the outcome. With `has_version` a gray one says itself that it is gray, for contenders that
    /// cannot.
    pub(crate) fn new(ids: &Ids, outcome: Outcome, has_version: bool) -> Self {
        let version = (has_version && outcome == Outcome::Gray).then_some(GRAY);
        let bytes = match outcome {
            Outcome::Gray => {
                ids.carried().enumerate().map(|(turn, id)| with_ids(LOAN_HOST, turn, id, version)).collect()
            }
            Outcome::Stable => with_strangers(ids, LOAN_HOST),
            Outcome::NoRules => with_strangers(ids, OTHER_HOST),
            Outcome::NoHeaders => vec![request(LOAN_HOST, &[])],
        };
        Self { bytes: Arc::new(bytes), next: 0, body: outcome.body() }
    }

    /// The request of one teller, again and again; who is gray by some rules and not by others.
    pub(crate) fn of_teller(teller: &str) -> Self {
        Self {
            bytes: Arc::new(vec![with_ids(LOAN_HOST, 0, teller, None)]),
            next: 0,
            body: Outcome::Gray.body(),
        }
    }

    /// The next one in turn.
    pub(crate) fn next(&mut self) -> &[u8] {
        let turn = self.next;
        self.next = if turn + 1 < self.bytes.len() { turn + 1 } else { 0 };
        self.bytes.get(turn).map_or(&[], Vec::as_slice)
    }
}

fn with_strangers(ids: &Ids, host: &str) -> Vec<Vec<u8>> {
    ids.strangers.iter().enumerate().map(|(turn, id)| with_ids(host, turn, id, None)).collect()
}

fn with_ids(host: &str, turn: usize, teller: &str, version: Option<&str>) -> Vec<u8> {
    let (branch, region) = (format!("B{:03}", 100 + turn % PLACES), format!("R-{:02}", 10 + turn % PLACES));
    let mut ours = vec![("x-region", region.as_str()), ("x-branch", &branch), ("x-teller", teller)];
    ours.extend(version.map(|version| ("x-gray-version", version)));
    request(host, &ours)
}

fn request(host: &str, ours: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("GET /loans/applications/48213 HTTP/1.1\r\nhost: {host}\r\n");
    for (name, value) in ORDINARY.iter().chain(ours) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_take_turns_and_say_what_their_outcome_says() {
        let ids = Ids::random(3, 1);
        let mut gray = Requests::new(&ids, Outcome::Gray, false);
        let turns: Vec<_> = (0..4).map(|_| String::from_utf8(gray.next().to_vec()).unwrap()).collect();
        assert!(turns[0] == turns[3] && turns[0] != turns[1]);
        assert!(turns[1].contains(&format!("x-teller: {}\r\n", ids.tellers[1])));
        assert!(!turns[1].contains("x-gray-version"));
        let next = |outcome, has_version| {
            String::from_utf8(Requests::new(&ids, outcome, has_version).next().to_vec()).unwrap()
        };
        assert!(next(Outcome::Gray, true).contains("x-gray-version: v2\r\n"));
        assert!(!next(Outcome::Stable, true).contains("x-gray-version"));
        assert!(!next(Outcome::NoHeaders, true).contains("x-teller"));
        assert!(
            next(Outcome::NoRules, true).contains("x-teller")
                && !next(Outcome::NoRules, true).contains("loan.retail")
        );
    }
}
