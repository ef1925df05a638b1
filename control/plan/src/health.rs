//! How well a gray version has to do, as a plan writes it.

use crate::model::FaultAction;
use crate::percentage::Percentage;
use crate::span::Span;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// How well the gray versions have to do, and what happens by itself when one does not. A limit that is not given is not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthSpec {
    /// Who counts requests.
    #[serde(skip_serializing_if = "HealthSource::is_default")]
    pub source: HealthSource,
    /// Over how long a version is looked at; a minute when nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// Requests in the window without which a version is not called healthy; 50 when nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u64>,
    /// How often it may fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<ErrorSpec>,
    /// How slow it may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencySpec>,
    /// How many endpoints it has to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<EndpointSpec>,
    /// What happens by itself when a service is found faulty, or is said to be, besides that the order does not advance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_fault: Option<FaultAction>,
}

/// Who counts requests: a word, or a map of the word to nothing, as `{ prometheus: {} }`. The rest is in the daemon's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthSource {
    /// The proxies, by Envoy's metrics service.
    #[default]
    Envoy,
    /// Whoever Prometheus scrapes.
    Prometheus,
}

/// How often a gray version may fail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorSpec {
    /// Which share of its requests may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Share>,
    /// By how many percentage points more than stable's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_stable: Option<Share>,
}

/// How slow a gray version may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LatencySpec {
    /// Which percentile is compared.
    pub percentile: Share,
    /// How many times stable's it may be.
    pub max_ratio: Ratio,
}

/// How many endpoints a gray version has to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSpec {
    /// Fewer are a fault, once there were as many.
    pub min: u64,
}

/// A share of requests: a percentage, with or without its sign, like `2%` or 0.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share(Percentage);

/// How many times as much, like 1.5. What is no such number is kept as written, so that a check can report it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ratio(String);

// === impl HealthSpec ===

impl HealthSpec {
    /// Whether it says what a version has to do, so that one is judged.
    #[must_use]
    pub const fn has_limits(&self) -> bool {
        self.errors.is_some() || self.latency.is_some() || self.endpoints.is_some()
    }
}

// === impl HealthSource ===

impl HealthSource {
    const ALL: [Self; 2] = [Self::Envoy, Self::Prometheus];

    /// Its words in plans.
    const WORDS: &[&str] = &[Self::Envoy.word(), Self::Prometheus.word()];

    /// Its word in plans.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Prometheus => "prometheus",
        }
    }

    fn of<E: Error>(word: &str) -> Result<Self, E> {
        let known = Self::ALL.into_iter().find(|source| source.word() == word);
        known.ok_or_else(|| E::unknown_variant(word, Self::WORDS))
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Serialize for HealthSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for HealthSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceWord)
    }
}

/// Takes a source as its word, or as a map of its word to nothing.
struct SourceWord;

/// What a plan says of a source besides its word.
#[derive(Deserialize)]
#[serde(expecting = "nothing, like {}")]
struct Nothing {}

impl<'de> Visitor<'de> for SourceWord {
    type Value = HealthSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HealthSource::WORDS.join(" or "))
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<HealthSource, E> {
        HealthSource::of(word)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HealthSource, A::Error> {
        let Some(word) = map.next_key::<String>()? else {
            return Err(A::Error::invalid_value(Unexpected::Other("a map without a source"), &self));
        };
        let source = HealthSource::of(&word)?;
        let _: Option<Nothing> = map.next_value()?;
        match map.next_key::<IgnoredAny>()? {
            None => Ok(source),
            Some(_) => Err(A::Error::invalid_value(Unexpected::Other("a map of two sources"), &self)),
        }
    }
}

// === impl LatencySpec ===

impl Default for LatencySpec {
    /// The 99th percentile, half as much again.
    fn default() -> Self {
        Self { percentile: Share(Percentage::new("99")), max_ratio: Ratio("1.5".to_owned()) }
    }
}

// === impl Share ===

impl Share {
    /// From text like `2%`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Percentage::new(text.strip_suffix('%').unwrap_or(text)))
    }

    /// The percentage, from 0 to 100, if it is one.
    ///
    /// # Errors
    /// Why it is none.
    pub fn percent(&self) -> Result<f64, String> {
        let percent = self.0.get().map_err(ToString::to_string)?;
        Ok(f64::from(percent.hundredths()) / 100.0)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.percent() {
            Ok(percent) => serializer.serialize_str(&format!("{percent}%")),
            Err(_) => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text("a percentage, like 2% or 0.5")).map(|text| Self::new(&text))
    }
}

// === impl Ratio ===

impl Ratio {
    /// The number, if it is one.
    ///
    /// # Errors
    /// Why it is none.
    pub fn get(&self) -> Result<f64, String> {
        let number = self.0.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| format!("{:?} is no number; write how many times as much, like 1.5", self.0))
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.get() {
            Ok(number) => serializer.serialize_f64(number),
            Err(_) => serializer.serialize_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text("a number, like 1.5")).map(Self)
    }
}

/// Takes a number or a text as text, of which the start is enough.
struct Text(&'static str);

/// Characters that are kept: more than any number has.
const MAX_KEPT_CHARS: usize = 40;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.chars().take(MAX_KEPT_CHARS).collect())
    }
}
