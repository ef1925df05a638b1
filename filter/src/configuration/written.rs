//! Hand-written rules, from JSON to a rule set.

use super::{ConfigurationError, MAX_WRITTEN_IDS, within};
use crate::DEFAULT_OUTPUT_HEADER;
use core::fmt;
use graylane_rules::limits::{MAX_DIMENSIONS, MAX_VALUE_BYTES};
use graylane_rules::{Action, Dimension, Entry, IdSetBuilder, Percent, Release, RuleSet, Service, Table};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use std::sync::Arc;

/// Tenant, plan and stage of hand-written rules. The plan is the salt of their percentages too.
const STATIC: &str = "static";

/// The version of a service that names no stable one. Routes never see it: stable requests carry no header.
const DEFAULT_STABLE: &str = "stable";

/// The dimensions of rules that name none.
const DEFAULT_DIMENSIONS: [(&str, &str); 3] =
    [("teller", "x-teller"), ("branch", "x-branch"), ("region", "x-region")];

/// The fields of a service that are not a dimension, and so no dimension's name.
const FIELDS: [&str; 7] = ["name", "hosts", "stable", "gray", "all", "percent", "exclude"];

/// Hand-written rules as they were read.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The services.
    pub(super) services: Vec<WrittenService>,
    /// The dimensions, most specific first, where they are not the default.
    pub(super) dimensions: Option<Vec<WrittenDimension>>,
    /// The request header that carries the version, where it is not the default.
    pub(super) output_header: Option<String>,
}

/// Fields of a JSON object whose names are not known beforehand: those of a service, and a list for each dimension.
const MAX_FIELDS: usize = FIELDS.len() + MAX_DIMENSIONS;

/// A dimension.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenDimension {
    name: String,
    header: String,
}

/// A service.
#[derive(Debug, Default)]
pub(super) struct WrittenService {
    name: String,
    hosts: Vec<String>,
    stable: Option<String>,
    gray: Option<String>,
    all: bool,
    percent: Option<f64>,
    exclude: Lists,
    include: Lists,
}

/// Lists of ids, each with the field that it stands in: a dimension, if all is well.
#[derive(Debug, Default)]
struct Lists(Vec<(String, Value)>);

/// One service on its way to a rule set.
struct Place<'a> {
    /// The way to the service, like `services[0]`.
    path: String,
    dimensions: &'a [Dimension],
    /// How many ids the rules have so far.
    ids: &'a mut usize,
    table: Table,
}

// === impl Written ===

impl Written {
    /// The rule set that these rules describe.
    ///
    /// # Errors
    /// When a field has a value that it must not have, or there are too many ids.
    pub(super) fn rule_set(self) -> Result<RuleSet, ConfigurationError> {
        let dimensions = match self.dimensions {
            Some(dimensions) => named_dimensions(dimensions)?,
            None => DEFAULT_DIMENSIONS
                .map(|(name, header)| Dimension { name: name.to_owned(), header: header.to_owned() })
                .to_vec(),
        };
        let mut ids = 0;
        let services = self.services.into_iter().enumerate().map(|(at, service)| {
            let table =
                Table { plan: STATIC.to_owned(), stages: vec![STATIC.to_owned()], ..Table::default() };
            let path = format!("services[{at}]");
            service.build(Place { path, dimensions: &dimensions, ids: &mut ids, table })
        });
        Ok(RuleSet {
            tenant: STATIC.to_owned(),
            services: services.collect::<Result<_, _>>()?,
            output_header: self.output_header.unwrap_or_else(|| DEFAULT_OUTPUT_HEADER.to_owned()),
            dimensions,
        })
    }
}

fn named_dimensions(written: Vec<WrittenDimension>) -> Result<Vec<Dimension>, ConfigurationError> {
    let dimension = |(at, WrittenDimension { name, header })| match FIELDS.contains(&&*name) {
        true => refuse(format!("dimensions[{at}].name"), format!("{name:?} is a field of a service")),
        false => Ok(Dimension { name, header }),
    };
    written.into_iter().enumerate().map(dimension).collect()
}

// === impl WrittenService ===

