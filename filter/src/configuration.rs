//! From a plugin configuration to rules: our own bytes, or JSON where a mesh can carry nothing else.
//!
//! | it starts with | it is |
//! | --- | --- |
//! | nothing, or blanks only | no rules: all stable |
//! | the byte `0x89` | a rule set as the daemon encodes it |
//! | `{` | `{"rulesBase64": "..."}`, the same bytes for an Istio WasmPlugin; or hand-written rules |
//!
//! Hand-written rules are for whoever tries the filter with no daemon, or steers a handful of ids for good:
//!
//! ```json
//! {"services": [{"name": "loan", "hosts": ["loan.retail.svc.cluster.local"], "gray": "v2",
//!                "teller": ["T0000017"], "branch": ["B012"], "exclude": {"teller": ["T0000099"]}}]}
//! ```
//! Beside these fields a service may have `stable` (default `stable`), `region`, `all` (everybody) and `percent`, which
//! lets in only a percentage of those who would be let in. The rules may have `dimensions` (each a `name` and a
//! `header`, most specific first), `outputHeader` and `revision`.

mod json;
mod written;

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use graylane_rules::limits::MAX_RULES_BYTES;
use graylane_rules::{EncodeError, LoadError, Rules};
use json::{Json, MAX_VALUES};

/// Bytes of JSON around a rule set in base64: what the largest rule set needs, and some room for the JSON itself.
pub const MAX_ENVELOPE_BYTES: usize = MAX_RULES_BYTES.div_ceil(3) * 4 + 1_024;

/// Bytes of any configuration. A rule set of the largest size is shorter than its envelope.
pub const MAX_CONFIGURATION_BYTES: usize = MAX_ENVELOPE_BYTES;

/// Bytes of hand-written rules. They are parsed on the worker, which takes time in proportion to them.
pub const MAX_WRITTEN_BYTES: usize = 1 << 20;

/// Ids of hand-written rules, over all services. More belong into a plan, which the daemon compiles.
pub const MAX_WRITTEN_IDS: usize = 10_000;

