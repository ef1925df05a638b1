//! From text to a plan. YAML is read, and so JSON, which is a part of it.

use crate::model::{ReleasePlan, Scope};
use crate::nearest::did_you_mean;
use crate::problem::{Problem, Problems, element, field, shown};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{DuplicateKeyPolicy, Error, NonFiniteFloatPolicy, Options};

/// Bytes of the text of a plan. It holds a million ids inline; named lists hold more.
pub const MAX_PLAN_BYTES: usize = 16 << 20;

/// Values in the text of a plan, ids among them, and so the time and the memory that reading takes.
const MAX_PLAN_VALUES: usize = 4_000_000;

/// Values that YAML aliases may repeat.
const MAX_PLAN_REPEATED: usize = 1_000_000;

/// How deep values may nest: half as much again as in a plan.
const MAX_PLAN_DEPTH: usize = 16;

/// What a text is read as.
struct Kind {
    /// Where paths begin.
    root: &'static str,
    /// What to write where nothing is.
    form: &'static str,
}

const PLAN: Kind = Kind { root: "", form: "a plan in YAML or JSON" };
const SCOPE: Kind = Kind { root: "scope", form: "a scope, like { include: { teller: [T1] } }" };

/// Reads a plan from YAML or JSON as far as it can be read, so that [`check`](crate::check()) can say at once what else
/// is wrong with it; put the problems of both [`in_order`](crate::in_order()).
///
/// The plan is there unless the text is no YAML, has a value of a wrong type or a key that occurs twice, or is over a
/// limit, which is told then. All problems are errors: unknown fields are among them, and are not in the plan.
#[must_use]
pub fn read(text: &str) -> (Option<ReleasePlan>, Vec<Problem>) {
    read_as(text, &PLAN)
}

/// Reads a plan from YAML or JSON, and takes it only if all of it was understood.
///
/// # Errors
/// Every problem that [`read`] finds.
pub fn parse(text: &str) -> Result<ReleasePlan, Vec<Problem>> {
    strictly(read(text))
}

/// Reads a scope alone, as `order adjust` takes it. Paths begin with `scope`.
///
/// # Errors
/// As those of [`parse`].
pub fn parse_scope(text: &str) -> Result<Scope, Vec<Problem>> {
    strictly(read_as(text, &SCOPE))
}

fn strictly<T>((value, problems): (Option<T>, Vec<Problem>)) -> Result<T, Vec<Problem>> {
    value.filter(|_| problems.is_empty()).ok_or(problems)
}

fn read_as<T: DeserializeOwned>(text: &str, kind: &Kind) -> (Option<T>, Vec<Problem>) {
    let Kind { root, form } = kind;
    if text.len() > MAX_PLAN_BYTES {
        let message = format!(
            "the text has {} bytes, over the limit of {MAX_PLAN_BYTES}; move long id lists to named lists",
            text.len()
        );
        return (None, vec![Problem::error(*root, message)]);
    }
    if text.trim().is_empty() {
        return (None, vec![Problem::error(*root, format!("the text is empty; write {form}"))]);
    }
    let mut problems = Problems::default();
    let mut is_told = false;
    let result = serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        let mut unknown = |path: serde_ignored::Path<'_>| {
            problems.push(unknown_field(&path, root));
        };
        let value = T::deserialize(serde_ignored::Deserializer::new(tracked, &mut unknown));
        value.inspect_err(|error| {
            is_told = true;
            problems.push(rejection(error, error_path(track.path().iter(), root)));
        })
    });
    // What comes after the value, like a second document, is found when the value is read already.
    if let Some(error) = result.as_ref().err().filter(|_| !is_told) {
        problems.push(rejection(error, (*root).to_owned()));
    }
    (result.ok(), problems.in_order())
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_PLAN_VALUES,
            max_events: 2 * MAX_PLAN_VALUES,
            max_recorded_anchor_events: MAX_PLAN_REPEATED,
            max_depth: MAX_PLAN_DEPTH,
            max_documents: 2,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_PLAN_REPEATED },
        duplicate_keys: DuplicateKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        emit_comments: false,
        with_snippet: false,
    }
}

/// The error in the words of a plan.
fn rejection(error: &Error, path: String) -> Problem {
    let error = error.without_snippet();
    let (path, message) = match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            (field(&path, key), "occurs twice; keep one".to_owned())
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            let unexpected = in_words(unexpected);
            (path, format!("{unexpected} is not what belongs here; write {expected}"))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (path, format!("{} is not known here; write {}", shown(variant), expected.join(" or ")))
        }
        Error::NullIntoString { .. } => (path, "is null, where text belongs; write it, in quotes".to_owned()),
        Error::Unexpected { expected, .. } => {
            (path, format!("another type of value belongs here; write {}", in_words(expected)))
        }
        Error::InvalidScalar { ty: "boolean", .. } | Error::InvalidBooleanStrict { .. } => {
            (path, "is neither true nor false; write one of them".to_owned())
        }
        Error::MultipleDocuments { .. } => {
            (path, "there is a second document; give one at a time".to_owned())
        }
        Error::Budget { breach, .. } => (path, over_budget(breach)),
        other => (path, placeless(other)),
    };
    let location = error.location();
    Problem {
        line: location.map(|location| location.line()),
        column: location.map(|location| location.column()),
        ..Problem::error(path, message)
    }
}

