//! What a plan means at one moment, pinned: the same snapshot gives the same rules for ever.

use crate::check::{check_and_resolve, scope};
use crate::list::list_hash;
use crate::model::{Ids, ReleasePlan};
use crate::problem::{Problem, Problems};
use crate::world::{Lists, Tenant, World};
use graylane_rules::{IdSet, Percent};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// A plan with its named lists as they were when it was taken. An order holds one from its start to its end.
#[derive(Clone, Debug)]
pub struct Snapshot {
    plan: ReleasePlan,
    /// How many dimensions the tenant had.
    dimensions: usize,
    /// The scopes of the stages.
    scopes: Vec<ResolvedScope>,
    /// The addresses of its content, once somebody asked: what is restored is only compiled, and hashing reads every id.
    addresses: OnceLock<Addresses>,
}

#[derive(Clone, Debug)]
struct Addresses {
    /// The named lists, by name.
    lists: BTreeMap<String, PinnedList>,
    content_hash: String,
}

/// The content of a named list at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedList {
    /// Its address: see [`list_hash`].
    pub hash: String,
    /// Its ids.
    pub ids: Arc<IdSet>,
}

/// A scope with its ids at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedScope {
    /// Who is let in, in the order of levels.
    pub include: Vec<ResolvedIds>,
    /// Who is kept out, in the order of levels.
    pub exclude: Vec<ResolvedIds>,
    /// Whether everybody is let in.
    pub all: bool,
    /// The share of those let in.
    pub percent: Option<Percent>,
}

/// Ids of one dimension, at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedIds {
    /// The dimension's name.
    pub dimension: String,
    /// The dimension's place in the order of asking.
    pub level: usize,
    /// The ids.
    pub ids: Arc<IdSet>,
    /// The name of the list that they are from, unless they stood in the scope.
    pub list: Option<String>,
}

/// Checks a plan and pins what it means now.
///
/// # Errors
/// Everything that [`check`](crate::check()) finds, if an error is among it; and a named list when `world` knows none.
pub fn snapshot(plan: &ReleasePlan, world: &World<'_>) -> Result<Snapshot, Vec<Problem>> {
    let (scopes, mut problems) = check_and_resolve(plan, world);
    refuse_unknown_lists(plan, world, &mut problems);
    if problems.has_errors() {
        return Err(problems.in_order());
    }
    Ok(Snapshot::pin(plan, world.tenant, scopes))
}

// === impl Snapshot ===

impl Snapshot {
    /// Takes the snapshot that was taken before from what was kept of it: its plan, and its lists as they were then.
    /// Nothing is checked that may have changed since, like claimed hosts and baselines.
    ///
    /// # Errors
    /// When a scope cannot be resolved, as when a list or a dimension is missing.
    pub fn restore(plan: &ReleasePlan, tenant: &Tenant, lists: &dyn Lists) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let world = World::new(tenant, lists);
        let scopes = scope::resolve_stages(plan, &world, &mut problems);
        if problems.has_errors() { Err(problems.in_order()) } else { Ok(Self::pin(plan, tenant, scopes)) }
    }

    fn pin(plan: &ReleasePlan, tenant: &Tenant, scopes: Vec<ResolvedScope>) -> Self {
        let dimensions = tenant.dimensions.len();
        Self { plan: plan.clone(), dimensions, scopes, addresses: OnceLock::new() }
    }

    /// The plan as it was.
    #[must_use]
    pub fn plan(&self) -> &ReleasePlan {
        &self.plan
    }

    /// The scopes of its stages.
    #[must_use]
    pub fn scopes(&self) -> &[ResolvedScope] {
        &self.scopes
    }

    /// The named lists as they were, by name. The first call, of this or of [`Snapshot::content_hash`], hashes every id.
    #[must_use]
    pub fn lists(&self) -> &BTreeMap<String, PinnedList> {
        &self.addresses().lists
    }

    /// SHA-256, in hex, of the plan and its lists. The order of ids, hosts and dependencies does not change it. The
    /// first call, of this or of [`Snapshot::lists`], hashes every id.
    #[must_use]
    pub fn content_hash(&self) -> &str {
        &self.addresses().content_hash
    }

    /// How many dimensions the tenant had.
    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn addresses(&self) -> &Addresses {
        self.addresses.get_or_init(|| {
            let mut lists = BTreeMap::new();
            for resolved in self.scopes.iter().flat_map(ResolvedScope::ids) {
                if let Some(name) = resolved.list.as_ref().filter(|name| !lists.contains_key(*name)) {
                    let ids = Arc::clone(&resolved.ids);
                    lists.insert(name.clone(), PinnedList { hash: list_hash(&ids), ids });
                }
            }
            let content_hash = content_hash(&self.plan, &lists);
            Addresses { lists, content_hash }
        })
    }
}

/// By what a snapshot is made from. The addresses follow from it.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        (self.dimensions, &self.plan, &self.scopes) == (other.dimensions, &other.plan, &other.scopes)
    }
}

impl Eq for Snapshot {}

// === impl ResolvedScope ===

impl ResolvedScope {
    /// All ids, those let in first.
    pub fn ids(&self) -> impl Iterator<Item = &ResolvedIds> {
        self.include.iter().chain(&self.exclude)
    }
}

fn content_hash(plan: &ReleasePlan, lists: &BTreeMap<String, PinnedList>) -> String {
    let hash_by_list: BTreeMap<&str, &str> =
        lists.iter().map(|(name, list)| (name.as_str(), list.hash.as_str())).collect();
    let plan = canonical(plan);
    // A plan is fields, texts and numbers, which JSON always takes. Were it to refuse, two plans must still differ.
    let json = serde_json::to_vec(&(&plan, &hash_by_list));
    let json = json.unwrap_or_else(|_| format!("{plan:?}{hash_by_list:?}").into_bytes());
    format!("{:x}", Sha256::digest(json))
}

/// The plan with everything sorted whose order has no meaning.
fn canonical(plan: &ReleasePlan) -> ReleasePlan {
    let mut plan = plan.clone();
    for service in &mut plan.spec.services {
        service.hosts.sort_unstable();
        service.depends_on.sort_unstable();
    }
    let scopes = plan.spec.stages.iter_mut().map(|stage| &mut stage.scope);
    for ids in scopes.flat_map(|scope| scope.include.values_mut().chain(scope.exclude.values_mut())) {
        if let Ids::Inline(ids) = ids {
            ids.sort_unstable();
            ids.dedup();
        }
    }
    plan
}

/// Without lists a plan that names one can be checked, but its meaning cannot be pinned.
fn refuse_unknown_lists(plan: &ReleasePlan, world: &World<'_>, problems: &mut Problems) {
    let scopes = plan.spec.stages.iter().map(|stage| &stage.scope);
    let mut ids = scopes.flat_map(|scope| scope.include.values().chain(scope.exclude.values()));
    if world.lists.is_none() && ids.any(|ids| matches!(ids, Ids::List(_))) {
        problems.error(
            "spec.stages",
            "named lists are not at hand here; give their ids inline, or ask the daemon",
        );
    }
}
