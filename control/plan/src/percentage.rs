//! A percentage as a plan writes it.

use graylane_rules::Percent;
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// A share of people: a number from 0 to 100 with at most two decimals.
///
/// What is not such a number is kept as written, so that a check can report it together with everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Percentage(Result<Percent, PercentageError>);

/// Why a text is no percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PercentageError {
    /// Not a decimal number.
    #[error("{0:?} is no number; write 20 or 12.5")]
    NotANumber(String),
    /// Below 0 or above 100.
    #[error("{0} is outside 0 to 100; give a percentage of people, like 20 or 12.5")]
    OutOfRange(String),
    /// More than two decimals.
    #[error("{0} has more than two decimals; the finest step is 0.01")]
    TooFine(String),
}

// === impl Percentage ===

impl Percentage {
    /// From text like `20` or `12.5`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(parse(text))
    }

    /// The percentage, if it is one.
    ///
    /// # Errors
    /// When what was written is no number from 0 to 100 with at most two decimals.
    pub fn get(&self) -> Result<Percent, &PercentageError> {
        self.0.as_ref().copied()
    }
}

impl From<Percent> for Percentage {
    fn from(percent: Percent) -> Self {
        Self(Ok(percent))
    }
}

impl Serialize for Percentage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(percent) if percent.hundredths() % 100 == 0 => {
                serializer.serialize_u16(percent.hundredths() / 100)
            }
            Ok(percent) => serializer.serialize_f64(f64::from(percent.hundredths()) / 100.0),
            Err(error) => serializer.serialize_str(error.text()),
        }
    }
}

impl<'de> Deserialize<'de> for Percentage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PercentageVisitor)
    }
}

struct PercentageVisitor;

impl Visitor<'_> for PercentageVisitor {
    type Value = Percentage;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a percentage from 0 to 100, like 20 or 12.5")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Percentage, E> {
        Ok(Percentage::new(&number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Percentage, E> {
        Ok(Percentage::new(&number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Percentage, E> {
        Ok(Percentage::new(&number.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Percentage, E> {
        Ok(Percentage::new(text))
    }
}

// === impl PercentageError ===

impl PercentageError {
    /// What was written.
    fn text(&self) -> &str {
        match self {
            Self::NotANumber(text) | Self::OutOfRange(text) | Self::TooFine(text) => text,
        }
    }
}

/// Characters of a refused text that are kept.
const MAX_KEPT_CHARS: usize = 40;

fn parse(text: &str) -> Result<Percent, PercentageError> {
    let kept = || text.chars().take(MAX_KEPT_CHARS).collect::<String>();
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(part) {
        return Err(PercentageError::NotANumber(kept()));
    }
    let part = part.trim_end_matches('0');
    let is_zero = whole.bytes().all(|byte| byte == b'0') && part.is_empty();
    let whole = whole.parse::<u16>().ok().filter(|whole| *whole <= 100 && (is_zero || !negative));
    let Some(whole) = whole.filter(|whole| *whole < 100 || part.is_empty()) else {
        return Err(PercentageError::OutOfRange(kept()));
    };
    if part.len() > 2 {
        return Err(PercentageError::TooFine(kept()));
    }
    let hundredths = format!("{part:0<2}").parse::<u16>().ok().map(|part| whole * 100 + part);
    hundredths.and_then(Percent::from_hundredths).ok_or_else(|| PercentageError::OutOfRange(kept()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_range_become_hundredths() {
        for (text, hundredths) in [
            ("0", 0),
            ("-0", 0),
            ("0.01", 1),
            ("00.5", 50),
            ("2.340", 234),
            ("12.5", 1_250),
            ("20", 2_000),
            ("99.99", 9_999),
            ("100", 10_000),
            ("100.00", 10_000),
        ] {
            assert_eq!(Percentage::new(text).get().map(Percent::hundredths), Ok(hundredths), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_for_their_reason() {
        use PercentageError::{NotANumber, OutOfRange, TooFine};
        for text in ["", ".", "5.", ".5", "20%", "NaN", "inf", "1e1", "+1", " 1", "1,5"] {
            assert_eq!(Percentage::new(text), Percentage(Err(NotANumber(text.into()))));
        }
        for text in ["-1", "-0.001", "100.01", "101", "65536", "99999999999999999999"] {
            assert_eq!(Percentage::new(text), Percentage(Err(OutOfRange(text.into()))));
        }
        for text in ["2.345", "0.001", "99.999", "0.0000000000000000000000001"] {
            assert_eq!(Percentage::new(text), Percentage(Err(TooFine(text.into()))));
        }
    }

    #[test]
    fn every_percentage_survives_text_and_json() {
        for hundredths in 0..=10_000 {
            let percentage = Percentage::from(Percent::from_hundredths(hundredths).unwrap());
            let json = serde_json::to_string(&percentage).unwrap();
            assert_eq!(serde_json::from_str::<Percentage>(&json).unwrap(), percentage);
            assert_eq!(Percentage::new(&json), percentage);
        }
    }
}
