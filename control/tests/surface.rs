//! What users program against does not change by accident.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use std::path::Path;

/// Compares with a committed file, or writes it when `UPDATE_SURFACE` is set.
fn check(file: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_SURFACE").is_some() {
        std::fs::write(&path, now).unwrap();
    }
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        before == now,
        "{file} is not what the program says now; if that is meant: UPDATE_SURFACE=1 cargo test -p graylane --test surface"
    );
}

#[test]
fn the_openapi_description_is_the_committed_one() {
    check("openapi.json", &(graylane::api::openapi_json() + "\n"));
}

#[test]
fn every_operation_has_a_name_of_its_own_and_every_parameter_its_place() {
    let description: serde_json::Value = serde_json::from_str(&graylane::api::openapi_json()).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "{path}: {name} is there twice");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let is_of_path = path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
                assert_eq!(parameter["in"] == "path", is_of_path, "{path}: {parameter}");
            }
        }
    }
}

#[test]
fn the_help_of_every_command_is_the_committed_one() {
    let help = graylane::cli::Cli::all_help();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    check("cli-help.md", &(lines.join("\n") + "\n"));
}
