//! What happens around a few streams: publishes, refusals, trials, time.
//!
//! Promised, and looked at after every action: what is held back reaches nobody, what is on trial its group alone, and all others
//! only after somebody accepted it. At the end everybody acknowledges, and has what is served to him or what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Tape;
use super::client::{Client, Holds, Request};
use crate::caller::Caller;
use crate::canary::CanaryShare;
use crate::discovery::take_rejections;
use crate::ecds::{self, FilterSettings};
use crate::limits::{CANARY_PATIENCE, Limits, MAX_NAME_BYTES};
use crate::offer::Offer;
use crate::proxies::{FilterReport, Proxies, Unreadable};
use crate::resource::Publication;
use crate::snapshot::{Rejection, Snapshots};
use crate::stream::{Event, Output, Protocol, World};
use crate::version::Version;

const TENANTS: [&str; 3] = ["a", "b", "c"];
/// The last two are two processes that say to be one.
const NODES: [&str; 4] = ["n0", "n1", "n2", "n2"];
const PROTOCOLS: [Protocol; 4] =
    [Protocol::EcdsSotw, Protocol::EcdsDelta, Protocol::AdsSotw, Protocol::AdsDelta];
/// Rounds in which everybody has to have what he gets: a trial takes a few, and goes from node to node.
const ROUNDS: usize = 40;

/// The server without its sockets, and its proxies.
#[derive(Debug)]
pub(super) struct Play {
    pub(super) snapshots: Snapshots,
    pub(super) proxies: Proxies,
    clients: Vec<Client>,
    tenants: BTreeMap<&'static str, Publication>,
    revision: u64,
    now: Instant,
    /// All that was ever published: its content, and whether it goes to everybody.
    published: BTreeMap<(String, u64), (u64, bool)>,
    /// All that anybody ever accepted, or said to hold.
    accepted: BTreeSet<(String, u64, u64)>,
    /// What was held back, by resource and content, until it was forgiven.
    barred: BTreeSet<(String, u64)>,
    /// The resources and revisions that were held back: what is forgiven is so under its next revision.
    held_back: BTreeSet<(String, u64)>,
    /// What each node rejected.
    rejected: BTreeSet<(String, u64)>,
}

// === impl Play ===

impl Play {
    /// Two tenants are published, and nobody is there.
    pub(super) fn new(share: u8) -> Self {
        let share = CanaryShare::new(u16::from(share % 4) * 3_333 + 1).unwrap_or(CanaryShare::ALL);
        let proxies = Proxies::new(Limits::DEFAULT.proxies, Arc::default());
        let client = |(at, node): (usize, &&str)| {
            let protocol = PROTOCOLS.get(at).copied().unwrap_or(Protocol::AdsDelta);
            Client::new((*node).to_owned(), protocol, proxies.new_stream())
        };
        let clients = NODES.iter().enumerate().map(client).collect();
        let mut play = Self {
            snapshots: Snapshots::new(FilterSettings::default(), share),
            proxies,
            clients,
            tenants: BTreeMap::new(),
            revision: 0,
            now: Instant::now(),
            published: BTreeMap::new(),
            accepted: BTreeSet::new(),
            barred: BTreeSet::new(),
            held_back: BTreeSet::new(),
            rejected: BTreeSet::new(),
        };
        play.publish(0, 0);
        play.publish(1, 0);
        play
    }

    pub(super) fn act(&mut self, action: u8, tape: &mut Tape<'_>) {
        match action % 16 {
            0 | 1 => self.publish(tape.next(), tape.next()),
            2 => self.withdraw(tape.next()),
            3 => self.snapshots.forgive(tenant(tape.next())),
            4 => self.accept(tape.next()),
            5 => self.refuse(tape.next(), tape.next()),
            6 => self.pass(tape.next()),
            7 => self.report(tape.next(), tape.next()),
            8 => self.reconnect(tape),
            9 | 10 => self.look(usize::from(tape.next())),
            11 => self.say_anything(tape),
            12 => self.answer(usize::from(tape.next()), Some("no".to_owned())),
            _ => self.answer(usize::from(tape.next()), None),
        }
        if action % 16 == 3 {
            self.barred.clear();
        }
        self.note_held_back();
    }