impl WrittenService {
    fn build(self, mut place: Place<'_>) -> Result<Service, ConfigurationError> {
        let Self { name, hosts, stable, gray, all, percent, exclude, include } = self;
        let stable = stable.unwrap_or_else(|| DEFAULT_STABLE.to_owned());
        let lets_in = all || !include.0.is_empty();
        let action = match percent {
            Some(_) if !lets_in => {
                return refuse(place.at("percent"), "of nobody, add \"all\": true or ids".to_owned());
            }
            Some(percent) => {
                Action::Percent(hundredths(percent).or_else(|e| refuse(place.at("percent"), e))?)
            }
            None => Action::Gray,
        };
        place.add("exclude.", Action::Exclude, exclude)?;
        place.add("", action, include)?;
        if all {
            place.table.add_all(Entry { action, stage: 0 });
        }
        let release = match gray {
            None if lets_in => {
                let problem = "missing, it is the version of whom the service lets in";
                return refuse(place.at("gray"), problem.to_owned());
            }
            Some(gray) if gray == stable => {
                return refuse(place.at("gray"), format!("{gray:?} is the stable version too"));
            }
            gray => gray.map(|gray| Release { gray, table: Arc::new(place.table) }),
        };
        Ok(Service { name, hosts, route_default: stable.clone(), stable, release })
    }

    /// Takes one field over.
    fn set<'de, A: MapAccess<'de>>(&mut self, field: String, map: &mut A) -> Result<(), A::Error> {
        match field.as_str() {
            "name" => self.name = map.next_value()?,
            "hosts" => self.hosts = map.next_value()?,
            "stable" => self.stable = map.next_value()?,
            "gray" => self.gray = map.next_value()?,
            "all" => self.all = map.next_value()?,
            "percent" => self.percent = map.next_value()?,
            "exclude" => self.exclude = map.next_value()?,
            _ => self.include.0.push((field, map.next_value()?)),
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for WrittenService {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = WrittenService;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a service")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WrittenService, A::Error> {
                let mut service = WrittenService::default();
                let fields = each_field(&mut map, |field, map| service.set(field, map))?;
                match ["name", "hosts"].into_iter().find(|needed| !fields.iter().any(|field| field == needed))
                {
                    Some(missing) => Err(A::Error::missing_field(missing)),
                    None => Ok(service),
                }
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

// === impl Lists ===

impl<'de> Deserialize<'de> for Lists {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Lists;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("lists of ids by dimension")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lists, A::Error> {
                let mut lists = Vec::new();
                each_field(&mut map, |field, map| {
                    lists.push((field, map.next_value()?));
                    Ok(())
                })?;
                Ok(Lists(lists))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Hands each field to `read`, and refuses one that comes twice: JSON itself allows it, and the last one would win.
fn each_field<'de, A: MapAccess<'de>>(
    map: &mut A,
    mut read: impl FnMut(String, &mut A) -> Result<(), A::Error>,
) -> Result<Vec<String>, A::Error> {
    let mut fields: Vec<String> = Vec::new();
    while let Some(field) = map.next_key::<String>()? {
        if fields.contains(&field) {
            return Err(A::Error::custom(format_args!("duplicate field `{field}`")));
        }
        if fields.len() == MAX_FIELDS {
            return Err(A::Error::custom(format_args!(
                "field `{field}` is over the limit of {MAX_FIELDS} fields"
            )));
        }
        fields.push(field.clone());
        read(field, map)?;
    }
    Ok(fields)
}

// === impl Place ===

impl Place<'_> {
    fn at(&self, field: &str) -> String {
        [&self.path, ".", field].concat()
    }

    /// Adds the ids of `lists` with this action to the table.
    fn add(&mut self, prefix: &str, action: Action, lists: Lists) -> Result<(), ConfigurationError> {
        for (field, ids) in lists.0 {
            let path = self.at(&[prefix, &field].concat());
            let Some(level) = self.dimensions.iter().position(|dimension| dimension.name == field) else {
                let names: Vec<&str> =
                    self.dimensions.iter().map(|dimension| dimension.name.as_str()).collect();
                return refuse(path, format!("unknown field, the dimensions are {}", names.join(", ")));
            };
            let not_texts = || refuse(path.clone(), "it must be a list of texts".to_owned());
            let Value::Array(ids) = ids else { return not_texts() };
            *self.ids += ids.len();
            within("ids of hand-written rules", *self.ids, MAX_WRITTEN_IDS)?;
            let mut set = IdSetBuilder::default();
            for (at, id) in ids.iter().enumerate() {
                let Value::String(id) = id else { return not_texts() };
                check_id(id).or_else(|problem| refuse(format!("{path}[{at}]"), problem))?;
                set.push(id.as_bytes());
            }
            self.table.add(level, Entry { action, stage: 0 }, Arc::new(set.build()));
        }
        Ok(())
    }
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
        Some(_) if scaled < 0.0 => Err(format!("{percent} is not within 0 to 100")),
        Some(_) if (scaled - f64::from(whole)).abs() > 1e-6 => {
            Err(format!("{percent} has more than two decimals"))
        }
        Some(hundredths) => Ok(hundredths),
        None => Err(format!("{percent} is not within 0 to 100")),
    }
}

fn refuse<T>(path: String, problem: String) -> Result<T, ConfigurationError> {
    Err(ConfigurationError::Field { path, problem })
}
