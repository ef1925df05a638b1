//! A later share of somebody who is let in already does nothing, unless it is larger.

use super::widening::{Stage, ids_path, who};
use crate::problem::{Problems, field, shown};
use crate::world::Tenant;
use graylane_rules::limits::MAX_STAGES;
use graylane_rules::{IdSet, Percent};
use std::collections::BTreeMap;

/// Stages as the bits of a number, the first one lowest.
type StageBits = u64;

const _: () = assert!(MAX_STAGES <= StageBits::BITS as usize, "each stage has a bit");

/// Somebody who gets no more from one stage than from one before. Both are indices.
struct Overlap<'a> {
    earlier: usize,
    later: usize,
    whom: Whom<'a>,
}

enum Whom<'a> {
    All,
    Ids {
        dimension: &'a str,
        /// The first of the ids.
        id: &'a [u8],
        /// How many there are.
        count: usize,
    },
}

/// How much of somebody a stage lets in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Share {
    /// This many hundredths of a percent of those with a key.
    Hundredths(u16),
    /// All, also those without a key.
    Whole,
}

/// Refuses a percentage that would narrow what a stage before let in, and warns of one that repeats it.
pub(super) fn check(stages: &[Stage<'_>], tenant: &Tenant, problems: &mut Problems) {
    each_overlap(stages, tenant, |overlap| report(stages, overlap, problems));
}

/// As [`check`], but only for the stage at index `adjusted`. It may leave nothing to a later stage: of that it warns.
pub(super) fn check_adjusted(
    stages: &[Stage<'_>],
    adjusted: usize,
    tenant: &Tenant,
    problems: &mut Problems,
) {
    each_overlap(stages, tenant, |overlap| {
        if overlap.later == adjusted {
            report(stages, overlap, problems);
        } else if overlap.earlier == adjusted {
            warn_of_overtaking(stages, overlap, problems);
        }
    });
}

fn each_overlap(stages: &[Stage<'_>], tenant: &Tenant, mut found: impl FnMut(&Overlap<'_>)) {
    for (level, dimension) in tenant.dimensions.iter().enumerate() {
        for ((earlier, later), (id, count)) in overlaps_of_level(stages, level) {
            let whom = Whom::Ids { dimension: &dimension.name, id, count };
            found(&Overlap { earlier, later, whom });
        }
    }
    let bits = stages.iter().enumerate().filter(|(_, stage)| stage.scope.all).map(|(at, _)| bit(at));
    for (earlier, later) in idle_pairs(stages, bits.fold(0, |all, bit| all | bit)) {
        found(&Overlap { earlier, later, whom: Whom::All });
    }
}

/// By pair of stages, the first id of one level that the later stage adds nothing for, and how many there are. Sets
/// that stages share are looked through once, so that the time grows with the ids and not with the pairs of stages.
fn overlaps_of_level<'a>(
    stages: &'a [Stage<'_>],
    level: usize,
) -> BTreeMap<(usize, usize), (&'a [u8], usize)> {
    let mut bits_by_set: BTreeMap<&IdSet, StageBits> = BTreeMap::new();
    for (at, stage) in stages.iter().enumerate() {
        for ids in stage.scope.include.iter().filter(|ids| ids.level == level) {
            *bits_by_set.entry(&ids.ids).or_default() |= bit(at);
        }
    }
    let mut ids_by_pair = BTreeMap::new();
    // Most plans only raise their percentages: what does not overlap when all stages let in the same ids never does.
    if idle_pairs(stages, bits_by_set.values().fold(0, |all, bits| all | bits)).is_empty() {
        return ids_by_pair;
    }
    for (bits, (id, count)) in ids_by_bits(&bits_by_set) {
        for pair in idle_pairs(stages, bits) {
            let (first, total) = ids_by_pair.entry(pair).or_insert((id, 0));
            *first = id.min(first);
            *total += count;
        }
    }
    ids_by_pair
}