/// Why a configuration cannot be read. Each text says what is wrong and, where it is not plain, what would be right.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// It is neither a rule set nor a JSON object.
    Unknown,
    /// It is a rule set, in base64 or not, that cannot be loaded.
    Rules(LoadError),
    /// It is no JSON.
    Json(serde_json::Error),
    /// The text of `rulesBase64` is no base64.
    Base64(base64::DecodeError),
    /// It is both an envelope and hand-written.
    Mixed,
    /// It is too long.
    OverLimit {
        /// What is too long or too many.
        what: &'static str,
        /// How long it is.
        value: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A field is unknown, missing, there twice, or has a value that it must not have.
    Field {
        /// The way to the field, like `services[0].percent`.
        path: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Hand-written rules hold a name that cannot be, or one of them twice.
    Encode(EncodeError),
}

/// The rules of a plugin configuration. None when it is empty: all requests are stable.
///
/// # Errors
/// When it is neither a rule set nor JSON of one of the two forms, or passes a limit.
pub fn read(configuration: Vec<u8>) -> Result<Option<Rules>, ConfigurationError> {
    match configuration.trim_ascii_start().first() {
        None => Ok(None),
        // No JSON and no UTF-8 starts with it, so that a cut rule set is told to be cut.
        Some(0x89) => load(configuration).map(Some),
        Some(b'{') => {
            let rules = rules_of_json(&configuration)?;
            // The text is as long again as the rules, which are loaded without it.
            drop(configuration);
            load(rules).map(Some)
        }
        Some(_) => Err(ConfigurationError::Unknown),
    }
}

/// The encoded rule set that a JSON configuration holds or describes.
#[cold]
fn rules_of_json(text: &[u8]) -> Result<Vec<u8>, ConfigurationError> {
    within("bytes of the configuration", text.len(), MAX_ENVELOPE_BYTES)?;
    // Only an envelope may be long, and it has one field.
    let is_long = text.len() > MAX_WRITTEN_BYTES;
    let max_values = if is_long { 1 } else { MAX_VALUES };
    let mut fields = match Json::read(text, max_values) {
        Err(_) if is_long => return Err(too_long(text)),
        json => json?.fields(String::new())?,
    };
    let rules = fields.take("rulesBase64").map(|rules| rules.text("rulesBase64".to_owned())).transpose()?;
    match rules {
        Some(rules) if fields.next().is_none() => decode(&rules),
        Some(_) => Err(ConfigurationError::Mixed),
        None if is_long => Err(too_long(text)),
        None => written::encoded(fields),
    }
}

fn too_long(text: &[u8]) -> ConfigurationError {
    let (what, value) = ("bytes of hand-written rules", text.len());
    ConfigurationError::OverLimit { what, value, limit: MAX_WRITTEN_BYTES }
}

fn decode(base64: &str) -> Result<Vec<u8>, ConfigurationError> {
    STANDARD.decode(base64).map_err(ConfigurationError::Base64)
}

fn load(bytes: Vec<u8>) -> Result<Rules, ConfigurationError> {
    Rules::load(bytes).map_err(ConfigurationError::Rules)
}

pub(crate) fn within(what: &'static str, value: usize, limit: usize) -> Result<(), ConfigurationError> {
    if value > limit { Err(ConfigurationError::OverLimit { what, value, limit }) } else { Ok(()) }
}

// === impl ConfigurationError ===

impl From<serde_json::Error> for ConfigurationError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<EncodeError> for ConfigurationError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("it is neither a rule set nor a JSON object"),
            Self::Rules(error) => error.fmt(f),
            Self::Json(error) => error.fmt(f),
            Self::Base64(error) => write!(f, "rulesBase64: {error}"),
            Self::Mixed => f.write_str("rulesBase64 must be the only field"),
            Self::OverLimit { what, value, limit } => {
                write!(
                    f,
                    "{what}: {value} is over the limit of {limit}, let the daemon serve such a rule set"
                )
            }
            Self::Field { path, problem } => {
                f.write_str(path)?;
                f.write_str(": ")?;
                f.write_str(problem)
            }
            Self::Encode(error) => match error {
                EncodeError::Invalid { what: "host", .. } => {
                    write!(f, "{error}, it needs lower case and no port")
                }
                EncodeError::Invalid { what: "service" | "version" | "dimension", .. } => {
                    write!(f, "{error}, it needs 1 to 63 letters, digits, -, _ or .")
                }
                EncodeError::Invalid { .. } => {
                    write!(f, "{error}, it needs 1 to 64 lower-case letters, digits, - or _")
                }
                error => error.fmt(f),
            },
        }
    }
}

