//! The life of a request.

use crate::DEFAULT_OUTPUT_HEADER;
use crate::header_map::{AUTHORITY, pairs};
use crate::host;
use crate::metrics;
use crate::vm::{self, Serving};
use graylane_rules::{Decision, Edit, Reason};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::rc::Rc;

/// One request, with the rules that were there when it came.
pub struct Request {
    pub serving: Option<Rc<Serving>>,
}

// === impl Request ===

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        #[cfg(feature = "trap")]
        trap_if_asked();
        match &self.serving {
            Some(serving) => steer(serving),
            None => sanitise(),
        }
        Action::Continue
    }
}

/// Decides, and edits the output header if it is not as it has to be: an edit makes the proxy route once more.
fn steer(Serving { rules, counters }: &Serving) {
    let Ok(headers) = host::request_headers() else {
        // Nothing is known of the request, so it is stable.
        return remove(rules.output_header());
    };
    let mut host: &[u8] = &[];
    let values = rules.values(pairs(&headers).inspect(|(name, value)| {
        if *name == AUTHORITY {
            host = value;
        }
    }));
    let decision = rules.decide(host, &values);
    match values.edit(&decision) {
        Edit::Keep => {}
        Edit::Remove => remove(rules.output_header()),
        Edit::Set(version) => set(rules.output_header(), version),
    }
    if let Some(counter) = counters.id(rules, &decision, vm::counter) {
        vm::increment(counter);
    }
    count_oddities(&decision, values.is_oversize());
}

fn count_oddities(decision: &Decision<'_>, is_oversize: bool) {
    if decision.reason == Reason::Ambiguous {
        vm::count(metrics::AMBIGUOUS);
    }
    if is_oversize {
        vm::count(metrics::OVERSIZE);
    }
}

/// With no rules all is stable, so a version that the caller sent must go. To look for it is cheaper than to remove it.
fn sanitise() {
    if host::has_request_header(DEFAULT_OUTPUT_HEADER).unwrap_or(true) {
        remove(DEFAULT_OUTPUT_HEADER);
    }
}

fn set(name: &str, version: &str) {
    if host::set_request_header(name, version).is_err() {
        // What the caller sent, if anything, must not steer.
        remove(name);
    }
}

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
