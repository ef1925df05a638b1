//! Everything that is wrong with a plan, found before anything serves it.

mod dependencies;
mod gate;
mod head;
mod health;
pub(crate) mod scope;
mod services;
mod shares;
mod size;
mod widening;

use crate::model::{ReleasePlan, Scope};
use crate::problem::{Problem, Problems, element, field};
use crate::snapshot::ResolvedScope;
use crate::world::World;
use graylane_rules::limits::MAX_STAGES;
pub use size::check_list;
use widening::Stage;

/// Every problem of a plan, in the order of paths. A plan without errors compiles at every stage, and the rules of its
/// last stage, the largest, were encoded once, alone: together with other plans of the tenant they may still be over a
/// limit.
#[must_use]
pub fn check(plan: &ReleasePlan, world: &World<'_>) -> Vec<Problem> {
    check_and_resolve(plan, world).1.in_order()
}

/// Every problem of a scope that is to replace that of the stage at index `stage`, as adjusting does. Paths begin
/// with `scope`. Taking back whom another stage lets in is what adjusting is for: excluding them is warned of, not
/// refused. A percentage below that of an earlier stage would take nobody back, and is refused.
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
        shares::check_adjusted(&stages, stage, world.tenant, &mut problems);
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
    gate::check(plan, &mut problems);
    health::check(plan, world.prometheus, &mut problems);
    warn_of_finishing(plan, &mut problems);
    if plan.spec.stages.len() > MAX_STAGES {
        // Entries number their stages in one byte, so that more stages cannot even be compared.
        return (Vec::new(), problems);
    }
    let scopes = scope::resolve_stages(plan, world, &mut problems);
    if size::check_ids(&scopes, &mut problems) {
        let stages = stages(plan, &scopes);
        widening::check(&stages, world.tenant, &mut problems);
        shares::check(&stages, world.tenant, &mut problems);
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

/// Warns when it is finishing, and not a stage, that brings the gray version to the rest of the bank.
fn warn_of_finishing(plan: &ReleasePlan, problems: &mut Problems) {
    let stages = &plan.spec.stages;
    let Some((last, stage)) = stages.iter().enumerate().next_back() else { return };
    let lets_in_everybody = stages.iter().any(|stage| stage.scope.all && stage.scope.percent.is_none());
    if !lets_in_everybody || !stage.scope.exclude.is_empty() {
        let message = "finishing after this last stage makes the gray version the baseline for everybody, also for \
                       those whom the stages leave out; to let them in before, end with a stage of all: true alone";
        problems.warning(scope_path(last), message);
    }
}
