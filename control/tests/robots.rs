//! Robots of chats, each a real receiver that is broken, then busy, then well, while a fault is found.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;
mod receiver;
mod reporting;

use receiver::{Conduct, Heard, Receiver, python};
use reporting::{Bank, PLAN};
use serde_json::{Value, json};

/// A secret that robots sign with.
const SECRET: &str = "SECs3cret";

/// What all of a fault's life comes to.
const EVENTS: [&str; 3] = ["order.started", "order.faulty", "order.rolledBack"];

/// Checks signatures with nothing of ours, as the documents of DingTalk and Feishu say: reads the secret and what was signed, and prints
/// how many it checked.
const JUDGE: &str = r#"
import base64, hashlib, hmac, json, sys
told = json.load(sys.stdin)
for signed in told["signed"]:
    text, secret = f'{signed["timestamp"]}\n{told["secret"]}'.encode(), told["secret"].encode()
    key, message = (secret, text) if signed["format"] == "dingtalk" else (text, b"")
    wanted = base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
    assert hmac.compare_digest(wanted, signed["sign"]), signed
print(len(told["signed"]))
"#;

/// A format, and what its robots answer.
struct Robot {
    format: &'static str,
    /// That there are too many messages, with 200; empty where there is no such answer.
    busy: &'static str,
    /// That it took one.
    well: &'static str,
    signs: bool,
    /// Where the sentence stands in a message.
    text: &'static str,
}

const ROBOTS: [Robot; 5] = [
    Robot {
        format: "dingtalk",
        busy: r#"{"errcode":130101,"errmsg":"send too fast, exceed 20 times per minute"}"#,
        well: r#"{"errcode":0,"errmsg":"ok"}"#,
        signs: true,
        text: "/text/content",
    },
    Robot {
        format: "wecom",
        busy: r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#,
        well: r#"{"errcode":0,"errmsg":"ok"}"#,
        signs: false,
        text: "/text/content",
    },
    Robot {
        format: "feishu",
        busy: r#"{"code":11232,"msg":"frequency limited","data":{}}"#,
        well: r#"{"code":0,"msg":"success","data":{}}"#,
        signs: true,
        text: "/content/post/zh_cn/content/0/0/text",
    },
    Robot { format: "slack", busy: "", well: "ok", signs: false, text: "/text" },
    Robot {
        format: "teams",
        busy: "",
        well: "",
        signs: false,
        text: "/attachments/0/content/body/0/inlines/0/text",
    },
];

// === impl Robot ===

impl Robot {
    /// Its webhook to a receiver; `secret` is the file with the secret.
    fn webhook(&self, receiver: &Receiver, secret: &str) -> String {
        let Self { format, .. } = self;
        let secret = if self.signs { format!(", secretFile: '{secret}'") } else { String::new() };
        format!("{{ name: {format}, format: {format}, url: 'http://{}/robot'{secret} }}", receiver.address)
    }

    /// The sentences of messages.
    fn texts(&self, heard: &[Heard]) -> Vec<String> {
        let text = |heard: &Heard| heard.json().pointer(self.text).unwrap().as_str().unwrap().to_owned();
        heard.iter().map(text).collect()
    }

    /// What a message was signed with, where its robot looks for it.
    fn signed(&self, heard: &Heard) -> Value {
        let of_body = || {
            let body = heard.json();
            (body["timestamp"].clone(), body["sign"].clone())
        };
        let of_query = || {
            let (time, sign) =
                heard.target.strip_prefix("/robot?timestamp=").unwrap().split_once("&sign=").unwrap();
            let sign = sign.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
            (json!(time), json!(sign))
        };
        let (timestamp, sign) = if self.format == "dingtalk" { of_query() } else { of_body() };
        json!({ "format": self.format, "timestamp": timestamp, "sign": sign })
    }
}

/// Has Python check every signature.
fn judge(signed: &[Value]) {
    let checked = python(JUDGE, &json!({ "secret": SECRET, "signed": signed }));
    assert_eq!(checked, signed.len().to_string());
}

#[test]
fn every_robot_is_told_of_a_fault_that_figures_found_in_order_and_signed_though_it_was_broken_and_busy() {
    let folder = tempfile::tempdir().unwrap();
    let secret_file = |name: &str, secret: &str| {
        std::fs::write(folder.path().join(name), secret).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let secret = secret_file("robot", SECRET);
    let desk = Receiver::plain();
    let desk_secret = secret_file("desk", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let receivers = ROBOTS.map(|_| Receiver::plain());
    let robots = || ROBOTS.iter().zip(&receivers);
    receivers
        .iter()
        .for_each(|receiver| receiver.conduct(Conduct::Refuse(500, String::new(), "broken".into())));
    let mut webhooks: Vec<String> =
        robots().map(|(robot, receiver)| robot.webhook(receiver, &secret)).collect();
    webhooks.push(format!("{{ name: desk, url: 'http://{}', secretFile: '{desk_secret}' }}", desk.address));
    let bank = Bank::start_with(PLAN, &format!("webhooks: [{}]", webhooks.join(", ")));

    for (Robot { busy, .. }, receiver) in robots() {
        receiver.wait_until(|heard| !heard.is_empty());
        let status = if busy.is_empty() { 429 } else { 200 };
        receiver.conduct(Conduct::Refuse(status, String::new(), (*busy).into()));
    }
    let mut proxies = [bank.connect("a", "retail")];
    bank.follow(&mut proxies[0]);
    bank.until(&mut proxies, [5, 5, 20, 0], |order| order["phase"] == "RolledBack");
    let told = desk.wait_until(|heard| heard.len() >= EVENTS.len());
    let told: Vec<Value> = told.iter().map(Heard::json).collect();
    assert_eq!(told.iter().map(|told| told["type"].as_str().unwrap()).collect::<Vec<_>>(), EVENTS);
    let faulty = told[1]["data"]["text"].as_str().unwrap();
    assert!(
        faulty.contains(r#"service "loan" is faulty: unhealthy: "#) && faulty.contains("requests failed in "),
        "{faulty}"
    );

    for (robot, receiver) in robots() {
        let heard = receiver.wait_until(|heard| heard.len() >= 3);
        let first = format!("Graylane: {}", told[0]["data"]["text"].as_str().unwrap());
        assert_eq!(
            robot.texts(&heard),
            vec![first; heard.len()],
            "{}: the first event until it is taken",
            robot.format
        );
        receiver.conduct(Conduct::Take(robot.well.into()));
    }
    let wanted: Vec<String> =
        told.iter().map(|told| format!("Graylane: {}", told["data"]["text"].as_str().unwrap())).collect();
    let mut signed = Vec::new();
    for (robot, receiver) in robots() {
        let heard =
            receiver.wait_until(|heard| heard.iter().filter(|heard| heard.taken).count() >= EVENTS.len());
        assert_eq!(robot.texts(&receiver.taken()), wanted, "{}", robot.format);
        signed.extend(heard.iter().filter(|_| robot.signs).map(|heard| robot.signed(heard)));
    }
    judge(&signed);
}
