//! A small bank: its people, its services, and what a scope means for them, as plainly as it can be said.

use graylane_rules::xxh64;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The dimensions of the default tenant, most specific first.
pub const DIMENSIONS: [&str; 3] = ["teller", "branch", "region"];

/// The tenants. Two are enough to see that neither moves the other.
pub const TENANTS: [&str; 2] = ["retail", "corporate"];

/// The services of each tenant, each with its hosts.
pub const SERVICES: [(&str, &[&str]); 4] = [
    ("loan", &["loan.bank"]),
    ("ledger", &["ledger.bank", "books.bank"]),
    ("card", &["card.bank"]),
    ("fx", &["fx.bank"]),
];

/// The named lists that operators use.
pub const LISTS: [&str; 2] = ["pilots", "outposts"];

/// Who sends a request: the value of each dimension's header, where there is one.
pub type Person = [Option<&'static str>; 3];

/// A sample of everybody: tellers, machines that name no teller, one that names nothing, and a stranger.
pub const PEOPLE: [Person; 15] = [
    [Some("T0"), Some("B0"), Some("R0")],
    [Some("T1"), Some("B0"), Some("R0")],
    [Some("T2"), Some("B1"), Some("R0")],
    [Some("T3"), Some("B1"), Some("R0")],
    [Some("T4"), Some("B2"), Some("R1")],
    [Some("T5"), Some("B2"), Some("R1")],
    [Some("T6"), Some("B3"), Some("R1")],
    [Some("T7"), Some("B3"), Some("R1")],
    [None, Some("B0"), Some("R0")],
    [None, Some("B1"), Some("R0")],
    [None, Some("B2"), None],
    [None, None, Some("R0")],
    [None, None, Some("R1")],
    [None, None, None],
    [Some("X9"), Some("B1"), Some("R9")],
];

/// The ids of each dimension that scopes name.
pub const IDS: [&[&str]; 3] =
    [&["T0", "T1", "T2", "T3", "T4", "T5", "T6", "T7"], &["B0", "B1", "B2", "B3"], &["R0", "R1"]];

/// A set of ids.
pub type Ids = BTreeSet<String>;

/// Ids as a scope names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    Inline(Ids),
    List(&'static str),
}

/// A scope as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub include: [Option<Named>; 3],
    pub exclude: [Option<Named>; 3],
    pub all: bool,
    pub hundredths: Option<u16>,
}

/// A scope with the ids of its lists as they were when it was pinned.
#[derive(Clone, Debug, Default)]
pub struct Pinned {
    include: [Ids; 3],
    exclude: [Ids; 3],
    all: bool,
    hundredths: Option<u16>,
}

// === impl Scope ===

impl Scope {
    /// The scope as people write it.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        for (name, levels) in [("include", &self.include), ("exclude", &self.exclude)] {
            let levels =
                DIMENSIONS.iter().zip(levels).filter_map(|(dimension, ids)| Some((dimension, ids.as_ref()?)));
            let levels: Map<String, Value> =
                levels.map(|(dimension, ids)| ((*dimension).to_owned(), ids.to_json())).collect();
            if !levels.is_empty() {
                fields.insert(name.to_owned(), Value::Object(levels));
            }
        }
        if self.all {
            fields.insert("all".to_owned(), json!(true));
        }
        if let Some(hundredths) = self.hundredths {
            fields.insert("percent".to_owned(), json!(f64::from(hundredths) / 100.0));
        }
        Value::Object(fields)
    }

    /// The named lists that it uses.
    pub fn lists(&self) -> impl Iterator<Item = &'static str> {
        self.include.iter().chain(&self.exclude).filter_map(|named| match named {
            Some(Named::List(name)) => Some(*name),
            _ => None,
        })
    }

    /// The scope as it holds with these lists.
    pub fn pinned(&self, list: impl Fn(&str) -> Ids) -> Pinned {
        let ids = |named: &Option<Named>| match named {
            Some(Named::Inline(ids)) => ids.clone(),
            Some(Named::List(name)) => list(name),
            None => Ids::new(),
        };
        let (include, exclude) = (self.include.each_ref().map(ids), self.exclude.each_ref().map(ids));
        Pinned { include, exclude, all: self.all, hundredths: self.hundredths }
    }
}

// === impl Named ===

impl Named {
    fn to_json(&self) -> Value {
        match self {
            Self::Inline(ids) => json!(ids),
            Self::List(name) => json!({ "list": name }),
        }
    }
}

// === impl Pinned ===

impl Pinned {
    /// Whether it keeps a person out by one of their ids.
    pub fn excludes(&self, person: &Person) -> bool {
        person.iter().zip(&self.exclude).any(|(id, ids)| id.is_some_and(|id| ids.contains(id)))
    }
}

/// Section 3 and 4 of the semantics: whether a person is gray when these scopes hold together.
pub fn is_gray(plan: &str, scopes: &[Pinned], person: &Person) -> bool {
    let takes = |hundredths: &[Option<u16>]| {
        let key = person.iter().flatten().next();
        let is_whole = hundredths.contains(&None);
        let share = hundredths.iter().flatten().max().copied().unwrap_or_default();
        is_whole
            || key
                .is_some_and(|key| xxh64(0, format!("{plan}\0{key}").as_bytes()) % 10_000 < u64::from(share))
    };
    for (level, id) in person.iter().enumerate() {
        let Some(id) = *id else { continue };
        if scopes.iter().any(|scope| scope.exclude[level].contains(id)) {
            return false;
        }
        let shares: Vec<Option<u16>> = scopes
            .iter()
            .filter(|scope| scope.include[level].contains(id))
            .map(|scope| scope.hundredths)
            .collect();
        if takes(&shares) {
            return true;
        }
    }
    let shares: Vec<Option<u16>> =
        scopes.iter().filter(|scope| scope.all).map(|scope| scope.hundredths).collect();
    takes(&shares)
}
