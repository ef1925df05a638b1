//! The daemon's metrics, as a real Prometheus reads them from a mesh of one real Envoy.

use graylane_wasm_tests::prometheus::{Prometheus, complaints};
use graylane_wasm_tests::{Testbed, TestbedSettings};

/// What is documented, with the expression of each alert.
const TABLE: &str = include_str!("../../control/METRICS.md");

/// The cells of each row of the table.
fn rows() -> Vec<Vec<String>> {
    let rows = TABLE.lines().filter(|line| line.starts_with("| `graylane_"));
    let cells = |row: &str| {
        let cells = row.trim_matches('|').replace("\\|", "\u{0}");
        cells.split('|').map(|cell| cell.replace('\u{0}', "|").trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// What stands between backticks.
fn expressions(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn prometheus_reads_every_metric_and_while_all_is_well_no_alert_fires() {
    let testbed = Testbed::start(&TestbedSettings { envoys: 1, ..TestbedSettings::default() }).unwrap();
    testbed.daemon.apply(include_str!("release_plan.yaml")).unwrap();
    testbed.daemon.cli(&["order", "start", "loan-2026-11", "--wait", "30"]).unwrap();
    let text = ureq::get(format!("http://{}/metrics", testbed.daemon.http())).call().unwrap();
    assert_eq!(complaints(&text.into_body().read_to_string().unwrap()).unwrap(), "");

    let mut prometheus = Prometheus::start(testbed.daemon.http()).unwrap();
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
    let rows = rows();
    assert!(rows.len() > 15, "{rows:?}");
    for row in rows {
        let [name, kind, _, _, alerts] = &row[..] else { panic!("{row:?}") };
        let name = name.trim_matches('`');
        let series = if kind == "histogram" { format!("{name}_bucket") } else { name.to_owned() };
        assert!(!prometheus.query(&series).unwrap().is_empty(), "{series} was not read");
        for alert in expressions(alerts) {
            assert_eq!(prometheus.query(&alert).unwrap(), [], "{alert} fires");
        }
    }
}
