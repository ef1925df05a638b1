//! Lists of a million ids, and rules that are too large, through the real program.

use crate::daemon::{run, terminal};
use crate::{started, stderr};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The most ids of a rule set that proxies load take about twice this.
const LARGE: u64 = 40_000;

/// Different ids of eight digits in no order, one per line.
fn tellers(count: u64) -> String {
    (0..count).fold(String::new(), |mut text, at| {
        let _ = writeln!(text, "T{:08}", at * 61_803_399 % 100_000_007);
        text
    })
}

/// Ids of 256 bytes that no form makes shorter, one per line.
fn long_ids(from: u64, count: u64) -> String {
    let id = |at: u64| format!("{:016x}x", at.wrapping_mul(0x9E37_79B9_7F4A_7C15)).repeat(15) + "x\n";
    (from..from + count).map(id).collect()
}

/// A plan for one service, whose stages have these scopes.
fn plan(name: &str, scopes: &[&str]) -> String {
    let stages = scopes.iter().enumerate().map(|(at, scope)| format!("{{ name: s{at}, scope: {scope} }}"));
    let stages = stages.collect::<Vec<_>>().join(", ");
    format!(
        "apiVersion: graylane.dev/v1alpha1\nkind: ReleasePlan\nmetadata: {{ name: {name}, tenant: retail }}\n\
         spec: {{ owner: o, services: [{{ name: {name}, hosts: [{name}.local], stable: v1, gray: v2 }}], \
         stages: [{stages}] }}\n"
    )
}

fn file_of(dir: &Path, text: impl AsRef<[u8]>) -> PathBuf {
    let file = dir.join("ids.csv");
    fs::write(&file, text).unwrap();
    file
}

