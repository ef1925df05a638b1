//! A span of time as a plan writes it: `30m`, `72h`, `1h30m`.

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// The longest span, in seconds: 366 days. A release that takes longer is two.
pub const MAX_SPAN_SECONDS: u64 = 366 * 24 * 60 * 60;

/// A span of time in whole seconds, at most [`MAX_SPAN_SECONDS`].
///
/// What is not such a span is kept as written, so that a check can report it together with everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span(Result<u64, SpanError>);

/// Why a text is no span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// Not a row of numbers with units.
    #[error("{0:?} is no span of time; write a number with d, h, m or s, like 30m, 72h or 1h30m")]
    Malformed(String),
    /// Longer than [`MAX_SPAN_SECONDS`].
    #[error("{0} is over the limit of 366 days; give a shorter span, like 72h")]
    TooLong(String),
}

/// The units, longest first, with their seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

// === impl Span ===

impl Span {
    /// From text like `30m`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(parse(text))
    }

    /// From seconds; over [`MAX_SPAN_SECONDS`] it is a span that a check refuses.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        if seconds <= MAX_SPAN_SECONDS { Self(Ok(seconds)) } else { Self::new(&format!("{seconds}s")) }
    }

    /// The seconds, if it is a span.
    ///
    /// # Errors
    /// When what was written is no span or longer than [`MAX_SPAN_SECONDS`].
    pub fn seconds(&self) -> Result<u64, &SpanError> {
        self.0.as_ref().copied()
    }
}

/// In hours, minutes and seconds, the shortest way: `72h`, `1h30m`, `0s`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = match &self.0 {
            Ok(0) => return f.write_str("0s"),
            Ok(seconds) => *seconds,
            Err(SpanError::Malformed(text) | SpanError::TooLong(text)) => return f.write_str(text),
        };
        for (unit, seconds) in UNITS.into_iter().skip(1) {
            match rest / seconds {
                0 => {}
                count => write!(f, "{count}{unit}")?,
            }
            rest %= seconds;
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span of time, like 30m, 72h or 1h30m")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Span, E> {
        Ok(Span::new(&number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Span, E> {
        Ok(Span::new(&number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Span, E> {
        Ok(Span::new(&number.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        Ok(Span::new(text))
    }
}

/// Characters of a refused text that are kept.
const MAX_KEPT_CHARS: usize = 40;

fn parse(text: &str) -> Result<u64, SpanError> {
    let kept = || text.chars().take(MAX_KEPT_CHARS).collect::<String>();
    let malformed = || SpanError::Malformed(kept());
    let mut rest = text;
    let mut units = UNITS.into_iter();
    let mut total = 0_u64;
    while !rest.is_empty() || text.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(malformed)?;
        let (number, tail) = rest.split_at(end);
        let unit = tail.chars().next().filter(|_| !number.is_empty()).ok_or_else(malformed)?;
        // Each unit once and the longer ones first: `m30h1` is a slip of the hand.
        let (_, seconds) = units.find(|(letter, _)| *letter == unit).ok_or_else(malformed)?;
        let count = number.parse::<u64>().unwrap_or(u64::MAX);
        total = total.saturating_add(count.saturating_mul(seconds));
        rest = tail.strip_prefix(unit).unwrap_or_default();
    }
    if total <= MAX_SPAN_SECONDS { Ok(total) } else { Err(SpanError::TooLong(kept())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_the_shortest_way() {
        for (text, seconds, written) in [
            ("0s", 0, "0s"),
            ("30m", 1_800, "30m"),
            ("90m", 5_400, "1h30m"),
            ("72h", 259_200, "72h"),
            ("3d", 259_200, "72h"),
            ("1d2h3m4s", 93_784, "26h3m4s"),
            ("366d", MAX_SPAN_SECONDS, "8784h"),
        ] {
            assert_eq!(Span::new(text).seconds(), Ok(seconds), "{text}");
            assert_eq!(Span::new(text).to_string(), written);
            assert_eq!(Span::new(written), Span::from_seconds(seconds));
        }
    }

    #[test]
    fn other_texts_are_refused_for_their_reason() {
        for text in ["", "30", "m", "30 m", "m30", "30m1h", "1h1h", "1.5h", "-1h", "30M", "1:30", "小时"] {
            assert_eq!(Span::new(text), Span(Err(SpanError::Malformed(text.into()))), "{text}");
        }
        for text in ["367d", "366d1s", "99999999999999999999999d"] {
            assert_eq!(Span::new(text), Span(Err(SpanError::TooLong(text.into()))), "{text}");
        }
    }
}
