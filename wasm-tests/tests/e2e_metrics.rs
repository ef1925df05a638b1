//! The daemon's metrics, as a real Prometheus reads them from a mesh of one real Envoy, and the alerts that users copy.

use std::path::{Path, PathBuf};

use graylane_wasm_tests::prometheus::{Prometheus, complaints};
use graylane_wasm_tests::{Testbed, TestbedSettings, wait};

/// What is documented.
const TABLE: &str = include_str!("../../control/METRICS.md");

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

/// A mesh of one proxy with an order.
fn mesh() -> Testbed {
    let testbed = Testbed::start(&TestbedSettings { envoys: 1, ..TestbedSettings::default() }).unwrap();
    testbed.daemon.apply(include_str!("release_plan.yaml")).unwrap();
    testbed.daemon.cli(&["order", "start", "loan-2026-11", "--wait", "30"]).unwrap();
    testbed
}

#[test]
fn prometheus_reads_every_metric_and_while_all_is_well_no_alert_fires() {
    let testbed = mesh();
    let text = ureq::get(format!("http://{}/metrics", testbed.daemon.http())).call().unwrap();
    assert_eq!(complaints(&text.into_body().read_to_string().unwrap()).unwrap(), "");

    let mut prometheus = Prometheus::start(testbed.daemon.http(), &alerts()).unwrap();
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
    ] {
        prometheus.until(holds, |is_true| is_true == 1.0).unwrap();
    }
    for series in series() {
        assert!(!prometheus.query(&series).unwrap().is_empty(), "{series} was not read");
    }
    let alerts = prometheus.alerts().unwrap();
    assert!(alerts.len() > 10 && alerts.values().all(|state| state == "inactive"), "{alerts:?}");
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
