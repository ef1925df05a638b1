//! Who tries what is new: a share of the proxies, before all others are sent it.
//!
//! A publish reaches its canary group alone. When the group runs it, as far as it tells, everybody is sent it; when one refuses it,
//! nobody is. Going back waits for no group.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use crate::limits::{CANARY_PATIENCE, DEBOUNCE, DEBOUNCE_MAX, SPREAD_PER_PROXY};
use crate::version::Version;

/// How many of a tenant's connected proxies try what is new, in hundredths of a percent. At least one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanaryShare(u16);

/// The nodes that are sent what is on trial, and since when each is among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group(Arc<BTreeMap<String, Instant>>);

/// How publishes of a tenant follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// When the first of a row came.
    first: Instant,
    last: Instant,
    /// Until when the one that was sent to everybody is on its way.
    spread_until: Instant,
}

/// A connected proxy, as far as a trial goes by it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) node: Arc<str>,
    /// What it acknowledged last.
    pub(crate) acknowledged: Option<Version>,
    /// The revision that its filter reports to run, where it reports.
    pub(crate) applied: Option<u64>,
    /// Whether its filter may report yet, because it took the last version only a moment ago and never did.
    pub(crate) may_report: bool,
    /// Whether its filter reports that it could not read what it was sent.
    pub(crate) rejected_config: bool,
    /// The revision that it refused last, until it accepts that or a later one.
    pub(crate) refused: Option<u64>,
}

/// How a trial goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The group has to answer, or to come.
    Wait,
    /// These are the group now.
    Enlist(Group),
    /// The group runs it.
    Release,
}

// === impl CanaryShare ===

impl CanaryShare {
    /// Everybody at once, with no trial.
    pub const ALL: Self = Self(10_000);

    /// So many hundredths of a percent. None for more than 10,000, which is all.
    #[must_use]
    pub const fn new(hundredths: u16) -> Option<Self> {
        if hundredths <= Self::ALL.0 { Some(Self(hundredths)) } else { None }
    }

    /// How many of so many proxies that is.
    fn of(self, proxies: usize) -> usize {
        proxies.saturating_mul(usize::from(self.0)).div_ceil(usize::from(Self::ALL.0)).max(1)
    }
}

impl Default for CanaryShare {
    /// One percent: a hundred of ten thousand, and one of a hundred.
    fn default() -> Self {
        Self(100)
    }
}

// === impl Group ===

impl Group {
    pub(crate) fn contains(&self, node: &str) -> bool {
        self.0.contains_key(node)
    }

    /// The group that tries the next one, which nobody was sent yet.
    pub(crate) fn anew(&self, now: Instant) -> Self {
        Self(Arc::new(self.0.keys().map(|node| (node.clone(), now)).collect()))
    }

    /// Its nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The group with more nodes.
    pub(crate) fn with<'a>(&self, nodes: impl Iterator<Item = &'a str>, now: Instant) -> Self {
        let mut by_node = BTreeMap::clone(&self.0);
        by_node.extend(nodes.map(|node| (node.to_owned(), now)));
        Self(Arc::new(by_node))
    }

    /// Both groups.
    pub(crate) fn joined(&self, other: &Self) -> Self {
        let mut by_node = BTreeMap::clone(&self.0);
        by_node.extend(other.0.iter().map(|(node, since)| (node.clone(), *since)));
        Self(Arc::new(by_node))
    }

    fn is_patient(&self, node: &str, now: Instant) -> bool {
        self.0.get(node).is_some_and(|since| now.saturating_duration_since(*since) < CANARY_PATIENCE)
    }
}

// === impl Pace ===

impl Pace {
    /// The pace with one more publish.
    pub(crate) fn next(before: Option<Self>, now: Instant) -> Self {
        match before {
            Some(before) if before.is_followed_by(now) => Self { last: now, ..before },
            _ => {
                Self { first: now, last: now, spread_until: before.map_or(now, |before| before.spread_until) }
            }
        }
    }

    /// The pace when so many proxies are let have what is wanted.
    pub(crate) fn spread(self, proxies: usize, now: Instant) -> Self {
        let proxies = u32::try_from(proxies).unwrap_or(u32::MAX);
        Self { spread_until: now + SPREAD_PER_PROXY.saturating_mul(proxies), ..self }
    }

    /// Whether a publish of now is of the same row. While one is on its way to ten thousand proxies, those who publish are slow, too.
    fn is_followed_by(self, now: Instant) -> bool {
        let is_soon = now.saturating_duration_since(self.last) < DEBOUNCE || now < self.spread_until;
        is_soon && now.saturating_duration_since(self.first) < DEBOUNCE_MAX
    }

    /// Whether one publish followed another one at once.
    pub(crate) fn is_row(self) -> bool {
        self.first != self.last
    }

    /// Whether the last publish may go to anybody: the only one at once, the last of a row when no other one follows soon, and one now
    /// and then of a row without end.
    pub(crate) fn is_calm(self, now: Instant) -> bool {
        !self.is_row() || !self.is_followed_by(now)
    }
}

// === impl Candidate ===

