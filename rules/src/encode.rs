//! From plain data to bytes. The same content gives the same bytes, in whatever order it was put together.
//!
//! Its functions stay apart (`inline(never)`), as do those of other code that runs once for each rule set: a proxy compiles each
//! function of the filter by itself, and takes megabytes for a large one that it does not give back.

use crate::id_set::IdSet;
use crate::limits::*;
use crate::model::{Action, Entry, Group, RuleSet, Service, Table, is_header_name, is_host, is_name};
use crate::order::sort_by;
use crate::sets::Set;
use crate::wire::{FORMAT, HASHED_HEADER_BYTES, HEADER_BYTES, MAGIC, MIN_READER, Writer};
use crate::xxh64::xxh64;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Why a rule set cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// A list or a text is too long, or the bytes are too many.
    OverLimit {
        /// What is too long.
        what: &'static str,
        /// How long it is.
        value: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A name, host or header has a character that it must not have, or a wrong length.
    Invalid {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// A name, host or header occurs twice.
    Twice {
        /// What occurs twice.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// A table names a dimension or a stage that is not there.
    Dangling {
        /// What it points at.
        what: &'static str,
        /// The table's plan.
        plan: String,
    },
}

/// The bytes of `rules` under `revision`.
///
/// # Errors
/// When a name is invalid or occurs twice, a table points at nothing, or a limit of [`limits`](crate::limits) is passed.
pub fn encode(rules: &RuleSet, revision: u64) -> Result<Vec<u8>, EncodeError> {
    encode_with(rules, revision, Set::write)
}

/// Like [`encode`] without a search for the smallest bytes of each id set: for few ids, and by so little code that the
/// filter's module can carry it. Both lead to the same decisions.
///
/// # Errors
/// As [`encode`].
pub fn encode_few(rules: &RuleSet, revision: u64) -> Result<Vec<u8>, EncodeError> {
    encode_with(rules, revision, Set::write_whole)
}

type WriteSet = fn(&mut Writer, &IdSet);

fn encode_with(rules: &RuleSet, revision: u64, write_set: WriteSet) -> Result<Vec<u8>, EncodeError> {
    let content = content(rules, write_set)?;
    within("bytes of the rule set", HEADER_BYTES + content.len(), MAX_RULES_BYTES)?;
    let mut header = Writer::default();
    header.bytes.extend_from_slice(&MAGIC);
    header.u16(FORMAT);
    header.u16(MIN_READER);
    header.u32(content.len() as u32);
    header.bytes.extend_from_slice(&revision.to_le_bytes());
    header.bytes.extend_from_slice(&xxh64(0, &content).to_le_bytes());
    debug_assert_eq!(header.bytes.len(), HASHED_HEADER_BYTES);
    header.bytes.extend_from_slice(&xxh64(0, &header.bytes).to_le_bytes());
    header.bytes.extend_from_slice(&content);
    Ok(header.bytes)
}

#[inline(never)]
fn content(rules: &RuleSet, write_set: WriteSet) -> Result<Vec<u8>, EncodeError> {
    let mut services: Vec<&Service> = rules.services.iter().collect();
    sort_by(&mut services, |a, b| a.name.cmp(&b.name));
    check_names(rules, &services)?;
    let shared = Shared::of(rules, &services)?;

    let mut out = Writer::default();
    out.text(&rules.tenant);
    out.u8(rules.dimensions.len() as u8);
    for dimension in &rules.dimensions {
        out.text(&dimension.name);
        out.text(&dimension.header);
    }
    out.text(&rules.output_header);
    out.u32(shared.sets.len() as u32);
    shared.sets.iter().for_each(|set| write_set(&mut out, set));
    out.u32(shared.tables.len() as u32);
    shared.tables.iter().for_each(|table| out.bytes.extend_from_slice(table));
    out.u32(services.len() as u32);
    for (service, table) in services.iter().zip(&shared.table_by_service) {
        write_service(&mut out, service, *table);
    }
    Ok(out.bytes)
}

/// The sets and tables of a rule set, each once, numbered in the order of their first use.
#[derive(Default)]
struct Shared<'a> {
    sets: Vec<&'a IdSet>,
    number_by_set: Numbering<&'a IdSet>,
    tables: Vec<Vec<u8>>,
    number_by_table: Numbering<Vec<u8>>,
    table_by_service: Vec<u32>,
}

/// A text in quotes, and on one line whatever is in it. What the language has for that knows all of Unicode, which is four
/// kilobytes of the filter's module.
struct Quoted<'a>(&'a str);

