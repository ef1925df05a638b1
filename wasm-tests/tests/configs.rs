//! Every file in `envoy-configs` is one that Envoy takes.

use std::fs;

use graylane_wasm_tests::{EnvoyConfig, places, validate};

#[test]
fn envoy_accepts_every_file_that_users_copy() {
    let mut seen = 0;
    for entry in fs::read_dir(places::envoy_configs()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let log =
            validate(EnvoyConfig::read(&path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error:#}"));
        assert!(!log.contains("Deprecated field"), "{path:?} will break with a later Envoy:\n{log}");
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} files in envoy-configs");
}

#[test]
fn envoy_refuses_a_file_with_a_misspelt_field() {
    let config = EnvoyConfig::of("static-rules.yaml").unwrap();
    let refusal = validate(config.edit_http(|http| http["rout_config"] = "x".into())).unwrap_err();
    assert!(format!("{refusal:#}").contains("rout_config"), "{refusal:#}");
}
