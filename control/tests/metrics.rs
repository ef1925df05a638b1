//! What is scraped: the real program, by HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod daemon;

use daemon::{Answer, Daemon, configuration_of};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const TABLE: &str = include_str!("../METRICS.md");
const ALERTS: &str = include_str!("../examples/alerts.yaml");
const PLAN: &str = include_str!("../examples/loan-2026-11.yaml");
const OPEN_METRICS: (&str, &str) =
    ("accept", "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1");

/// Metrics with no series while no proxy reports. `e2e_metrics.rs` has proxies that do.
const REPORTED: [&str; 2] = ["graylane_service_endpoints", "graylane_service_latency_seconds"];

/// What is known of a metric: its type, and the values of each of its labels; none where the table gives none.
type Described = (String, BTreeMap<String, BTreeSet<String>>);

/// The metrics of the table.
fn documented() -> BTreeMap<String, Described> {
    let rows = TABLE.lines().filter_map(|line| line.strip_prefix("| `graylane_"));
    let metric = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = format!("graylane_{}", cells[0].trim_end_matches('`'));
        let label = |label: &str| {
            let (label, values) = label.split_once(':').unwrap_or((label, ""));
            let values = values.split(',').map(str::trim).filter(|value| !value.is_empty());
            (label.trim().trim_matches('`').to_owned(), values.map(ToOwned::to_owned).collect())
        };
        let labels = cells[2].split(';').filter(|text| !text.is_empty()).map(label);
        (name, (cells[1].to_owned(), labels.collect()))
    };
    rows.map(metric).collect()
}

/// The metrics of a text, which has to say help and type of each before its values.
fn scraped(text: &str) -> BTreeMap<String, Described> {
    let mut metrics = BTreeMap::new();
    let (mut name, mut helped) = ("", "");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (named, help) = help.split_once(' ').unwrap();
            assert!(help.len() > 10, "{line}");
            helped = named;
        } else if let Some(described) = line.strip_prefix("# TYPE ") {
            let (named, kind) = described.split_once(' ').unwrap();
            assert_eq!(named, helped, "its help comes first");
            name = named;
            assert!(
                metrics.insert(name.to_owned(), (kind.to_owned(), BTreeMap::new())).is_none(),
                "{name} twice"
            );
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            assert!(sample.starts_with(name), "{line} is not of {name}");
            let labels = sample.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
            let (kind, known) = metrics.get_mut(name).unwrap();
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (label, value) = label.split_once('=').unwrap();
                if !(kind == "histogram" && label == "le") {
                    let values: &mut BTreeSet<String> = known.entry(label.to_owned()).or_default();
                    values.insert(value.trim_matches('"').to_owned());
                }
            }
        }
    }
    metrics
}

/// Starts the order of a plan whose gray versions are judged.
fn start_judged(daemon: &Daemon, caller: &[&str]) {
    let plan =
        format!("{PLAN}\n  health: {{ errors: {{ max: 2% }}, endpoints: {{ min: 1 }}, onFault: pause }}\n");
    daemon.json(&[caller, &["plan", "apply", "-f", "-"]].concat(), &plan);
    daemon.json(&[caller, &["order", "start", "loan-2026-11"]].concat(), "");
}

/// What is scraped as soon as there are verdicts.
fn until_judged(daemon: &Daemon) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = daemon.request("GET", "/metrics", &[], b"");
        if answer.text.contains("graylane_service_verdict{") {
            return answer;
        }
        assert!(Instant::now() < deadline, "no verdict is in\n{}", answer.text);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_table_of_metrics_is_what_is_scraped() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("config.yaml");
    std::fs::write(&config, "webhooks: [{ name: chat, format: slack, url: 'http://127.0.0.1:1' }]").unwrap();
    let daemon = Daemon::start_with(data.path(), &["--config", config.to_str().unwrap()]);
    start_judged(&daemon, &[]);
    let answer = until_judged(&daemon);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let (mut found, mut documented) = (scraped(&answer.text), documented());
    for name in REPORTED {
        assert!(found[name].1.is_empty(), "{name} has series");
        documented.get_mut(name).unwrap().1.clear();
    }
    for (name, (_, labels)) in &documented {
        let any = labels.iter().filter(|(_, values)| values.is_empty());
        for (label, _) in any {
            let values = found.get_mut(name).and_then(|(_, labels)| labels.get_mut(label));
            values.unwrap_or_else(|| panic!("{name} has no {label}")).clear();
        }
    }
    assert_eq!(found, documented);
}

