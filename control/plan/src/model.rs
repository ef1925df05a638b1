//! A release plan as people write it.
//!
//! Reading is lenient where that lets [`check`](crate::check()) report more at once: a missing text reads as an empty
//! one, and a percentage or span out of its limits is kept as written. Unknown fields are found by
//! [`parse`](crate::parse()), so read plans with it and not with serde alone.

use crate::gate::{Calendar, Gate};
use crate::health::HealthSpec;
use crate::percentage::Percentage;
use crate::span::Span;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The only `apiVersion` that plans can have.
pub const API_VERSION: &str = "graylane.dev/v1alpha1";

/// The only `kind` that plans can have.
pub const KIND: &str = "ReleasePlan";

/// The intent to bring gray versions of some services to the bank, stage by stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleasePlan {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Always [`KIND`].
    pub kind: String,
    /// What the plan is called and whose it is.
    pub metadata: Metadata,
    /// What is to happen.
    pub spec: Spec,
}

/// What a plan is called and whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The plan's name, one per tenant; also the salt of its percentages.
    pub name: String,
    /// The tenant whose plan it is.
    pub tenant: String,
}

/// What a plan wants to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Who answers for the release.
    pub owner: String,
    /// How the services enter a stage.
    pub batch: Batch,
    /// Who says that the next stage is due.
    #[serde(skip_serializing_if = "is_default")]
    pub advance: Advance,
    /// What is released.
    pub services: Vec<ServiceSpec>,
    /// Who gets it, step by step. Stages only widen.
    pub stages: Vec<StageSpec>,
    /// In a serial batch: how long a service must have converged and been healthy before the next one enters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle: Option<Span>,
    /// How long the old version is kept after the last stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Span>,
    /// What happens when that time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_retention_end: Option<RetentionEnd>,
    /// How well the gray versions have to do, and what happens by itself when one does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// Which days are workdays, for the windows of gates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calendar: Option<Calendar>,
}

// === impl Spec ===

impl Spec {
    /// What happens by itself when a service is found faulty.
    #[must_use]
    pub fn on_fault(&self) -> Option<FaultAction> {
        self.health.as_ref()?.on_fault
    }

    /// Whether gray versions are judged, so that a service that nobody judged yet is not known to be healthy.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.health.as_ref().is_some_and(HealthSpec::has_limits)
    }
}

/// How the services of a batch enter a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Batch {
    /// All in one revision.
    #[default]
    Parallel,
    /// One after the other, in the order of `dependsOn`.
    Serial,
}

/// Who says that the next stage is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Advance {
    /// A person.
    #[default]
    Manual,
    /// The daemon, as soon as every service converged, the hold time is over and none is faulty.
    Auto,
}

/// What happens when the old version was kept as long as the plan says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RetentionEnd {
    /// It is kept on, until somebody finishes the order or rolls it back.
    Stay,
    /// The order finishes by itself: the gray versions become the baselines.
    Finish,
}

/// What the daemon does by itself about a faulty service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultAction {
    /// Pauses the order.
    Pause,
    /// Rolls the service back, and those that depend on it.
    RollbackService,
    /// Rolls every service of the order back.
    RollbackOrder,
}

/// One service of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// Its name.
    pub name: String,
    /// The `:authority` values by which it is called, in lower case, without port.
    pub hosts: Vec<String>,
    /// The version that runs now.
    pub stable: String,
    /// The version to bring.
    pub gray: String,
    /// The services of this plan that this one needs on their gray version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
}

/// One step of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StageSpec {
    /// Its name, once per plan.
    pub name: String,
    /// Who gets the gray version from this stage on, besides those of the stages before.
    pub scope: Scope,
    /// What must be true to enter the stage.
    #[serde(skip_serializing_if = "is_default")]
    pub gate: Gate,
    /// How long the stage must stand before the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Span>,
}

/// A part of the bank.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scope {
    /// Who is let in, by dimension.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub include: BTreeMap<String, Ids>,
    /// Who is kept out, by dimension.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exclude: BTreeMap<String, Ids>,
    /// Whether everybody is let in.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The share of those let in that gets the gray version. Exclusions stay whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percentage>,
}

// === impl Scope ===

impl Scope {
    /// Whether stages with these scopes let everybody in, so that nobody gets the stable version any more.
    pub fn let_in_everybody<'a>(scopes: impl IntoIterator<Item = &'a Self>) -> bool {
        let (mut is_whole, mut is_open) = (false, true);
        for scope in scopes {
            is_whole |= scope.all && scope.percent.is_none();
            is_open &= scope.exclude.is_empty();
        }
        is_whole && is_open
    }
}

/// Some ids of one dimension: `[a, b]`, or `{ list: name }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Ids {
    /// The ids themselves.
    Inline(Vec<String>),
    /// The ids of a named list.
    List(ListRef),
}

/// A named list, uploaded apart from the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListRef {
    /// Its name.
    pub list: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

// === impl ReleasePlan ===

impl ReleasePlan {
    /// The named lists that its stages use; one may occur more than once.
    pub fn list_names(&self) -> impl Iterator<Item = &str> {
        self.spec.stages.iter().flat_map(|stage| stage.scope.list_names())
    }
}

// === impl Scope ===

impl Scope {
    /// The named lists that it uses; one may occur more than once.
    pub fn list_names(&self) -> impl Iterator<Item = &str> {
        self.include.values().chain(self.exclude.values()).filter_map(|ids| match ids {
            Ids::List(list) => Some(list.list.as_str()),
            Ids::Inline(_) => None,
        })
    }

    /// Gives named lists other names; a list for which there is none keeps its own.
    pub fn rename_lists(&mut self, name_for: impl Fn(&str) -> Option<String>) {
        for ids in self.include.values_mut().chain(self.exclude.values_mut()) {
            if let Ids::List(list) = ids
                && let Some(name) = name_for(&list.list)
            {
                list.list = name;
            }
        }
    }
}

// === impl Ids ===

/// By hand, because serde's own way for untagged enums would buffer a million ids, turn `0012` into a number on the
/// way, and lose the path of what is wrong.
impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdsVisitor)
    }
}

struct IdsVisitor;

impl<'de> Visitor<'de> for IdsVisitor {
    type Value = Ids;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of ids like [T1, T2], or a named list like { list: pilot-branches }")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ids, A::Error> {
        let mut ids = Vec::new();
        while let Some(id) = seq.next_element()? {
            ids.push(id);
        }
        Ok(Ids::Inline(ids))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Ids, A::Error> {
        ListRef::deserialize(MapAccessDeserializer::new(map)).map(Ids::List)
    }
}