    /// Lets everybody acknowledge what he is sent until nothing moves, and looks at what he has.
    pub(super) fn end(&mut self) {
        for _ in 0..ROUNDS {
            self.pass(30);
            for at in 0..self.clients.len() {
                self.look(at);
                let names = 2 * TENANTS.len();
                for _ in 0..names {
                    self.answer(at, None);
                }
            }
        }
        self.clients.iter().for_each(|client| self.check_end(client));
    }

    fn check_end(&self, client: &Client) {
        if client.is_over || !client.is_honest {
            return;
        }
        assert!(!client.is_asked, "everything was answered");
        let snapshot = self.snapshots.current();
        for name in &client.names {
            let Some(served) = snapshot.served(name, &client.node) else { continue };
            let has = client.has.get(name).map(|(version, _)| *version);
            let is_right = has == Some(served.version) && !client.confused.contains(name)
                || has == snapshot.wanted(name).map(|wanted| wanted.version);
            // Who holds something newer is not taken back to what did well before.
            let is_right = is_right || has.is_some_and(|has| has.revision > served.version.revision);
            let is_excused = self.rejected.contains(&(client.node.clone(), served.version.digest));
            assert!(is_right || is_excused, "{} has {has:?} of {name}, and not {served:?}", client.node);
        }
    }

    /// Publishes a tenant anew, and the others as they were. Contents come again under other numbers.
    fn publish(&mut self, which: u8, how: u8) {
        let (content, is_firm, tells) = (how % 8, how & 0x10 != 0 && how & 0x20 != 0, how & 0x08 != 0);
        self.revision += 1;
        let (tenant, revision) = (tenant(which), self.revision);
        // Rules tell their revision; an odd publisher's do not.
        let rules = if tells { format!("{content}") } else { format!("{revision} {content}") };
        let publication = Publication {
            tenant: tenant.to_owned(),
            revision,
            rules: Bytes::from(rules),
            content_hash: content.into(),
            is_firm,
        };
        self.tenants.insert(tenant, publication);
        self.swap();
        let name = ecds::resource_name(tenant);
        let content = self.snapshots.current().wanted(&name).expect("it was published").content;
        self.published.insert((name, revision), (content, is_firm));
    }

    fn withdraw(&mut self, which: u8) {
        self.tenants.remove(tenant(which));
        self.swap();
    }

    fn swap(&mut self) {
        let publications: Vec<_> = self.tenants.values().cloned().collect();
        let prepared = self.snapshots.prepare(&publications).expect("all of it can be published");
        self.snapshots.swap(prepared, &self.proxies, self.now);
    }

    /// All proxies accepted what is wanted, says somebody.
    fn accept(&mut self, which: u8) {
        let back = u64::from(which / 16);
        self.snapshots.accept(tenant(which), self.revision.saturating_sub(back));
        if let Some(publication) = self.tenants.get(tenant(which)) {
            let wanted = self.snapshots.current();
            if let Some(wanted) = wanted.wanted(&ecds::resource_name(&publication.tenant)) {
                self.accepted.insert(key(&wanted.name, wanted.version));
            }
        }
    }

    /// Somebody who is not connected here refuses.
    fn refuse(&mut self, which: u8, how: u8) {
        let current = self.snapshots.current();
        let name = ecds::resource_name(tenant(which));
        let Some(wanted) = current.wanted(&name) else { return };
        let (name, version, content) = (wanted.name.as_str(), wanted.version, wanted.content);
        let node = if how & 1 == 0 { "elsewhere" } else { "anywhere" };
        match how % 6 {
            0 | 1 => self.snapshots.doubt(Rejection { name, version, content, node, message: "no" }),
            2 | 3 => self.snapshots.refuse_wanted(name, version, node, "no"),
            _ => {
                let version = Version { revision: version.revision.saturating_sub(1), ..version };
                self.snapshots.refuse(Rejection { name, version, content, node, message: "late" });
            }
        }
    }

