//! What is really seen: every caller calls both services through every proxy.

use graylane_wasm_tests::{Answer, Client};

use crate::callers::{Caller, Service};
use crate::expected::Step;

/// The header that carries the filter's decision.
const VERSION_HEADER: &str = "x-gray-version";

/// What one caller should get of one service, and got through each proxy.
pub(crate) struct Observation<'a> {
    /// Who called.
    pub(crate) caller: &'a Caller,
    /// What was called.
    pub(crate) service: Service,
    /// The version that should answer.
    pub(crate) expected: &'static str,
    /// The version that should have answered at the step before.
    pub(crate) expected_before: &'static str,
    /// The version that answered, or what went wrong, by proxy.
    pub(crate) got: Vec<String>,
}

/// Lets every caller call.
pub(crate) fn observe<'a>(step: Step, callers: &'a [Caller], proxies: &[Client]) -> Vec<Observation<'a>> {
    let calls = callers.iter().flat_map(|caller| Service::ALL.map(|service| (caller, service)));
    let observation = |(caller, service): (&'a Caller, Service)| Observation {
        caller,
        service,
        expected: step.expected(service, caller),
        expected_before: step.before().expected(service, caller),
        got: proxies.iter().map(|proxy| call(proxy, caller, service)).collect(),
    };
    calls.map(observation).collect()
}

/// One call, on a connection of its own, so that each worker of the proxy gets its share.
fn call(proxy: &Client, caller: &Caller, service: Service) -> String {
    match proxy.send_raw(&caller.request(service)) {
        Ok(answer) => judge(&answer, service),
        Err(error) => format!("no answer ({error:#})"),
    }
}

/// The version of an answer that is consistent in itself.
fn judge(answer: &Answer, service: Service) -> String {
    let decided = answer.values_seen(VERSION_HEADER);
    match (answer.status, answer.version.as_str()) {
        (200, _) if answer.service != service.name() => format!("the service {:?}", answer.service),
        (200, "v1") if decided.is_empty() => "v1".to_owned(),
        (200, version) if decided == [version] => version.to_owned(),
        (200, version) => format!("{version} with the decision {decided:?}"),
        (status, _) => format!("status {status}"),
    }
}

// === impl Observation ===

impl Observation<'_> {
    /// Whether every proxy did as expected.
    pub(crate) fn is_as_expected(&self) -> bool {
        self.got.iter().all(|got| got == self.expected)
    }

    /// What all proxies agree on, if they do.
    pub(crate) fn agreed(&self) -> &str {
        match self.got.split_first() {
            Some((first, rest)) if rest.iter().all(|other| other == first) => first,
            _ => "?",
        }
    }

    /// Each difference in words.
    pub(crate) fn differences(&self) -> impl Iterator<Item = String> {
        let differs = self.got.iter().enumerate().filter(|(_, got)| *got != self.expected);
        differs.map(|(proxy, got)| {
            let (caller, service) = (self.caller.name(), self.service.name());
            format!("{caller} calls {service} through proxy-{proxy}: expected {}, got {got}", self.expected)
        })
    }
}
