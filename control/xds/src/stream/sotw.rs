//! State of the world: each request names everything that the client wants.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;

use super::{Claim, Identity, Output, Protocol, Refusal, Stream, Subscriptions, World};
use crate::resource::Resource;
use crate::version::{Version, digest, unmarked};
use crate::wire::Frame;

/// One state-of-the-world stream.
#[derive(Debug)]
pub(crate) struct Sotw {
    subscriptions: Subscriptions,
    /// Whether the first request for our type came; only that one tells what the client holds from before.
    begun: bool,
}

// === impl Sotw ===

impl Sotw {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self { subscriptions: Subscriptions::new(protocol), begun: false }
    }

    /// True if the request answers a response that is not the last one, so that a newer request is on its way. Before the first
    /// response a nonce is from another stream, where it meant something.
    fn is_stale(&self, nonce: &str) -> bool {
        let sent = self.subscriptions.responses > 0;
        sent && !nonce.is_empty() && !self.subscriptions.is_last_nonce(nonce)
    }

    fn replace_names(&mut self, request: &DiscoveryRequest, world: &World<'_>) -> Result<(), Refusal> {
        let first = !std::mem::replace(&mut self.begun, true);
        let names: BTreeSet<&str> =
            request.resource_names.iter().map(String::as_str).filter(|name| *name != "*").collect();
        self.subscriptions.retain(&names);
        let node = self.subscriptions.node().to_owned();
        let held = Held::read(if first { &request.version_info } else { "" }, &names, &node, world);
        for name in names {
            if !self.subscriptions.by_name.contains_key(name) {
                self.subscriptions.subscribe(name, held.claim(name, &node, world), world)?;
            }
        }
        Ok(())
    }

    fn respond(&mut self, world: &World<'_>) -> Output {
        self.subscriptions.respond(world, |subscriptions, resource, nonce| {
            let version_info = subscriptions.version_text(version_after(subscriptions, resource), &nonce);
            Frame::sotw(&version_info, &nonce, resource)
        })
    }
}

impl Stream for Sotw {
    type Request = DiscoveryRequest;

    fn asks(request: &DiscoveryRequest) -> (Option<&Node>, &[String]) {
        (request.node.as_ref(), &request.resource_names)
    }

    fn on_request(&mut self, request: DiscoveryRequest, world: &World<'_>) -> Result<Output, Refusal> {
        let ours = self.subscriptions.admit(request.node.as_ref(), &request.type_url)?;
        if !ours || self.is_stale(&request.response_nonce) {
            return Ok(Output { events: Vec::new(), outgoing: None });
        }
        if self.subscriptions.is_last_nonce(&request.response_nonce) {
            let rejection = request.error_detail.as_ref().map(|status| status.message.as_str());
            self.subscriptions.settle(rejection);
        }
        self.replace_names(&request, world)?;
        Ok(self.respond(world))
    }

    fn on_snapshot(&mut self, world: &World<'_>) -> Output {
        self.respond(world)
    }

    fn identity(&self) -> Option<&Identity> {
        self.subscriptions.identity.as_ref()
    }
}

/// What a client that reconnects says it holds. The protocol gives it one `version_info` for all names, so that text stands
/// either for one resource or, see [`joint_version`], for all of them.
enum Held {
    Nothing,
    /// These versions, by name.
    All(BTreeMap<String, Version>),
    /// This version of the only name.
    Only(Option<Version>),
    /// This version of whichever name has it now, and some other version of the rest.
    OneOf(Option<Version>),
}

// === impl Held ===

impl Held {
    fn read(version_info: &str, names: &BTreeSet<&str>, node: &str, world: &World<'_>) -> Self {
        let version_info = unmarked(version_info);
        if version_info.is_empty() {
            return Self::Nothing;
        }
        let all_of = |version: fn(&str, &str, &World<'_>) -> Option<Version>| {
            let version = |name: &&str| Some(((*name).to_owned(), version(name, node, world)?));
            names.iter().filter_map(version).collect::<BTreeMap<_, _>>()
        };
        if let Some(all) =
            [wanted, served].map(all_of).into_iter().find(|all| joint_version(all) == version_info)
        {
            return Self::All(all);
        }
        let version = version_info.parse().ok();
        if names.len() == 1 { Self::Only(version) } else { Self::OneOf(version) }
    }

    fn claim(&self, name: &str, node: &str, world: &World<'_>) -> Claim {
        match self {
            Self::Nothing => Claim::Nothing,
            Self::All(by_name) => Claim::Holds(by_name.get(name).copied()),
            Self::Only(version) => Claim::Holds(*version),
            Self::OneOf(version) => {
                let known = [wanted(name, node, world), served(name, node, world)];
                Claim::Holds(version.filter(|version| known.contains(&Some(*version))))
            }
        }
    }
}

/// The version that every node should have.
fn wanted(name: &str, _node: &str, world: &World<'_>) -> Option<Version> {
    Some(world.wanted(name)?.version)
}

/// The version that a node is sent, which is another one while something is tried by others or held back.
fn served(name: &str, node: &str, world: &World<'_>) -> Option<Version> {
    Some(world.served(name, node)?.version)
}

/// The `version_info` of a response: what the client holds once it accepted it.
fn version_after(subscriptions: &Subscriptions, resource: &Resource) -> String {
    let held = subscriptions.by_name.iter().filter_map(|(name, held)| Some((name.clone(), (*held)?)));
    let mut by_name: BTreeMap<_, _> = held.collect();
    by_name.insert(resource.name.clone(), resource.version);
    joint_version(&by_name)
}

/// One text for the versions of several resources; for a single one its own version.
fn joint_version(by_name: &BTreeMap<String, Version>) -> String {
    let mut versions = by_name.values();
    if let (Some(only), None) = (versions.next(), versions.next()) {
        return only.to_string();
    }
    let list: String = by_name.iter().map(|(name, version)| format!("{name}\0{version}\n")).collect();
    format!("set-{:016x}", digest(&[list.as_bytes()]))
}