/// What a command writes to a terminal that is its standard error.
fn told_on_a_terminal(args: &[&str]) -> String {
    let (mut terminal, screen) = terminal();
    let reader = std::thread::spawn(move || {
        let (mut told, mut part) = (Vec::new(), [0; 4_096]);
        // Reading fails when the last program that has the terminal open is gone.
        while let Ok(count @ 1..) = terminal.read(&mut part) {
            told.extend_from_slice(&part[..count]);
        }
        String::from_utf8_lossy(&told).into_owned()
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_graylane"));
    let output =
        command.args(args).env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(screen);
    assert!(output.status().unwrap().success(), "{args:?}");
    drop(command);
    reader.join().unwrap()
}

#[test]
fn a_million_ids_are_taken_and_served_in_less_memory_than_ten_times_their_text() {
    let (daemon, data) = started();
    let text = tellers(1_000_000);
    let file = file_of(data.path(), &text);
    let list = daemon.json(&["list", "put", "million", "-f", file.to_str().unwrap()], "");
    assert_eq!(list["ids"], 1_000_000);
    daemon
        .json(&["plan", "apply", "-f", "-"], &plan("bulk", &["{ include: { teller: { list: million } } }"]));
    daemon.json(&["order", "start", "bulk"], "");
    let explained = daemon.json(&["explain", "--host", "bulk.local", "--teller", "T61803399"], "");
    assert_eq!(explained["version"], "v2");
    let (peak, limit) = (daemon.memory_peak(), 10 * text.len());
    println!("the daemon had {peak} bytes at most, of {limit}");
    assert!(peak < limit, "{peak} bytes, ten times the text are {limit}");
}

#[test]
fn a_file_as_spreadsheets_and_databases_write_it_is_read() {
    let (daemon, _data) = started();
    let csv = "\u{feff}\"Teller_ID\",\"name\"\r\n\"T1\",\"a, \"\"b\"\"\"\r\n# pilots\r\n\r\n T2 ,x,y\r\nT1,twice\r\n";
    assert_eq!(daemon.json(&["list", "put", "pilots", "-f", "-"], csv)["ids"], 2);
    assert_eq!(daemon.json(&["list", "get", "pilots"], ""), json!(["T1", "T2"]));

    let path = "/api/v1/tenants/retail/lists/wrong";
    let bad = format!("id\nT1\n,nobody\n{}\n", "x".repeat(257));
    let refused = daemon.request("PUT", path, &[], bad.as_bytes());
    assert_eq!(refused.status, 422);
    let errors = refused.json["errors"].as_array().unwrap();
    let told = |at: usize| errors[at]["message"].as_str().unwrap();
    assert!(told(0).contains("the first column is empty") && told(0).ends_with("(line 3)"), "{}", told(0));
    assert!(told(1).contains("257 bytes long, over the limit of 256"), "{}", told(1));
    assert!(told(1).ends_with("shorten it (line 4)"), "{}", told(1));

    let gbk = [b"T1\nT2\n".as_slice(), &[0xb9, 0xf1, 0xd4, 0xb1], b"\n"].concat();
    let refused = daemon.request("PUT", path, &[], &gbk);
    assert_eq!(refused.status, 400);
    let detail = refused.json["detail"].as_str().unwrap();
    assert!(detail.contains("byte 6, in line 3, is no UTF-8; save it as UTF-8"), "{detail}");
    assert_eq!(daemon.json(&["list", "list"], "").as_array().unwrap().len(), 1);
}

#[test]
fn a_list_that_no_proxy_could_load_is_refused_with_both_figures() {
    let (daemon, data) = started();
    let file = file_of(data.path(), vec![b'\n'; (64 << 20) + 1]);
    let long = daemon.cli(&["list", "put", "long", "-f", file.to_str().unwrap()], "");
    assert_eq!(long.status.code(), Some(1));
    assert!(
        stderr(&long).contains("has 67108865 bytes, over the limit of 67108864; split it in two"),
        "{}",
        stderr(&long)
    );
    let many = long_ids(0, 70_000);
    let refused = daemon.request("PUT", "/api/v1/tenants/retail/lists/many", &[], many.as_bytes());
    assert_eq!(refused.status, 422);
    let error = refused.json["errors"][0]["message"].as_str().unwrap();
    assert!(
        error.starts_with("rules with these 70000 ids take 17")
            && error.contains("over the limit of 16777216 that proxies load; use shorter or fewer ids"),
        "{error}"
    );
    assert_eq!(daemon.json(&["list", "list"], ""), json!([]));
}

/// Each of the plans fits, and two of them do not.
#[test]
fn rules_that_are_too_large_together_are_refused_before_a_push_and_nothing_is_half_done() {
    let (daemon, data) = started();
    for (name, from) in [("one", 0), ("other", LARGE)] {
        let file = file_of(data.path(), long_ids(from, LARGE));
        daemon.json(&["list", "put", name, "-f", file.to_str().unwrap()], "");
    }
    let (one, other) = ("{ include: { teller: { list: one } } }", "{ include: { teller: { list: other } } }");
    for (name, scopes) in [
        ("a", [one, "{ all: true }"]),
        ("b", ["{ include: { teller: [T1] } }", other]),
        ("c", [other, "{ all: true }"]),
    ] {
        daemon.json(&["plan", "apply", "-f", "-"], &plan(name, &scopes));
    }
    daemon.json(&["order", "start", "a"], "");
    daemon.json(&["order", "start", "b"], "");
    let state = || -> (Value, Value, Value) {
        let rules = daemon.request("GET", "/api/v1/tenants/retail/rules", &[], b"").json;
        (rules, daemon.json(&["order", "list"], ""), daemon.json(&["order", "get", "2"], ""))
    };
    let before = state();
    let json = [("content-type", "application/json")];
    let adjusted = json!({ "scope": other }).to_string();
    for (path, body) in [
        ("/api/v1/orders", r#"{"plan":"c"}"#),
        ("/api/v1/orders/2/advance", "{}"),
        ("/api/v1/orders/2/adjust", &adjusted),
    ] {
        let refused = daemon.request("POST", path, &json, body.as_bytes());
        assert_eq!(refused.status, 422, "{path}: {}", refused.json);
        let detail = refused.json["detail"].as_str().unwrap();
        assert!(
            detail.contains("bytes of the rule set: 20") && detail.contains("is over the limit of 16777216"),
            "{path}: {detail}"
        );
        assert!(detail.contains("finish or roll back another one first"), "{path}: {detail}");
        assert_eq!(state(), before, "{path}");
    }
    let refused = daemon.cli(&["order", "advance", "2"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("is over the limit of 16777216"), "{}", stderr(&refused));
    daemon.json(&["order", "rollback", "1"], "");
    daemon.wait_for("1", "RolledBack");
    assert_eq!(daemon.json(&["order", "advance", "2"], "")["stage"]["name"], "s1");
}

#[test]
fn an_upload_shows_how_far_it_got_on_a_terminal_and_nowhere_else() {
    let (daemon, data) = started();
    let put = |name: &'static str, file: &Path| -> Vec<String> {
        ["--server", &daemon.server, "list", "put", name, "-f", file.to_str().unwrap()]
            .map(String::from)
            .into()
    };
    let long = file_of(data.path(), tellers(200_000));
    let args = put("a", &long);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let told = told_on_a_terminal(&args);
    assert!(told.contains("% of 1.91 MiB") || told.contains("1.91 MiB sent; the daemon checks"), "{told:?}");
    assert!(told.ends_with("\u{1b}[2K") || told.ends_with('\r'), "the line goes away: {told:?}");

    assert_eq!(told_on_a_terminal(&[&args, ["-o", "json"].as_slice()].concat()), "");
    let piped = run(&args, "");
    assert!(piped.status.success() && piped.stderr.is_empty(), "{}", stderr(&piped));
    let short = file_of(data.path(), "T1\n");
    let args = put("b", &short);
    assert_eq!(told_on_a_terminal(&args.iter().map(String::as_str).collect::<Vec<_>>()), "");
}
