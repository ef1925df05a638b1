//! Hand-written rules, from JSON to a rule set.

use super::json::{Fields, Json, expected};
use super::{ConfigurationError, MAX_WRITTEN_IDS, within};
use crate::DEFAULT_OUTPUT_HEADER;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use graylane_rules::limits::MAX_VALUE_BYTES;
use graylane_rules::{
    Action, Dimension, Entry, IdSetBuilder, Percent, Release, RuleSet, Service, Table, encode_few,
};

/// Tenant, plan and stage of hand-written rules. The plan is the salt of their percentages too.
const STATIC: &str = "static";

/// The version of a service that names no stable one. Routes never see it: stable requests carry no header.
const DEFAULT_STABLE: &str = "stable";

/// The dimensions of rules that name none.
const DEFAULT_DIMENSIONS: [(&str, &str); 3] =
    [("teller", "x-teller"), ("branch", "x-branch"), ("region", "x-region")];

/// The fields of a service that are not a dimension, and so no dimension's name.
const FIELDS: [&str; 7] = ["name", "hosts", "stable", "gray", "all", "percent", "exclude"];

/// What all services of a configuration share.
struct Place<'a> {
    dimensions: &'a [Dimension],
    /// How many ids the rules have so far.
    ids: usize,
}

/// A number as people write it, with at most six decimals. The formatter of the language is exact at any size, and an
/// eighth of the module.
struct Shown(f64);

/// The encoded rule set that these fields describe.
///
/// # Errors
/// When a field is unknown, missing, or has a value that it must not have, or there are too many ids.
pub(super) fn encoded(mut fields: Fields<'_>) -> Result<Vec<u8>, ConfigurationError> {
    let dimensions = match fields.take("dimensions") {
        Some(dimensions) => named_dimensions(dimensions)?,
        None => DEFAULT_DIMENSIONS
            .map(|(name, header)| Dimension { name: name.to_owned(), header: header.to_owned() })
            .to_vec(),
    };
    let output_header = fields.take_text("outputHeader")?;
    let revision = match fields.take("revision") {
        None => 0,
        Some(Json::Whole(revision)) => revision,
        Some(_) => return Err(expected(fields.at("revision"), "a whole number")),
    };
    let mut services = Vec::new();
    let mut place = Place { dimensions: &dimensions, ids: 0 };
    if let Some(written) = fields.take("services") {
        for (at, service) in written.list("services", "a list of services")?.into_iter().enumerate() {
            services.push(place.service(service.fields(format!("services[{at}]"))?)?);
        }
    }
    fields.end("services, dimensions, outputHeader, revision and rulesBase64")?;
    let output_header = output_header.unwrap_or_else(|| DEFAULT_OUTPUT_HEADER.to_owned());
    let rules = RuleSet { tenant: STATIC.to_owned(), services, output_header, dimensions };
    Ok(encode_few(&rules, revision)?)
}

#[inline(never)]
fn named_dimensions(written: Json<'_>) -> Result<Vec<Dimension>, ConfigurationError> {
    let mut dimensions = Vec::new();
    for (at, dimension) in written.list("dimensions", "a list of dimensions")?.into_iter().enumerate() {
        let mut fields = dimension.fields(format!("dimensions[{at}]"))?;
        let (name, header) = (fields.need_text("name")?, fields.need_text("header")?);
        if FIELDS.contains(&name.as_str()) {
            return refuse(fields.at("name"), ["\"", &name, "\" is a field of a service"].concat());
        }
        fields.end("name and header")?;
        dimensions.push(Dimension { name, header });
    }
    Ok(dimensions)
}

// === impl Place ===

