//! A scope for itself: dimensions, ids, lists, percentage. What is right in it is resolved on the way.

use super::scope_path;
use crate::id::check_id;
use crate::model::{Ids, ReleasePlan, Scope};
use crate::nearest::did_you_mean;
use crate::problem::{Problems, element, field, shown};
use crate::snapshot::{ResolvedIds, ResolvedScope};
use crate::world::World;
use graylane_rules::{IdSet, is_name};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Resolves scopes. Each named list is asked for once, so that all stages see the same one.
pub(crate) struct Resolver<'a> {
    world: &'a World<'a>,
    list_by_name: BTreeMap<String, Option<Arc<IdSet>>>,
}

/// The scopes of all stages, in their order.
pub(crate) fn resolve_stages(
    plan: &ReleasePlan,
    world: &World<'_>,
    problems: &mut Problems,
) -> Vec<ResolvedScope> {
    let mut resolver = Resolver::new(world);
    let stages = plan.spec.stages.iter().enumerate();
    stages.map(|(at, stage)| resolver.resolve(&scope_path(at), &stage.scope, problems)).collect()
}

// === impl Resolver ===

impl<'a> Resolver<'a> {
    pub(crate) fn new(world: &'a World<'a>) -> Self {
        Self { world, list_by_name: BTreeMap::new() }
    }

    /// The scope, without what is wrong in it.
    pub(crate) fn resolve(&mut self, path: &str, scope: &Scope, problems: &mut Problems) -> ResolvedScope {
        check_extent(path, scope, problems);
        let percent_path = field(path, "percent");
        let percent = scope.percent.as_ref().and_then(|percent| match percent.get() {
            Ok(percent) => Some(percent),
            Err(error) => {
                problems.error(&percent_path, error.to_string());
                None
            }
        });
        let include = self.resolve_levels(&field(path, "include"), &scope.include, problems);
        let exclude = self.resolve_levels(&field(path, "exclude"), &scope.exclude, problems);
        ResolvedScope { include, exclude, all: scope.all, percent }
    }

    fn resolve_levels(
        &mut self,
        path: &str,
        ids_by_dimension: &BTreeMap<String, Ids>,
        problems: &mut Problems,
    ) -> Vec<ResolvedIds> {
        let mut levels = Vec::new();
        for (dimension, ids) in ids_by_dimension {
            let path = field(path, dimension);
            let level = self.world.tenant.level(dimension);
            if level.is_none() {
                let known: Vec<&str> =
                    self.world.tenant.dimensions.iter().map(|dimension| dimension.name.as_str()).collect();
                let hint = did_you_mean(dimension, known.iter().copied());
                let known = known.join(", ");
                problems
                    .error(&path, format!("{} is no dimension{hint}; use one of {known}", shown(dimension)));
            }
            let (resolved, list) = match ids {
                Ids::Inline(ids) => (inline(&path, ids, problems), None),
                Ids::List(list) => {
                    (self.list(&field(&path, "list"), &list.list, problems), Some(list.list.clone()))
                }
            };
            if let (Some(level), Some(ids)) = (level, resolved) {
                levels.push(ResolvedIds { dimension: dimension.clone(), level, ids, list });
            }
        }
        levels.sort_by_key(|ids| ids.level);
        levels
    }

    fn list(&mut self, path: &str, name: &str, problems: &mut Problems) -> Option<Arc<IdSet>> {
        let Some(lists) = self.world.lists else {
            if is_name(name) {
                problems.warning(path, format!("whether list {} exists, only the daemon knows", shown(name)));
            } else {
                problems.error(path, no_such_list(name, &[]));
            }
            return None;
        };
        let ids = self.list_by_name.entry(name.to_owned()).or_insert_with(|| lists.get(name));
        match ids {
            None => problems.error(path, no_such_list(name, &lists.names())),
            Some(ids) if ids.is_empty() => {
                problems.error(path, format!("list {} has no id; upload it again with some", shown(name)));
            }
            Some(_) => {}
        }
        ids.clone()
    }
}

fn no_such_list(name: &str, known: &[String]) -> String {
    if name.is_empty() {
        return "is missing or empty; name a list".to_owned();
    }
    let hint = did_you_mean(name, known.iter().map(String::as_str));
    format!(
        "there is no list {}{hint}; upload it with \"graylane list put\", or correct the name",
        shown(name)
    )
}

fn inline(path: &str, ids: &[String], problems: &mut Problems) -> Option<Arc<IdSet>> {
    if ids.is_empty() {
        problems.error(path, "has no id; give at least one, or remove the field");
        return None;
    }
    for (at, id) in ids.iter().enumerate() {
        if let Err(error) = check_id(id) {
            problems.error(element(path, at), error.to_string());
        }
    }
    Some(Arc::new(ids.iter().collect()))
}

/// A scope must let in or keep out somebody, and a percentage needs somebody to take its share of.
fn check_extent(path: &str, scope: &Scope, problems: &mut Problems) {
    let lets_in = scope.all || !scope.include.is_empty();
    match (lets_in, scope.exclude.is_empty(), &scope.percent) {
        (false, true, None) => {
            problems.error(path, "is empty: it lets nobody in; add include with ids, or all: true");
        }
        (false, _, Some(_)) => {
            let message = "is a share of nobody, as the scope lets nobody in; add all: true, or include ids";
            problems.error(field(path, "percent"), message);
        }
        _ => {}
    }
}