/// The numbers that keys got, in the order of the keys.
struct Numbering<K>(Vec<(K, u32)>);

// === impl Shared ===

impl<'a> Shared<'a> {
    #[inline(never)]
    fn of(rules: &RuleSet, services: &[&'a Service]) -> Result<Self, EncodeError> {
        let mut shared = Self::default();
        for service in services {
            let number = match &service.release {
                Some(release) => shared.table(&release.table, rules.dimensions.len())?,
                None => 0,
            };
            shared.table_by_service.push(number);
        }
        within("different id sets", shared.sets.len(), MAX_SECTIONS)?;
        within("different tables", shared.tables.len(), MAX_SECTIONS)?;
        Ok(shared)
    }

    #[inline(never)]
    fn table(&mut self, table: &'a Table, dimensions: usize) -> Result<u32, EncodeError> {
        check_table(table, dimensions)?;
        let mut out = Writer::default();
        out.text(&table.plan);
        out.u8(table.stages.len() as u8);
        table.stages.iter().for_each(|stage| out.text(stage));
        out.u8(table.levels.len() as u8);
        for level in &table.levels {
            let mut groups: Vec<&Group> = level.iter().filter(|group| !group.ids.is_empty()).collect();
            sort_by(&mut groups, |a, b| a.entry.cmp(&b.entry));
            out.u16(groups.len() as u16);
            for group in groups {
                write_entry(&mut out, group.entry);
                out.u32(self.set(&group.ids));
            }
        }
        out.u8(u8::from(table.all.is_some()));
        table.all.iter().for_each(|entry| write_entry(&mut out, *entry));
        let (number, is_new) = self.number_by_table.number(&out.bytes);
        if is_new {
            self.tables.push(out.bytes);
        }
        Ok(number)
    }

    fn set(&mut self, set: &'a IdSet) -> u32 {
        let (number, is_new) = self.number_by_set.number(&set);
        if is_new {
            self.sets.push(set);
        }
        number
    }
}

// === impl Numbering ===

impl<K: Clone + Ord> Numbering<K> {
    /// The number of a key, which is the next one if the key is new; and whether it is.
    #[inline(never)]
    fn number(&mut self, key: &K) -> (u32, bool) {
        let next = self.0.len() as u32;
        match self.0.binary_search_by(|(known, _)| known.cmp(key)) {
            Ok(at) => (self.0.get(at).map_or(next, |(_, number)| *number), false),
            Err(at) => {
                self.0.insert(at, (key.clone(), next));
                (next, true)
            }
        }
    }
}

impl<K> Default for Numbering<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

fn write_entry(out: &mut Writer, entry: Entry) {
    let (kind, hundredths) = match entry.action {
        Action::Exclude => (0, 0),
        Action::Gray => (1, 0),
        Action::Percent(percent) => (2, percent.hundredths()),
    };
    out.u8(kind);
    out.u16(hundredths);
    out.u8(entry.stage);
}

#[inline(never)]
fn write_service(out: &mut Writer, service: &Service, table: u32) {
    out.text(&service.name);
    out.text(&service.stable);
    out.text(&service.route_default);
    let mut hosts: Vec<&String> = service.hosts.iter().collect();
    sort_by(&mut hosts, Ord::cmp);
    out.u16(hosts.len() as u16);
    hosts.iter().for_each(|host| out.text(host));
    out.u8(u8::from(service.release.is_some()));
    if let Some(release) = &service.release {
        out.text(&release.gray);
        out.u32(table);
    }
}

#[inline(never)]
fn check_names(rules: &RuleSet, services: &[&Service]) -> Result<(), EncodeError> {
    within("dimensions", rules.dimensions.len(), MAX_DIMENSIONS)?;
    within("services", services.len(), MAX_SERVICES)?;
    within("hosts", services.iter().map(|service| service.hosts.len()).sum(), MAX_HOSTS)?;
    valid("tenant", &rules.tenant, is_name)?;
    valid("output header", &rules.output_header, is_header_name)?;
    for dimension in &rules.dimensions {
        valid("dimension", &dimension.name, is_name)?;
        valid("dimension header", &dimension.header, is_header_name)?;
    }
    for service in services {
        valid("service", &service.name, is_name)?;
        valid("version", &service.stable, is_name)?;
        valid("version", &service.route_default, is_name)?;
        service.hosts.iter().try_for_each(|host| valid("host", host, is_host))?;
        service.release.iter().try_for_each(|release| valid("version", &release.gray, is_name))?;
    }
    once("dimension", &mut rules.dimensions.iter().map(|dimension| &dimension.name))?;
    let headers = rules.dimensions.iter().map(|dimension| &dimension.header);
    once("header", &mut headers.chain([&rules.output_header]))?;
    once("service", &mut services.iter().map(|service| &service.name))?;
    once("host", &mut services.iter().flat_map(|service| &service.hosts))
}

#[inline(never)]
fn check_table(table: &Table, dimensions: usize) -> Result<(), EncodeError> {
    let dangling = |what| Err(EncodeError::Dangling { what, plan: table.plan.clone() });
    valid("plan", &table.plan, is_name)?;
    within("stages", table.stages.len(), MAX_STAGES)?;
    table.stages.iter().try_for_each(|stage| valid("stage", stage, is_name))?;
    if table.levels.len() > dimensions {
        return dangling("a dimension");
    }
    for level in &table.levels {
        within("groups of a level", level.len(), MAX_GROUPS)?;
        let mut entries: Vec<Entry> = level.iter().map(|group| group.entry).collect();
        sort_by(&mut entries, Ord::cmp);
        if entries.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(EncodeError::Twice { what: "entry of a level", value: table.plan.clone() });
        }
        for group in level {
            within("ids of a group", group.ids.len(), MAX_SET_IDS)?;
            within("bytes of an id", group.ids.iter().map(<[u8]>::len).max().unwrap_or(0), MAX_VALUE_BYTES)?;
        }
    }
    let mut entries = table.levels.iter().flatten().map(|group| group.entry).chain(table.all);
    match entries.any(|entry| usize::from(entry.stage) >= table.stages.len()) {
        true => dangling("a stage"),
        false => Ok(()),
    }
}

