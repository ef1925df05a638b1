//! One xDS stream without its socket: a request or a new snapshot in, at most one message and some events out.
//!
//! [`Subscriptions`] holds what both flavours share. Each response carries exactly one resource: ECDS over state-of-the-world
//! demands it, and it makes every ACK and NACK speak of one resource. One response is outstanding per stream; when its answer
//! comes, the next is made from the snapshot of that moment, so a slow proxy skips versions and never queues them. Names take turns.
//!
//! Decided on purpose:
//! - A name that is not published is answered with nothing, and pushed when it appears. `removed_resources` would make Envoy answer
//!   every request with 500. So is a tenant that is withdrawn: the proxy keeps what it has.
//! - So is a name of a tenant that the caller's certificate is not named for: a proxy learns nothing of others, and its other names go on.
//! - `*` and the empty first request subscribe to nothing. Each Envoy filter asks for its own name.
//! - Rejected content is not sent again to the stream that rejected it, nor to its successor if that still holds an older version: Envoy
//!   acknowledges rejected bytes the second time without applying them. A proxy that holds nothing is new, and is sent everything.
//! - Whoever rejected something is sent again what is served instead, under another version: until then Envoy would refuse listeners
//!   too, because it goes by what it was sent last and not by what it serves.

pub(crate) mod delta;
#[cfg(test)]
mod fixtures;
pub(crate) mod sotw;

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use prost::Message;

use crate::caller::Caller;
use crate::ecds;
use crate::limits::{MAX_ERROR_BYTES, MAX_NAME_BYTES, MAX_NODE_BYTES, MAX_REJECTED};
use crate::resource::Resource;
use crate::snapshot::Snapshot;
use crate::version::{Version, marked};
use crate::wire::Frame;

/// How a proxy receives its resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The dedicated ECDS service, state of the world.
    EcdsSotw,
    /// The dedicated ECDS service, delta.
    EcdsDelta,
    /// The aggregated service, state of the world.
    AdsSotw,
    /// The aggregated service, delta.
    AdsDelta,
}

/// Who opened a stream, as its first message says. Self-asserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) node: String,
    pub(crate) cluster: String,
}

/// What happened on a stream, for the table of proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A name was added. `resumed`: the proxy holds a version of it from an earlier stream; `held` is which, if it can be read.
    Subscribed { resource: String, resumed: bool, held: Option<Version> },
    /// A name was asked for that is not for this caller. For it nobody publishes that.
    Denied { resource: String },
    /// A name was taken back.
    Unsubscribed { resource: String },
    /// The proxy accepted this version.
    Acknowledged { resource: String, version: Version },
    /// The proxy rejected this version.
    Rejected { resource: String, version: Version, content: u64, message: String },
}

/// A message to send, and what is in it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) message: Frame,
    pub(crate) resource: String,
    pub(crate) version: Version,
}

/// What a stream answers to an input.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) events: Vec<Event>,
    pub(crate) outgoing: Option<Outgoing>,
}

/// Why a stream is ended: the client broke the protocol or a limit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    #[error("first message has no node; send node with the first message of a stream")]
    NoNode,
    #[error("node.{field} is {bytes} bytes, the limit is {MAX_NODE_BYTES}; shorten it")]
    NodeTooLong { field: &'static str, bytes: usize },
    #[error("node.{0} is empty or has control characters; start the proxy with a printable one")]
    OddNode(&'static str),
    #[error("type_url is empty; an aggregated stream needs it in every request")]
    NoType,
    #[error("type_url {0:?} is not served here; ask for envoy.config.core.v3.TypedExtensionConfig")]
    WrongType(String),
    #[error("the stream subscribes to more than {0} names; open another stream")]
    TooManyNames(usize),
    #[error("a resource name is {0} bytes, the limit is {MAX_NAME_BYTES}; shorten the tenant")]
    NameTooLong(usize),
}

/// What streams may know of earlier streams.
pub(crate) trait History {
    /// The digest that this node rejected last, if it accepted nothing of the resource since.
    fn rejected(&self, node: &str, resource: &str) -> Option<u64>;
}

/// What a stream looks at while it answers.
pub(crate) struct World<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) history: &'a dyn History,
    pub(crate) caller: &'a Caller,
    /// How many names a stream may subscribe to.
    pub(crate) names_max: usize,
}