impl core::error::Error for ConfigurationError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use graylane_rules::{cases, encode};

    fn refusal(configuration: impl Into<Vec<u8>>) -> String {
        read(configuration.into())
            .map(|rules| rules.map(|rules| rules.listing().to_string()))
            .unwrap_err()
            .to_string()
    }

    fn listing(json: &str) -> String {
        read(json.into()).unwrap().unwrap().listing().to_string()
    }

    fn header(rules: &Rules, host: &str, headers: &[(&str, &str)]) -> Option<String> {
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        rules.decide(host.as_bytes(), &rules.values(headers)).header.map(Into::into)
    }

    #[test]
    fn nothing_is_no_rules() {
        for blank in ["", " ", "\n\t "] {
            assert!(read(blank.into()).unwrap().is_none());
        }
        assert_eq!(read("{}".into()).unwrap().unwrap().services().len(), 0);
    }

    #[test]
    fn bytes_and_their_base64_are_the_same_rules() {
        let bytes = encode(&cases::load().rules, 42).unwrap();
        let json = format!("\n{{ \"rulesBase64\": \"{}\" }}", STANDARD.encode(&bytes));
        let escaped = json.replace('/', "\\/");
        for configuration in [bytes.clone(), json.into_bytes(), escaped.into_bytes()] {
            let rules = read(configuration).unwrap().unwrap();
            assert_eq!((rules.bytes(), rules.revision()), (&bytes[..], 42));
        }
    }

    #[test]
    fn an_envelope_may_be_longer_than_written_rules() {
        let mut plain = cases::load().rules;
        // Ids that are no numbers lie whole in the bytes.
        let ids = (0..120_000).map(|id| format!("T{id:08}x")).collect();
        let table = &mut plain.services[0].release.as_mut().unwrap().table;
        let entry = table.levels[0][0].entry;
        std::sync::Arc::make_mut(table).levels[0] =
            vec![graylane_rules::Group { entry, ids: std::sync::Arc::new(ids) }];
        let bytes = encode(&plain, 1).unwrap();
        let json = format!("{{\"rulesBase64\":\"{}\"}}", STANDARD.encode(&bytes));
        assert!(json.len() > MAX_WRITTEN_BYTES);
        assert_eq!(read(json.clone().into()).unwrap().unwrap().bytes(), bytes);
        assert!(refusal(json.replacen("GV", "**", 1)).starts_with("rulesBase64: Invalid symbol 42"));
    }

    #[test]
    fn bytes_that_cannot_be_loaded_say_why() {
        let bytes = encode(&cases::load().rules, 42).unwrap();
        assert!(refusal(&bytes[..bytes.len() - 1]).contains("ends where"));
        let mut newer = bytes.clone();
        newer[8..12].copy_from_slice(&[9, 0, 9, 0]);
        assert_eq!(refusal(newer), "the rule set needs a reader of format 9, this one reads format 1");
        assert_eq!(refusal(b"\x89PNG\r\n".to_vec()), "these bytes are no rule set");
        assert_eq!(refusal("garbage"), "it is neither a rule set nor a JSON object");
        assert_eq!(refusal([0xff; 9]), "it is neither a rule set nor a JSON object");
        assert_eq!(refusal(r#"{"rulesBase64":"iUdM"}"#), "these bytes are no rule set");
        assert!(refusal(r#"{"rulesBase64":"?"}"#).starts_with("rulesBase64: Invalid"));
        assert_eq!(refusal(r#"{"rulesBase64":"","revision":1}"#), "rulesBase64 must be the only field");
    }

    #[test]
    fn written_rules_decide_as_they_read() {
        let json = r#"{
            "revision": 3,
            "services": [
                {"name": "loan", "hosts": ["loan"], "gray": "v2", "teller": ["T1"], "branch": ["B1"],
                 "exclude": {"teller": ["T9"], "region": ["R9"]}},
                {"name": "cards", "hosts": ["cards", "cards.retail"], "stable": "v7", "gray": "v8", "all": true}
            ]
        }"#;
        let rules = read(json.into()).unwrap().unwrap();
        assert_eq!(
            (rules.tenant(), rules.revision(), rules.output_header()),
            ("static", 3, "x-gray-version")
        );
        let gray = Some("v2".to_owned());
        assert_eq!(header(&rules, "loan", &[("x-teller", "T1")]), gray);
        assert_eq!(header(&rules, "loan", &[("x-teller", "T5"), ("x-branch", "B1")]), gray);
        assert_eq!(header(&rules, "loan", &[("x-teller", "T9"), ("x-branch", "B1")]), None);
        assert_eq!(header(&rules, "loan", &[("x-teller", "T5")]), None);
        assert_eq!(header(&rules, "cards.retail", &[]), Some("v8".to_owned()));
        assert_eq!(rules.services()[0].stable(), "v7");
        assert_eq!(rules.services()[1].stable(), "stable");
    }

    #[test]
    fn a_percentage_is_one_of_the_inclusions_or_of_all() {
        let listing = listing(
            r#"{"services": [
                {"name": "a", "hosts": ["a"], "gray": "v2", "region": ["R1"], "percent": 12.5,
                 "exclude": {"teller": ["T9"]}},
                {"name": "b", "hosts": ["b"], "gray": "v2", "all": true, "percent": 0.29},
                {"name": "c", "hosts": ["c"], "gray": "v2", "all": true, "percent": 100}
            ]}"#,
        );
        for line in ["12.5%", "exclude", "0.29%", "100%"] {
            assert!(listing.contains(line), "{line} in\n{listing}");
        }
    }

    #[test]
    fn dimensions_and_the_output_header_can_be_named() {
        let json = r#"{"dimensions": [{"name": "desk", "header": "x-desk"}], "outputHeader": "x-lane",
            "services": [{"name": "a", "hosts": ["a"], "gray": "v2", "desk": ["D1"]}]}"#;
        let rules = read(json.into()).unwrap().unwrap();
        assert_eq!(rules.output_header(), "x-lane");
        assert_eq!(header(&rules, "a", &[("x-desk", "D1")]), Some("v2".to_owned()));
    }

    #[test]
    fn a_refusal_names_the_field_and_the_cure() {
        let service =
            |fields: &str| refusal(format!(r#"{{"services": [{{"name": "a", "hosts": ["a"], {fields}}}]}}"#));
        for (fields, text) in [
            (
                r#""gray": "v2", "tellers": ["T1"]"#,
                "services[0].tellers: unknown field, the dimensions are teller, branch, region",
            ),
            (
                r#""gray": "v2", "tellers": 5"#,
                "services[0].tellers: unknown field, the dimensions are teller, branch, region",
            ),
            (r#""gray": "v2", "teller": "T1""#, "services[0].teller: it must be a list of texts"),
            (r#""gray": "v2", "teller": [1]"#, "services[0].teller: it must be a list of texts"),
            (r#""gray": "v2", "teller": ["T1", ""]"#, "services[0].teller[1]: 0 bytes, an id has 1 to 256"),
            (
                r#""gray": "v2", "teller": [" T1"]"#,
                "services[0].teller[0]: an id has no control characters and no blanks around it",
            ),
            (
                r#""gray": "v2", "teller": ["T\u00001"]"#,
                "services[0].teller[0]: an id has no control characters and no blanks around it",
            ),
            (
                r#""gray": "v2", "exclude": {"desk": []}"#,
                "services[0].exclude.desk: unknown field, the dimensions are teller, branch, region",
            ),
            (
                r#""teller": ["T1"]"#,
                "services[0].gray: missing, it is the version of whom the service lets in",
            ),
            (r#""gray": "stable", "all": true"#, "services[0].gray: \"stable\" is the stable version too"),
            (r#""gray": "v2", "percent": 20"#, "services[0].percent: of nobody, add \"all\": true or ids"),
            (
                r#""gray": "v2", "all": true, "percent": 100.5"#,
                "services[0].percent: 100.5 is not within 0 to 100",
            ),
            (r#""gray": "v2", "all": true, "percent": -1"#, "services[0].percent: -1 is not within 0 to 100"),
            (
                r#""gray": "v2", "all": true, "percent": 1.234"#,
                "services[0].percent: 1.234 has more than two decimals",
            ),
            (
                r#""gray": "贷款", "all": true"#,
                "\"贷款\" cannot be a version, it needs 1 to 63 letters, digits, -, _ or .",
            ),
        ] {
            assert_eq!(service(fields), text);
        }
        let long = format!(r#""gray": "v2", "teller": ["{}"]"#, "T".repeat(257));
        assert_eq!(service(&long), "services[0].teller[0]: 257 bytes, an id has 1 to 256");
        assert_eq!(
            service(r#""gray": "v2", "teller": [], "teller": []"#),
            "services[0].teller: it occurs twice"
        );
        assert_eq!(refusal(r#"{"revision": 1, "revision": 1}"#), "revision: it occurs twice");
        assert_eq!(
            refusal(r#"{"servces": []}"#),
            "servces: unknown field, there are services, dimensions, outputHeader, revision and rulesBase64"
        );
        assert_eq!(refusal(r#"{"services": [{"hosts": ["a"]}]}"#), "services[0].name: missing");
        for (json, text) in [
            (r#"{"services": 1}"#, "services: it must be a list of services"),
            (r#"{"services": [1]}"#, "services[0]: it must be an object"),
            (r#"{"services": [{"name": 1}]}"#, "services[0].name: it must be a text"),
            (
                r#"{"services": [{"name": "a", "hosts": "a"}]}"#,
                "services[0].hosts: it must be a list of texts",
            ),
            (r#"{"revision": 1.5}"#, "revision: it must be a whole number"),
            (r#"{"revision": -1}"#, "revision: it must be a whole number"),
            (r#"{"rulesBase64": 1}"#, "rulesBase64: it must be a text"),
            (r#"{"#, "EOF while parsing an object at line 1 column 1"),
            (r#"{} {}"#, "trailing characters at line 1 column 4"),
        ] {
            assert_eq!(refusal(json), text);
        }
        assert_eq!(service(r#""all": 1"#), "services[0].all: it must be true or false");
        assert_eq!(service(r#""percent": "1""#), "services[0].percent: it must be a number");
        assert_eq!(
            refusal(r#"{"services": [{"name": "a", "hosts": ["Loan:80"]}]}"#),
            "\"Loan:80\" cannot be a host, it needs lower case and no port"
        );
        assert_eq!(
            refusal(r#"{"outputHeader": "X-Lane", "services": []}"#),
            "\"X-Lane\" cannot be a output header, it needs 1 to 64 lower-case letters, digits, - or _"
        );
        assert_eq!(
            refusal(r#"{"dimensions": [{"name": "all", "header": "x-all"}], "services": []}"#),
            "dimensions[0].name: \"all\" is a field of a service"
        );
    }

    #[test]
    fn written_rules_have_limits() {
        let ids = |ids: usize| {
            let ids: Vec<_> = (0..ids).map(|id| format!("\"{id}\"")).collect();
            let ids = ids.join(",");
            format!(r#"{{"services":[{{"name":"a","hosts":["a"],"gray":"v2","teller":[{ids}]}}]}}"#)
        };
        assert!(read(ids(MAX_WRITTEN_IDS).into()).is_ok());
        let cure = "let the daemon serve such a rule set";
        assert_eq!(
            refusal(ids(MAX_WRITTEN_IDS + 1)),
            format!("ids of hand-written rules: 10001 is over the limit of 10000, {cure}")
        );
        let many = refusal(format!(r#"{{"services":[{}0]}}"#, "0,".repeat(MAX_VALUES)));
        assert!(many.starts_with("values of hand-written rules: 6553"), "{many}");
        let fields: String = (0..60_000).map(|at| format!("\"{at}\":0,")).collect();
        assert_eq!(
            refusal(format!("{{{fields}\"services\":[]}}")),
            format!("fields of an object: 60001 is over the limit of 32, {cure}")
        );
        let fitting = format!("{{{}}}", " ".repeat(MAX_WRITTEN_BYTES - 2));
        assert!(read(fitting.clone().into()).is_ok());
        assert_eq!(
            refusal(fitting + " "),
            format!("bytes of hand-written rules: 1048577 is over the limit of 1048576, {cure}")
        );
        let huge = format!("{{{}}}", " ".repeat(MAX_ENVELOPE_BYTES));
        assert_eq!(
            refusal(huge),
            format!(
                "bytes of the configuration: {} is over the limit of 22370648, {cure}",
                MAX_ENVELOPE_BYTES + 2
            )
        );
    }

    #[test]
    fn any_cut_or_flipped_json_is_refused_or_read() {
        let json = r#"{"services":[{"name":"a","hosts":["a"],"gray":"v2","teller":["T1"],"percent":20}]}"#;
        for at in 0..json.len() {
            assert!(at == 0 || read(json.as_bytes()[..at].to_vec()).is_err(), "{at}");
            let mut flipped = json.as_bytes().to_vec();
            flipped[at] ^= 0x20;
            drop(read(flipped));
        }
    }
}
