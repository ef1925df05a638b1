//! Every file in `envoy-configs` is one that Envoy takes.

mod certificates;

use std::fs;

use certificates::{Authority, Files};
use graylane_wasm_tests::{EnvoyConfig, places, validate};

#[test]
fn envoy_accepts_every_file_that_users_copy() {
    let authority = Authority::new();
    let files = Files::new(&authority.proxy("spiffe://bank.example/ns/retail/sa/loan"), &authority);
    let mut seen = 0;
    for entry in fs::read_dir(places::envoy_configs()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let config = files.lead(EnvoyConfig::read(&path).unwrap());
        let log = validate(config).unwrap_or_else(|error| panic!("{path:?}: {error:#}"));
        assert!(!log.contains("Deprecated field"), "{path:?} will break with a later Envoy:\n{log}");
        seen += 1;
    }
    assert!(seen >= 4, "only {seen} files in envoy-configs");
}

#[test]
fn envoy_lays_the_stats_filter_over_every_file_that_reports() {
    let authority = Authority::new();
    let files = Files::new(&authority.proxy("spiffe://bank.example/ns/retail/sa/loan"), &authority);
    for file in ["sidecar-outbound.yaml", "sidecar-mtls.yaml", "edge.yaml"] {
        let config = files.lead(EnvoyConfig::of(file).unwrap()).overlay("stats-filter.yaml").unwrap();
        validate(config).unwrap_or_else(|error| panic!("{file}: {error:#}"));
    }
}

#[test]
fn envoy_refuses_a_file_with_a_misspelt_field() {
    let config = EnvoyConfig::of("static-rules.yaml").unwrap();
    let refusal = validate(config.edit_http(|http| http["rout_config"] = "x".into())).unwrap_err();
    assert!(format!("{refusal:#}").contains("rout_config"), "{refusal:#}");
}

#[test]
fn envoy_refuses_a_sidecar_whose_way_to_its_certificate_is_missing() {
    let refusal = validate(EnvoyConfig::of("sidecar-mtls.yaml").unwrap()).unwrap_err();
    assert!(format!("{refusal:#}").contains("/etc/graylane/sds/"), "{refusal:#}");
}