/// A stream of either flavour.
pub(crate) trait Stream: Send + Sync + 'static {
    /// What the client sends.
    type Request: Message + Default + Send + 'static;

    /// The node that a message tells, if it does, and the names that it may add.
    fn asks(request: &Self::Request) -> (Option<&Node>, &[String]);

    /// Takes a message of the client.
    fn on_request(&mut self, request: Self::Request, world: &World<'_>) -> Result<Output, Refusal>;

    /// Looks at a new snapshot.
    fn on_snapshot(&mut self, world: &World<'_>) -> Output;

    /// Who is at the other end; none before the first message.
    fn identity(&self) -> Option<&Identity>;
}

/// What a client claims to hold when it subscribes.
enum Claim {
    /// Nothing, as far as it says.
    Nothing,
    /// Something from an earlier stream, possibly of a version that cannot be read.
    Holds(Option<Version>),
}

/// One response that the client has not answered yet.
#[derive(Debug)]
struct Outstanding {
    resource: String,
    version: Version,
    content: u64,
}

/// The names of a stream, what the client holds of each, and what it is to answer.
#[derive(Debug)]
struct Subscriptions {
    aggregated: bool,
    identity: Option<Identity>,
    /// The version that the client is known to hold, by name.
    by_name: BTreeMap<String, Option<Version>>,
    outstanding: Option<Outstanding>,
    /// Responses sent so far; the number of the last one is its nonce.
    responses: u64,
    /// The name that was sent last, after which the others have their turn.
    last_sent: String,
    /// Digests that the client rejected, oldest first.
    rejected: VecDeque<u64>,
    events: Vec<Event>,
}

// === impl Protocol ===

impl Protocol {
    /// The protocol's short name, as the API and the command line show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcdsSotw => "ecds",
            Self::EcdsDelta => "ecds-delta",
            Self::AdsSotw => "ads",
            Self::AdsDelta => "ads-delta",
        }
    }

    pub(crate) const fn is_aggregated(self) -> bool {
        matches!(self, Self::AdsSotw | Self::AdsDelta)
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Identity ===

impl Identity {
    /// Reads who a proxy says it is, within limits.
    pub(crate) fn of(node: Option<&Node>) -> Result<Self, Refusal> {
        let node = node.ok_or(Refusal::NoNode)?;
        for (field, text) in [("id", &node.id), ("cluster", &node.cluster)] {
            if text.len() > MAX_NODE_BYTES {
                return Err(Refusal::NodeTooLong { field, bytes: text.len() });
            }
            if text.contains(char::is_control) || (field == "id" && text.is_empty()) {
                return Err(Refusal::OddNode(field));
            }
        }
        Ok(Self { node: node.id.clone(), cluster: node.cluster.clone() })
    }
}

// === impl World ===

impl<'a> World<'a> {
    /// What everybody should have of a name, as far as the caller may see.
    fn wanted(&self, name: &str) -> Option<&'a Arc<Resource>> {
        self.snapshot.wanted(name).filter(|_| self.caller.may_see(name))
    }

    /// What a node is sent of a name, as far as the caller may see.
    fn served(&self, name: &str, node: &str) -> Option<&'a Arc<Resource>> {
        self.snapshot.served(name, node).filter(|_| self.caller.may_see(name))
    }

    /// What a node may be sent instead of what it refused, as far as the caller may see.
    fn instead(&self, name: &str) -> Option<&'a Arc<Resource>> {
        self.snapshot.instead(name).filter(|_| self.caller.may_see(name))
    }
}

// === impl Subscriptions ===

impl Subscriptions {
    fn new(protocol: Protocol) -> Self {
        Self {
            aggregated: protocol.is_aggregated(),
            identity: None,
            by_name: BTreeMap::new(),
            outstanding: None,
            responses: 0,
            last_sent: String::new(),
            rejected: VecDeque::new(),
            events: Vec::new(),
        }
    }

    /// Checks what every request has to have. False: the request is of a type that is not served, and is to be ignored.
    fn admit(&mut self, node: Option<&Node>, type_url: &str) -> Result<bool, Refusal> {
        if self.identity.is_none() {
            self.identity = Some(Identity::of(node)?);
        }
        let ours = type_url == ecds::type_url();
        match (self.aggregated, type_url) {
            (true, "") => Err(Refusal::NoType),
            (true, _) => Ok(ours),
            (false, "") => Ok(true),
            (false, other) if !ours => Err(Refusal::WrongType(other.to_owned())),
            (false, _) => Ok(true),
        }
    }

    /// The client's node; empty before the first message.
    fn node(&self) -> &str {
        self.identity.as_ref().map(|identity| identity.node.as_str()).unwrap_or_default()
    }

    /// True if the nonce is that of the last response.
    fn is_last_nonce(&self, nonce: &str) -> bool {
        self.responses > 0 && nonce == self.responses.to_string()
    }

    /// The version of the response that is sent now, as text.
    fn version_text(&self, text: String, nonce: &str) -> String {
        if self.rejected.is_empty() { text } else { marked(&text, nonce) }
    }

    /// Takes the answer to the outstanding response: an ACK, or a NACK with its reason.
    fn settle(&mut self, rejection: Option<&str>) {
        let Some(Outstanding { resource, version, content }) = self.outstanding.take() else { return };
        let event = match rejection {
            None => {
                if let Some(held) = self.by_name.get_mut(&resource) {
                    *held = Some(version);
                }
                Event::Acknowledged { resource, version }
            }
            Some(reason) => {
                self.reject(version.digest);
                // Envoy takes what it serves for what it was sent, so it is sent what it serves again.
                if let Some(held) = self.by_name.get_mut(&resource) {
                    *held = None;
                }
                Event::Rejected { resource, version, content, message: shortened(reason) }
            }
        };
        self.events.push(event);
    }

    fn reject(&mut self, digest: u64) {
        if self.rejected.contains(&digest) {
            return;
        }
        if self.rejected.len() == MAX_REJECTED {
            self.rejected.pop_front();
        }
        self.rejected.push_back(digest);
    }

