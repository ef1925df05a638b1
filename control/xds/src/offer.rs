//! What is there for one name: what proxies should have, who is sent it, and what the others get.

use std::sync::Arc;

use crate::canary::{Group, Pace};
use crate::refusals::Refusal;
use crate::resource::Resource;

/// What is there for one name.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) wanted: Arc<Resource>,
    /// What was there before and did well: it is sent to whoever may not have what is wanted, and has nothing newer.
    pub(crate) fallback: Option<Fallback>,
    pub(crate) standing: Standing,
    /// How what was wanted before and this follow each other.
    pub(crate) pace: Pace,
}

/// What did well.
#[derive(Clone, Debug)]
pub(crate) struct Fallback {
    pub(crate) resource: Arc<Resource>,
    /// Whether all proxies accepted it, or it took people back: then who refuses it is odd himself.
    pub(crate) is_settled: bool,
}

/// How far what is wanted is trusted.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// Its canary group alone is sent it.
    Trial(Group),
    /// Everybody is sent it, with no trial before.
    Open,
    /// Everybody is sent it, because its canary group applied it, or because it says what the one before said.
    Proven,
    /// Everybody is sent it, whoever refuses it: it takes people back.
    Firm,
    /// All proxies accepted it. Who refuses it now is odd himself.
    Accepted,
    /// Nobody is sent it any more.
    HeldBack(Arc<Refusal>),
}

// === impl Offer ===

impl Offer {
    /// What is sent to a node that lacks it.
    pub(crate) fn served(&self, node: &str) -> Option<&Arc<Resource>> {
        if self.is_offered(node) { Some(&self.wanted) } else { self.earlier() }
    }

    /// Whether a node that lacks what is wanted is sent it.
    pub(crate) fn is_offered(&self, node: &str) -> bool {
        match &self.standing {
            Standing::Trial(group) => group.contains(node),
            _ => self.is_open(),
        }
    }

    /// Whether everybody who lacks what is wanted is sent it.
    pub(crate) fn is_open(&self) -> bool {
        match self.standing {
            Standing::HeldBack(_) | Standing::Trial(_) => false,
            Standing::Open | Standing::Proven | Standing::Firm | Standing::Accepted => true,
        }
    }

    pub(crate) fn earlier(&self) -> Option<&Arc<Resource>> {
        self.fallback.as_ref().map(|fallback| &fallback.resource)
    }

    /// What the next one falls back on.
    pub(crate) fn proven(&self) -> Option<Fallback> {
        let wanted = |is_settled| Some(Fallback { resource: Arc::clone(&self.wanted), is_settled });
        match self.standing {
            Standing::Firm | Standing::Accepted => wanted(true),
            Standing::Proven => wanted(false),
            Standing::Trial(_) | Standing::Open | Standing::HeldBack(_) => self.fallback.clone(),
        }
    }

    pub(crate) fn is_untried(&self) -> bool {
        matches!(&self.standing, Standing::Trial(group) if group.is_empty())
    }

    /// Who tries what is wanted.
    pub(crate) fn group(&self) -> Group {
        match &self.standing {
            Standing::Trial(group) => group.clone(),
            _ => Group::default(),
        }
    }

    /// Whether the fallback says the same.
    pub(crate) fn says_nothing_new(&self) -> bool {
        self.earlier().is_some_and(|earlier| earlier.content == self.wanted.content)
    }
}
