//! One proxy: what it has, what it runs, and what it says of itself.

use crate::bank::TENANTS;
use fastrand::Rng;
use std::fmt;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) node: u32,
    pub(super) tenant: &'static str,
    /// Whether the daemon of now has heard of it.
    pub(super) is_known: bool,
    pub(super) gone_since: Option<Duration>,
    /// Revisions that are on the way to it, or that it has not answered yet.
    pub(super) unanswered: Vec<u64>,
    pub(super) acknowledged: Option<u64>,
    /// What its filter runs, and what it last reported to run; it has no metrics sink when it reports nothing.
    running: Option<u64>,
    reports: bool,
    pub(super) reported: Option<u64>,
    pub(super) rejects: bool,
    pub(super) nack: Option<u64>,
}

/// What happens to a proxy.
#[derive(Clone, Copy, Debug)]
pub enum Move {
    Arrive,
    Receive,
    Acknowledge,
    AcknowledgeLate,
    Reject,
    Apply,
    Report,
    FailToRead,
    Vanish,
    Return,
    Forget,
    /// All proxies of a tenant do what they should.
    Settle,
}

/// Each move with its weight.
const MOVES: [(Move, u32); 12] = [
    (Move::Arrive, 4),
    (Move::Receive, 12),
    (Move::Acknowledge, 14),
    (Move::AcknowledgeLate, 4),
    (Move::Reject, 3),
    (Move::Apply, 8),
    (Move::Report, 10),
    (Move::FailToRead, 1),
    (Move::Vanish, 4),
    (Move::Return, 7),
    (Move::Forget, 2),
    (Move::Settle, 31),
];

pub(super) fn pick(rng: &mut Rng) -> Move {
    let total: u32 = MOVES.iter().map(|(_, weight)| weight).sum();
    let mut at = rng.u32(..total);
    let found = MOVES.iter().find(|(_, weight)| {
        let is_it = at < *weight;
        at = at.saturating_sub(*weight);
        is_it
    });
    found.map_or(Move::Settle, |(what, _)| *what)
}

// === impl Proxy ===

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "node {} of {} has {:?}, runs {:?}",
            self.node, self.tenant, self.acknowledged, self.running
        )?;
        if self.reports {
            write!(f, ", reports {:?}", self.reported)?;
        }
        if let Some(revision) = self.nack {
            write!(f, ", rejected {revision}")?;
        }
        if self.rejects {
            f.write_str(", cannot read what it has")?;
        }
        if let Some(gone) = self.gone_since {
            write!(f, ", is away since {gone:?}")?;
        }
        f.write_str(if self.is_known { "" } else { ", was not heard of yet" })
    }
}

impl Proxy {
    pub(super) fn new(node: u32, rng: &mut Rng) -> Self {
        Self {
            node,
            tenant: TENANTS[rng.usize(..TENANTS.len())],
            is_known: true,
            gone_since: None,
            unanswered: Vec::new(),
            acknowledged: None,
            running: None,
            reports: rng.bool(),
            reported: None,
            rejects: false,
            nack: None,
        }
    }

    pub(super) fn act(&mut self, what: Move, wanted: Option<u64>, now: Duration, rng: &mut Rng) {
        let is_here = self.gone_since.is_none();
        match what {
            Move::Receive if is_here => self.receive(wanted),
            Move::Acknowledge if is_here => self.acknowledge(self.unanswered.len()),
            Move::AcknowledgeLate if is_here && !self.unanswered.is_empty() => {
                self.acknowledge(rng.usize(1..=self.unanswered.len()));
            }
            Move::Reject if is_here => self.nack = self.unanswered.pop().or(self.nack),
            Move::Apply => self.running = self.acknowledged,
            Move::Report if self.reports && self.is_known => {
                (self.reported, self.rejects) = (self.running, false)
            }
            Move::FailToRead if self.reports && self.is_known => self.rejects = true,
            Move::Vanish => drop(self.gone_since.get_or_insert(now)),
            Move::Return => self.come_back(wanted),
            _ => {}
        }
    }

    fn receive(&mut self, wanted: Option<u64>) {
        if wanted != self.unanswered.last().copied() {
            self.unanswered.extend(wanted);
        }
    }

    /// Answers the first of what is unanswered; an answer to a later one is one to those before it, too.
    fn acknowledge(&mut self, count: usize) {
        if let Some(revision) = self.unanswered.drain(..count).next_back() {
            (self.acknowledged, self.nack) = (Some(revision), None);
        }
    }

    /// With the rules that it had.
    fn come_back(&mut self, wanted: Option<u64>) {
        if self.gone_since.take().is_some() {
            (self.acknowledged, self.nack, self.reported, self.is_known) = (self.running, None, None, true);
            self.receive(wanted);
        }
    }

    pub(super) fn settle(&mut self, wanted: Option<u64>) {
        self.come_back(wanted);
        self.unanswered.clear();
        (self.acknowledged, self.running, self.nack, self.rejects) = (wanted, wanted, None, false);
        self.reported = wanted.filter(|_| self.reports);
    }
}
