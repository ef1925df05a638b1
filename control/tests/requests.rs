//! What comes with an action beside its body: why, on which version, and by which key it is known when it is sent again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;

use daemon::{Answer, Daemon, run};
use serde_json::{Value, json};
use std::io::{Read as _, copy};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");
const START: &str = r#"{"plan":"loan-2026-11","reason":"November"}"#;

fn started() -> (Daemon, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(data.path());
    daemon.json(&["plan", "apply", "-f", "-"], PLAN);
    (daemon, data)
}

/// Makes a request by hand, with a key.
fn ask(daemon: &Daemon, (method, path): (&str, &str), key: &str, body: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    daemon.request(method, &format!("/api/v1{path}"), &headers, body.as_bytes())
}

fn is_repeat(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

fn actions(daemon: &Daemon) -> Vec<String> {
    let records = daemon.json(&["audit", "list"], "");
    records.as_array().unwrap().iter().map(|record| record["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_call_that_is_repeated_after_kill_minus_nine_gives_one_order() {
    let (daemon, data) = started();
    let first = ask(&daemon, ("POST", "/orders"), "\"k1\"", START);
    assert!(first.status == 200 && !is_repeat(&first), "{}", first.json);
    daemon.kill();

    let daemon = Daemon::start(data.path());
    let again = ask(&daemon, ("POST", "/orders"), "\"k1\"", START);
    assert!(again.status == 200 && is_repeat(&again), "{}", again.json);
    assert_eq!(again.json, first.json);
    assert_eq!(daemon.json(&["order", "list"], "").as_array().unwrap().len(), 1);
    assert_eq!(actions(&daemon), ["tenant.set", "plan.apply", "order.start"]);
    let other = ask(&daemon, ("POST", "/orders"), "k1", &START.replace("November", "December"));
    assert_eq!((other.status, &other.json["title"]), (422, &json!("idempotency key reused")));
    let fresh = ask(&daemon, ("POST", "/orders"), "k2", START);
    assert_eq!((fresh.status, &fresh.json["title"]), (409, &json!("service held by another order")));
}

#[test]
fn every_action_that_is_repeated_is_done_once() {
    let (daemon, data) = started();
    let slip = PLAN.replace("loan-2026-11", "loan-2026-12").replace("hold: 30m", "hold: 40m");
    let calls = [
        (("POST", "/plans"), slip.as_str(), 200),
        (("PUT", "/tenants/retail/lists/pilots"), "T7\nT8\n", 200),
        (("POST", "/orders"), START, 200),
        (("POST", "/orders/1/adjust"), r#"{"scope":"{ include: { teller: [T1] } }"}"#, 200),
        (("POST", "/orders/1/pause"), "{}", 200),
        (("POST", "/orders/1/pause"), "{}", 200),
        (("POST", "/orders/1/resume"), "{}", 200),
        (("POST", "/orders/1/rollback"), r#"{"services":["ledger"]}"#, 200),
        (("DELETE", "/tenants/retail/plans/loan-2026-12"), "", 204),
        (("DELETE", "/tenants/retail/lists/pilots"), "", 204),
    ];
    for (number, (call, body, status)) in calls.iter().enumerate() {
        let answer = ask(&daemon, *call, &format!("key-{number}"), body);
        assert_eq!((answer.status, is_repeat(&answer)), (*status, false), "{call:?}: {}", answer.json);
    }
    let (order, done) = (daemon.json(&["order", "get", "1"], ""), actions(&daemon));
    daemon.kill();
    let daemon = Daemon::start(data.path());
    for (number, (call, body, status)) in calls.iter().enumerate() {
        let answer = ask(&daemon, *call, &format!("key-{number}"), body);
        assert_eq!((answer.status, is_repeat(&answer)), (*status, true), "{call:?}: {}", answer.json);
        if call.1.starts_with("/orders") {
            assert_eq!(answer.json["version"], order["version"], "the order as it is now");
        }
    }
    assert_eq!(actions(&daemon), done);
    assert!(daemon.json(&["audit", "verify"], "")["records"].is_u64());
}

#[test]
fn what_was_refused_may_be_asked_again() {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(data.path());
    assert_eq!(ask(&daemon, ("POST", "/orders"), "k", START).status, 404);
    daemon.json(&["plan", "apply", "-f", "-"], PLAN);
    let answer = ask(&daemon, ("POST", "/orders"), "k", START);
    assert_eq!((answer.status, is_repeat(&answer)), (200, false));
    for key in ["", "\"\"", "键", &"k".repeat(256)] {
        let answer = ask(&daemon, ("POST", "/orders/1/pause"), key, "{}");
        assert_eq!(
            (answer.status, &answer.json["errors"][0]["path"]),
            (400, &json!("idempotency-key")),
            "{key}"
        );
    }
    assert_eq!(daemon.json(&["order", "get", "1"], "")["phase"], "Running");
}

#[test]
fn of_calls_at_the_same_time_with_one_key_one_acts_and_all_are_answered_alike() {
    let (daemon, _data) = started();
    let together = Barrier::new(8);
    let answers: Vec<(u16, Value, bool)> = std::thread::scope(|scope| {
        let ask = || {
            together.wait();
            let answer = ask(&daemon, ("POST", "/orders"), "one", START);
            (answer.status, answer.json["id"].clone(), is_repeat(&answer))
        };
        let askers: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|(status, id, _)| (*status, id) == (200, &json!(1))), "{answers:?}");
    assert_eq!(answers.iter().filter(|(.., is_repeat)| !is_repeat).count(), 1);
    assert_eq!(daemon.json(&["order", "list"], "").as_array().unwrap().len(), 1);
}

#[test]
fn of_two_operators_with_one_version_the_second_gets_412_and_the_first_may_ask_again() {
    let (daemon, _data) = started();
    daemon.json(&["order", "start", "loan-2026-11"], "");
    let advance = |key: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key), ("if-match", "\"1\"")];
        daemon.request("POST", "/api/v1/orders/1/advance", &headers, b"{}")
    };
    assert_eq!(advance("ann").status, 200);
    let late = advance("bob");
    assert_eq!((late.status, &late.json["title"]), (412, &json!("stale version")));
    let again = advance("ann");
    assert!(again.status == 200 && is_repeat(&again));
    assert_eq!(again.json["stage"]["name"], "pilot-branch", "nobody skipped a stage");
}

#[test]
fn a_version_is_refused_where_nothing_has_one_and_not_passed_over() {
    let (daemon, _data) = started();
    let headers = [("content-type", "application/json"), ("if-match", "\"1\"")];
    for (method, path, body) in [
        ("POST", "/api/v1/orders", &br#"{"plan": "loan-2026-11"}"#[..]),
        ("PUT", "/api/v1/tenants/retail/freeze", b"{}"),
        ("DELETE", "/api/v1/tenants/retail/freeze", b"{}"),
        ("DELETE", "/api/v1/tenants/retail/baselines/loan", b""),
    ] {
        let answer = daemon.request(method, path, &headers, body);
        assert_eq!((answer.status, &answer.json["errors"][0]["path"]), (400, &json!("If-Match")), "{path}");
    }
    assert_eq!(daemon.json(&["order", "list"], ""), json!([]));
}

#[test]
fn what_is_asked_again_after_each_of_many_kills_is_done_once_and_nothing_is_lost() {
    let data = tempfile::tempdir().unwrap();
    let answered = AtomicUsize::new(0);
    let mut repeats = 0;
    // One kill after the other comes a little later in an action: before its commit, in it, and after it.
    for round in 0..24 {
        let daemon = Daemon::start(data.path());
        let first = answered.load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut repeats = 0;
                while let Some(is_repeat) = act(&daemon.server, answered.load(Ordering::SeqCst)) {
                    repeats += usize::from(is_repeat);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                repeats
            });
            while answered.load(Ordering::SeqCst) < first + 2 {
                std::thread::yield_now();
            }
            let cut = Instant::now() + round * Duration::from_micros(400);
            while Instant::now() < cut {
                std::thread::yield_now();
            }
            daemon.cut();
            repeats += asking.join().unwrap();
        });
    }
    let daemon = Daemon::start(data.path());
    let count = answered.load(Ordering::SeqCst) + 1;
    for number in 0..count {
        let is_last = number + 1 == count;
        assert!(act(&daemon.server, number).unwrap() || is_last, "action {number} was answered and is lost");
    }
    let records = daemon.json(&["audit", "list", "--limit", "1000"], "");
    let done = |record: &Value| {
        format!("{} {}", record["action"].as_str().unwrap(), record["object"].as_str().unwrap())
    };
    let done: Vec<String> = records.as_array().unwrap()[1..].iter().map(done).collect();
    let asked = |number: usize| match number % 2 {
        0 => format!("list.put list n{number} of retail"),
        _ => format!("list.delete list n{} of retail", number - 1),
    };
    assert_eq!(done, (0..count).map(asked).collect::<Vec<_>>(), "each once and in order; {repeats} repeats");
}

