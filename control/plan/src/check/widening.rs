//! Stages only widen, and no inclusion is for nothing.

use crate::model::{Ids, Scope};
use crate::problem::{Problems, element, field, shown};
use crate::snapshot::{ResolvedIds, ResolvedScope};
use crate::world::Tenant;
use graylane_rules::{IdSet, IdSetBuilder};
use std::collections::{BTreeMap, BTreeSet};

/// Ids of one dimension, both let in and kept out, that are followed to their stages. A plan with more is refused
/// for these.
const MAX_CONTESTED: usize = 1_000;

/// A stage with its scope as written and at hand.
pub(super) struct Stage<'a> {
    /// Where the scope stands.
    pub(super) path: String,
    /// The stage's name.
    pub(super) name: &'a str,
    /// The scope as written.
    pub(super) spec: &'a Scope,
    /// The scope at hand.
    pub(super) scope: &'a ResolvedScope,
}

/// Ids that one stage lets in and one keeps out, in one dimension. Both are indices; they may be the same.
struct Contest<'a> {
    dimension: &'a str,
    let_in: usize,
    kept_out: usize,
    /// The first of the ids.
    id: &'a [u8],
    /// How many there are, of the ids that are followed.
    count: usize,
}

/// Refuses what narrows, or does nothing, between any two stages.
pub(super) fn check(stages: &[Stage<'_>], tenant: &Tenant, problems: &mut Problems) {
    each_contest(stages, tenant, |contest| {
        if contest.kept_out > contest.let_in {
            refuse_narrowing(stages, contest, problems);
        } else {
            refuse_idle(stages, contest, problems);
        }
    });
    (0..stages.len()).for_each(|at| warn_of_wider(stages, at, tenant, problems));
}

/// As [`check`], but only for the stage at index `adjusted`, which may narrow.
pub(super) fn check_adjusted(
    stages: &[Stage<'_>],
    adjusted: usize,
    tenant: &Tenant,
    problems: &mut Problems,
) {
    each_contest(stages, tenant, |contest| {
        if contest.let_in == adjusted {
            refuse_idle(stages, contest, problems);
        } else if contest.kept_out == adjusted {
            warn_of_taking_back(stages, contest, problems);
        }
    });
    warn_of_wider(stages, adjusted, tenant, problems);
}

fn each_contest(stages: &[Stage<'_>], tenant: &Tenant, mut found: impl FnMut(&Contest<'_>)) {
    for (level, dimension) in tenant.dimensions.iter().enumerate() {
        let at_level =
            |ids: &'_ [ResolvedIds]| ids.iter().find(|ids| ids.level == level).map(|ids| ids.ids.clone());
        let let_in: Vec<_> = stages.iter().map(|stage| at_level(&stage.scope.include)).collect();
        let kept_out: Vec<_> = stages.iter().map(|stage| at_level(&stage.scope.exclude)).collect();
        let contested =
            contested(let_in.iter().flatten().map(|ids| &**ids), kept_out.iter().flatten().map(|ids| &**ids));
        for (let_in, included) in let_in.iter().enumerate().filter_map(|(at, ids)| Some((at, ids.as_ref()?)))
        {
            for (kept_out, excluded) in
                kept_out.iter().enumerate().filter_map(|(at, ids)| Some((at, ids.as_ref()?)))
            {
                let mut both = contested.iter().filter(|id| included.contains(id) && excluded.contains(id));
                if let Some(id) = both.next() {
                    found(&Contest {
                        dimension: &dimension.name,
                        let_in,
                        kept_out,
                        id,
                        count: 1 + both.count(),
                    });
                }
            }
        }
    }
}

/// The first ids that any stage lets in and any keeps out. Sets that stages share are looked through once, so that
/// the time grows with the ids and not with the pairs of stages.
fn contested<'a>(
    let_in: impl Iterator<Item = &'a IdSet>,
    kept_out: impl Iterator<Item = &'a IdSet>,
) -> IdSet {
    let mut union = IdSetBuilder::default();
    let kept_out: BTreeSet<&IdSet> = kept_out.collect();
    kept_out.into_iter().flat_map(IdSet::iter).for_each(|id| union.push(id));
    let kept_out = union.build();
    if kept_out.is_empty() {
        return kept_out;
    }
    let let_in: BTreeSet<&IdSet> = let_in.collect();
    let both = let_in.into_iter().flat_map(|ids| ids.intersection(&kept_out).take(MAX_CONTESTED));
    both.collect::<BTreeSet<_>>().into_iter().take(MAX_CONTESTED).collect()
}

fn refuse_narrowing(stages: &[Stage<'_>], contest: &Contest<'_>, problems: &mut Problems) {
    let (Some(earlier), Some(stage)) = (stages.get(contest.let_in), stages.get(contest.kept_out)) else {
        return;
    };
    let message = format!(
        "{} let in by stage {} already, and stages only widen; remove it here, or exclude it from the start",
        contest.who("was", "were"),
        shown(earlier.name)
    );
    problems.error(contest.path(stage, "exclude", &stage.spec.exclude), message);
}

fn refuse_idle(stages: &[Stage<'_>], contest: &Contest<'_>, problems: &mut Problems) {
    let (Some(stage), Some(other)) = (stages.get(contest.let_in), stages.get(contest.kept_out)) else {
        return;
    };
    let other = match contest.let_in == contest.kept_out {
        true => "this stage too".to_owned(),
        false => format!("stage {}", shown(other.name)),
    };
    let message = format!(
        "{} excluded by {other}, so that including does nothing; remove one of the two",
        contest.who("is", "are")
    );
    problems.error(contest.path(stage, "include", &stage.spec.include), message);
}

fn warn_of_taking_back(stages: &[Stage<'_>], contest: &Contest<'_>, problems: &mut Problems) {
    let (Some(other), Some(stage)) = (stages.get(contest.let_in), stages.get(contest.kept_out)) else {
        return;
    };
    let effect = if contest.let_in < contest.kept_out { "goes back to stable" } else { "stays on stable" };
    let message = format!(
        "{} let in by stage {}; what is excluded here {effect}",
        contest.who("is", "are"),
        shown(other.name)
    );
    problems.warning(contest.path(stage, "exclude", &stage.spec.exclude), message);
}

/// Warns where the stage at index `at` excludes ids that may be part of what an earlier stage let in: only the
/// organisation's directory could tell whether a teller belongs to a gray branch.
fn warn_of_wider(stages: &[Stage<'_>], at: usize, tenant: &Tenant, problems: &mut Problems) {
    let Some(stage) = stages.get(at) else { return };
    for excluded in &stage.scope.exclude {
        let wider = stages.iter().take(at).find_map(|earlier| {
            let level =
                earlier.scope.include.iter().map(|ids| ids.level).find(|level| *level > excluded.level);
            let what = level
                .and_then(|level| tenant.dimensions.get(level))
                .map(|dimension| format!("{} ids", dimension.name));
            Some((what.or(earlier.scope.all.then(|| "everybody".to_owned()))?, earlier.name))
        });
        if let Some((what, name)) = wider {
            let dimension = &excluded.dimension;
            let message = format!(
                "stage {} let in {what} before: a {dimension} among them that is excluded only here goes back to \
                 stable; better exclude it from that stage on",
                shown(name)
            );
            problems.warning(field(&field(&stage.path, "exclude"), dimension), message);
        }
    }
}

/// `"T1" was`, or `"T1" and 2 more were`.
pub(super) fn who(id: &[u8], count: usize, one: &str, many: &str) -> String {
    let id = shown(&String::from_utf8_lossy(id));
    match count {
        1 => format!("{id} {one}"),
        count => format!("{id} and {} more {many}", count - 1),
    }
}

/// Where an id stands in what is written at `path`: its place in an inline list, or the list as a whole.
pub(super) fn ids_path(
    path: &str,
    ids_by_dimension: &BTreeMap<String, Ids>,
    dimension: &str,
    id: &[u8],
) -> String {
    let path = field(path, dimension);
    match ids_by_dimension.get(dimension) {
        Some(Ids::Inline(ids)) => {
            let place = ids.iter().position(|inline| inline.as_bytes() == id);
            place.map_or(path.clone(), |place| element(&path, place))
        }
        _ => path,
    }
}

// === impl Contest ===

impl Contest<'_> {
    fn who(&self, one: &str, many: &str) -> String {
        match self.count {
            MAX_CONTESTED => {
                let id = shown(&String::from_utf8_lossy(self.id));
                format!("{id} and at least {} more {many}", MAX_CONTESTED - 1)
            }
            count => who(self.id, count, one, many),
        }
    }

    fn path(&self, stage: &Stage<'_>, side: &str, ids: &BTreeMap<String, Ids>) -> String {
        ids_path(&field(&stage.path, side), ids, self.dimension, self.id)
    }
}
