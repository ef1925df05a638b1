//! The example of TLS on both sides is one that the real program starts with.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;

use daemon::{Daemon, run};
use std::fs;
use std::path::{Path, PathBuf};

const EXAMPLE: &str = include_str!("../examples/mtls.yaml");
const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");

/// The folder of certificates in the example.
const TLS_IN_EXAMPLE: &str = "/etc/graylane/tls";

/// The example with its certificates in a folder of this machine.
fn example_in(folder: &Path) -> PathBuf {
    let signed = rcgen::generate_simple_self_signed(["graylane.bank.example".to_owned()]).unwrap();
    for name in ["tls.crt", "ca.crt"] {
        fs::write(folder.join(name), signed.cert.pem()).unwrap();
    }
    fs::write(folder.join("tls.key"), signed.signing_key.serialize_pem()).unwrap();
    let file = folder.join("mtls.yaml");
    fs::write(&file, EXAMPLE.replace(TLS_IN_EXAMPLE, folder.to_str().unwrap())).unwrap();
    file
}

#[test]
fn the_daemon_starts_with_the_example_of_tls_on_both_sides() {
    let data = tempfile::tempdir().unwrap();
    let file = example_in(data.path());
    let daemon = Daemon::start_with(data.path(), &["--config", file.to_str().unwrap()]);
    let metrics = daemon.request("GET", "/metrics", &[], b"").text;
    let ends = metrics
        .lines()
        .find_map(|line| line.strip_prefix("graylane_xds_certificate_expiry_timestamp_seconds "));
    assert!(ends.unwrap().parse::<f64>().unwrap() > 0.0, "without TLS it is 0");
    for tenant in ["retail", "cards"] {
        daemon.json(
            &["plan", "apply", "-f", "-"],
            &PLAN.replace("tenant: retail", &format!("tenant: {tenant}")),
        );
    }
}

#[test]
fn a_daemon_whose_key_is_missing_does_not_start_and_names_it() {
    let data = tempfile::tempdir().unwrap();
    let file = example_in(data.path());
    let key = data.path().join("tls.key");
    fs::remove_file(&key).unwrap();
    let [data, file] = [data.path(), &file].map(|path| path.to_str().unwrap());
    let ports = ["--http", "127.0.0.1:0", "--xds", "127.0.0.1:0"];
    let ended = run(&[&["serve", "--data", data, "--config", file], ports.as_slice()].concat(), "");
    assert_eq!(ended.status.code(), Some(3));
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(told.contains("xds.tls") && told.contains(key.to_str().unwrap()), "{told}");
}
