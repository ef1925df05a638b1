//! The built filter in a proxy made of plain data: which host calls it makes, what it costs, and that
//! nothing makes it trap.

#[path = "stub_host/configuration.rs"]
mod configuration;
#[path = "stub_host/costs.rs"]
mod costs;
#[path = "stub_host/proxy.rs"]
mod proxy;
#[path = "stub_host/request.rs"]
mod request;

use graylane_rules::{cases, encode};

/// The case table's rules at a revision.
fn rules(revision: u64) -> Vec<u8> {
    encode(&cases::load().rules, revision).unwrap()
}

/// A request's headers, as Envoy orders them: the pseudo-headers first.
fn request_to(host: &str, headers: &[(&str, &str)]) -> proxy::Headers {
    let pseudo = [(":method", "GET"), (":path", "/"), (":authority", host)];
    let bytes = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    pseudo.iter().chain(headers).map(bytes).collect()
}