/// Puts a list, or deletes the one before, with a key of its own. Gives whether that was done before; nothing when the
/// answer is lost. A deletion that is done twice is refused.
fn act(server: &str, number: usize) -> Option<bool> {
    let lists = format!("{server}/api/v1/tenants/retail/lists");
    let key = format!("key-{number}");
    let answer = match number % 2 {
        0 => ureq::put(format!("{lists}/n{number}")).header("idempotency-key", key).send("T1\n"),
        _ => ureq::delete(format!("{lists}/n{}", number - 1)).header("idempotency-key", key).call(),
    };
    assert!(!matches!(answer, Err(ureq::Error::StatusCode(_))), "action {number}: {answer:?}");
    answer.ok().map(|answer| answer.headers().contains_key("idempotent-replayed"))
}

/// Passes connections on to a server, and loses the answers of the first `lost`.
fn losing(server: &str, lost: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, to) = (listener.local_addr().unwrap(), server.strip_prefix("http://").unwrap().to_owned());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut daemon) = (client.unwrap(), TcpStream::connect(&to).unwrap());
            let (mut asks, mut asked) = (client.try_clone().unwrap(), daemon.try_clone().unwrap());
            let is_lost = count.fetch_add(1, Ordering::SeqCst) < lost;
            std::thread::spawn(move || copy(&mut asks, &mut asked));
            std::thread::spawn(move || match is_lost {
                // The answer is on its way, so the action is done.
                true => drop((daemon.read(&mut [0]), client.shutdown(std::net::Shutdown::Both))),
                false => drop(copy(&mut daemon, &mut client)),
            });
        }
    });
    (format!("http://{address}"), connections)
}

