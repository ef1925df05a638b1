//! The daemon's metrics, as a real Prometheus reads them from a mesh of one real Envoy, and the alerts that users copy.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use graylane_wasm_tests::prometheus::{Prometheus, complaints};
use graylane_wasm_tests::{
    LEDGER_HOST, LOAN_HOST, Load, LoadSettings, Mood, Request, Testbed, TestbedSettings, wait,
};
use serde_json::Value;

/// What is documented.
const TABLE: &str = include_str!("../../control/METRICS.md");

/// The dashboard.
const DASHBOARD: &str = include_str!("../../control/examples/grafana.json");

/// A webhook that has nothing to tell here: its figures are there all the same.
const CONFIG: &str =
    "webhooks: [{ name: chat, format: slack, url: 'http://127.0.0.1:1', events: [order.finished] }]";

/// The alerts.
fn alerts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../control/examples/alerts.yaml")
}

/// The series of each metric of the table.
fn series() -> impl Iterator<Item = String> {
    let rows = TABLE.lines().filter_map(|line| line.strip_prefix("| `graylane_"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` | ").unwrap();
        let suffix = if rest.starts_with("histogram") { "_bucket" } else { "" };
        format!("graylane_{name}{suffix}")
    })
}

/// A mesh of one proxy with an order, whose gray versions are judged.
fn mesh() -> Testbed {
    let health =
        "{ window: 10s, minRequests: 10, errors: { max: 5% }, endpoints: { min: 1 }, onFault: pause }";
    let plan = format!("{}  health: {health}\n", include_str!("release_plan.yaml"));
    let testbed =
        Testbed::start(&TestbedSettings { envoys: 1, config: CONFIG, ..TestbedSettings::default() }).unwrap();
    testbed.daemon.apply(&plan).unwrap();
    testbed.daemon.cli(&["order", "start", "loan-2026-11", "--wait", "30"]).unwrap();
    testbed
}

/// Uses both versions of both services, and waits until Prometheus read that they are healthy.
fn until_healthy(testbed: &Testbed, prometheus: &mut Prometheus) -> Load {
    let both = |host: &str| [Request::to(host), Request::to(host).teller("T0000017")];
    let requests = [LOAN_HOST, LEDGER_HOST].into_iter().flat_map(both);
    let requests = requests.map(|request| (String::new(), request)).collect();
    let settings = LoadSettings { requests, stable: "v1".to_owned(), threads: 2, rate: 40 };
    let load = Load::start(&testbed.envoys[0].client(), &settings);
    let healthy = "sum(graylane_service_verdict{verdict=\"healthy\"}) == bool 2";
    prometheus.until(healthy, |is_true| is_true == 1.0).unwrap();
    load
}

/// The queries of the dashboard, as Grafana fills in its variables; each with what it is of.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_panel = |panel: &Value| {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(|target| (text(&panel["title"]), text(&target["expr"]))).collect::<Vec<_>>()
    };
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let mut queries: Vec<_> = panels.filter(|panel| panel["type"] != "row").flat_map(of_panel).collect();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(of_label) = variable["query"].as_str().unwrap().strip_prefix("label_values(") {
            let (series, label) = of_label.trim_end_matches(')').rsplit_once(", ").unwrap();
            queries
                .push((text(&variable["name"]), format!("count by ({label}) ({series}{{{label}!=\"\"}})")));
        }
    }
    for (_, query) in &mut queries {
        for (variable, value) in [("$tenant", ".*"), ("$__rate_interval", "1m"), ("$__range", "5m")] {
            *query = query.replace(variable, value);
        }
    }
    queries
}

#[test]
fn prometheus_reads_every_metric_and_while_all_is_well_no_alert_fires() {
    let testbed = mesh();
    let mut prometheus = Prometheus::start(testbed.daemon.http(), &alerts()).unwrap();
    let _load = until_healthy(&testbed, &mut prometheus);
    let text = ureq::get(format!("http://{}/metrics", testbed.daemon.http())).call().unwrap();
    assert_eq!(complaints(&text.into_body().read_to_string().unwrap()).unwrap(), "");
    for holds in [
        "graylane_proxies{state=\"SYNCED\"} == bool 1",
        "sum(graylane_proxies) == bool 1",
        "graylane_orders{phase=\"Running\"} == bool 1",
        "graylane_xds_streams{protocol=\"ecds-delta\"} == bool 1",
        "graylane_xds_streams{protocol=\"metrics\"} == bool 1",
        "graylane_xds_pushes_total{result=\"acked\"} >= bool 1",
        "graylane_xds_sent_bytes_total > bool 100",
        "graylane_proxy_convergence_seconds_count{step=\"acked\"} >= bool 1",
        "graylane_proxy_convergence_seconds_count{step=\"applied\"} >= bool 1",
        "graylane_store_commit_seconds_count > bool 1",
        "sum(graylane_xds_nacks_total) == bool 0",
        "graylane_faults_total == bool 0",
        "graylane_reports_doubted_total == bool 0",
        "count(graylane_service_verdict{tenant=\"retail\"}) == bool 6",
        "sum(graylane_service_verdict) == bool 2",
        "graylane_service_requests{service=\"loan\", version=\"gray\"} >= bool 10",
        "graylane_service_requests{service=\"ledger\", version=\"stable\"} >= bool 10",
        "sum(graylane_service_errors) == bool 0",
        "count(graylane_service_latency_seconds{version=~\"gray|stable\", percentile=~\"50|99\"} > 0) == bool 8",
        "max(graylane_service_latency_seconds) < bool 10",
        "graylane_service_endpoints{tenant=\"retail\", service=\"loan\"} == bool 1",
    ] {
        prometheus.until(holds, |is_true| is_true == 1.0).unwrap();
    }
    for series in series() {
        assert!(!prometheus.query(&series).unwrap().is_empty(), "{series} was not read");
    }
    // That nobody could say yet is over at the next evaluation. What fired fires for minutes.
    wait::until("no alert", || {
        let alerts = prometheus.alerts()?;
        ensure!(alerts.len() > 10 && alerts.values().all(|state| state == "inactive"), "{alerts:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn every_panel_of_the_dashboard_shows_something() {
    let testbed = mesh();
    let mut prometheus = Prometheus::start(testbed.daemon.http(), &alerts()).unwrap();
    let _load = until_healthy(&testbed, &mut prometheus);
    // So that there are commits and pushes in the time that rates are of.
    testbed.daemon.cli(&["order", "advance", "1", "--wait", "30"]).unwrap();
    let queries = queries();
    assert!(queries.len() > 12, "{queries:?}");
    for (of, query) in queries {
        assert!(!query.contains('$'), "{of} has a variable that is not known here: {query}");
        wait::until(&format!("{of}: {query}"), || {
            let found = prometheus.query(&query)?;
            ensure!(found.iter().any(|(_, value)| value.is_finite()), "{found:?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn an_alert_fires_when_a_gray_version_does_badly() {
    let testbed = mesh();
    let mut prometheus = Prometheus::start(testbed.daemon.http(), &alerts()).unwrap();
    let _load = until_healthy(&testbed, &mut prometheus);
    testbed.upstreams.iter().find(|upstream| upstream.cluster() == "loan-v2").unwrap().be(Mood::Failing(100));
    prometheus.until("graylane_faults_total", |faults| faults == 1.0).unwrap();
    prometheus.until("graylane_service_verdict{verdict=\"unhealthy\"} > 0", |holds| holds == 1.0).unwrap();
    wait::until("the fault to fire alerts", || {
        let alerts = prometheus.alerts()?;
        for alert in ["GraylaneServiceUnhealthy", "GraylaneFaultFound"] {
            ensure!(alerts.get(alert).is_some_and(|state| state == "firing"), "{alerts:?}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_alert_fires_when_a_proxy_refuses_its_rules() {
    let mut testbed = mesh();
    let mut prometheus = Prometheus::start(testbed.daemon.http(), &alerts()).unwrap();
    testbed.daemon.set_filter("/nowhere/graylane_filter.wasm".into());
    testbed.daemon.run().unwrap();
    let firing = wait::until("the refusal to fire an alert", || {
        let mut alerts = prometheus.alerts()?;
        alerts.retain(|_, state| state != "inactive");
        anyhow::ensure!(
            alerts.get("GraylaneRulesRefused").is_some_and(|state| state == "firing"),
            "{alerts:?}"
        );
        Ok(alerts)
    })
    .unwrap();
    // This one waits whether that stays.
    assert!(firing.contains_key("GraylaneProxiesRefuse"), "{firing:?}");
}
