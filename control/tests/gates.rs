//! Gates, stop-the-line and faults as their users meet them: the real program, and people with tokens and roles.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;

use daemon::{Daemon, configuration_of, read_until, terminal};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output};

const PLAN: &str = r"
apiVersion: graylane.dev/v1alpha1
kind: ReleasePlan
metadata: { name: loan-2026-11, tenant: retail }
spec:
  owner: release-manager
  batch: serial
  health: { onFault: rollback-service }
  services:
    - { name: loan,   hosts: [loan.local],   stable: v1, gray: v2 }
    - { name: ledger, hosts: [ledger.local], stable: v1, gray: v2, dependsOn: [loan] }
  stages:
    - name: pilot-tellers
      scope: { include: { teller: [T0000017, T0000018] } }
    - name: pilot-branch
      scope: { include: { branch: [B012] } }
      gate: { approvals: [{ role: risk-officer }, { role: branch-manager }] }
    - name: whole-bank
      scope: { all: true }
";

/// Whom the daemon knows, each with a role.
const PEOPLE: [(&str, &str); 4] =
    [("lin", "release-manager"), ("ann", "risk-officer"), ("bob", "branch-manager"), ("sun", "sre")];

/// A daemon, and people who come to it.
struct Desk {
    daemon: Daemon,
    dir: tempfile::TempDir,
    /// What was typed and answered.
    walk: String,
}

impl Desk {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = configuration_of(dir.path(), &PEOPLE);
        let daemon = Daemon::start_with(&dir.path().join("data"), &["--config", config.to_str().unwrap()]);
        Self { daemon, dir, walk: String::new() }
    }

    fn output(&self, name: &str, args: &[&str], input: &str) -> Output {
        let token = self.dir.path().join(name);
        self.daemon.cli(&[args, &["--token-file", token.to_str().unwrap()]].concat(), input)
    }

    /// Does something, which has to succeed.
    fn json(&self, name: &str, args: &[&str], input: &str) -> Value {
        let output = self.output(name, &[args, &["-o", "json"]].concat(), input);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Tries something, which is refused; gives why.
    fn refused(&self, name: &str, args: &[&str], input: &str) -> String {
        let output = self.output(name, args, input);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn started(self) -> Self {
        self.json("lin", &["plan", "apply", "-f", "-"], PLAN);
        self.json("lin", &["order", "start", "loan-2026-11", "--wait"], "");
        self
    }

    /// Types a line, and keeps it with what was answered, but for times and hashes.
    fn types(&mut self, name: &str, line: &str, input: &str) {
        let args: Vec<&str> = line.split(' ').collect();
        let output = self.output(name, &args, input);
        let input = if input.is_empty() { String::new() } else { format!(" <<< '{}'", input.trim()) };
        let answer = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        let _ = write!(self.walk, "{name}$ graylane {line}{input}\n{}\n", steady(&answer));
    }
}

/// A text with times and hashes that are the same each time.
fn steady(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', ':', ';', ')']);
        let tail = &word[bare.len()..];
        let is_hash = bare.len() >= 12 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        match bare.parse::<jiff::Timestamp>() {
            Ok(_) => format!("TIME{tail}"),
            Err(_) if is_hash => format!("HASH{tail}"),
            Err(_) => word.to_owned(),
        }
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n";
    text.lines().map(line).collect()
}

