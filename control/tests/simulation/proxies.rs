//! Proxies that answer late, out of order, with a rejection or not at all.

mod proxy;

use crate::bank::TENANTS;
use crate::time::SimClock;
use fastrand::Rng;
use graylane::clock::Clock as _;
use graylane::fleet::{Fleet, Publish};
use graylane_rules::Rules;
use graylane_xds::{Nack, Protocol, ProxyStatus, Publication, PublishError, Refusal, Standing};
use proxy::{Move, Proxy, pick};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How long a proxy that left is counted. As the semantics say, and not as the daemon's constant does.
const COUNTED_FOR: Duration = Duration::from_secs(60);

/// How long a daemon that just started waits for the proxies that were there.
const AWAITED_FOR: Duration = Duration::from_secs(30);

/// Proxies at once. Few, so that all of them converge now and then.
const MAX_PROXIES: usize = 6;

/// How often a move is looked for that changes something.
const MAX_TRIES: u32 = 6;

/// A handle; clones are the same proxies.
#[derive(Clone)]
pub struct SimFleet(Arc<Mutex<State>>);

struct State {
    clock: SimClock,
    proxies: Vec<Proxy>,
    /// Nodes that were ever there: each new one has a new name.
    nodes: u32,
    by_tenant: BTreeMap<String, Release>,
    /// When the daemon of now started, and how many proxies of each tenant counted for the one before it.
    daemon_since: Duration,
    counted_before: BTreeMap<&'static str, usize>,
    /// Whether it is starting still.
    is_starting: bool,
    /// What broke a promise while rules were published.
    broken: Option<String>,
}

/// What was published last for a tenant.
#[derive(Clone)]
pub struct Release {
    pub rules: Arc<Rules>,
    publication: Publication,
    /// The proxies that counted when it was published.
    proxies: usize,
    /// Whether the daemon of now published it.
    is_out: bool,
}

// === impl SimFleet ===

impl SimFleet {
    pub fn new(clock: SimClock) -> Self {
        Self(Arc::new(Mutex::new(State {
            clock,
            proxies: Vec::new(),
            nodes: 0,
            by_tenant: BTreeMap::new(),
            daemon_since: Duration::ZERO,
            counted_before: BTreeMap::new(),
            is_starting: true,
            broken: None,
        })))
    }

    /// Other proxies in the same state, with a clock of their own.
    pub fn fork(&self, clock: SimClock) -> Self {
        let state = self.state();
        Self(Arc::new(Mutex::new(State {
            clock,
            proxies: state.proxies.clone(),
            nodes: state.nodes,
            by_tenant: state.by_tenant.clone(),
            daemon_since: state.daemon_since,
            counted_before: state.counted_before.clone(),
            is_starting: state.is_starting,
            broken: None,
        })))
    }

    /// The daemon is gone, and so is what it knew. The proxies serve on, and come back one after the other.
    pub fn lose_daemon(&self) {
        let mut state = self.state();
        let now = state.clock.elapsed();
        state.counted_before = TENANTS.iter().map(|tenant| (*tenant, state.expected(tenant))).collect();
        state.by_tenant.values_mut().for_each(|release| release.is_out = false);
        for proxy in &mut state.proxies {
            proxy.is_known = false;
            proxy.gone_since.get_or_insert(now);
            proxy.unanswered.clear();
        }
    }

    /// A new daemon starts, and knows of no proxy.
    pub fn start_daemon(&self) {
        let mut state = self.state();
        state.daemon_since = state.clock.elapsed();
        state.is_starting = true;
    }

    /// The daemon has started.
    pub fn serve_daemon(&self) {
        self.state().is_starting = false;
    }

    /// Lets something happen, and tells what.
    pub fn step(&self, rng: &mut Rng) -> String {
        let mut state = self.state();
        // Most moves say nothing to most proxies; a step in which nothing happens is a waste of one.
        let happened = (0..MAX_TRIES).find_map(|_| state.act(pick(rng), rng));
        happened.unwrap_or_else(|| "no proxy moves".to_owned())
    }

    /// What was published last for each tenant.
    pub fn releases(&self) -> BTreeMap<String, Release> {
        self.state().by_tenant.clone()
    }

    /// The rules that were published last for a tenant.
    pub fn rules(&self, tenant: &str) -> Option<Arc<Rules>> {
        Some(Arc::clone(&self.state().by_tenant.get(tenant)?.rules))
    }

    /// The revision that a tenant's proxies should run; 0 when there is none.
    pub fn revision(&self, tenant: &str) -> u64 {
        self.rules(tenant).map_or(0, |rules| rules.revision())
    }

