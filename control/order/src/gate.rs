//! The gate of a stage: who approved it, and whether its window is open.

use crate::order::Order;
use crate::refused::Refused;
use crate::timeline::Actor;
use graylane_plan::{Gate, Missed, Window};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One person's approval of one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// The stage: an index into the plan's stages.
    pub stage: usize,
    /// The person.
    pub name: String,
    /// The role in which the person approved.
    pub role: String,
    /// When.
    pub at: Timestamp,
    /// What was approved: [`Order::standing_hash`] at that time.
    pub hash: String,
}

/// The stage that an order waits to enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Awaited {
    /// An index into the plan's stages.
    pub stage: usize,
    /// Since when it is waited for.
    pub since: Timestamp,
    /// The last opening of its window that was noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
}

/// An opening of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opening {
    /// When it was.
    pub at: Timestamp,
    /// Whether it is let pass, because nobody watched as it came.
    pub skipped: bool,
}

/// How far one kind of approval of a stage is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// The role.
    pub role: String,
    /// People who approved.
    pub by: Vec<String>,
    /// How many are needed.
    pub count: usize,
}

/// What keeps a gate closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Somebody has to approve.
    Approvals(Approved),
    /// The window is shut.
    Window,
    /// The window opened unseen at this time, and the plan says to let this opening pass.
    Missed(Timestamp),
}

/// What somebody approves.
#[derive(Clone, Debug)]
pub struct Approve {
    /// Who, and why.
    pub actor: Actor,
    /// The person's roles.
    pub roles: BTreeSet<String>,
    /// The role in which to approve; none takes the first that is still needed.
    pub role: Option<String>,
    /// The stage's name: it has to be the one that comes next.
    pub stage: String,
    /// What the person saw: [`Order::standing_hash`].
    pub hash: String,
}

// === impl Order ===

impl Order {
    /// The stage that comes next: the one that is waited for, or the one behind the current one.
    #[must_use]
    pub fn next_stage(&self) -> Option<usize> {
        let next = self.awaited.map_or(self.stage + 1, |awaited| awaited.stage);
        Some(next).filter(|next| self.is_active() && *next < self.plan.spec.stages.len())
    }

    /// How far each kind of approval of a stage is.
    #[must_use]
    pub fn approved(&self, stage: usize) -> Vec<Approved> {
        let Some(gate) = self.gate(stage) else { return Vec::new() };
        let by = |role: &str| {
            let of_role = self.approvals_of(stage).filter(|approval| approval.role == role);
            of_role.map(|approval| approval.name.clone()).collect()
        };
        let approved = gate.approvals.iter().map(|wanted| Approved {
            role: wanted.role.clone(),
            by: by(&wanted.role),
            count: wanted.count as usize,
        });
        approved.collect()
    }

    /// The window of a stage, if it has one.
    #[must_use]
    pub fn window(&self, stage: usize) -> Option<Window> {
        Window::new(self.gate(stage)?.window.as_ref()?, self.plan.spec.calendar.as_ref())
    }

    /// What keeps a stage's gate closed for somebody who watches since `watching_since`; none when it is open.
    pub(crate) fn closed(&self, stage: usize, watching_since: Timestamp, now: Timestamp) -> Option<Closed> {
        if let Some(missing) = self.approved(stage).into_iter().find(|approved| !approved.is_complete()) {
            return Some(Closed::Approvals(missing));
        }
        let spec = self.gate(stage)?.window.as_ref()?;
        // One that cannot be read, which a check lets through never, does not open.
        let Some(window) = self.window(stage).filter(|window| window.is_open(now)) else {
            return Some(Closed::Window);
        };
        let opening = self.opening(stage, &window, spec.missed, watching_since, now)?;
        opening.skipped.then_some(Closed::Missed(opening.at))
    }

    /// How the opening is to be taken that came while the stage was waited for.
    fn opening(
        &self,
        stage: usize,
        window: &Window,
        missed: Missed,
        watching_since: Timestamp,
        now: Timestamp,
    ) -> Option<Opening> {
        let awaited = self.awaited.filter(|awaited| awaited.stage == stage)?;
        let at = window.opened_before(now).filter(|at| *at > awaited.since)?;
        let noticed = awaited.opening.filter(|noticed| noticed.at == at);
        Some(noticed.unwrap_or(Opening { at, skipped: missed == Missed::Skip && at < watching_since }))
    }

    /// The opening that nobody noticed yet, of the window that is waited for.
    pub(crate) fn new_opening(&self, watching_since: Timestamp, now: Timestamp) -> Option<Opening> {
        let awaited = self.awaited?;
        let missed = self.gate(awaited.stage)?.window.as_ref()?.missed;
        let window = self.window(awaited.stage)?;
        let opening = self.opening(awaited.stage, &window, missed, watching_since, now);
        opening.filter(|opening| awaited.opening != Some(*opening))
    }

    /// The approval that a person gives; none when it was given already.
    ///
    /// # Errors
    /// When it is not what comes next, not what stands, or not this person's to approve.
    pub(crate) fn check_approval(&self, approve: &Approve) -> Result<Option<Approval>, Refused> {
        let Some(stage) = self.next_stage() else {
            return Err(Refused::NoGate { order: self.id, stage: approve.stage.clone() });
        };
        let name = self.stage_name(stage);
        if approve.stage != name {
            return Err(Refused::OtherStage { asked: approve.stage.clone(), next: name });
        }
        if approve.hash != self.standing_hash() {
            let (seen, found) = (approve.hash.clone(), self.standing_hash().to_owned());
            return Err(Refused::OtherContent { seen, found });
        }
        let person = &approve.actor.name;
        let approved = self.approved(stage);
        if approved.is_empty() {
            return Err(Refused::NoGate { order: self.id, stage: name });
        }
        if self.authors.contains(person) {
            return Err(Refused::Author { person: person.clone(), order: self.id });
        }
        if let Some(given) = self.approvals_of(stage).find(|given| given.name == *person) {
            let (person, role) = (person.clone(), given.role.clone());
            let is_same = approve.role.as_ref().is_none_or(|asked| *asked == role);
            return if is_same { Ok(None) } else { Err(Refused::Twice { person, stage: name, role }) };
        }
        let wanted = approved
            .iter()
            .filter(|approved| approve.role.as_ref().is_none_or(|role| *role == approved.role));
        let mut held = wanted.filter(|approved| approve.roles.contains(&approved.role)).peekable();
        if held.peek().is_none() {
            let needed = approved.iter().map(|approved| approved.role.clone()).collect::<Vec<_>>().join(", ");
            return Err(Refused::Role { person: person.clone(), stage: name, needed });
        }
        let Some(missing) = held.find(|approved| !approved.is_complete()) else {
            return Err(Refused::Enough { stage: name });
        };
        Ok(Some(Approval {
            stage,
            name: person.clone(),
            role: missing.role.clone(),
            at: Timestamp::UNIX_EPOCH,
            hash: approve.hash.clone(),
        }))
    }

    /// The approvals of a stage that hold for what stands now.
    pub(crate) fn approvals_of(&self, stage: usize) -> impl Iterator<Item = &Approval> {
        self.approvals
            .iter()
            .filter(move |approval| approval.stage == stage && approval.hash == self.standing_hash())
    }

    fn gate(&self, stage: usize) -> Option<&Gate> {
        self.plan.spec.stages.get(stage).map(|stage| &stage.gate)
    }
}

// === impl Approved ===

impl Approved {
    /// Whether as many people approved as are needed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.by.len() >= self.count
    }
}
