//! What is wrong with a plan, and where.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Problems that one check or parse reports. Past them it only counts.
pub const MAX_PROBLEMS: usize = 100;

/// Characters of a refused value that a message shows.
const MAX_SHOWN_CHARS: usize = 64;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Which field, like `spec.stages[1].scope.include.branch[0]`; empty when it is the whole text.
    pub path: String,
    /// What is wrong, with the value, the limit and the cure.
    pub message: String,
    /// Whether it stops the plan.
    pub severity: Severity,
    /// The line in the text, from 1, when the parser knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u64>,
    /// The column in the text, from 1, when the parser knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<u64>,
}

/// Whether a problem stops a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should look.
    Warning,
}

/// Collects problems: the first [`MAX_PROBLEMS`] errors and as many warnings, and how many more there were.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    errors: usize,
    warnings: usize,
}

// === impl Problem ===

impl Problem {
    /// An error at `path`.
    #[must_use]
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            severity: Severity::Error,
            line: None,
            column: None,
        }
    }

    /// A warning at `path`.
    #[must_use]
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, message) }
    }

    /// Whether it stops the plan.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, " (line {line}, column {column})"),
            (Some(line), None) => write!(f, " (line {line})"),
            _ => Ok(()),
        }
    }
}

// === impl Problems ===

impl Problems {
    /// Notes an error at `path`.
    pub(crate) fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Problem::error(path, message));
    }

    /// Notes a warning at `path`.
    pub(crate) fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Problem::warning(path, message));
    }

    /// Notes a problem, or only counts it when there are many already.
    pub(crate) fn push(&mut self, problem: Problem) {
        let count = if problem.is_error() { &mut self.errors } else { &mut self.warnings };
        *count += 1;
        if *count <= MAX_PROBLEMS {
            self.found.push(problem);
        }
    }

    /// Whether an error was noted.
    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Everything in the order of paths, then how many more there were.
    pub(crate) fn in_order(self) -> Vec<Problem> {
        let Self { found, errors, warnings } = self;
        let mut found = in_order(found);
        if let more @ 1.. = errors.saturating_sub(MAX_PROBLEMS) {
            found.push(Problem::error("", format!("and {more} more errors; cure those above first")));
        }
        if let more @ 1.. = warnings.saturating_sub(MAX_PROBLEMS) {
            found.push(Problem::warning("", format!("and {more} more warnings")));
        }
        found
    }
}

/// Problems that were found apart, like by [`read`](crate::read) and by [`check`](crate::check()), in the order of
/// paths. Those with no path, like how many more there were, come last.
#[must_use]
pub fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_cached_key(|problem| (problem.path.is_empty(), sort_key(&problem.path)));
    problems
}

/// The path of a field of `parent`.
pub(crate) fn field(parent: &str, name: &str) -> String {
    let is_plain =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match (parent.is_empty(), is_plain) {
        (_, false) => format!("{parent}[{}]", shown(name)),
        (true, true) => name.to_owned(),
        (false, true) => format!("{parent}.{name}"),
    }
}

/// The path of an element of `parent`.
pub(crate) fn element(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

/// A value for a message: quoted, escaped, and cut when it is long.
pub(crate) fn shown(value: &str) -> String {
    match value.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}...", value.get(..end).unwrap_or_default()),
        None => format!("{value:?}"),
    }
}

/// Paths in alphabetical order, but numbers by their value.
fn sort_key(path: &str) -> Vec<(u64, String)> {
    let segments = path.split(['.', '[', ']']).filter(|segment| !segment.is_empty());
    segments.map(|segment| (segment.parse().unwrap_or(0), segment.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_come_in_the_order_of_paths() {
        let mut problems = Problems::default();
        let paths = ["spec.stages[10].name", "spec.stages[2].scope", "spec.stages[2]", "kind"];
        paths.iter().for_each(|path| problems.error(*path, "wrong"));
        let in_order: Vec<String> = problems.in_order().into_iter().map(|problem| problem.path).collect();
        assert!(in_order.iter().eq(paths.iter().rev()));
    }

    #[test]
    fn a_flood_of_problems_is_counted() {
        let mut problems = Problems::default();
        (0..MAX_PROBLEMS + 7).for_each(|at| problems.error(element("spec.stages", at), "wrong"));
        problems.warning("metadata", "odd");
        let found = problems.in_order();
        assert_eq!(found.len(), MAX_PROBLEMS + 2);
        assert_eq!(found.last().unwrap().to_string(), "and 7 more errors; cure those above first");
    }

    #[test]
    fn odd_names_and_long_values_stay_readable() {
        assert_eq!(field("include", "a b\n"), r#"include["a b\n"]"#);
        assert_eq!(field("", "spec"), "spec");
        assert_eq!(shown(&"网".repeat(100)), format!("\"{}\"...", "网".repeat(64)));
    }
}
