//! Delta: each request adds names to what the client wants, or takes some away.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::{Claim, Identity, Output, Protocol, Refusal, Stream, Subscriptions, World};
use crate::wire::Frame;

/// One delta stream.
#[derive(Debug)]
pub(crate) struct Delta {
    subscriptions: Subscriptions,
    /// Whether the first request for our type came; only that one tells what the client holds from before.
    begun: bool,
}

// === impl Delta ===

impl Delta {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self { subscriptions: Subscriptions::new(protocol), begun: false }
    }

    /// Unsubscribes first: a name that is in both lists is wanted.
    fn change_names(&mut self, request: &DeltaDiscoveryRequest, world: &World<'_>) -> Result<(), Refusal> {
        let first = !std::mem::replace(&mut self.begun, true);
        for name in &request.resource_names_unsubscribe {
            self.subscriptions.unsubscribe(name);
        }
        let nothing = HashMap::new();
        let held = if first { &request.initial_resource_versions } else { &nothing };
        for name in request.resource_names_subscribe.iter().filter(|name| *name != "*") {
            let claim = match held.get(name) {
                Some(version) => Claim::Holds(version.parse().ok()),
                None => Claim::Nothing,
            };
            self.subscriptions.subscribe(name, claim, world)?;
        }
        Ok(())
    }

    fn respond(&mut self, world: &World<'_>) -> Output {
        self.subscriptions.respond(world, |subscriptions, resource, nonce| {
            let version = subscriptions.version_text(resource.version.to_string(), &nonce);
            Frame::delta(&version, &nonce, resource)
        })
    }
}

impl Stream for Delta {
    type Request = DeltaDiscoveryRequest;

    fn asks(request: &DeltaDiscoveryRequest) -> (Option<&Node>, &[String]) {
        (request.node.as_ref(), &request.resource_names_subscribe)
    }

    fn on_request(&mut self, request: DeltaDiscoveryRequest, world: &World<'_>) -> Result<Output, Refusal> {
        if !self.subscriptions.admit(request.node.as_ref(), &request.type_url)? {
            return Ok(Output { events: Vec::new(), outgoing: None });
        }
        // A stale nonce answers nothing, but the names beside it count: they are increments.
        if self.subscriptions.is_last_nonce(&request.response_nonce) {
            let rejection = request.error_detail.as_ref().map(|status| status.message.as_str());
            self.subscriptions.settle(rejection);
        }
        self.change_names(&request, world)?;
        Ok(self.respond(world))
    }

    fn on_snapshot(&mut self, world: &World<'_>) -> Output {
        self.respond(world)
    }

    fn identity(&self) -> Option<&Identity> {
        self.subscriptions.identity.as_ref()
    }
}
