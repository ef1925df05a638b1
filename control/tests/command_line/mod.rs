//! The command line as scripts and hurried people use it.

use crate::daemon::{Daemon, run, run_to};
use crate::{LOAN, PLAN, started, stderr, wait_for};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

/// The problem that a refused command tells programs of.
fn problem(output: &std::process::Output) -> Value {
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stderr).unwrap()
}

/// A second tenant, `cards`, with a plan of its own.
fn with_cards(daemon: &Daemon) {
    let plan = PLAN.replace("tenant: retail", "tenant: cards").replace("loan-2026-11", "cards-2026-11");
    daemon.json(&["plan", "apply", "-f", "-"], &plan);
}

/// A server that answers every request alike, for as long as the test runs.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    server
}

#[test]
fn a_name_is_asked_for_as_it_is_written_whatever_is_in_it() {
    let (daemon, _data) = started();
    daemon.json(&["list", "put", "pilot", "-f", "-"], "T1\n");
    for name in ["pilot?x", "pilot#x", "pilot%20x", "../lists/pilot", "pilot/", "飞行员"] {
        let put = daemon.cli(&["list", "put", name, "-f", "-"], "T2\n");
        assert_eq!(put.status.code(), Some(1), "{name}");
        assert!(stderr(&put).contains("cannot name a list"), "{name}: {}", stderr(&put));
        let get = daemon.cli(&["list", "get", name], "");
        assert!(stderr(&get).contains(&format!("there is no list {name:?}")), "{name}: {}", stderr(&get));
    }
    assert_eq!(daemon.json(&["list", "get", "pilot"], ""), json!(["T1"]));
    daemon.json(&["order", "start", "loan-2026-11"], "");
    assert_eq!(daemon.json(&["order", "list", "--tenant", "x&tenant=retail"], ""), json!([]));
}

#[test]
fn an_address_that_is_none_is_wrong_usage() {
    for server in ["127.0.0.1:18080", "http://a b", "http://127.0.0.1:99999", "https://127.0.0.1"] {
        let output = run(&["--server", server, "plan", "list"], "");
        assert_eq!(output.status.code(), Some(2), "{server}");
        let told = stderr(&output);
        assert!(told.contains("--server") && told.contains(&format!("'{server}'")), "{told}");
    }
}

