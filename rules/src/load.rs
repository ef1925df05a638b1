//! From bytes to rules that can decide. Everything that a decision relies on is checked here, once.

use crate::host_index::HostIndex;
use crate::limits::*;
use crate::loaded::{LoadedService, LoadedTable, Rules};
use crate::model::{Action, Dimension, Entry, Percent, is_header_name, is_host, is_name};
use crate::order::sort_by;
use crate::sets::Set;
use crate::values::HeaderNames;
use crate::wire::{FORMAT, HASHED_HEADER_BYTES, HEADER_BYTES, MAGIC, Reader};
use crate::xxh64::xxh64;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why bytes are no rule set that this crate can read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes do not start as an encoded rule set does.
    NotRules,
    /// The bytes need a newer reader.
    Format {
        /// The oldest format whose readers can read the bytes.
        needed: u16,
        /// The format of this reader.
        supported: u16,
    },
    /// The bytes were changed on their way.
    Corrupt {
        /// Which hash does not fit.
        what: &'static str,
    },
    /// The bytes end too early.
    Truncated {
        /// What should follow.
        what: &'static str,
        /// Where it should start.
        offset: usize,
    },
    /// The bytes go on behind their end.
    Trailing {
        /// Where they should end.
        offset: usize,
    },
    /// A field has a value that it must not have.
    Invalid {
        /// Which field.
        what: &'static str,
        /// Where it starts.
        offset: usize,
    },
    /// A list is too long.
    OverLimit {
        /// Of what it is the list.
        what: &'static str,
        /// How long it is.
        value: usize,
        /// How long it may be.
        limit: usize,
    },
}

// === impl Rules ===

impl Rules {
    /// Checks `bytes` and keeps them. Takes time in proportion to their length.
    ///
    /// # Errors
    /// When the bytes are not what [`encode`](crate::encode()) writes, or pass a limit of [`limits`](crate::limits).
    pub fn load(bytes: Vec<u8>) -> Result<Self, LoadError> {
        let head = Head::read(&bytes)?;
        let mut reader = Reader::new(&bytes, HEADER_BYTES);
        let tenant = reader.text("tenant", is_name)?;
        let dimensions = read_dimensions(&mut reader)?;
        let output_header = reader.text("output header", is_header_name)?;
        let sets = read_list(&mut reader, "id sets", MAX_SECTIONS, Set::read)?;
        let shape = (dimensions.len(), sets.len());
        let tables = read_list(&mut reader, "tables", MAX_SECTIONS, |reader| read_table(reader, shape))?;
        let mut service_by_host = Vec::new();
        let mut number = 0;
        let services = read_list(&mut reader, "services", MAX_SERVICES, |reader| {
            let service = read_service(reader, tables.len(), |host| service_by_host.push((host, number)));
            number += 1;
            service
        })?;
        if head.format <= FORMAT && !reader.is_at_end() {
            return Err(LoadError::Trailing { offset: reader.at() });
        }
        let offset = reader.at();
        sort_by(&mut service_by_host, Ord::cmp);
        let hosts_differ = service_by_host.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0));
        let names_ascend = services.windows(2).all(|pair| matches!(pair, [a, b] if a.name < b.name));
        if !hosts_differ || !names_ascend {
            return Err(LoadError::Invalid { what: "services", offset });
        }
        let host_index = HostIndex::new(service_by_host.iter().map(|(host, _)| host.as_bytes()));
        let names = dimensions.iter().map(|dimension| dimension.header.as_str());
        let header_names = HeaderNames::new(names.chain([output_header.as_str()]));
        let Head { revision, content_hash, .. } = head;
        Ok(Self {
            bytes,
            revision,
            content_hash,
            tenant,
            dimensions,
            output_header,
            header_names,
            sets,
            tables,
            services,
            service_by_host,
            host_index,
        })
    }
}

/// The fields of the header that are needed after it was checked.
struct Head {
    format: u16,
    revision: u64,
    content_hash: u64,
}

// === impl Head ===

impl Head {
    fn read(bytes: &[u8]) -> Result<Self, LoadError> {
        let mut reader = Reader::new(bytes, 0);
        if reader.take(MAGIC.len(), "magic").ok() != Some(&MAGIC) {
            return Err(LoadError::NotRules);
        }
        let format = reader.u16("format")?;
        let needed = reader.u16("oldest reader")?;
        if needed > FORMAT || format == 0 {
            return Err(LoadError::Format { needed, supported: FORMAT });
        }
        let length = reader.u32("length")?;
        let length = reader.count("bytes of the rule set", length, MAX_RULES_BYTES - HEADER_BYTES)?;
        let (revision, content_hash) = (reader.u64("revision")?, reader.u64("content hash")?);
        let header = bytes.get(..HASHED_HEADER_BYTES).unwrap_or_default();
        if reader.u64("header hash")? != xxh64(0, header) {
            return Err(LoadError::Corrupt { what: "header" });
        }
        let content = reader.take(length, "content")?;
        if !reader.is_at_end() {
            return Err(LoadError::Trailing { offset: reader.at() });
        }
        if xxh64(0, content) != content_hash {
            return Err(LoadError::Corrupt { what: "content" });
        }
        Ok(Self { format, revision, content_hash })
    }
}

