//! Rounds of questions, against a server that answers as it is told.

use super::*;
use crate::config::Config;
use graylane_order::{Actor, Order, Start};
use graylane_plan::ReleasePlan;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// A tenant's order of two services.
fn order(id: u64, tenant: &str) -> Arc<Order> {
    let services = "{ name: a, hosts: [a.local], stable: v1, gray: v2 }, { name: b, hosts: [b.local], stable: v1, gray: v2 }";
    let plan = format!(
        "{{ apiVersion: graylane.dev/v1alpha1, kind: ReleasePlan, metadata: {{ name: p, tenant: {tenant} }}, spec: {{ owner: o,
            services: [{services}], stages: [{{ name: one, scope: {{ all: true }} }}],
            health: {{ source: prometheus, errors: {{ max: 2% }} }} }} }}"
    );
    let plan: ReleasePlan = graylane_plan::parse(&plan).unwrap();
    let start = Start {
        id,
        plan: Arc::new(plan),
        content_hash: String::new(),
        lists_by_stage: vec![BTreeMap::new()],
        authors: BTreeSet::new(),
        actor: Actor { name: "ann".to_owned(), reason: String::new() },
    };
    Arc::new(Order::start(start, Timestamp::UNIX_EPOCH).unwrap().0)
}

/// What is found of one version by all queries.
fn answer(version: &str) -> String {
    let series = |figure: &str, value: &str| {
        format!(
            r#"{{"metric":{{"graylane":"{version} {figure}","instance":"x"}},"value":[1700000015,"{value}"]}}"#
        )
    };
    let result = [series("completed", "7"), series("sampled", "1700000001")].join(",");
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
}

/// The body of a request; enough of HTTP for one client.
fn body(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&heard).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return body.to_owned();
            }
        }
        match stream.read(&mut buffer).unwrap() {
            0 => return text,
            count => heard.extend_from_slice(&buffer[..count]),
        }
    }
}

/// A server that tells which service of which tenant it is asked for, and never answers tenant `slow`.
fn server() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, asked) = channel();
    thread::spawn(move || {
        let mut hanging = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let body = body(&mut stream);
            let named = |names: [&'static str; 2]| {
                names.into_iter().find(|name| body.contains(&format!("%3D%7E%22{name}")))
            };
            let (tenant, service) = (named(["slow", "well"]).unwrap(), named(["a", "b"]).unwrap());
            if heard.send(format!("{tenant} {service}")).is_err() {
                return;
            }
            if tenant == "slow" {
                hanging.push(stream);
                continue;
            }
            let answer = answer("v2");
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", answer.len());
            let _ = stream.write_all((head + &answer).as_bytes());
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_tenant_that_gets_no_answers_makes_no_other_late() {
    let (address, asked) = server();
    let matchers = r#"t=~"$tenant", s=~"$service", v=~"$version""#;
    let queries: String =
        ["completed", "errors", "sampled"].map(|query| format!("{query}: 'm{{{matchers}}}'\n    ")).concat();
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "prometheus:\n  url: http://{address}\n  interval: 1s\n  timeout: 1s\n  queries:\n    {queries}"
    );
    std::fs::write(file.path(), text).unwrap();
    let config = Config::read(file.path()).unwrap();
    let mut prometheus = Prometheus::new(config.prometheus().unwrap()).unwrap();
    let vitals = Vitals::new(config);
    vitals.tick(&[order(1, "slow"), order(2, "well")], Duration::ZERO);
    let mut rounds = Vec::new();
    for _ in 0..3 {
        prometheus.ask_all(&vitals).await;
        rounds.push(asked.try_iter().collect::<Vec<_>>());
    }
    // Its second service is asked for before the first one again, and no third time is waited for.
    let first = ["slow a", "well a", "well b"];
    assert_eq!(rounds, [&first[..], &["well a", "well b", "slow b"], &["well a", "well b", "slow a"]]);
    let counted = |result| vitals.queries.0.get_or_create(&[("result", result)]).get();
    assert_eq!((counted(OK), counted("timeout")), (6, 3));
    vitals.tick(&[order(1, "slow"), order(2, "well")], Duration::ZERO);
    assert!(prometheus.logged.is_some());
}