#[test]
fn a_stage_waits_for_its_people_and_the_audit_log_tells_who_approved_what() {
    let desk = Desk::open().started();
    let order = desk.json("lin", &["order", "advance", "1"], "");
    assert_eq!(
        (&order["phase"], &order["waitsFor"]["kind"]),
        (&json!("AwaitingApproval"), &json!("approval"))
    );
    let own = desk.refused("lin", &["order", "approve", "1"], "");
    assert!(own.contains("somebody else has to approve it"), "{own}");
    let role = desk.refused("sun", &["order", "approve", "1"], "");
    assert!(role.contains("it needs risk-officer, branch-manager"), "{role}");
    let hash = order["standingHash"].as_str().unwrap();
    let other = desk.refused("ann", &["order", "approve", "1", "--content", &"0".repeat(64)], "");
    assert!(other.contains(&format!("content {hash} stands now")), "{other}");
    let approve =
        ["order", "approve", "1", "--stage", "pilot-branch", "--content", hash, "--reason", "read it"];
    let order = desk.json("ann", &approve, "");
    assert_eq!(order["nextStage"]["approvals"][0]["by"], json!(["ann"]));
    let order = desk.json("bob", &["order", "approve", "1", "--wait"], "");
    assert_eq!((&order["phase"], &order["stage"]["name"]), (&json!("Running"), &json!("pilot-branch")));

    let records = desk.json("sun", &["audit", "list"], "");
    let approvals: Vec<&Value> =
        records.as_array().unwrap().iter().filter(|record| record["action"] == "order.approve").collect();
    assert_eq!(approvals.len(), 2);
    let first = [&approvals[0]["actor"], &approvals[0]["reason"]];
    assert_eq!(first, [&json!("ann"), &json!("read it")]);
    let what = approvals[0]["after"]["what"][0].as_str().unwrap();
    assert_eq!(what, format!("approved stage \"pilot-branch\" as risk-officer, content {hash}"));
    assert_eq!(approvals[1]["after"]["what"][1], "the gate of stage \"pilot-branch\" is open");
}

#[test]
fn who_may_not_approve_is_told_by_status() {
    let desk = Desk::open().started();
    let order = desk.json("lin", &["order", "advance", "1"], "");
    let status = |name: &str, body: Value| {
        let secret = fs::read_to_string(desk.dir.path().join(name)).unwrap();
        let headers = [
            ("authorization", format!("Bearer {}", secret.trim())),
            ("content-type", "application/json".to_owned()),
        ];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let body = body.to_string();
        desk.daemon.request("POST", "/api/v1/orders/1/approve", &headers, body.as_bytes()).status
    };
    let approval = |content: &Value| json!({ "stage": "pilot-branch", "content": content });
    assert_eq!(status("lin", approval(&order["standingHash"])), 403);
    assert_eq!(status("sun", approval(&order["standingHash"])), 403);
    assert_eq!(status("ann", approval(&json!("older"))), 412);
    assert_eq!(status("ann", json!({})), 422);
    assert_eq!(status("ann", json!({ "content": order["standingHash"], "stage": "whole-bank" })), 409);
    assert_eq!(status("ann", approval(&order["standingHash"])), 200);
}

#[test]
fn a_list_is_the_work_of_who_uploaded_it() {
    let desk = Desk::open();
    desk.json("ann", &["list", "put", "pilots", "--tenant", "retail", "-f", "-"], "T7\nT8\n");
    let plan = PLAN.replace("{ branch: [B012] }", "{ teller: { list: pilots } }");
    desk.json("lin", &["plan", "apply", "-f", "-"], &plan);
    let order = desk.json("sun", &["order", "start", "loan-2026-11", "--wait"], "");
    assert_eq!(order["authors"], json!(["ann", "lin", "sun"]));
    assert!(desk.refused("ann", &["order", "approve", "1"], "").contains("somebody else"));
}

#[test]
fn a_stopped_line_lets_nobody_but_the_exempt_go_forward_and_everybody_back_also_after_a_restart() {
    let desk = Desk::open().started();
    let on = ["freeze", "on", "--tenant", "retail", "--exempt", "sre", "--reason", "payday"];
    desk.json("ann", &on, "");
    let Desk { daemon, dir, walk } = desk;
    daemon.kill();
    let config = dir.path().join("config.yaml");
    let daemon = Daemon::start_with(&dir.path().join("data"), &["--config", config.to_str().unwrap()]);
    let desk = Desk { daemon, dir, walk };
    assert_eq!(desk.json("bob", &["freeze", "list"], "")[0]["exempt"], json!(["sre"]));
    for action in ["advance", "pause", "resume", "approve", "finish"] {
        let told = desk.refused("lin", &["order", action, "1"], "");
        assert!(told.contains("the line of tenant \"retail\" is stopped by ann since"), "{action}: {told}");
        assert!(told.contains("(payday)"), "{told}");
    }
    let told = desk.refused("lin", &["order", "adjust", "1", "-f", "-"], "{ all: true }");
    assert!(told.contains("is stopped"), "{told}");
    assert_eq!(desk.json("lin", &["order", "get", "1"], "")["waitsFor"]["kind"], "thaw");
    assert_eq!(desk.json("sun", &["order", "pause", "1"], "")["phase"], "Paused");
    let back = desk.json("lin", &["order", "rollback", "1", "--wait"], "");
    assert_eq!(back["phase"], "RolledBack");
    let start = desk.refused("lin", &["order", "start", "loan-2026-11"], "");
    assert!(start.contains("is stopped"), "{start}");
    desk.json("bob", &["freeze", "off", "--tenant", "retail"], "");
    assert_eq!(desk.json("lin", &["order", "start", "loan-2026-11"], "")["id"], 2);
}