    /// Time passes, and trials go on. All are sent what somebody accepted, and nothing else.
    fn pass(&mut self, seconds: u8) {
        self.now += Duration::from_secs(seconds.into()).min(CANARY_PATIENCE);
        let before = self.snapshots.current();
        self.snapshots.follow_trials(&self.proxies, self.now);
        let after = self.snapshots.current();
        for wanted in before.trials().map(|(offer, _)| &offer.wanted) {
            let is_on_trial = after.trials().any(|(other, _)| other.wanted.name == wanted.name);
            let is_accepted = self.accepted.contains(&key(&wanted.name, wanted.version));
            assert!(is_on_trial || is_accepted, "{wanted:?} is sent to all, and nobody accepted it");
        }
    }

    /// A filter reports what it runs.
    fn report(&mut self, which: u8, how: u8) {
        let node = NODES.get(usize::from(which) % NODES.len()).copied().unwrap_or_default();
        let revision = Some(self.revision.saturating_sub(u64::from(how / 4))).filter(|_| how & 2 == 0);
        let report = FilterReport { revision, rejected_config: Some(how & 1 == 1) };
        if let Some(Unreadable { resource, version, .. }) = self.proxies.report(node, None, report, self.now)
        {
            self.snapshots.refuse_wanted(&resource, version, node, "unreadable");
        }
    }

    /// A stream ends, and its process or another one opens the next.
    fn reconnect(&mut self, tape: &mut Tape<'_>) {
        let (at, how) = (usize::from(tape.next()) % self.clients.len(), tape.next());
        let client = self.clients.remove(at);
        if let Some(peer) = client.peer() {
            self.proxies.disconnect(&peer, self.now);
        }
        let names: Vec<_> = client.names.iter().cloned().collect();
        let protocol = PROTOCOLS.get(usize::from(how / 4) % PROTOCOLS.len()).copied();
        let protocol = protocol.unwrap_or(Protocol::EcdsSotw);
        self.clients.insert(at, client.reconnected(protocol, self.proxies.new_stream()));
        let holds = match how % 4 {
            0 => Holds::Nothing,
            1 | 2 => Holds::Truth,
            _ => Holds::Lie(text(tape)),
        };
        let node = NODES.get(at).copied().unwrap_or_default().to_owned();
        let request = Request { node, names, holds, type_url: ecds::type_url(), ..Request::default() };
        self.say(at, &request);
    }

    fn look(&mut self, at: usize) {
        let at = at % self.clients.len();
        self.with(at, |client, world| client.look(world));
    }

    /// Answers the last response, if there is one.
    fn answer(&mut self, at: usize, error: Option<String>) {
        let at = at % self.clients.len();
        if let Some(request) = self.clients.get(at).filter(|client| client.is_asked).map(|c| c.answer(error))
        {
            self.say(at, &request);
        }
    }

    /// Any request: names, nonces, errors and types that fit or do not.
    fn say_anything(&mut self, tape: &mut Tape<'_>) {
        let at = usize::from(tape.next()) % self.clients.len();
        let (names, gone, how) = (tape.next(), tape.next(), tape.next());
        let Some(client) = self.clients.get(at) else { return };
        let last = client.last.as_ref().map(|last| last.nonce.clone()).unwrap_or_default();
        let nonce = match how % 4 {
            0 => String::new(),
            1 | 2 => last,
            _ => text(tape),
        };
        let type_url = match how / 4 % 16 {
            0 => String::new(),
            1 => "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
            _ => ecds::type_url(),
        };
        let error = (how & 0x80 != 0).then(|| "网".repeat(usize::from(names) * 4));
        let node = if how & 0x40 == 0 { client.node.clone() } else { String::new() };
        let request = Request {
            node,
            type_url,
            names: named(names),
            gone: named(gone),
            nonce,
            error,
            holds: Holds::Nothing,
        };
        self.say(at, &request);
    }

