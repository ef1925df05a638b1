//! What went wrong, for people and for programs.

use crate::daemon::ProblemView;
use serde::{Deserialize, Serialize};
use std::fmt;
use ureq::http::StatusCode;

/// The problem details of a refusal, after RFC 9457: the daemon's own, or in the same shape those of this program.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status, when the daemon answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What kind of problem it is, the same for all of its kind, when the daemon answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is wrong, and what to do.
    pub detail: String,
    /// Each wrong field.
    pub errors: Vec<ProblemView>,
}

// === impl Problem ===

impl Problem {
    /// A problem that this program found.
    pub(crate) fn new(detail: impl Into<String>, errors: Vec<ProblemView>) -> Self {
        Self { detail: detail.into(), errors, ..Self::default() }
    }

    /// The problem that an answer tells of.
    pub(crate) fn read(status: StatusCode, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        problem.status = Some(status.as_u16());
        if problem.detail.is_empty() {
            problem.detail = status.to_string();
        }
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        // The detail of a single wrong field says it all already.
        for ProblemView { path, message } in
            self.errors.iter().filter(|error| !self.detail.contains(&error.message))
        {
            match path.as_str() {
                "" => write!(f, "\n  {message}")?,
                path => write!(f, "\n  {path}: {message}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_with_each_field_once() {
        let body =
            br#"{"detail":"two","errors":[{"path":"","message":"no plan"},{"path":"a.b","message":"no c"}]}"#;
        let problem = Problem::read(StatusCode::UNPROCESSABLE_ENTITY, body);
        assert_eq!(problem.to_string(), "two\n  no plan\n  a.b: no c");
        let body = br#"{"detail":"a: no b","errors":[{"path":"a","message":"no b"}]}"#;
        assert_eq!(Problem::read(StatusCode::UNPROCESSABLE_ENTITY, body).to_string(), "a: no b");
    }

    #[test]
    fn an_answer_of_another_program_is_told_by_its_status() {
        assert_eq!(Problem::read(StatusCode::BAD_GATEWAY, b"<html>").to_string(), "502 Bad Gateway");
    }
}
