//! A proxy with its stream, and a naive account of what that stream may do.
//!
//! Promised, and looked at whenever the stream says something: nonces are unique, one response is outstanding, nothing is sent that
//! is not subscribed, what was rejected is not sent again, and events say what the messages said.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{Node, TypedExtensionConfig};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::rpc::Status;
use prost::Message;

use crate::limits::{Limits, MAX_ERROR_BYTES, MAX_REJECTED};
use crate::proxies::{Peer, StreamId};
use crate::stream::delta::Delta;
use crate::stream::sotw::Sotw;
use crate::stream::{Event, Identity, Outgoing, Output, Protocol, Refusal, Stream, World};
use crate::version::Version;

/// Bytes before each gRPC message.
const PREFIX_BYTES: usize = 5;

#[derive(Debug)]
enum Flavour {
    Sotw(Sotw),
    Delta(Delta),
}

/// A response as the proxy read it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) nonce: String,
    pub(super) name: String,
    pub(super) version: Version,
    text: String,
}

/// One request, in the words of either flavour.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) node: String,
    pub(super) type_url: String,
    /// All names, or those to add.
    pub(super) names: Vec<String>,
    /// Names to take back; only delta says it.
    pub(super) gone: Vec<String>,
    pub(super) nonce: String,
    pub(super) error: Option<String>,
    pub(super) holds: Holds,
}

/// What the first request of a stream says to hold.
#[derive(Debug, Default)]
pub(super) enum Holds {
    #[default]
    Nothing,
    /// What the process accepted.
    Truth,
    /// Anything.
    Lie(String),
}

/// A proxy process and its stream.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) node: String,
    flavour: Flavour,
    id: StreamId,
    protocol: Protocol,
    /// Whether the server ended the stream.
    pub(super) is_over: bool,
    /// Whether all that it said at the start of the stream is true.
    pub(super) is_honest: bool,
    is_begun: bool,
    pub(super) names: BTreeSet<String>,
    told: BTreeSet<String>,
    nonces: BTreeSet<String>,
    pub(super) last: Option<Received>,
    pub(super) is_asked: bool,
    rejected: VecDeque<u64>,
    /// Names that it rejected something of and was sent nothing of since.
    pub(super) confused: BTreeSet<String>,
    /// What the process has, by name: it survives the stream.
    pub(super) has: BTreeMap<String, (Version, String)>,
    /// The version of the last response that the process accepted.
    said: String,
    /// Whether the process dropped something after that.
    is_said_too_much: bool,
}

// === impl Client ===

impl Client {
    pub(super) fn new(node: String, protocol: Protocol, id: StreamId) -> Self {
        let flavour = match protocol {
            Protocol::EcdsSotw | Protocol::AdsSotw => Flavour::Sotw(Sotw::new(protocol)),
            Protocol::EcdsDelta | Protocol::AdsDelta => Flavour::Delta(Delta::new(protocol)),
        };
        Self {
            node,
            flavour,
            id,
            protocol,
            is_over: false,
            is_honest: true,
            is_begun: false,
            names: BTreeSet::new(),
            told: BTreeSet::new(),
            nonces: BTreeSet::new(),
            last: None,
            is_asked: false,
            rejected: VecDeque::new(),
            confused: BTreeSet::new(),
            has: BTreeMap::new(),
            said: String::new(),
            is_said_too_much: false,
        }
    }

    /// The same process on a new stream of the same flavour, or of the other: then it is another process.
    pub(super) fn reconnected(self, protocol: Protocol, id: StreamId) -> Self {
        let next = Self::new(self.node, protocol, id);
        match (self.protocol == protocol, self.is_over) {
            (true, false) => {
                Self { has: self.has, said: self.said, is_said_too_much: self.is_said_too_much, ..next }
            }
            _ => next,
        }
    }

    pub(super) fn peer(&self) -> Option<Peer> {
        let identity = self.identity()?.clone();
        Some(Peer { stream: self.id, protocol: self.protocol, identity, call: Arc::default(), spiffe: None })
    }

    fn identity(&self) -> Option<&Identity> {
        match &self.flavour {
            Flavour::Sotw(stream) => stream.identity(),
            Flavour::Delta(stream) => stream.identity(),
        }
    }

    pub(super) fn is_delta(&self) -> bool {
        matches!(self.flavour, Flavour::Delta(_))
    }

