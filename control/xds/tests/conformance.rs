//! `CONFORMANCE.md` names the tests that show each point, and they exist.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../CONFORMANCE.md");

/// Points that the page has a row for.
const POINTS: usize = 19;

/// What stands between backticks on a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The text of each place's file.
fn places() -> BTreeMap<&'static str, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let place = |line: &'static str| {
        let (place, file) = (quoted(line).next()?, quoted(line).last()?);
        let is_place = line.starts_with("| `") && !place.contains("::");
        is_place.then(|| (place, fs::read_to_string(root.join(file)).expect(file)))
    };
    PAGE.lines().filter_map(place).collect()
}

/// The tests that a text names, each with its place.
fn tests(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    text.lines().flat_map(quoted).filter_map(|name| name.split_once("::"))
}

#[test]
fn every_test_that_is_named_exists() {
    let places = places();
    let exists = |place: &str, test: &str| {
        let text = places.get(place)?;
        Some(text.contains(&format!("fn {test}(")) || text.contains(&format!("def {test}(")))
    };
    let missing: Vec<_> = tests(PAGE).filter(|(place, test)| exists(place, test) != Some(true)).collect();
    assert!(missing.is_empty(), "named and not there: {missing:?}");
}

#[test]
fn every_place_is_of_use() {
    let named: BTreeSet<_> = tests(PAGE).map(|(place, _)| place).collect();
    assert_eq!(places().into_keys().collect::<BTreeSet<_>>(), named);
}

#[test]
fn every_point_has_its_row_and_tests() {
    let rows: Vec<_> = (1..=POINTS)
        .map(|point| PAGE.lines().find(|line| line.starts_with(&format!("| {point} "))).unwrap_or_default())
        .collect();
    let untested: Vec<_> = (1..).zip(rows).filter(|(_, row)| tests(row).next().is_none()).collect();
    assert!(untested.is_empty(), "points without a test: {untested:?}");
}