impl Place<'_> {
    #[inline(never)]
    fn service(&mut self, mut fields: Fields<'_>) -> Result<Service, ConfigurationError> {
        let name = fields.need_text("name")?;
        let hosts = fields.need("hosts")?.texts(&fields.at("hosts"))?;
        let stable = fields.take_text("stable")?.unwrap_or_else(|| DEFAULT_STABLE.to_owned());
        let gray = fields.take_text("gray")?;
        let all = match fields.take("all") {
            None => false,
            Some(Json::Flag(all)) => all,
            Some(_) => return Err(expected(fields.at("all"), "true or false")),
        };
        let percent = percent(&mut fields)?;
        let mut table =
            Table { plan: STATIC.to_owned(), stages: vec![STATIC.to_owned()], ..Table::default() };
        if let Some(exclude) = fields.take("exclude") {
            self.add(&mut table, Action::Exclude, exclude.fields(fields.at("exclude"))?)?;
        }
        let action = percent.map_or(Action::Gray, Action::Percent);
        let (path_of_percent, path_of_gray) = (fields.at("percent"), fields.at("gray"));
        let lets_in = self.add(&mut table, action, fields)? || all;
        if percent.is_some() && !lets_in {
            return refuse(path_of_percent, "of nobody, add \"all\": true or ids".to_owned());
        }
        if all {
            table.add_all(Entry { action, stage: 0 });
        }
        let release = match gray {
            None if lets_in => {
                let problem = "missing, it is the version of whom the service lets in";
                return refuse(path_of_gray, problem.to_owned());
            }
            Some(gray) if gray == stable => {
                return refuse(path_of_gray, ["\"", &gray, "\" is the stable version too"].concat());
            }
            gray => gray.map(|gray| Release { gray, table: Arc::new(table) }),
        };
        Ok(Service { name, hosts, route_default: stable.clone(), stable, release })
    }

    fn dimensions_there_are(&self) -> String {
        let mut text = String::from("unknown field, the dimensions are ");
        for (at, dimension) in self.dimensions.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { ", " });
            text.push_str(&dimension.name);
        }
        text
    }

    /// Adds the ids of each dimension's list with this action to the table. Says whether there is a list.
    #[inline(never)]
    fn add(
        &mut self,
        table: &mut Table,
        action: Action,
        mut lists: Fields<'_>,
    ) -> Result<bool, ConfigurationError> {
        let mut is_any = false;
        while let Some((field, ids)) = lists.next() {
            let path = lists.at(&field);
            let Some(level) = self.dimensions.iter().position(|dimension| dimension.name == field) else {
                return refuse(path, self.dimensions_there_are());
            };
            let ids = ids.texts(&path)?;
            self.ids += ids.len();
            within("ids of hand-written rules", self.ids, MAX_WRITTEN_IDS)?;
            let mut set = IdSetBuilder::default();
            for (at, id) in ids.iter().enumerate() {
                check_id(id).or_else(|problem| refuse(format!("{path}[{at}]"), problem))?;
                set.push(id.as_bytes());
            }
            table.add(level, Entry { action, stage: 0 }, Arc::new(set.build()));
            is_any = true;
        }
        Ok(is_any)
    }
}

#[inline(never)]
fn percent(fields: &mut Fields<'_>) -> Result<Option<Percent>, ConfigurationError> {
    let percent = match fields.take("percent") {
        None => return Ok(None),
        Some(Json::Whole(percent)) => percent as f64,
        Some(Json::Number(percent)) => percent,
        Some(_) => return Err(expected(fields.at("percent"), "a number")),
    };
    hundredths(percent).map(Some).or_else(|problem| refuse(fields.at("percent"), problem))
}

/// Whether a header could carry `id`. The text does not hold the id: it goes to the log, and ids are personal data.
fn check_id(id: &str) -> Result<(), String> {
    match id.len() {
        1..=MAX_VALUE_BYTES if id.trim().len() == id.len() && !id.contains(char::is_control) => Ok(()),
        1..=MAX_VALUE_BYTES => Err("an id has no control characters and no blanks around it".to_owned()),
        bytes => Err(format!("{bytes} bytes, an id has 1 to {MAX_VALUE_BYTES}")),
    }
}

fn hundredths(percent: f64) -> Result<Percent, String> {
    let scaled = percent * 100.0;
    // The cast cuts, and holds what is outside at the ends of its range.
    let whole = (scaled + 0.5) as u16;
    match Percent::from_hundredths(whole) {
        Some(_) if scaled < 0.0 => Err(format!("{} is not within 0 to 100", Shown(percent))),
        Some(_) if (scaled - f64::from(whole)).abs() > 1e-6 => {
            Err(format!("{} has more than two decimals", Shown(percent)))
        }
        Some(hundredths) => Ok(hundredths),
        None => Err(format!("{} is not within 0 to 100", Shown(percent))),
    }
}

fn refuse<T>(path: String, problem: String) -> Result<T, ConfigurationError> {
    Err(ConfigurationError::Field { path, problem })
}

// === impl Shown ===

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MILLION: u64 = 1_000_000;
        // The cast holds what is too large at the end of its range.
        let millionths = (self.0.abs() * MILLION as f64 + 0.5) as u64;
        let sign = if self.0 < 0.0 { "-" } else { "" };
        let (whole, part) = (millionths / MILLION, millionths % MILLION);
        match part {
            0 => write!(f, "{sign}{whole}"),
            _ => f.write_str(format!("{sign}{whole}.{part:06}").trim_end_matches('0')),
        }
    }
}