    /// A request that says nothing new, and answers the last response.
    pub(super) fn answer(&self, error: Option<String>) -> Request {
        let names = if self.is_delta() { Vec::new() } else { self.names.iter().cloned().collect() };
        let nonce = self.last.as_ref().map(|last| last.nonce.clone()).unwrap_or_default();
        Request { names, nonce, error, type_url: crate::ecds::type_url(), ..Request::default() }
    }

    /// Says something. The output is checked in itself; what it has to do with others is not.
    pub(super) fn say(&mut self, request: &Request, world: &World<'_>) -> Output {
        let claims = self.claims(request);
        let heard = match &mut self.flavour {
            Flavour::Sotw(stream) => stream.on_request(sotw(request, claims.0), world),
            Flavour::Delta(stream) => stream.on_request(delta(request, claims.1), world),
        };
        match heard {
            Ok(output) => {
                let verdict = self.expect(request);
                self.check_events(&output.events, verdict);
                self.check_outgoing(output.outgoing.as_ref());
                output
            }
            Err(refusal) => {
                self.check_refusal(&refusal, request);
                self.is_over = true;
                Output { events: Vec::new(), outgoing: None }
            }
        }
    }

    /// Looks at a new snapshot.
    pub(super) fn look(&mut self, world: &World<'_>) -> Output {
        let output = match &mut self.flavour {
            Flavour::Sotw(stream) => stream.on_snapshot(world),
            Flavour::Delta(stream) => stream.on_snapshot(world),
        };
        self.check_events(&output.events, None);
        self.check_outgoing(output.outgoing.as_ref());
        output
    }

    fn claims(&self, request: &Request) -> (String, HashMap<String, String>) {
        match &request.holds {
            Holds::Nothing => Default::default(),
            Holds::Truth => {
                let texts = self.has.iter().map(|(name, (_, text))| (name.clone(), text.clone()));
                (self.said.clone(), texts.collect())
            }
            Holds::Lie(text) => {
                (text.clone(), request.names.iter().map(|name| (name.clone(), text.clone())).collect())
            }
        }
    }

    /// Takes a request that was not refused into the account. Gives what its answer to a response was, if it is one: the response,
    /// and whether it was rejected.
    fn expect(&mut self, request: &Request) -> Option<(Received, bool)> {
        let is_ours = request.type_url.is_empty() || request.type_url == crate::ecds::type_url();
        let is_last = self.last.as_ref().is_some_and(|last| last.nonce == request.nonce);
        let is_stale = !self.is_delta() && self.last.is_some() && !request.nonce.is_empty() && !is_last;
        if !is_ours || is_stale {
            return None;
        }
        let verdict = match &self.last {
            Some(last) if is_last && self.is_asked => Some((last.clone(), request.error.is_some())),
            _ => None,
        };
        if let Some((received, is_rejected)) = &verdict {
            self.settle(received.clone(), *is_rejected);
        }
        if !std::mem::replace(&mut self.is_begun, true) {
            self.begin(&request.holds);
        }
        let asked = request.names.iter().filter(|name| *name != "*").cloned();
        let (gone, names): (BTreeSet<_>, BTreeSet<_>) = if self.is_delta() {
            let gone: BTreeSet<_> = request.gone.iter().cloned().collect();
            let kept = self.names.difference(&gone).cloned();
            (gone.clone(), kept.chain(asked).collect())
        } else {
            let names: BTreeSet<_> = asked.collect();
            (self.names.difference(&names).cloned().collect(), names)
        };
        for name in gone {
            self.forget(&name);
        }
        self.names = names;
        verdict
    }

    /// The start of a stream. A process that says to hold nothing has nothing.
    fn begin(&mut self, holds: &Holds) {
        match holds {
            Holds::Nothing => {
                self.has.clear();
                self.said.clear();
                self.is_said_too_much = false;
            }
            Holds::Truth => self.is_honest = self.is_delta() || !self.is_said_too_much,
            Holds::Lie(_) => self.is_honest = false,
        }
    }

    fn settle(&mut self, Received { name, version, text, .. }: Received, is_rejected: bool) {
        self.is_asked = false;
        if is_rejected {
            if !self.rejected.contains(&version.digest) {
                self.rejected.truncate(MAX_REJECTED - 1);
                self.rejected.push_front(version.digest);
            }
            self.confused.insert(name);
        } else {
            self.confused.remove(&name);
            self.said.clone_from(&text);
            self.is_said_too_much = false;
            self.has.insert(name, (version, text));
        }
    }