#[test]
fn who_reads_no_further_is_no_error() {
    let (daemon, _data) = started();
    daemon.json(&["order", "start", "loan-2026-11"], "");
    let server = ["--server", &daemon.server];
    for command in [
        ["order", "get", "1"].as_slice(),
        &["order", "get", "1", "--watch"],
        &["-o", "json", "order", "get", "1", "--watch"],
        &["order", "list"],
        &["completions", "bash"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run_to(writer.into(), &[&server, command].concat(), "");
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{command:?}");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let checked = run_to(writer.into(), &["plan", "check", "-f", "-"], "spec: {}");
    assert_eq!(checked.status.code(), Some(1), "a bad plan stays bad");
}

#[test]
fn a_plan_is_checked_and_explained_with_the_daemons_configuration() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("graylane.yaml");
    let dimensions = "[{ name: employee, header: x-employee }, { name: region, header: x-region }]";
    std::fs::write(&file, format!("tenants: {{ retail: {{ dimensions: {dimensions} }} }}")).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let plan = PLAN.replace("teller:", "employee:").replace("{ branch: [B012] }", "{ employee: [T0000019] }");
    let check = |config: &[&str], plan: &str| run(&[&["plan", "check", "-f", "-"], config].concat(), plan);
    assert_eq!(check(&config, &plan).status.code(), Some(0), "{}", stderr(&check(&config, &plan)));
    assert_eq!(check(&[], &plan).status.code(), Some(1));
    let stranger = check(&config, &plan.replace("tenant: retail", "tenant: retial"));
    let told = String::from_utf8_lossy(&stranger.stdout).into_owned();
    assert!(
        told.contains(r#"metadata.tenant: there is no tenant "retial"; the configuration has retail"#),
        "{told}"
    );

    let ask = ["-o", "json", "explain", "-f", "-", "--stage", "pilot-tellers", "--host", LOAN];
    let explained = run(&[&ask, config.as_slice(), &["--dimension", "employee=T0000017"]].concat(), &plan);
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    assert_eq!(explained["version"], "v2");
    let slip = run(&[&ask, config.as_slice(), &["--dimension", "employe=T0000017"]].concat(), &plan);
    assert_eq!(problem(&slip)["detail"], r#"there is no dimension "employe"; did you mean "employee"?"#);
    let missing = run(&["plan", "check", "-f", "-", "--config", "/nonexistent"], PLAN);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("cannot read /nonexistent: "), "{}", stderr(&missing));
}

#[test]
fn a_slip_in_a_name_is_answered_with_the_right_one_by_every_command() {
    let (daemon, _data) = started();
    daemon.json(&["list", "put", "pilot-branches", "-f", "-"], "B1\n");
    let told = |args: &[&str], right: &str| {
        let output = daemon.cli(args, "");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(
            stderr(&output).contains(&format!("did you mean {right:?}?")),
            "{args:?}: {}",
            stderr(&output)
        );
    };
    told(&["plan", "get", "loan-2026-1"], "loan-2026-11");
    told(&["plan", "delete", "loan-2026-1"], "loan-2026-11");
    told(&["list", "get", "pilot-branchs"], "pilot-branches");
    with_cards(&daemon);
    told(&["plan", "get", "loan-2026-1"], "loan-2026-11");
    told(&["list", "delete", "pilot-branchs"], "pilot-branches");
}

#[test]
fn a_tenant_need_not_be_named_while_only_one_can_be_meant() {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(data.path());
    let put = |args: &[&str]| daemon.cli(&[&["list", "put", "pilots", "-f", "-"], args].concat(), "T1\n");
    let none = put(&[]);
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("there is no tenant yet; name one with --tenant"), "{}", stderr(&none));
    assert_eq!(daemon.json(&["list", "list"], ""), json!([]));

    with_cards(&daemon);
    assert!(put(&[]).status.success(), "there is one tenant, whatever its name");
    assert_eq!(daemon.json(&["list", "list"], "")[0]["tenant"], "cards");

    daemon.json(&["plan", "apply", "-f", "-"], PLAN);
    assert!(stderr(&put(&[])).contains("there are tenants cards, retail; say which with --tenant"));
    assert_eq!(daemon.json(&["list", "get", "pilots"], ""), json!(["T1"]), "one tenant has this list");
    assert!(put(&["--tenant", "retail"]).status.success());
    let both = daemon.cli(&["list", "delete", "pilots"], "");
    assert!(
        stderr(&both).contains(r#"tenants cards, retail have a list "pilots"; say which with --tenant"#),
        "{}",
        stderr(&both)
    );
    daemon.json(&["list", "delete", "pilots", "--tenant", "retail"], "");
    assert_eq!(daemon.json(&["plan", "get", "loan-2026-11"], "")["plan"]["metadata"]["tenant"], "retail");
}

#[test]
fn waiting_for_a_serial_batch_waits_for_its_last_service() {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(data.path());
    daemon.json(&["plan", "apply", "-f", "-"], &PLAN.replace("batch: parallel", "batch: serial"));
    let order = daemon.json(&["order", "start", "loan-2026-11", "--wait"], "");
    assert_eq!(order["services"][1]["stage"], "pilot-tellers", "{order}");
    let order = daemon.json(&["order", "advance", "1", "--wait"], "");
    assert_eq!(order["services"][1]["stage"], "pilot-branch", "{order}");
}

#[test]
fn a_change_that_nobody_can_tell_of_may_have_been_done() {
    for answer in [
        "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nno!",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{",
        "",
    ] {
        let server = answering(answer);
        let change = run(&["--server", &server, "order", "advance", "1"], "");
        assert_eq!(change.status.code(), Some(3), "{answer}");
        assert!(
            stderr(&change).contains("may have been done: read it again"),
            "{answer}: {}",
            stderr(&change)
        );
        let read = run(&["--server", &server, "order", "get", "1"], "");
        assert_eq!(read.status.code(), Some(3), "{answer}");
        assert!(!stderr(&read).contains("may have been done"), "{answer}: {}", stderr(&read));
    }
}

#[test]
fn programs_read_what_is_wrong_as_json() {
    let (daemon, _data) = started();
    let bad = PLAN.replace("percent: 20", "percent: 120");
    let refused = problem(&daemon.cli(&["-o", "json", "plan", "apply", "-f", "-"], &bad));
    assert_eq!((&refused["status"], &refused["title"]), (&json!(422), &json!("invalid")));
    assert_eq!(refused["errors"][0]["path"], "spec.stages[2].scope.percent");
    let missing = problem(&daemon.cli(&["-o", "json", "order", "get", "7"], ""));
    assert_eq!((&missing["status"], &missing["errors"]), (&json!(404), &json!([])));
    let nowhere = problem(&run(&["-o", "json", "--server", "http://127.0.0.1:1", "plan", "list"], ""));
    assert!(nowhere["detail"].as_str().unwrap().contains("cannot reach the daemon"), "{nowhere}");
    let offline =
        problem(&run(&["-o", "json", "explain", "-f", "-", "--stage", "east-20", "--host", LOAN], &bad));
    assert_eq!(offline["errors"][0]["path"], "spec.stages[2].scope.percent");
}

#[test]
fn orders_are_listed_in_short_newest_first_and_not_all() {
    let (daemon, _data) = started();
    with_cards(&daemon);
    for (plan, id) in [("loan-2026-11", "1"), ("cards-2026-11", "2"), ("loan-2026-11", "3")] {
        daemon.json(&["order", "start", plan], "");
        if id == "1" {
            daemon.json(&["order", "rollback", id], "");
            wait_for(&daemon, "RolledBack");
        }
    }
    let ids = |args: &[&str]| -> Vec<Value> {
        let orders = daemon.json(&[&["order", "list"], args].concat(), "");
        orders.as_array().unwrap().iter().map(|order| order["id"].clone()).collect()
    };
    assert_eq!(ids(&[]), [3, 2, 1]);
    assert_eq!(ids(&["--limit", "2"]), [3, 2]);
    assert_eq!(ids(&["--tenant", "retail"]), [3, 1]);
    assert_eq!(ids(&["--tenant", "retail", "--active"]), [3]);
    let order = &daemon.json(&["order", "list"], "")[0];
    assert_eq!(order["stage"], json!({ "name": "pilot-tellers", "number": 1, "of": 4 }));
    assert_eq!((&order["phase"], &order["timeline"]), (&json!("Running"), &Value::Null));
    let text = String::from_utf8(daemon.cli(&["order", "list", "--limit", "2"], "").stdout).unwrap();
    assert!(text.contains("These are 2; see older ones with --before 2"), "{text}");
    for limit in ["0", "1001"] {
        let refused = problem(&daemon.cli(&["-o", "json", "order", "list", "--limit", limit], ""));
        assert_eq!((&refused["status"], &refused["errors"][0]["path"]), (&json!(400), &json!("limit")));
    }
}

#[test]
fn a_baseline_is_cleared_when_the_routes_choose_it() {
    let (daemon, _data) = started();
    daemon.json(&["order", "start", "loan-2026-11"], "");
    (0..3).for_each(|_| drop(daemon.json(&["order", "advance", "1"], "")));
    wait_for(&daemon, "Retained");
    daemon.json(&["order", "finish", "1"], "");
    let names = || -> Vec<Value> {
        let baselines = daemon.json(&["baseline", "list"], "");
        baselines.as_array().unwrap().iter().map(|baseline| baseline["service"].clone()).collect()
    };
    assert_eq!(names(), ["ledger", "loan"]);
    let slip = daemon.cli(&["baseline", "clear", "laon"], "");
    assert_eq!(slip.status.code(), Some(1));
    assert!(stderr(&slip).contains(r#"did you mean "loan"?"#), "{}", stderr(&slip));
    let cleared = daemon.cli(&["baseline", "clear", "loan"], "");
    assert!(String::from_utf8_lossy(&cleared.stdout).contains("the routes choose it now"));
    assert_eq!(names(), ["ledger"]);
    assert_eq!(daemon.json(&["baseline", "list", "--tenant", "cards"], ""), json!([]));
    assert_eq!(daemon.json(&["explain", "--host", LOAN], "")["header"], Value::Null);
}