    /// Why the tenant's proxies have not all what was published last, if they have not.
    pub fn lags(&self, tenant: &str) -> Option<String> {
        self.state().lags(tenant)
    }

    /// Whether nobody would have to have a revision that is published now.
    pub fn is_empty(&self, tenant: &str) -> bool {
        let state = self.state();
        let awaited = state.by_tenant.get(tenant).map_or(0, |release| release.proxies);
        state.counted(tenant).count() == 0 && (awaited == 0 || !state.awaits())
    }

    /// What broke a promise while rules were published, once.
    pub fn broken(&self) -> Option<String> {
        self.state().broken.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Fleet for SimFleet {
    fn prepare(&self, publications: &[Publication]) -> Result<Publish<'_>, PublishError> {
        let publications = publications.to_vec();
        Ok(Box::new(move || {
            let mut state = self.state();
            publications.into_iter().for_each(|publication| state.publish(publication));
        }))
    }

    fn proxies(&self) -> Vec<ProxyStatus> {
        let state = self.state();
        let known = state.proxies.iter().filter(|proxy| proxy.is_known);
        known.map(|proxy| state.status(proxy)).collect()
    }

    fn standings(&self, tenant: &str) -> Vec<Standing> {
        let proxies = self.proxies();
        proxies.iter().filter(|proxy| *proxy.tenant == *tenant).map(ProxyStatus::standing).collect()
    }

    /// What is sent in place of what was refused is another matter than that orders stop.
    fn accept(&self, _tenant: &str, _revision: u64) {}

    fn is_fallback(&self, _tenant: &str, _revision: u64) -> bool {
        false
    }

    fn recall_fallback(&self, _publication: &Publication) {}

    fn held_back(&self) -> Vec<Refusal> {
        let state = self.state();
        let refuses = |proxy: &&Proxy| proxy.is_known && proxy.nack.is_some();
        let refusal = |proxy: &Proxy| {
            let publication =
                &state.by_tenant.get(proxy.tenant).filter(|release| release.is_out)?.publication;
            (proxy.nack == Some(publication.revision)).then(|| Refusal {
                tenant: proxy.tenant.to_owned(),
                revision: publication.revision,
                content: publication.content_hash,
                node: format!("node-{}", proxy.node),
                message: "on purpose".to_owned(),
            })
        };
        state.proxies.iter().filter(refuses).filter_map(refusal).collect()
    }

    fn recall(&self, _refusal: Refusal) {}

    fn forgive(&self, _tenant: &str) {}
}

// === impl State ===

impl State {
    /// Takes a publication, and sees that its revision says what it has to.
    fn publish(&mut self, publication: Publication) {
        let rules = match Rules::load(publication.rules.to_vec()) {
            Ok(rules) => Arc::new(rules),
            Err(error) => {
                return self.break_promise(format!("rules that do not load are published: {error}"));
            }
        };
        let Publication { tenant, revision, .. } = publication.clone();
        let last = self.by_tenant.get(&tenant).cloned();
        if let Some(last) = &last {
            let (was, is) = (last.rules.revision(), rules.revision());
            let same_bytes = last.publication.rules == publication.rules;
            let same_content = last.rules.to_rule_set() == rules.to_rule_set();
            if is != revision || is < was {
                self.break_promise(format!("revision {revision} of {tenant} holds {is}, after {was}"));
            } else if is == was && !same_bytes {
                self.break_promise(format!("revision {is} of {tenant} is published with other bytes"));
            } else if is > was && same_content {
                self.break_promise(format!("revision {is} of {tenant} says what revision {was} said"));
            }
        }
        let is_new = last.as_ref().is_none_or(|last| last.rules.revision() != revision);
        let is_start = last.as_ref().map_or(self.is_starting, |last| !last.is_out);
        let proxies = match last {
            Some(last) if !is_new => last.proxies,
            // No daemon before knew of rules, or of who would have to have them.
            None if is_start && rules.to_rule_set().services.is_empty() => 0,
            // The daemon before wrote it down, and was gone before it could publish it.
            _ if is_start => self.counted_before.get(tenant.as_str()).copied().unwrap_or_default(),
            _ => self.expected(&tenant),
        };
        self.by_tenant.insert(tenant, Release { rules, publication, proxies, is_out: true });
    }

    fn break_promise(&mut self, how: String) {
        self.broken.get_or_insert(how);
    }