fn within(what: &'static str, value: usize, limit: usize) -> Result<(), EncodeError> {
    if value > limit { Err(EncodeError::OverLimit { what, value, limit }) } else { Ok(()) }
}

#[inline(never)]
fn valid(what: &'static str, value: &str, is_valid: fn(&str) -> bool) -> Result<(), EncodeError> {
    if is_valid(value) { Ok(()) } else { Err(EncodeError::Invalid { what, value: value.to_owned() }) }
}

#[inline(never)]
fn once(what: &'static str, values: &mut dyn Iterator<Item = &String>) -> Result<(), EncodeError> {
    let mut values: Vec<&String> = values.collect();
    sort_by(&mut values, Ord::cmp);
    let twins = values.windows(2).find(|pair| matches!(pair, [a, b] if a == b));
    match twins.and_then(|pair| pair.first()) {
        Some(value) => Err(EncodeError::Twice { what, value: (*value).clone() }),
        None => Ok(()),
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverLimit { what, value, limit } => {
                write!(f, "{what}: {value} is over the limit of {limit}")
            }
            Self::Invalid { what, value } => write!(f, "{} cannot be a {what}", Quoted(value)),
            Self::Twice { what, value } => write!(f, "{what} {} occurs twice", Quoted(value)),
            Self::Dangling { what, plan } => {
                write!(f, "the table of plan {} points at {what} that is not there", Quoted(plan))
            }
        }
    }
}

impl core::error::Error for EncodeError {}

// === impl Quoted ===

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.0.chars().try_for_each(|char| match char.is_control() {
            true => write!(f, "{}", char.escape_unicode()),
            false => f.write_char(char),
        })?;
        f.write_char('"')
    }
}
