//! Webhooks of the real program, to a real receiver that fails and recovers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;
mod receiver;

use daemon::{Daemon, run};
use receiver::{Conduct, Heard, PATIENCE, Receiver, python};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");
const EXAMPLE: &str = include_str!("../examples/webhooks.yaml");

/// The folder of secrets in the example.
const FOLDER_IN_EXAMPLE: &str = "/etc/graylane/webhooks";

/// The secret of the reference libraries of Standard Webhooks.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Checks signatures with nothing of ours: reads the secret and the requests, and prints how many it checked.
const JUDGE: &str = r#"
import base64, hashlib, hmac, json, sys
told = json.load(sys.stdin)
key = base64.b64decode(told["secret"].removeprefix("whsec_"))
for heard in told["heard"]:
    signed = f'{heard["id"]}.{heard["timestamp"]}.{heard["body"]}'.encode()
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert hmac.compare_digest(wanted, heard["signature"]), heard
print(len(told["heard"]))
"#;

/// A directory with the daemon's data, its configuration and its secrets.
struct Bank(tempfile::TempDir);

impl Bank {
    fn new() -> Self {
        let bank = Self(tempfile::tempdir().unwrap());
        bank.write("secret", SECRET);
        bank
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// A daemon with these webhooks. `SECRET` stands for the file with the secret.
    fn daemon(&self, webhooks: &[String]) -> Daemon {
        let webhooks = webhooks.join(", ").replace("SECRET", self.path("secret").to_str().unwrap());
        let config = self.write("config.yaml", &format!("webhooks: [{webhooks}]\n"));
        Daemon::start_with(&self.path("data"), &["--config", config.to_str().unwrap()])
    }
}

/// A plain webhook to a receiver.
fn webhook(name: &str, receiver: &Receiver, more: &str) -> String {
    format!("{{ name: {name}, url: 'http://{}/hook', secretFile: SECRET{more} }}", receiver.address)
}

fn order(daemon: &Daemon, verb: &str) {
    daemon.json(&["order", verb, "1"], "");
}

fn start_order(daemon: &Daemon) {
    daemon.json(&["plan", "apply", "-f", "-"], PLAN);
    daemon.json(&["order", "start", "loan-2026-11"], "");
}

/// The types of what was taken, each once, in the order in which it came first.
fn taken(heard: &[Heard]) -> Vec<String> {
    let mut ids = Vec::new();
    let first = |heard: &&Heard| {
        let id = heard.headers["webhook-id"].clone();
        let is_new = heard.taken && !ids.contains(&id);
        ids.push(id);
        is_new
    };
    let first: Vec<&Heard> = heard.iter().filter(|heard| heard.taken).filter(first).collect();
    first.iter().map(|heard| heard.json()["type"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the receiver took an event of this type.
fn until_taken(receiver: &Receiver, kind: &str) -> Vec<Heard> {
    receiver.wait_until(|heard| taken(heard).iter().any(|taken| taken == kind))
}

/// Waits until the receiver heard so much more than before, and takes nothing of it.
fn until_failed(receiver: &Receiver, times: usize) {
    let before = receiver.heard().len();
    receiver.wait_until(|heard| heard.len() >= before + times);
}

/// Has Python check every signature.
fn judge(heard: &[Heard]) {
    let request = |heard: &Heard| {
        let header = |name: &str| heard.headers[name].clone();
        json!({
            "id": header("webhook-id"),
            "timestamp": header("webhook-timestamp"),
            "signature": header("webhook-signature"),
            "body": heard.text(),
        })
    };
    let told = json!({ "secret": SECRET, "heard": heard.iter().map(request).collect::<Vec<_>>() });
    assert_eq!(python(JUDGE, &told), heard.len().to_string());
}

#[test]
fn every_event_comes_signed_and_in_order_through_failures_and_kills() {
    let (bank, receiver) = (Bank::new(), Receiver::plain());
    let webhooks = [webhook("desk", &receiver, "")];
    let daemon = bank.daemon(&webhooks);
    start_order(&daemon);
    until_taken(&receiver, "order.started");

    receiver.conduct(Conduct::Refuse(500, String::new(), "broken".into()));
    order(&daemon, "pause");
    until_failed(&receiver, 2);
    daemon.kill();
    receiver.conduct(Conduct::Close);
    let daemon = bank.daemon(&webhooks);
    order(&daemon, "resume");
    until_failed(&receiver, 2);
    receiver.conduct(Conduct::Hang(Duration::from_millis(300)));
    until_failed(&receiver, 1);
    order(&daemon, "rollback");
    daemon.wait_for("1", "RolledBack");
    daemon.kill();
    let daemon = bank.daemon(&webhooks);
    until_failed(&receiver, 1);
    receiver.conduct(Conduct::Take(String::new()));
    let heard = until_taken(&receiver, "order.rolledBack");

    let told = ["order.started", "order.paused", "order.resumed", "order.rollingBack", "order.rolledBack"];
    assert_eq!(taken(&heard), told);
    judge(&heard);
    let records = daemon.json(&["audit", "list"], "");
    for heard in &heard {
        let data = &heard.json()["data"];
        let record = &records[data["record"].as_u64().unwrap() as usize - 1];
        assert_eq!((&record["actor"], &record["at"]), (&data["actor"], &heard.json()["timestamp"]));
        let id = format!("msg_{}", &record["hash"].as_str().unwrap()[..32]);
        assert_eq!(heard.headers["webhook-id"], id, "the same at each try");
        assert!(
            data["text"].as_str().unwrap().starts_with("order 1 of plan loan-2026-11, tenant retail, is ")
        );
    }
    assert!(!heard.iter().any(|heard| heard.text().contains("T0000017")), "no teller is named");

    let mut listed = daemon.json(&["webhook", "list"], "");
    let deadline = Instant::now() + PATIENCE;
    while listed[0]["record"] != records.as_array().unwrap().len() {
        assert!(Instant::now() < deadline, "{listed}");
        listed = daemon.json(&["webhook", "list"], "");
    }
    let expected = json!([{
        "name": "desk", "host": format!("http://{}", receiver.address), "format": "json", "events": [], "tenants": [],
        "record": records.as_array().unwrap().len(),
    }]);
    assert_eq!(listed, expected);
    let count = receiver.heard().len();
    daemon.kill();
    let daemon = bank.daemon(&webhooks);
    daemon.json(&["webhook", "test", "desk"], "");
    let heard = receiver.heard();
    assert_eq!(
        (heard.len(), &heard[count].json()["type"]),
        (count + 1, &json!("webhook.test")),
        "nothing twice"
    );
}

#[test]
fn a_receiver_that_hangs_holds_up_no_other_one_and_no_action() {
    let (bank, swift) = (Bank::new(), Receiver::plain());
    let hanging: Vec<Receiver> = (0..9).map(|_| Receiver::plain()).collect();
    let mut webhooks = vec![webhook("swift", &swift, "")];
    for (number, receiver) in hanging.iter().enumerate() {
        receiver.conduct(Conduct::Hang(Duration::from_secs(60)));
        webhooks.push(webhook(&format!("hanging-{number}"), receiver, ""));
    }
    let daemon = bank.daemon(&webhooks);
    let begun = Instant::now();
    start_order(&daemon);
    for receiver in &hanging {
        receiver.wait_until(|heard| !heard.is_empty());
    }
    order(&daemon, "pause");
    order(&daemon, "resume");
    order(&daemon, "rollback");
    until_taken(&swift, "order.rolledBack");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(daemon.terminate(), "nor the daemon's end");
}

#[test]
fn a_webhook_begins_when_it_comes_and_is_told_what_it_is_for() {
    let (bank, all, some) = (Bank::new(), Receiver::plain(), Receiver::plain());
    let daemon = bank.daemon(&[]);
    start_order(&daemon);
    daemon.kill();
    let of_cards = webhook("cards", &some, ", tenants: [cards]");
    let daemon = bank.daemon(&[
        webhook("all", &all, ""),
        webhook("some", &some, ", events: [order.resumed], tenants: [retail]"),
        of_cards.clone(),
    ]);
    order(&daemon, "pause");
    order(&daemon, "resume");
    assert_eq!(taken(&until_taken(&all, "order.resumed")), ["order.paused", "order.resumed"]);
    assert_eq!(taken(&until_taken(&some, "order.resumed")), ["order.resumed"]);
    daemon.kill();
    let daemon = bank.daemon(&[of_cards]);
    order(&daemon, "pause");
    daemon.kill();
    let daemon = bank.daemon(&[webhook("all", &all, "")]);
    order(&daemon, "resume");
    let heard = all.wait_until(|heard| heard.len() >= 3);
    assert_eq!(taken(&heard), ["order.paused", "order.resumed", "order.resumed"], "it began anew");
}

#[test]
fn a_robot_that_refuses_in_its_answer_is_told_again_and_nothing_shows_its_secrets() {
    let (bank, receiver) = (Bank::new(), Receiver::plain());
    let url = format!("http://{}/robot/send?access_token=t0ps3cret", receiver.address);
    let url = bank.write("url", &url);
    let robot_secret = bank.write("robot-secret", "SECs3cret\n");
    let [url, robot_secret] = [&url, &robot_secret].map(|path| path.to_str().unwrap().replace("SECRET", ""));
    let robot =
        format!("{{ name: robot, format: dingtalk, urlFile: '{url}', secretFile: '{robot_secret}' }}");
    receiver.conduct(Conduct::Take(r#"{"errcode":130101,"errmsg":"send too fast"}"#.into()));
    let daemon = bank.daemon(&[robot]);
    start_order(&daemon);
    let refused = receiver.wait_until(|heard| heard.len() >= 2);
    let listed = daemon.json(&["webhook", "list"], "");
    assert_eq!(listed[0]["problem"], r#"it answered 200 OK: {"errcode":130101,"errmsg":"send too fast"}"#);
    assert!(listed[0]["undeliveredSince"].is_string());
    let tried = daemon.cli(&["webhook", "test", "robot"], "");
    let told = String::from_utf8(tried.stderr).unwrap();
    assert!(told.contains("did not take the test: it answered 200 OK: {\"errcode\":130101"), "{told}");
    let figures = daemon.request("GET", "/metrics", &[], b"").text;
    let figure = |name: &str| {
        figures.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse::<f64>().unwrap()
    };
    let failed = figure("graylane_webhook_deliveries_total{webhook=\"robot\",result=\"failed\"}");
    assert!(failed >= 1.0 && figure("graylane_webhook_lag_seconds{webhook=\"robot\"}") > 0.0, "{figures}");

    receiver.conduct(Conduct::Take(r#"{"errcode":0,"errmsg":"ok"}"#.into()));
    let count = receiver.heard().len();
    let heard = receiver.wait_until(|heard| heard.len() > count);
    let delivered = "graylane_webhook_deliveries_total{webhook=\"robot\",result=\"delivered\"} 1\n";
    let deadline = Instant::now() + PATIENCE;
    while !daemon.request("GET", "/metrics", &[], b"").text.contains(delivered) {
        assert!(Instant::now() < deadline);
    }
    let text = refused[0].json()["text"]["content"].clone();
    assert!(text.as_str().unwrap().starts_with("Graylane: order 1 of plan loan-2026-11, "), "{text}");
    assert_eq!(heard.last().unwrap().json()["text"]["content"], text);
    let target = &heard.last().unwrap().target;
    assert!(target.starts_with("/robot/send?access_token=t0ps3cret&timestamp=") && target.contains("&sign="));
    let log = daemon.log();
    assert!(log.contains("webhook is not taken") && !log.contains("s3cret"), "{log}");
    assert!(!daemon.json(&["webhook", "list"], "").to_string().contains("s3cret"));
}

#[test]
fn a_receiver_with_tls_is_told_by_a_webhook_that_knows_its_authority() {
    let bank = Bank::new();
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = bank.write("ca.pem", &signed.cert.pem());
    let receiver = Receiver::with_tls(&signed.cert.pem(), &signed.signing_key.serialize_pem());
    let url = format!("https://{}", receiver.address.replace("127.0.0.1", "localhost"));
    let knowing =
        format!("{{ name: knowing, url: '{url}', secretFile: SECRET, ca: '{}' }}", ca.to_str().unwrap());
    let daemon = bank.daemon(&[knowing]);
    start_order(&daemon);
    judge(&until_taken(&receiver, "order.started"));
}

#[test]
fn a_person_tries_a_webhook_and_sees_what_its_receiver_says() {
    let (bank, receiver) = (Bank::new(), Receiver::plain());
    let daemon = bank.daemon(&[webhook("desk", &receiver, "")]);
    let tried = daemon.json(&["webhook", "test", "desk"], "");
    assert_eq!(
        tried,
        json!({ "name": "desk", "host": format!("http://{}", receiver.address), "taken": true })
    );
    let heard = receiver.heard();
    judge(&heard);
    assert_eq!(heard[0].json()["type"], "webhook.test");
    assert!(heard[0].json()["data"]["text"].as_str().unwrap().contains("asked for by operator"));

    receiver.conduct(Conduct::Refuse(503, String::new(), "later\x1b[2J".into()));
    let refused = daemon.cli(&["webhook", "test", "desk"], "");
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told.contains("did not take the test: it answered 503 Service Unavailable: later [2J"), "{told}");
    let unknown = daemon.cli(&["webhook", "test", "dusk"], "");
    let told = String::from_utf8(unknown.stderr).unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(told.contains("webhook \"dusk\" is not in the configuration; it has desk"), "{told}");
}

#[test]
fn the_daemon_starts_with_the_example_of_webhooks_and_not_with_a_secret_that_is_none() {
    let bank = Bank::new();
    let folder = bank.path("webhooks");
    fs::create_dir(&folder).unwrap();
    let signed = rcgen::generate_simple_self_signed(["bank.example".to_owned()]).unwrap();
    fs::write(folder.join("ca.pem"), signed.cert.pem()).unwrap();
    let files = EXAMPLE.split([' ', '\n']).filter_map(|word| word.strip_prefix(FOLDER_IN_EXAMPLE));
    for file in files.map(|file| file.trim_start_matches('/')) {
        let content = match Path::new(file).extension().unwrap().to_str().unwrap() {
            "secret" => SECRET,
            "url" => "https://robots.bank.example/send?key=s3cret",
            _ => continue,
        };
        fs::write(folder.join(file), content).unwrap();
    }
    let config = bank.write("config.yaml", &EXAMPLE.replace(FOLDER_IN_EXAMPLE, folder.to_str().unwrap()));
    let daemon = Daemon::start_with(&bank.path("data"), &["--config", config.to_str().unwrap()]);
    let listed = daemon.json(&["webhook", "list"], "");
    let formats: Vec<&Value> = listed.as_array().unwrap().iter().map(|webhook| &webhook["format"]).collect();
    assert_eq!(formats, ["dingtalk", "feishu", "slack", "teams", "wecom", "json"]);
    drop(daemon);

    fs::write(folder.join("release-desk.secret"), "s3cret").unwrap();
    let [data, config] = [bank.path("other"), config].map(|path| path.to_str().unwrap().to_owned());
    let ports = ["--http", "127.0.0.1:0", "--xds", "127.0.0.1:0"];
    let ended = run(&[&["serve", "--data", &data, "--config", &config], ports.as_slice()].concat(), "");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{told}");
    assert!(
        told.contains("webhook \"release-desk\": the secret is not `whsec_`") && !told.contains("s3cret")
    );
}