    fn say(&mut self, at: usize, request: &Request) {
        let Some(client) = self.clients.get(at) else { return };
        if !request.node.is_empty() || client.peer().is_some() {
            let volunteer = |name: &String| self.snapshots.volunteer(name, &client.node, self.now);
            request.names.iter().for_each(volunteer);
        }
        self.with(at, |client, world| client.say(request, world));
    }

    /// Lets a client do something in the world of now, and takes what comes of it as the server does.
    fn with(&mut self, at: usize, act: impl FnOnce(&mut Client, &World<'_>) -> Output) {
        let snapshot = self.snapshots.current();
        let names_max = Limits::DEFAULT.names;
        let world =
            World { snapshot: &snapshot, history: &self.proxies, caller: &Caller::default(), names_max };
        let Some(client) = self.clients.get_mut(at).filter(|client| !client.is_over) else { return };
        let Output { events, outgoing } = act(client, &world);
        let Some(peer) = client.peer() else { return };
        if let Some(outgoing) = &outgoing {
            self.check_sent(&peer.identity.node, &outgoing.resource, outgoing.version);
        }
        for event in &events {
            self.note(&peer.identity.node, event);
        }
        take_rejections(&self.snapshots, &self.proxies, &peer, &events);
        self.proxies.record(&peer, events, self.now).expect("there is room for a few");
        if let Some(outgoing) = outgoing {
            self.proxies.sent(&peer, &outgoing.resource, outgoing.version.revision);
        }
    }

    fn note(&mut self, node: &str, event: &Event) {
        match event {
            Event::Acknowledged { resource, version }
            | Event::Subscribed { resource, held: Some(version), .. } => {
                self.accepted.insert(key(resource, *version));
            }
            Event::Rejected { version, .. } => {
                self.rejected.insert((node.to_owned(), version.digest));
            }
            Event::Subscribed { .. } | Event::Denied { .. } | Event::Unsubscribed { .. } => {}
        }
    }

    fn check_sent(&self, node: &str, name: &str, version: Version) {
        let published = self.published.get(&(name.to_owned(), version.revision));
        let (content, is_firm) = *published.expect("only what was published is sent");
        let is_barred = self.barred.contains(&(name.to_owned(), content));
        assert!(is_firm || !is_barred, "{name} {version} was refused, and {node} is sent it");
        for (Offer { wanted, .. }, group) in self.snapshots.current().trials() {
            let is_on_trial = wanted.name == name && wanted.version == version;
            assert!(!is_on_trial || group.contains(node), "{node} does not try {name} {version}");
        }
        for refusal in self.snapshots.held_back() {
            let is_it = ecds::resource_name(&refusal.tenant) == name && refusal.revision == version.revision;
            assert!(!is_it, "{name} {version} is held back, and {node} is sent it");
        }
    }

    fn note_held_back(&mut self) {
        for refusal in self.snapshots.held_back() {
            let name = ecds::resource_name(&refusal.tenant);
            if self.held_back.insert((name.clone(), refusal.revision)) {
                self.barred.insert((name, refusal.content));
            }
        }
    }
}

fn tenant(which: u8) -> &'static str {
    TENANTS.get(usize::from(which) % TENANTS.len()).copied().unwrap_or_default()
}

fn key(name: &str, version: Version) -> (String, u64, u64) {
    (name.to_owned(), version.revision, version.digest)
}

/// A few names that are published, or may be, or never are.
fn named(bits: u8) -> Vec<String> {
    let mut names: Vec<_> = TENANTS.map(ecds::resource_name).into();
    names.extend(["*", "", "graylane.v2.a"].map(String::from));
    let mut names: Vec<_> =
        names.into_iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, name)| name).collect();
    match bits {
        0xC0 => names.push("n".repeat(MAX_NAME_BYTES + 1)),
        0xC1 => names.extend((0..=Limits::DEFAULT.names).map(|at| format!("x{at}"))),
        0xC2 => names.extend(named(3)),
        _ => {}
    }
    names
}

/// A few bytes as text.
fn text(tape: &mut Tape<'_>) -> String {
    let length = usize::from(tape.next() % 24);
    (0..length).map(|_| char::from(tape.next())).collect()
}
