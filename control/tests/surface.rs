//! What users program against does not change by accident.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

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
fn the_help_of_every_command_is_the_committed_one() {
    let help = graylane::cli::Cli::all_help();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    check("cli-help.md", &(lines.join("\n") + "\n"));
}