    fn forget(&mut self, name: &str) {
        if self.last.as_ref().is_some_and(|last| last.name == name) {
            self.is_asked = false;
        }
        self.confused.remove(name);
        self.is_said_too_much |= self.has.remove(name).is_some();
    }

    fn check_events(&mut self, events: &[Event], verdict: Option<(Received, bool)>) {
        let mut verdicts = Vec::new();
        for event in events {
            match event {
                Event::Subscribed { resource, .. } => {
                    assert!(self.told.insert(resource.clone()), "told twice")
                }
                Event::Unsubscribed { resource } => assert!(self.told.remove(resource), "never told"),
                Event::Denied { resource } => panic!("{resource} is for everybody"),
                Event::Acknowledged { resource, version } => verdicts.push((resource, *version, false)),
                Event::Rejected { resource, version, message, .. } => {
                    assert!(message.len() <= MAX_ERROR_BYTES);
                    verdicts.push((resource, *version, true));
                }
            }
        }
        let expected: Vec<_> =
            verdict.iter().map(|(received, no)| (&received.name, received.version, *no)).collect();
        assert_eq!(verdicts, expected, "what the proxy answered");
        assert_eq!(self.told, self.names, "what is subscribed");
        assert!(self.names.len() <= Limits::DEFAULT.names);
    }

    fn check_outgoing(&mut self, outgoing: Option<&Outgoing>) {
        let Some(outgoing) = outgoing else { return };
        let received = self.read(outgoing);
        assert!(!self.is_asked, "one response is outstanding");
        assert!(self.names.contains(&received.name), "{} is not subscribed", received.name);
        assert!(!self.rejected.contains(&received.version.digest), "it rejected that");
        assert!(self.nonces.insert(received.nonce.clone()), "nonce {} was there before", received.nonce);
        self.last = Some(received);
        self.is_asked = true;
    }

    fn read(&self, outgoing: &Outgoing) -> Received {
        let bytes = outgoing.message.clone().pieces().concat();
        let bytes = bytes.get(PREFIX_BYTES..).expect("a prefix");
        let (nonce, text, any) = if self.is_delta() {
            let response = DeltaDiscoveryResponse::decode(bytes).expect("a delta response");
            let [resource] = response.resources.as_slice() else { panic!("envoy wants exactly one") };
            assert!(response.removed_resources.is_empty(), "envoy would answer all with 500");
            (response.nonce, resource.version.clone(), resource.resource.clone().expect("a body"))
        } else {
            let response = DiscoveryResponse::decode(bytes).expect("a response");
            let [any] = response.resources.as_slice() else { panic!("envoy wants exactly one") };
            (response.nonce, response.version_info, any.clone())
        };
        let name = TypedExtensionConfig::decode(any.value.as_slice()).expect("an extension").name;
        assert_eq!(name, outgoing.resource);
        Received { nonce, name, version: outgoing.version, text }
    }

    fn check_refusal(&self, refusal: &Refusal, request: &Request) {
        let is_right = match refusal {
            Refusal::NoNode | Refusal::OddNode(_) | Refusal::NodeTooLong { .. } => self.identity().is_none(),
            Refusal::NoType => request.type_url.is_empty(),
            Refusal::WrongType(_) => request.type_url != crate::ecds::type_url(),
            Refusal::TooManyNames(limit) => request.names.len() + self.names.len() > *limit,
            Refusal::NameTooLong(bytes) => request.names.iter().any(|name| name.len() == *bytes),
        };
        assert!(is_right, "{refusal}");
    }
}

fn node(id: &str) -> Option<Node> {
    (!id.is_empty()).then(|| Node { id: id.to_owned(), ..Node::default() })
}

fn status(error: &Option<String>) -> Option<Status> {
    error.as_ref().map(|message| Status { message: message.clone(), ..Status::default() })
}

fn sotw(request: &Request, version_info: String) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info,
        node: node(&request.node),
        resource_names: request.names.clone(),
        type_url: request.type_url.clone(),
        response_nonce: request.nonce.clone(),
        error_detail: status(&request.error),
        ..DiscoveryRequest::default()
    }
}

fn delta(request: &Request, initial_resource_versions: HashMap<String, String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        initial_resource_versions,
        node: node(&request.node),
        resource_names_subscribe: request.names.clone(),
        resource_names_unsubscribe: request.gone.clone(),
        type_url: request.type_url.clone(),
        response_nonce: request.nonce.clone(),
        error_detail: status(&request.error),
        ..DeltaDiscoveryRequest::default()
    }
}