    /// The proxies that the tenant's convergence goes by.
    fn counted(&self, tenant: &str) -> impl Iterator<Item = &Proxy> {
        let now = self.clock.elapsed();
        let counts = move |proxy: &&Proxy| {
            proxy.is_known && proxy.gone_since.is_none_or(|gone| now.saturating_sub(gone) < COUNTED_FOR)
        };
        self.proxies.iter().filter(move |proxy| proxy.tenant == tenant).filter(counts)
    }

    /// How many proxies have to have what is published for a tenant now. Who is not back yet is waited for still.
    fn expected(&self, tenant: &str) -> usize {
        let awaited = self.by_tenant.get(tenant).filter(|_| self.awaits());
        self.counted(tenant).count().max(awaited.map_or(0, |release| release.proxies))
    }

    /// Whether proxies are waited for that were there before the daemon started.
    fn awaits(&self) -> bool {
        self.clock.elapsed().saturating_sub(self.daemon_since) < AWAITED_FOR
    }

    fn lags(&self, tenant: &str) -> Option<String> {
        let release = self.by_tenant.get(tenant)?;
        let wanted = Some(release.rules.revision());
        let lags = |proxy: &&Proxy| {
            proxy.gone_since.is_some()
                || proxy.nack.is_some()
                || proxy.acknowledged != wanted
                || proxy.rejects
                || (proxy.reported.is_some() && proxy.reported != wanted)
        };
        if let Some(proxy) = self.counted(tenant).find(lags) {
            return Some(format!("{wanted:?} is wanted, and {proxy}"));
        }
        let counted = self.counted(tenant).count();
        (self.awaits() && counted < release.proxies)
            .then(|| format!("{counted} of the {} proxies from before the start are back", release.proxies))
    }

    fn status(&self, proxy: &Proxy) -> ProxyStatus {
        let gone_for = proxy.gone_since.map(|gone| self.clock.elapsed().saturating_sub(gone));
        ProxyStatus {
            node: format!("node-{}", proxy.node).into(),
            cluster: "bank".into(),
            identity: None,
            resource: format!("graylane.v1.{}", proxy.tenant).into(),
            tenant: proxy.tenant.into(),
            protocol: Protocol::EcdsDelta,
            connected: proxy.gone_since.is_none(),
            offered: true,
            wanted: self.by_tenant.get(proxy.tenant).map(|release| release.rules.revision()),
            sent: proxy.unanswered.last().copied(),
            acknowledged: proxy.acknowledged,
            applied: proxy.reported,
            rejected_config: proxy.rejects,
            last_error: proxy.nack.map(|revision| Nack { revision, message: "on purpose".to_owned() }),
            age: Duration::ZERO,
            connected_for: proxy.gone_since.is_none().then_some(Duration::ZERO),
            gone_for,
        }
    }

    /// Lets something happen to some proxy. None when it changes nothing.
    fn act(&mut self, what: Move, rng: &mut Rng) -> Option<String> {
        let now = self.clock.elapsed();
        match what {
            Move::Arrive => {
                let has_room = self.proxies.len() < MAX_PROXIES;
                has_room.then(|| self.arrive(rng))
            }
            Move::Settle => {
                let tenant = TENANTS[rng.usize(..TENANTS.len())];
                let (before, wanted) = (self.proxies.clone(), self.wanted(tenant));
                let proxies = self.proxies.iter_mut().filter(|proxy| proxy.tenant == tenant);
                proxies.for_each(|proxy| proxy.settle(wanted));
                (self.proxies != before).then(|| format!("all proxies of {tenant} run {wanted:?}"))
            }
            _ => {
                let at = rng.usize(..self.proxies.len().max(1));
                let before = self.proxies.get(at)?.clone();
                if matches!(what, Move::Forget) {
                    before.gone_since?;
                    self.proxies.remove(at);
                    return Some(format!("{before}, is gone for good"));
                }
                let wanted = self.wanted(before.tenant);
                self.proxies[at].act(what, wanted, now, rng);
                (self.proxies[at] != before).then(|| format!("{what:?}: {}", self.proxies[at]))
            }
        }
    }

    fn arrive(&mut self, rng: &mut Rng) -> String {
        self.nodes += 1;
        let proxy = Proxy::new(self.nodes, rng);
        let told = format!("{proxy}, is new");
        self.proxies.push(proxy);
        told
    }

    /// The revision that the daemon of now hands out.
    fn wanted(&self, tenant: &str) -> Option<u64> {
        self.by_tenant.get(tenant).filter(|release| release.is_out).map(|release| release.rules.revision())
    }
}
