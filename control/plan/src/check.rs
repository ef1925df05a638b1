//! Everything that is wrong with a plan, found before anything serves it.

mod dependencies;
mod head;
pub(crate) mod scope;
mod services;
mod size;
mod widening;

use crate::model::{ReleasePlan, Scope};
use crate::problem::{Problem, Problems, element, field};
use crate::snapshot::ResolvedScope;
use crate::world::World;
use graylane_rules::limits::MAX_STAGES;
use widening::Stage;

/// Every problem of a plan, in the order of paths. A plan without errors compiles and encodes at every stage.
#[must_use]
pub fn check(plan: &ReleasePlan, world: &World<'_>) -> Vec<Problem> {
    check_and_resolve(plan, world).1.in_order()
}

/// Every problem of a scope that is to replace that of the stage at index `stage`, as adjusting does. Paths begin
/// with `scope`. Taking back whom another stage lets in is what adjusting is for: it is warned of, not refused.
#[must_use]
pub fn check_scope(plan: &ReleasePlan, stage: usize, scope: &Scope, world: &World<'_>) -> Vec<Problem> {
    const PATH: &str = "scope";
    let mut problems = Problems::default();
    if stage >= plan.spec.stages.len() {
        let count = plan.spec.stages.len();
        problems.error(PATH, format!("the plan has no stage at index {stage}; it has {count}"));
        return problems.in_order();
    }
    let mut resolver = scope::Resolver::new(world);
    let adjusted = resolver.resolve(PATH, scope, &mut problems);
    // What is wrong with the other stages was said when the plan was checked.
    let mut scopes = scope::resolve_stages(plan, world, &mut Problems::default());
    scopes.splice(stage..=stage, [adjusted]);
    let mut stages = stages(plan, &scopes);
    stages.splice(
        stage..=stage,
        stages.get(stage).map(|before| Stage { path: PATH.to_owned(), spec: scope, ..*before }),
    );
    if size::check_ids(&scopes, &mut problems) {
        widening::check_adjusted(&stages, stage, world.tenant, &mut problems);
    }
    if !problems.has_errors() {
        size::check(plan, &scopes, world.tenant, &mut problems);
    }
    problems.in_order()
}

/// The problems of a plan, and its scopes as far as they could be resolved.
pub(crate) fn check_and_resolve(plan: &ReleasePlan, world: &World<'_>) -> (Vec<ResolvedScope>, Problems) {
    let mut problems = Problems::default();
    head::check(plan, world.tenant, &mut problems);
    services::check(plan, world, &mut problems);
    dependencies::check(&plan.spec.services, &mut problems);
    check_stage_names(plan, &mut problems);
    if plan.spec.stages.len() > MAX_STAGES {
        // Entries number their stages in one byte, so that more stages cannot even be compared.
        return (Vec::new(), problems);
    }
    let scopes = scope::resolve_stages(plan, world, &mut problems);
    if size::check_ids(&scopes, &mut problems) {
        widening::check(&stages(plan, &scopes), world.tenant, &mut problems);
    }
    if !problems.has_errors() {
        size::check(plan, &scopes, world.tenant, &mut problems);
    }
    (scopes, problems)
}

fn stages<'a>(plan: &'a ReleasePlan, scopes: &'a [ResolvedScope]) -> Vec<Stage<'a>> {
    let specs = plan.spec.stages.iter().enumerate();
    let stage = |((at, spec), scope)| {
        let spec: &crate::model::StageSpec = spec;
        Stage { path: scope_path(at), name: &spec.name, spec: &spec.scope, scope }
    };
    specs.zip(scopes).map(stage).collect()
}

/// The path of a stage's scope.
pub(crate) fn scope_path(stage: usize) -> String {
    field(&element("spec.stages", stage), "scope")
}

fn check_stage_names(plan: &ReleasePlan, problems: &mut Problems) {
    let stages = &plan.spec.stages;
    if stages.is_empty() {
        problems.error("spec.stages", "the plan has no stage; give at least one, with a name and a scope");
    }
    if stages.len() > MAX_STAGES {
        let count = stages.len();
        problems
            .error("spec.stages", format!("{count} stages are over the limit of {MAX_STAGES}; merge some"));
    }
    let mut first_by_name = std::collections::BTreeMap::new();
    for (at, stage) in stages.iter().enumerate() {
        let path = field(&element("spec.stages", at), "name");
        head::check_name(&path, "stage", &stage.name, problems);
        if let Some(first) = first_by_name.insert(stage.name.as_str(), at).filter(|_| !stage.name.is_empty())
        {
            let name = crate::problem::shown(&stage.name);
            problems
                .error(&path, format!("{name} is the name of spec.stages[{first}] too; rename one of them"));
        }
        if let Some(Err(error)) = stage.hold.as_ref().map(|hold| hold.seconds()) {
            problems.error(field(&element("spec.stages", at), "hold"), error.to_string());
        }
    }
}