    /// Adds a name. One that is there already counts as not held, and so is sent again; unless a response with it is on its way,
    /// which the client will read after it sent this.
    fn subscribe(&mut self, name: &str, claim: Claim, world: &World<'_>) -> Result<(), Refusal> {
        if name.len() > MAX_NAME_BYTES {
            return Err(Refusal::NameTooLong(name.len()));
        }
        let count = self.by_name.len();
        let may_see = world.caller.may_see(name);
        let (resumed, held) = match claim {
            _ if !may_see => (false, None),
            Claim::Nothing => (false, None),
            Claim::Holds(held) => (true, held),
        };
        match self.by_name.entry(name.to_owned()) {
            Entry::Occupied(mut known) => {
                known.insert(held);
                return Ok(());
            }
            Entry::Vacant(_) if count >= world.names_max => {
                return Err(Refusal::TooManyNames(world.names_max));
            }
            Entry::Vacant(place) => place.insert(held),
        };
        if !may_see {
            self.events.push(Event::Denied { resource: name.to_owned() });
            return Ok(());
        }
        if resumed {
            self.recall(name, world);
        }
        self.events.push(Event::Subscribed { resource: name.to_owned(), resumed, held });
        Ok(())
    }

    /// Takes over what the same proxy rejected on an earlier stream.
    fn recall(&mut self, name: &str, world: &World<'_>) {
        if let Some(digest) = world.history.rejected(self.node(), name) {
            self.reject(digest);
            self.by_name.insert(name.to_owned(), None);
        }
    }

    /// Takes a name back. Its outstanding response, which may never be answered now, no longer holds up the others.
    fn unsubscribe(&mut self, name: &str) {
        if self.by_name.remove(name).is_none() {
            return;
        }
        self.outstanding.take_if(|outstanding| outstanding.resource == name);
        self.events.push(Event::Unsubscribed { resource: name.to_owned() });
    }

    /// Takes back every name that is not among these.
    fn retain(&mut self, names: &BTreeSet<&str>) {
        let gone: Vec<_> =
            self.by_name.keys().filter(|name| !names.contains(name.as_str())).cloned().collect();
        for name in gone {
            self.unsubscribe(&name);
        }
    }

    /// Chooses what to send now, if anything, and waits for its answer from here on.
    fn advance(&mut self, world: &World<'_>) -> Option<Arc<Resource>> {
        if self.outstanding.is_some() {
            return None;
        }
        let resource = self.next_lacking(world)?;
        self.responses += 1;
        self.last_sent.clone_from(&resource.name);
        let Resource { name, version, content, .. } = &*resource;
        self.outstanding = Some(Outstanding { resource: name.clone(), version: *version, content: *content });
        Some(resource)
    }

    fn next_lacking(&self, world: &World<'_>) -> Option<Arc<Resource>> {
        let after = (Bound::Excluded(self.last_sent.as_str()), Bound::Unbounded);
        let upto = (Bound::Unbounded, Bound::Included(self.last_sent.as_str()));
        let node = self.node();
        let turns = self.by_name.range::<str, _>(after).chain(self.by_name.range::<str, _>(upto));
        turns
            // Who has what is wanted keeps it, also while others are not sent it.
            .filter(|(name, held)| world.wanted(name).map(|wanted| wanted.version) != **held)
            .find_map(|(name, held)| self.next_for(name, node, *held, world))
            .cloned()
    }

    /// What the client lacks of a name: what it is served, or, where it refused that, what did well before. Who holds something
    /// newer than that keeps it.
    fn next_for<'a>(
        &self,
        name: &str,
        node: &str,
        held: Option<Version>,
        world: &World<'a>,
    ) -> Option<&'a Arc<Resource>> {
        let (served, instead) = (world.served(name, node), world.instead(name));
        let is_wanted =
            |resource: &Resource| world.wanted(name).is_some_and(|wanted| wanted.version == resource.version);
        let is_newer =
            |resource: &Resource| held.is_none_or(|held| held.revision <= resource.version.revision);
        let mut choices = served.into_iter().chain(instead);
        choices.find(|resource| self.lacks(resource, held) && (is_wanted(resource) || is_newer(resource)))
    }

    fn lacks(&self, resource: &Resource, held: Option<Version>) -> bool {
        held != Some(resource.version) && !self.rejected.contains(&resource.version.digest)
    }

    /// Makes the output of everything since the last one. `message` wraps a resource under the nonce.
    fn respond(
        &mut self,
        world: &World<'_>,
        message: impl FnOnce(&Self, &Resource, String) -> Frame,
    ) -> Output {
        let outgoing = self.advance(world).map(|resource| Outgoing {
            message: message(self, &resource, self.responses.to_string()),
            resource: resource.name.clone(),
            version: resource.version,
        });
        Output { events: std::mem::take(&mut self.events), outgoing }
    }
}

/// The start of a proxy's reason, at most [`MAX_ERROR_BYTES`].
fn shortened(reason: &str) -> String {
    let mut end = reason.len().min(MAX_ERROR_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default().to_owned()
}