#[test]
fn a_fault_is_acted_on_and_its_figures_are_in_the_audit_log() {
    let desk = Desk::open().started();
    let figures = "5xx 3.1 % of 400, stable 0.1 % of 9,000";
    let told = desk.json(
        "sun",
        &["order", "health", "1", "faulty", "--service", "ledger", "--figures", figures],
        "",
    );
    let services = [&told["services"][0], &told["services"][1]].map(|service| &service["rolledBack"]);
    assert_eq!(services, [&json!(false), &json!(true)]);
    let records = desk.json("sun", &["audit", "list"], "");
    let record = records.as_array().unwrap().last().unwrap().clone();
    assert_eq!((&record["action"], &record["actor"]), (&json!("order.health"), &json!("sun")));
    let what = record["after"]["what"].to_string();
    assert!(what.contains(figures) && what.contains("rolled back ledger"), "{what}");
}

#[test]
fn the_walk_of_a_serial_order_is_as_it_was_recorded() {
    let mut desk = Desk::open();
    desk.json("lin", &["plan", "apply", "-f", "-"], PLAN);
    for (name, line, input) in [
        ("lin", "order start loan-2026-11 --wait", ""),
        ("lin", "order advance 1", ""),
        ("lin", "order approve 1", ""),
        ("ann", "order approve 1 --stage pilot-branch", ""),
        ("lin", "order adjust 1 -f - --reason narrower", "{ include: { teller: [T0000017] } }"),
        ("ann", "order approve 1 --stage pilot-branch", ""),
        ("bob", "order approve 1 --wait", ""),
        ("lin", "order pause 1 --reason lunch", ""),
        ("lin", "order advance 1", ""),
        ("lin", "order resume 1", ""),
        ("lin", "order rollback 1 --service ledger --reason sums", ""),
        ("lin", "order rollback 1 --reason interest --wait", ""),
        ("sun", "audit verify", ""),
    ] {
        desk.types(name, line, input);
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/walk.txt");
    if std::env::var_os("UPDATE_SURFACE").is_some() {
        fs::write(file, &desk.walk).unwrap();
    }
    assert_eq!(desk.walk, fs::read_to_string(file).unwrap(), "set UPDATE_SURFACE=1 to record it again");
}

#[test]
fn an_order_that_is_watched_on_a_terminal_is_a_tree_that_stays_in_its_place() {
    let desk = Desk::open().started();
    let (mut shown, screen) = terminal();
    let mut command = Command::new(env!("CARGO_BIN_EXE_graylane"));
    command.args(["--server", &desk.daemon.server, "order", "get", "1", "--watch", "--token-file"]);
    let mut watching = command.arg(desk.dir.path().join("sun")).stdout(screen).spawn().unwrap();
    drop(command);
    let mut text = Vec::new();
    let mut read_until = |wanted: &str| read_until(&mut shown, &mut text, wanted);
    let before = read_until("└─ last");
    assert!(
        before.contains("waits for `order advance` to stage \"pilot-branch\"") && !before.contains('\x1b')
    );
    desk.json("lin", &["order", "rollback", "1"], "");
    let after = read_until("rolled back everywhere");
    let lines = before.lines().count();
    assert!(after.contains(&format!("\x1b[{lines}F\x1b[Jorder 1 of plan")), "{after:?}");
    assert!(watching.wait().unwrap().success(), "it ends with the order");
}