#[test]
fn every_alert_stands_at_its_metric() {
    let rows = TABLE.lines().filter_map(|line| line.strip_prefix("| `graylane_"));
    let named = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let metric = format!("graylane_{}", cells[0].trim_end_matches('`'));
        let alerts = cells[4].split(", ").filter(|alert| !alert.is_empty());
        alerts.map(|alert| (alert.trim_matches('`').to_owned(), metric.clone())).collect::<Vec<_>>()
    };
    let documented: BTreeMap<String, String> = rows.flat_map(named).collect();
    let file: Value = serde_saphyr::from_str(ALERTS).unwrap();
    let rules = file["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), documented.len());
    for rule in rules {
        let (alert, expression) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
        let metric = documented.get(alert).unwrap_or_else(|| panic!("{alert} is not in the table"));
        assert!(expression.contains(metric), "{alert} is not of {metric}");
        assert!(rule["annotations"]["summary"].is_string(), "{alert}");
    }
}

#[test]
fn who_asks_for_open_metrics_gets_them() {
    let data = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(data.path());
    let answer = daemon.request("GET", "/metrics", &[OPEN_METRICS], b"");
    let kind = answer.header("content-type").unwrap();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(answer.text.ends_with("# EOF\n"), "{}", answer.text);
    let bytes = "# TYPE graylane_xds_sent_bytes counter\n# UNIT graylane_xds_sent_bytes bytes\ngraylane_xds_sent_bytes_total 0\n";
    assert!(answer.text.contains(bytes), "{}", answer.text);
}

#[test]
fn figures_want_no_token_and_name_nobody_whose_release_is_not_judged() {
    let dir = tempfile::tempdir().unwrap();
    let config = configuration_of(dir.path(), &[("ann", "risk-officer")]);
    let data = dir.path().join("data");
    let daemon = Daemon::start_with(&data, &["--config", config.to_str().unwrap()]);
    let file = dir.path().join("ann");
    let as_ann = ["--token-file", file.to_str().unwrap()];
    daemon.json(&[&as_ann[..], &["plan", "apply", "-f", "-"]].concat(), PLAN);
    let figure = |line: &str| daemon.request("GET", "/metrics", &[], b"").text.contains(line);
    assert!(figure("graylane_orders{phase=\"Running\"} 0\n"));
    daemon.json(&[&as_ann[..], &["order", "start", "loan-2026-11"]].concat(), "");
    assert!(figure("graylane_orders{phase=\"Running\"} 1\n"));
    assert!(!figure("graylane_store_commit_seconds_count 0\n"));

    let answer = daemon.request("GET", "/metrics", &[], b"");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for name in ["ann", "retail", "loan", "risk-officer"] {
        assert!(!answer.text.contains(name), "{name} is in\n{}", answer.text);
    }
    let foreign = daemon.request("GET", "/metrics", &[("origin", "https://evil.example")], b"");
    assert_eq!(foreign.status, 403);
}

#[test]
fn judged_services_are_named_with_their_tenants_and_nobody_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = configuration_of(dir.path(), &[("ann", "risk-officer")]);
    let daemon = Daemon::start_with(&dir.path().join("data"), &["--config", config.to_str().unwrap()]);
    let file = dir.path().join("ann");
    start_judged(&daemon, &["--token-file", file.to_str().unwrap()]);
    let text = until_judged(&daemon).text;
    for service in ["loan", "ledger"] {
        let undecided = format!(
            "graylane_service_verdict{{tenant=\"retail\",service=\"{service}\",verdict=\"undecided\"}} 1\n"
        );
        assert!(text.contains(&undecided), "{text}");
    }
    for name in ["ann", "risk-officer", "release-manager", "T0000017", "loan-2026-11"] {
        assert!(!text.contains(name), "{name} is in\n{text}");
    }
}