#[test]
fn the_command_line_asks_once_more_when_the_answer_is_lost_and_acts_once() {
    let (daemon, _data) = started();
    let (server, connections) = losing(&daemon.server, 1);
    let started = run(&["--server", &server, "-o", "json", "order", "start", "loan-2026-11"], "");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    assert_eq!(serde_json::from_slice::<Value>(&started.stdout).unwrap()["id"], 1);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    let ids: String = (0..200_000).map(|id| format!("T{id:07}\n")).collect();
    let (server, _) = losing(&daemon.server, 1);
    let put = run(&["--server", &server, "list", "put", "pilots", "--tenant", "retail", "-f", "-"], &ids);
    assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
    assert_eq!(actions(&daemon), ["tenant.set", "plan.apply", "order.start", "list.put"]);

    let (server, connections) = losing(&daemon.server, 9);
    let paused = run(&["--server", &server, "order", "pause", "1"], "");
    assert_eq!((paused.status.code(), connections.load(Ordering::SeqCst)), (Some(3), 2), "not for ever");
    assert!(String::from_utf8_lossy(&paused.stderr).contains("may have been done"));
    assert_eq!(actions(&daemon).iter().filter(|action| *action == "order.pause").count(), 1);
}

#[test]
fn every_action_has_a_reason_in_any_script_and_within_its_limit() {
    let (daemon, _data) = started();
    daemon.json(&["order", "start", "loan-2026-11", "--reason", "开始"], "");
    let reason = ["--reason", "月末 100%"];
    let act = |args: &[&str], input: &str| daemon.json(&[args, &reason].concat(), input);
    act(&["plan", "apply", "-f", "-"], &PLAN.replace("loan-2026-11", "loan-2026-12"));
    act(&["plan", "delete", "loan-2026-12"], "");
    act(&["list", "put", "pilots", "-f", "-"], "T7\n");
    act(&["list", "delete", "pilots", "--tenant", "retail"], "");
    for _ in 1..4 {
        act(&["order", "advance", "1"], "");
    }
    daemon.wait_for("1", "Retained");
    act(&["order", "finish", "1"], "");
    act(&["baseline", "clear", "loan"], "");
    let records = daemon.json(&["audit", "list"], "");
    let by_people =
        |record: &&Value| record["number"].as_u64() > Some(3) && record["action"] != "order.follow";
    for record in records.as_array().unwrap().iter().filter(by_people) {
        assert_eq!(record["reason"], "月末 100%", "{record}");
    }

    let done = actions(&daemon);
    let long = "x".repeat(1_025);
    for (method, path, body) in [
        ("POST", "/plans", PLAN),
        ("DELETE", "/tenants/retail/plans/loan-2026-11", ""),
        ("PUT", "/tenants/retail/lists/pilots", "T7\n"),
        ("DELETE", "/tenants/retail/lists/pilots", ""),
        ("DELETE", "/tenants/retail/baselines/ledger", ""),
        ("POST", "/orders", START.replace("November", "").as_str()),
        ("POST", "/orders/1/rollback", "{}"),
    ] {
        let ask = |reason: &str| {
            let headers = [("content-type", "application/json"), ("graylane-reason", reason)];
            daemon.request(method, &format!("/api/v1{path}"), &headers, body.as_bytes())
        };
        let answer = ask(&long);
        assert_eq!(answer.status, 422, "{method} {path}: {}", answer.json);
        assert!(answer.json["detail"].as_str().unwrap().contains("limit of 1024"), "{}", answer.json);
        assert_eq!(ask("100%").status, 400, "{method} {path}");
    }
    assert_eq!(actions(&daemon), done, "what was refused changed nothing");
}