/// By the stages that let them in, the first of the ids and how many there are.
fn ids_by_bits<'a>(bits_by_set: &BTreeMap<&'a IdSet, StageBits>) -> BTreeMap<StageBits, (&'a [u8], usize)> {
    let each = bits_by_set.iter().flat_map(|(set, bits)| set.iter().map(|id| (id, *bits)));
    let mut bits_by_id: Vec<(&[u8], StageBits)> = each.collect();
    // Sets are sorted, and this sort only merges what is.
    bits_by_id.sort_by_key(|(id, _)| *id);
    let mut ids_by_bits = BTreeMap::new();
    for same in bits_by_id.chunk_by(|(one, _), (other, _)| one == other) {
        let bits = same.iter().fold(0, |all, (_, bits)| all | bits);
        if let Some((id, _)) = same.first() {
            let (_, count) = ids_by_bits.entry(bits).or_insert((*id, 0));
            *count += 1;
        }
    }
    ids_by_bits
}

/// Of the stages in `bits`, those with a percentage that is not over the largest share of those before, each with the
/// first that has that share.
fn idle_pairs(stages: &[Stage<'_>], bits: StageBits) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut largest: Option<(usize, Share)> = None;
    let reached = stages.iter().enumerate().filter(|(at, _)| bits & bit(*at) != 0);
    for (at, share) in reached.filter_map(|(at, stage)| Some((at, Share::of(stage)?))) {
        match largest {
            Some((earlier, before)) if share <= before => {
                if share != Share::Whole {
                    pairs.push((earlier, at));
                }
            }
            _ => largest = Some((at, share)),
        }
    }
    pairs
}

fn bit(stage: usize) -> StageBits {
    u32::try_from(stage).ok().and_then(|stage| StageBits::checked_shl(1, stage)).unwrap_or(0)
}

fn report(stages: &[Stage<'_>], overlap: &Overlap<'_>, problems: &mut Problems) {
    let (Some(earlier), Some(stage)) = (stages.get(overlap.earlier), stages.get(overlap.later)) else {
        return;
    };
    let (who, name, before) = (overlap.who("was", "were"), shown(earlier.name), share(earlier));
    let (here, cure) = (share(stage), cure(earlier));
    if Share::of(stage) < Share::of(earlier) {
        let message = format!(
            "{who} let in {before} by stage {name} already, which letting in {here} does not take back: stages only \
             widen; {cure}"
        );
        problems.error(overlap.path(stage), message);
    } else {
        let message =
            format!("{who} let in {before} by stage {name} already, so that this adds nobody; {cure}");
        problems.warning(overlap.path(stage), message);
    }
}

fn warn_of_overtaking(stages: &[Stage<'_>], overlap: &Overlap<'_>, problems: &mut Problems) {
    let (Some(stage), Some(later)) = (stages.get(overlap.earlier), stages.get(overlap.later)) else {
        return;
    };
    let (who, name) = (overlap.who("is", "are"), shown(later.name));
    let message = format!(
        "{who} let in {} by stage {name}, which adds nobody to what is let in {} here",
        share(later),
        share(stage)
    );
    problems.warning(overlap.path(stage), message);
}

/// How much a stage lets in, in words.
fn share(stage: &Stage<'_>) -> String {
    stage.scope.percent.map_or("without a percentage".to_owned(), |percent| format!("at {percent}"))
}

/// How to let in more than `earlier` does.
fn cure(earlier: &Stage<'_>) -> String {
    let more = match earlier.scope.percent {
        Some(percent) if percent != Percent::FULL => format!("write a percentage over {percent}"),
        _ => "leave percent out".to_owned(),
    };
    more + ", or remove here what is let in already"
}

// === impl Share ===

impl Share {
    /// None when what was written is no percentage, which is told elsewhere.
    fn of(stage: &Stage<'_>) -> Option<Self> {
        match (stage.scope.percent, &stage.spec.percent) {
            (Some(percent), _) => Some(Self::Hundredths(percent.hundredths())),
            (None, None) => Some(Self::Whole),
            (None, Some(_)) => None,
        }
    }
}

// === impl Overlap ===

impl Overlap<'_> {
    fn who(&self, one: &str, many: &str) -> String {
        match self.whom {
            Whom::All => format!("everybody {one}"),
            Whom::Ids { id, count, .. } => who(id, count, one, many),
        }
    }

    /// Where `stage` lets them in.
    fn path(&self, stage: &Stage<'_>) -> String {
        match self.whom {
            Whom::All => field(&stage.path, "percent"),
            Whom::Ids { dimension, id, .. } => {
                ids_path(&field(&stage.path, "include"), &stage.spec.include, dimension, id)
            }
        }
    }
}
