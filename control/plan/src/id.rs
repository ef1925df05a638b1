//! What an id may look like, so that a request can carry it.

use crate::problem::shown;
use graylane_rules::limits::MAX_VALUE_BYTES;

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdError {
    /// Nothing at all.
    #[error("an empty id matches no request; remove it")]
    Empty,
    /// Longer than a header value may be.
    #[error(
        "{} is {bytes} bytes long, over the limit of {MAX_VALUE_BYTES}, so that no request can match it; shorten it",
        shown(id)
    )]
    TooLong {
        /// The id.
        id: String,
        /// Its length.
        bytes: usize,
    },
    /// A character that headers cannot carry.
    #[error("{} has a control character, which no header carries; remove it", shown(.0))]
    Control(String),
    /// Blanks that trimming takes off the header's value.
    #[error(
        "{} has blanks at its ends, but header values are trimmed, so that it would never match; write {}",
        shown(.0),
        shown(.0.trim_matches(BLANKS))
    )]
    Blank(String),
}

/// What is trimmed off header values.
pub(crate) const BLANKS: [char; 2] = [' ', '\t'];

/// Whether a header can carry `id`.
pub(crate) fn check_id(id: &str) -> Result<(), IdError> {
    if id.trim_matches(BLANKS).is_empty() {
        return Err(IdError::Empty);
    }
    if id.trim_matches(BLANKS).len() < id.len() {
        return Err(IdError::Blank(id.to_owned()));
    }
    if id.chars().any(char::is_control) {
        return Err(IdError::Control(id.to_owned()));
    }
    if id.len() > MAX_VALUE_BYTES {
        return Err(IdError::TooLong { id: id.to_owned(), bytes: id.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_trimmed_header_can_hold_is_an_id() {
        for id in ["T0000017", "0012", "网点 12", "a,b", "#1", &"x".repeat(256)] {
            assert_eq!(check_id(id), Ok(()));
        }
        let long = "x".repeat(257);
        for (id, error) in [
            ("", IdError::Empty),
            (" \t", IdError::Empty),
            (" T1", IdError::Blank(" T1".into())),
            ("T1\t", IdError::Blank("T1\t".into())),
            ("T\u{7}1", IdError::Control("T\u{7}1".into())),
            (&long, IdError::TooLong { id: long.clone(), bytes: 257 }),
        ] {
            assert_eq!(check_id(id), Err(error));
        }
    }
}