/// What the parser found or expected, in words of YAML.
fn in_words(what: &str) -> &str {
    match what {
        "unit value" => "nothing",
        "sequence" => "a list",
        "map" => "a map of fields",
        "string scalar" => "text, in quotes where it could be taken for something else",
        "sequence start" => "a list, like [a, b]",
        "mapping start" => "a map of fields, like { name: value }",
        other => other,
    }
}

fn over_budget(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
            format!(
                "the text has more than {MAX_PLAN_VALUES} values, the limit; move long id lists to named lists"
            )
        }
        BudgetBreach::Depth { .. } => {
            format!("values nest deeper than {MAX_PLAN_DEPTH}, the limit; a plan needs half of it")
        }
        other => {
            format!("the text is over a limit of the YAML parser ({other:?}); use fewer anchors and aliases")
        }
    }
}

/// The error's own text, without the place at its end: a problem has that apart.
fn placeless(error: &Error) -> String {
    let text = error.to_string();
    let place = error
        .location()
        .map(|location| format!(" at line {}, column {}", location.line(), location.column()));
    let text = place.and_then(|place| text.strip_suffix(&place)).unwrap_or(&text);
    format!("cannot be read as YAML: {text}")
}

/// The fields that a map may have, by the field that the map stands in.
fn fields_of(parent: &str) -> &'static [&'static str] {
    match parent {
        "" => &["apiVersion", "kind", "metadata", "spec"],
        "metadata" => &["name", "tenant"],
        "spec" => &[
            "owner",
            "batch",
            "advance",
            "services",
            "stages",
            "settle",
            "retention",
            "atRetentionEnd",
            "health",
            "calendar",
        ],
        "services" => &["name", "hosts", "stable", "gray", "dependsOn"],
        "health" => &["source", "window", "minRequests", "errors", "latency", "endpoints", "onFault"],
        "source" => &["envoy", "prometheus"],
        "envoy" | "prometheus" => &[],
        "errors" => &["max", "overStable"],
        "latency" => &["percentile", "maxRatio"],
        "endpoints" => &["min"],
        "gate" => &["approvals", "window"],
        "approvals" => &["role", "count"],
        "window" => &["timeZone", "allow", "deny", "missed"],
        "allow" | "deny" => &["days", "dates", "from", "to"],
        "calendar" => &["weekend", "holidays", "workdays"],
        "stages" => &["name", "scope", "gate", "hold"],
        "scope" => &["include", "exclude", "all", "percent"],
        _ => &["list"],
    }
}

/// Says of the field at `path` that it is none.
fn unknown_field(path: &serde_ignored::Path<'_>, root: &str) -> Problem {
    let place = ignored_path(path, root);
    let fields = match path {
        serde_ignored::Path::Map { parent, .. } => fields_of(enclosing(parent).unwrap_or(root)),
        _ => &[],
    };
    let name = match path {
        serde_ignored::Path::Map { key, .. } => key.as_str(),
        _ => "",
    };
    let hint = did_you_mean(name, fields.iter().copied());
    let cure = match fields {
        [] => "remove it".to_owned(),
        fields => format!("remove it, or use one of {}", fields.join(", ")),
    };
    Problem::error(place, format!("is no known field{hint}; {cure}"))
}

/// The name of the field that `path` is in.
fn enclosing<'a>(path: &'a serde_ignored::Path<'_>) -> Option<&'a str> {
    use serde_ignored::Path;
    match path {
        Path::Root => None,
        Path::Map { key, .. } => Some(key),
        Path::Seq { parent, .. }
        | Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => enclosing(parent),
    }
}

fn error_path<'a>(segments: impl Iterator<Item = &'a Segment>, root: &str) -> String {
    segments.fold(root.to_owned(), |path, segment| match segment {
        Segment::Seq { index } => element(&path, *index),
        Segment::Map { key } => field(&path, key),
        Segment::Enum { .. } | Segment::Unknown => path,
    })
}

fn ignored_path(path: &serde_ignored::Path<'_>, root: &str) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => root.to_owned(),
        Path::Seq { parent, index } => element(&ignored_path(parent, root), *index),
        Path::Map { parent, key } => field(&ignored_path(parent, root), key),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            ignored_path(parent, root)
        }
    }
}
