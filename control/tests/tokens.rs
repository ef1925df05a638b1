//! Who may call the API, and whose name the audit log tells: the real program, with tokens in its configuration.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;

use daemon::{Daemon, configuration_of, run};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");

/// A daemon that knows `ann`, who is a risk officer, and `bob`, whose secrets are in files of their names.
fn guarded(dir: &Path) -> Daemon {
    let config = configuration_of(dir, &[("ann", "risk-officer"), ("bob", "7e5")]);
    Daemon::start_with(&dir.join("data"), &["--config", config.to_str().unwrap()])
}

fn secret(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap().trim().to_owned()
}

#[test]
fn who_has_no_token_that_the_daemon_knows_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = guarded(dir.path());
    let ann = format!("Bearer {}", secret(dir.path(), "ann"));
    let cut = &ann[..ann.len() - 1];
    for (method, path) in [
        ("GET", "/api/v1/orders"),
        ("GET", "/api/v1/audit"),
        ("GET", "/api/v1/orders/events"),
        ("GET", "/api/v1/orders/1/events"),
        ("GET", "/api/v1/proxies"),
        ("GET", "/api/v1/proxies/proxy-0"),
        ("GET", "/api/v1/tenants/retail/rules/bytes"),
        ("POST", "/api/v1/plans"),
        ("PUT", "/api/v1/tenants/retail/lists/pilots"),
        ("DELETE", "/api/v1/tenants/retail/plans/loan-2026-11"),
        ("POST", "/api/v1/orders/1/rollback"),
    ] {
        for headers in [&[][..], &[("authorization", cut)], &[("authorization", "Basic YW5uOmFubg==")]] {
            let answer = daemon.request(method, path, headers, PLAN.as_bytes());
            assert_eq!((answer.status, &answer.json["status"]), (401, &json!(401)), "{method} {path}");
            assert!(answer.json["detail"].as_str().unwrap().contains("authorization: Bearer"));
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"graylane\""));
        }
    }
    for open in ["/livez", "/readyz", "/api/v1/openapi.json"] {
        assert_eq!(daemon.request("GET", open, &[], b"").status, 200, "{open}");
    }
    let known = [("authorization", ann.as_str())];
    assert_eq!(daemon.request("GET", "/api/v1/plans", &known, b"").json, json!([]), "nothing was done");
    let refused = daemon.cli(&["plan", "list"], "");
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && told.contains("--token-file"), "{told}");
    let large = vec![b'1'; 8 << 20];
    let answer = daemon.request("PUT", "/api/v1/tenants/retail/lists/pilots", &[], &large);
    assert_eq!(answer.status, 401, "who still sends sees the answer");
}

#[test]
fn the_audit_log_tells_whose_token_it_was_and_nothing_tells_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = guarded(dir.path());
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    daemon.json(&["--token-file", &file("ann"), "plan", "apply", "-f", "-"], PLAN);
    daemon.json(&["--token-file", &file("bob"), "order", "start", "loan-2026-11"], "");
    let bob = secret(dir.path(), "bob");
    let done = daemon.cli_with(&[("GRAYLANE_TOKEN", &bob)], &["order", "pause", "1"], "");
    assert!(done.status.success(), "{done:?}");
    let done = daemon.cli_with(&[("GRAYLANE_TOKEN_FILE", &file("ann"))], &["order", "rollback", "1"], "");
    assert!(done.status.success(), "{done:?}");

    let records = daemon.json(&["--token-file", &file("bob"), "audit", "list"], "");
    let actors: Vec<&str> =
        records.as_array().unwrap().iter().map(|record| record["actor"].as_str().unwrap()).collect();
    assert_eq!(actors[..5], ["ann", "ann", "bob", "bob", "ann"]);
    let order = daemon.json(&["--token-file", &file("bob"), "order", "get", "1"], "");
    assert_eq!(order["timeline"][0]["actor"]["name"], "bob");
    let wrong = daemon.cli_with(&[("GRAYLANE_TOKEN", "glt_wrong")], &["order", "list"], "");
    let told = String::from_utf8(wrong.stderr).unwrap();
    assert!(told.contains("does not know the token"), "{told}");
    let (log, audit) = (daemon.log(), records.to_string());
    for secret in [&bob, &secret(dir.path(), "ann"), "glt_wrong"] {
        assert!(!log.contains(secret) && !audit.contains(secret) && !told.contains(secret), "{log}");
    }
}

#[test]
fn a_secret_is_for_its_owners_eyes_and_stays_when_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ann");
    let token = || run(&["-o", "json", "token", "ann", "-f", file.to_str().unwrap()], "").stdout;
    let first = token();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(token(), first);
    fs::remove_file(&file).unwrap();
    assert_ne!(token(), first);
    fs::write(&file, "\n").unwrap();
    let empty = run(&["token", "ann", "-f", file.to_str().unwrap()], "");
    assert!(empty.status.code() == Some(1), "{empty:?}");
    let named = run(&["token", "a b", "-f", dir.path().join("x").to_str().unwrap()], "");
    assert!(named.status.code() == Some(1) && !dir.path().join("x").exists());
}

#[test]
fn a_configuration_with_the_secret_in_the_place_of_its_hash_is_refused_and_does_not_show_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    let serve =
        ["serve", "--http", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--data", "/nonexistent", "--config"];
    for stanza in ["sha256: glt_0123456789", "secret: glt_0123456789", "sha256: [glt_0123456789]"] {
        fs::write(&file, format!("tokens:\n  - name: ann\n    {stanza}\n")).unwrap();
        let refused = run(&[&serve[..], &[file.to_str().unwrap()]].concat(), "");
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains("tokens[0]") || told.contains("line 3"), "{told}");
        assert_eq!(refused.status.code(), Some(3));
        assert!(!told.contains("glt_"), "{told}");
    }
}