impl Candidate {
    /// Whether it runs this, as far as it tells. One that does not report is believed its acknowledgement.
    fn runs(&self, version: Version) -> bool {
        self.acknowledged == Some(version)
            && !self.rejected_config
            && !self.may_report
            && self.applied.is_none_or(|applied| applied == version.revision)
    }

    fn refuses(&self, version: Version) -> bool {
        self.refused == Some(version.revision)
    }

    /// The order in which they are chosen: those first whose word says most, and of those not always the same.
    fn rank(&self, version: Version) -> (bool, bool, bool, u64) {
        let is_odd = self.refused.is_some() || self.rejected_config;
        let mut lot = DefaultHasher::new();
        (version.digest, &self.node).hash(&mut lot);
        let lot = lot.finish();
        (is_odd, self.acknowledged.is_none(), self.applied.is_none(), lot)
    }
}

/// How the trial of a version goes on, with these proxies connected.
pub(crate) fn judge(
    version: Version,
    group: &Group,
    candidates: &[Candidate],
    share: CanaryShare,
    now: Instant,
) -> Verdict {
    let counts = |candidate: &&Candidate| {
        let is_waited_for = candidate.runs(version) || group.is_patient(&candidate.node, now);
        group.contains(&candidate.node) && is_waited_for && !candidate.refuses(version)
    };
    let members: Vec<_> = candidates.iter().filter(counts).collect();
    let mut others: Vec<_> = candidates.iter().filter(|candidate| !group.contains(&candidate.node)).collect();
    let missing = share.of(candidates.len()).saturating_sub(members.len()).min(others.len());
    if missing > 0 {
        others.sort_by_cached_key(|candidate| candidate.rank(version));
        let chosen = others.iter().take(missing).map(|candidate| &*candidate.node);
        return Verdict::Enlist(group.with(chosen, now));
    }
    match members.iter().all(|member| member.runs(version)) {
        true if !members.is_empty() => Verdict::Release,
        _ => Verdict::Wait,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEW: Version = Version { revision: 7, digest: 7 };
    const OLD: Version = Version { revision: 6, digest: 6 };

    /// A proxy that runs the old version and reports so.
    fn candidate(number: usize) -> Candidate {
        Candidate {
            node: format!("n{number}").into(),
            acknowledged: Some(OLD),
            applied: Some(OLD.revision),
            may_report: false,
            rejected_config: false,
            refused: None,
        }
    }

    fn enlisted(verdict: Verdict) -> Group {
        match verdict {
            Verdict::Enlist(group) => group,
            other => panic!("{other:?}"),
        }
    }

    fn share(hundredths: u16) -> CanaryShare {
        CanaryShare::new(hundredths).unwrap()
    }

    #[test]
    fn a_share_is_rounded_up_and_never_nobody() {
        for (hundredths, proxies, expected) in
            [(0, 9, 1), (100, 1, 1), (100, 100, 1), (100, 101, 2), (2_500, 10, 3), (10_000, 10, 10)]
        {
            assert_eq!(share(hundredths).of(proxies), expected, "{hundredths} of {proxies}");
        }
        assert_eq!(CanaryShare::new(10_001), None);
    }

    #[test]
    fn a_group_is_sent_it_first_and_all_when_it_runs_it() {
        let now = Instant::now();
        let mut proxies: Vec<_> = (0..10).map(candidate).collect();
        let judge = |group: &Group, proxies: &[Candidate]| judge(NEW, group, proxies, share(2_000), now);
        let group = enlisted(judge(&Group::default(), &proxies));
        assert_eq!(group.0.len(), 2);
        assert_eq!(judge(&group, &proxies), Verdict::Wait);
        for proxy in proxies.iter_mut().filter(|proxy| group.contains(&proxy.node)) {
            proxy.acknowledged = Some(NEW);
        }
        assert_eq!(judge(&group, &proxies), Verdict::Wait, "they acknowledged it, and do not run it yet");
        proxies.iter_mut().for_each(|proxy| proxy.applied = Some(NEW.revision));
        assert_eq!(judge(&group, &proxies), Verdict::Release);
        proxies.iter_mut().for_each(|proxy| proxy.rejected_config = true);
        assert_eq!(
            judge(&group, &proxies),
            Verdict::Wait,
            "it could not read the next one, and says so already"
        );
    }

    #[test]
    fn of_publishes_in_a_row_the_last_goes_to_all_when_no_other_follows() {
        let start = Instant::now();
        let one = Pace::next(None, start);
        assert!(one.is_calm(start));
        let soon = start + DEBOUNCE / 2;
        let two = Pace::next(Some(one), soon);
        assert!(!two.is_calm(soon) && !two.is_calm(soon + DEBOUNCE / 2) && two.is_calm(soon + DEBOUNCE));
        assert!(Pace::next(Some(two), soon + DEBOUNCE).is_calm(soon + DEBOUNCE), "that one is alone again");
        let (mut row, mut now, mut sent) = (one, start, 0);
        while now < start + 3 * DEBOUNCE_MAX {
            now += DEBOUNCE / 2;
            row = Pace::next(Some(row), now);
            sent += u32::from(row.is_calm(now));
        }
        assert_eq!(sent, 3, "a row without end starves nobody, and floods nobody");
    }

    #[test]
    fn what_comes_while_ten_thousand_are_sent_another_one_is_of_its_row() {
        let start = Instant::now();
        let end = start + 10_000 * SPREAD_PER_PROXY;
        let one = Pace::next(None, start).spread(10_000, start);
        let two = Pace::next(Some(one), start + 2 * DEBOUNCE);
        assert!(!two.is_calm(start + 4 * DEBOUNCE) && two.is_calm(end));
        assert!(Pace::next(Some(one), end).is_calm(end), "that one is alone");
        let few = Pace::next(None, start).spread(10, start);
        assert!(
            Pace::next(Some(few), start + DEBOUNCE).is_calm(start + DEBOUNCE),
            "few are sent it in no time"
        );
    }

    #[test]
    fn one_that_does_not_report_is_believed_its_acknowledgement_and_chosen_last() {
        let now = Instant::now();
        let silent = Candidate { applied: None, ..candidate(0) };
        let judge = |group: &Group, proxies: &[Candidate]| judge(NEW, group, proxies, share(1), now);
        let group = enlisted(judge(&Group::default(), &[silent.clone(), candidate(1)]));
        assert!(group.contains("n1") && !group.contains("n0"));
        let group = enlisted(judge(&Group::default(), std::slice::from_ref(&silent)));
        let took = Candidate { acknowledged: Some(NEW), ..silent };
        let new = Candidate { may_report: true, ..took.clone() };
        assert_eq!(judge(&group, &[new]), Verdict::Wait, "it may report still");
        assert_eq!(judge(&group, &[took]), Verdict::Release);
    }

    #[test]
    fn who_refuses_leaves_or_says_nothing_is_replaced() {
        let now = Instant::now();
        let later = now + CANARY_PATIENCE;
        let proxies: Vec<_> = (0..3).map(candidate).collect();
        let group = enlisted(judge(NEW, &Group::default(), &proxies, share(1), now));
        let (members, others): (Vec<_>, Vec<_>) =
            proxies.iter().cloned().partition(|proxy| group.contains(&proxy.node));
        let refused: Vec<_> = proxies
            .iter()
            .map(|proxy| Candidate {
                refused: group.contains(&proxy.node).then_some(NEW.revision),
                ..proxy.clone()
            })
            .collect();
        for (what, left, at) in
            [("refuses", &refused, now), ("left", &others, now), ("says nothing", &proxies, later)]
        {
            let next = enlisted(judge(NEW, &group, left, share(1), at));
            assert_eq!(next.0.len(), 2, "{what}");
            assert!(next.contains(&members[0].node), "{what}: it may have it");
        }
        assert_eq!(judge(NEW, &group, &members, share(1), later), Verdict::Wait, "there is nobody else");
        assert_eq!(judge(NEW, &Group::default(), &[], share(1), now), Verdict::Wait);
    }

    /// What a proxy does with what it is sent.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Habit {
        Runs,
        Refuses,
        Silent,
    }

    fn fleet() -> impl Strategy<Value = (Vec<Habit>, u16)> {
        let habit = prop_oneof![4 => Just(Habit::Runs), 1 => Just(Habit::Refuses), 1 => Just(Habit::Silent)];
        (prop::collection::vec(habit, 1..40), 0u16..=10_000)
    }

    proptest! {
        /// However the proxies behave: a group grows only by those that are missing, and all are sent it when as many run it as the
        /// share says, or all that answer at all.
        #[test]
        fn a_trial_reaches_its_share_and_no_more((habits, hundredths) in fleet()) {
            let share = share(hundredths);
            let mut proxies: Vec<_> = (0..habits.len()).map(candidate).collect();
            let (mut now, mut group) = (Instant::now(), Group::default());
            let mut is_released = false;
            for _ in 0..4 * habits.len() {
                match judge(NEW, &group, &proxies, share, now) {
                    Verdict::Release => { is_released = true; break }
                    Verdict::Wait => now += CANARY_PATIENCE,
                    Verdict::Enlist(next) => {
                        let counted = |habit: Habit| proxies.iter().zip(&habits)
                            .filter(|(proxy, is)| group.contains(&proxy.node) && **is == habit).count();
                        prop_assert!(next.0.len() - group.0.len() <= share.of(habits.len()) - counted(Habit::Runs));
                        group = next;
                    }
                }
                for (proxy, habit) in proxies.iter_mut().zip(&habits).filter(|(proxy, _)| group.contains(&proxy.node)) {
                    match habit {
                        Habit::Runs => (proxy.acknowledged, proxy.applied) = (Some(NEW), Some(NEW.revision)),
                        Habit::Refuses => proxy.refused = Some(NEW.revision),
                        Habit::Silent => {}
                    }
                }
            }
            let runs = proxies.iter().filter(|proxy| proxy.runs(NEW)).count();
            let able = habits.iter().filter(|habit| **habit == Habit::Runs).count();
            prop_assert_eq!(is_released, able > 0);
            prop_assert_eq!(runs, if able > 0 { able.min(share.of(habits.len())) } else { 0 });
        }
    }
}