fn read_list<T>(
    reader: &mut Reader<'_>,
    what: &'static str,
    limit: usize,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, LoadError>,
) -> Result<Vec<T>, LoadError> {
    let count = reader.u32(what)?;
    let count = reader.count(what, count, limit)?;
    times(count, || read(reader))
}

/// What `read` gives so many times. A loop, because what the language makes to collect results is 2 KB more.
fn times<T>(count: usize, mut read: impl FnMut() -> Result<T, LoadError>) -> Result<Vec<T>, LoadError> {
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read()?);
    }
    Ok(items)
}

#[inline(never)]
fn read_dimensions(reader: &mut Reader<'_>) -> Result<Vec<Dimension>, LoadError> {
    let count = reader.u8("dimensions")?;
    let count = reader.count("dimensions", u32::from(count), MAX_DIMENSIONS)?;
    times(count, || {
        let name = reader.text("dimension", is_name)?;
        Ok(Dimension { name, header: reader.text("dimension header", is_header_name)? })
    })
}

#[inline(never)]
fn read_table(reader: &mut Reader<'_>, (dimensions, sets): (usize, usize)) -> Result<LoadedTable, LoadError> {
    let plan = reader.text("plan", is_name)?;
    let count = reader.u8("stages")?;
    let count = reader.count("stages", u32::from(count), MAX_STAGES)?;
    let stages = times(count, || reader.text("stage", is_name))?;
    let count = reader.u8("levels")?;
    let count = reader.count("levels", u32::from(count), dimensions)?;
    let levels = times(count, || read_groups(reader, stages.len(), sets))?;
    let all = if reader.flag("entry for all")? { Some(read_entry(reader, stages.len())?) } else { None };
    Ok(LoadedTable { plan, stages, levels, all })
}

#[inline(never)]
fn read_groups(
    reader: &mut Reader<'_>,
    stages: usize,
    sets: usize,
) -> Result<Vec<(Entry, usize)>, LoadError> {
    let offset = reader.at();
    let count = reader.u16("groups")?;
    let count = reader.count("groups", u32::from(count), MAX_GROUPS)?;
    let mut groups: Vec<(Entry, usize)> = Vec::with_capacity(count);
    for _ in 0..count {
        groups.push((read_entry(reader, stages)?, reader.u32("set of a group")? as usize));
    }
    let ascending = groups.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0));
    match ascending && groups.iter().all(|(_, set)| *set < sets) {
        true => Ok(groups),
        false => Err(LoadError::Invalid { what: "groups", offset }),
    }
}

fn read_entry(reader: &mut Reader<'_>, stages: usize) -> Result<Entry, LoadError> {
    let offset = reader.at();
    let kind = reader.u8("action")?;
    let percent = Percent::from_hundredths(reader.u16("percent")?);
    let stage = reader.u8("stage of an entry")?;
    let action = match (kind, percent) {
        (0, Some(percent)) if percent.hundredths() == 0 => Action::Exclude,
        (1, Some(percent)) if percent.hundredths() == 0 => Action::Gray,
        (2, Some(percent)) => Action::Percent(percent),
        _ => return Err(LoadError::Invalid { what: "action", offset }),
    };
    match usize::from(stage) < stages {
        true => Ok(Entry { action, stage }),
        false => Err(LoadError::Invalid { what: "stage of an entry", offset }),
    }
}

#[inline(never)]
fn read_service(
    reader: &mut Reader<'_>,
    tables: usize,
    mut add_host: impl FnMut(String),
) -> Result<LoadedService, LoadError> {
    let offset = reader.at();
    let name = reader.text("service", is_name)?;
    let stable = reader.text("version", is_name)?;
    let route_default = reader.text("version", is_name)?;
    let hosts = reader.u16("hosts")?;
    for _ in 0..reader.count("hosts", u32::from(hosts), MAX_HOSTS)? {
        add_host(reader.text("host", is_host)?);
    }
    let mut release = None;
    if reader.flag("release")? {
        let gray = reader.text("version", is_name)?;
        release = Some((gray, reader.u32("table of a service")? as usize));
    }
    match release.as_ref().is_none_or(|(_, table)| *table < tables) {
        true => {
            let stable_is_told = stable != route_default;
            let gray_is_told = release.as_ref().is_some_and(|(gray, _)| *gray != route_default);
            Ok(LoadedService { name, stable, route_default, release, stable_is_told, gray_is_told })
        }
        false => Err(LoadError::Invalid { what: "table of a service", offset }),
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRules => write!(f, "these bytes are no rule set"),
            Self::Format { needed, supported } => {
                write!(f, "the rule set needs a reader of format {needed}, this one reads format {supported}")
            }
            Self::Corrupt { what } => write!(f, "the rule set's {what} does not have its hash"),
            Self::Truncated { what, offset } => {
                write!(f, "the rule set ends where {what} should start, at byte {offset}")
            }
            Self::Trailing { offset } => write!(f, "the rule set goes on behind its end at byte {offset}"),
            Self::Invalid { what, offset } => write!(f, "the {what} at byte {offset} cannot be"),
            Self::OverLimit { what, value, limit } => {
                write!(f, "{what}: {value} is over the limit of {limit}")
            }
        }
    }
}

impl core::error::Error for LoadError {}
