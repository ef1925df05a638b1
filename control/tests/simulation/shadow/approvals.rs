//! Who approved what, and whether that is enough.

use crate::operators::Operator;
use crate::shadow::ShadowOrder;
use std::collections::BTreeSet;

/// An approval that was taken.
#[derive(Clone)]
pub(super) struct Given {
    stage: usize,
    by: &'static Operator,
    /// The role in which it was given; none is any of the person's.
    role: Option<&'static str>,
    /// What was approved.
    hash: String,
}

// === impl Given ===

impl Given {
    fn counts_for(&self, role: &str) -> bool {
        self.by.roles.contains(&role) && self.role.is_none_or(|own| own == role)
    }
}

// === impl ShadowOrder ===

impl ShadowOrder {
    pub(super) fn approve(&mut self, by: &'static Operator, role: Option<&'static str>, hash: &str) {
        let given = Given { stage: self.next(), by, role, hash: hash.to_owned() };
        if !self.of_stage(given.stage).any(|before| before.by == by) {
            self.approvals.push(given);
        }
    }

    /// The roles whose people have to approve the stage that is next.
    pub fn next_roles(&self) -> Vec<&'static str> {
        self.plan.stages.get(self.next() - 1).map(|stage| stage.roles()).unwrap_or_default()
    }

    /// Whether somebody approved the stage that is next.
    pub fn has_approvals(&self) -> bool {
        self.of_stage(self.next()).next().is_some()
    }

    /// What of its approvals a stage, counted from 1, lacks: each role needs so many people, and a person is one.
    pub(super) fn lacks(&self, stage: usize) -> Option<String> {
        let needed = &self.plan.stages[stage - 1].approvals;
        let roles: Vec<&str> = needed.iter().flat_map(|(role, count)| vec![*role; *count]).collect();
        let given: Vec<&Given> = self.of_stage(stage).collect();
        let by: Vec<&str> = given.iter().map(|given| given.by.name).collect();
        (!can_fill(&roles, &given, &mut BTreeSet::new()))
            .then(|| format!("it needs {needed:?}, and {by:?} approved what stands"))
    }

    /// The approvals of what stands by people who are no authors of it.
    fn of_stage(&self, stage: usize) -> impl Iterator<Item = &Given> {
        let holds = move |given: &&Given| given.stage == stage && given.hash == self.told.hash;
        self.approvals.iter().filter(holds).filter(|given| !self.authors.contains(given.by.name))
    }
}

/// Whether people can be found for all roles, each for one.
fn can_fill(roles: &[&str], given: &[&Given], used: &mut BTreeSet<usize>) -> bool {
    let Some((role, rest)) = roles.split_first() else { return true };
    (0..given.len()).any(|at| {
        let fits = given[at].counts_for(role) && used.insert(at);
        fits && (can_fill(rest, given, used) || !used.remove(&at))
    })
}
