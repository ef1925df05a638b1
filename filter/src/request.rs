//! What happens to a request, all of it when its headers are there.
//!
//! The host calls are the cost. In Envoy 1.40, for a request of 21 headers, one takes (80 of them a request, less none):
//!
//! | µs | call |
//! | --- | --- |
//! | 1.5 | all headers |
//! | 1.1 | a header that is there; with its answer the proxy calls back into the module for a place to put it |
//! | 0.2 | a header that is not there |
//! | 1.2 | the plugin's name |
//! | 0.2 | adding to a counter |
//!
//! So a request reads the map of all headers, once. The host alone, which every decision needs, would cost almost as much;
//! with the four reads that tell that a request has none of our headers it would be 2.0. And the map alone shows a header
//! that comes twice. Where there are no services, the one header that must not pass is asked for.

use crate::DEFAULT_OUTPUT_HEADER;
use crate::header_map::{AUTHORITY, pairs};
use crate::host;
use crate::metrics;
use crate::vm::{self, Metrics, Serving};
use graylane_rules::{Decision, Edit, Reason, Values};

/// Decides for the request whose headers came, and makes its output header what it has to be.
#[inline]
pub fn decide() {
    #[cfg(feature = "trap")]
    trap_if_asked();
    vm::with(|vm| match vm.of_this_request() {
        (Some(serving), _) if serving.rules.services().is_empty() => sanitise(serving.rules.output_header()),
        (Some(serving), metrics) => steer(serving, metrics),
        (None, _) => sanitise(DEFAULT_OUTPUT_HEADER),
    });
}

/// Decides by rules, and edits the output header if it is not as it has to be: an edit makes the proxy route once more.
fn steer(Serving { rules, counters, lengths }: &Serving, metrics: &mut Metrics) {
    let Ok(headers) = host::request_headers() else {
        // Nothing is known of the request, so it is stable.
        return remove(rules.output_header());
    };
    let (mut host, mut values) = (&[][..], Values::default());
    pairs(&headers, *lengths).for_each(|(name, value)| match name {
        AUTHORITY => host = value,
        _ => rules.read_header(&mut values, name, value),
    });
    let decision = rules.decide(host, &values);
    match values.edit(&decision) {
        Edit::Keep => {}
        Edit::Remove => remove(rules.output_header()),
        Edit::Set(version) => set(rules.output_header(), version),
    }
    if let Some(counter) = counters.id(rules, &decision, |name| metrics.counter(name)) {
        vm::increment(counter);
    }
    count_oddities(metrics, &decision, values.is_oversize());
}

fn count_oddities(metrics: &mut Metrics, decision: &Decision<'_>, is_oversize: bool) {
    if decision.reason == Reason::Ambiguous {
        metrics.count(metrics::AMBIGUOUS);
    }
    if is_oversize {
        metrics.count(metrics::OVERSIZE);
    }
}

/// Where nothing is gray, a version that the caller sent must go. To look for it is cheaper than to remove it.
fn sanitise(output_header: &str) {
    if host::has_request_header(output_header).unwrap_or(true) {
        remove(output_header);
    }
}

fn set(name: &str, version: &str) {
    if host::set_request_header(name, version).is_err() {
        // What the caller sent, if anything, must not steer.
        remove(name);
    }
}

#[cold]
fn remove(name: &str) {
    // A proxy that grants no removal keeps the header: there is no other call that could take it away.
    let _ = host::remove_request_header(name);
}

#[cfg(feature = "trap")]
fn trap_if_asked() {
    if host::has_request_header("x-graylane-trap").unwrap_or(false) {
        core::arch::wasm32::unreachable();
    }
}
