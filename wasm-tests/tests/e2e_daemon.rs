//! The daemon's end, sudden or polite, and its return.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use graylane_wasm_tests::{
    Daemon, Delivery, Envoy, LEDGER_HOST, LOAN_HOST, Load, LoadSettings, Request, Testbed, TestbedSettings,
    places, wait,
};
use serde_json::Value;

/// Envoy's statistics of the subscription.
const SUBSCRIPTION: &str = "extension_config_discovery.http_filter.graylane.v1.retail";

/// A proxy for each way of delivery, and an order at its second stage.
fn at_the_second_stage() -> Testbed {
    let mut testbed = Testbed::start(&TestbedSettings { envoys: 0, ..TestbedSettings::default() }).unwrap();
    for delivery in Delivery::ALL {
        testbed.add_envoy(|config| config.delivery(delivery)).unwrap();
    }
    testbed.daemon.apply(include_str!("release_plan.yaml")).unwrap();
    testbed.daemon.cli(&["order", "start", "loan-2026-11", "--wait", "30"]).unwrap();
    testbed.daemon.cli(&["order", "advance", "1", "--wait", "30"]).unwrap();
    testbed
}

fn load(envoy: &Envoy) -> Load {
    let requests = vec![
        ("gray loan".to_owned(), Request::to(LOAN_HOST).teller("T0000500").branch("B012")),
        ("gray ledger".to_owned(), Request::to(LEDGER_HOST).teller("T0000017")),
        ("stable".to_owned(), Request::to(LOAN_HOST).teller("T0000099").branch("B012")),
    ];
    Load::start(&envoy.client(), &LoadSettings { requests, stable: "v1".to_owned(), threads: 1, rate: 100 })
}

/// What Envoy counts of the configurations that it was sent.
fn pushes(envoy: &Envoy) -> BTreeMap<String, u64> {
    let stats = envoy.stats_with(SUBSCRIPTION).unwrap().into_iter();
    stats.filter(|(name, _)| name.ends_with("config_reload") || name.ends_with("update_success")).collect()
}

/// The order without what depends on who is connected.
fn order(daemon: &Daemon) -> Value {
    let mut order = daemon.cli(&["order", "get", "1"]).unwrap();
    for field in ["convergence", "waitsFor"] {
        order.as_object_mut().unwrap().remove(field).unwrap();
    }
    for service in order["services"].as_array_mut().unwrap() {
        for field in ["converged", "total"] {
            service.as_object_mut().unwrap().remove(field).unwrap();
        }
    }
    order
}

/// Waits until every proxy is connected, acknowledged and reports to run the wanted revision.
fn until_all_run_the_wanted_revision(testbed: &Testbed) -> u64 {
    wait::until("all proxies at the wanted revision", || {
        let proxies = testbed.daemon.cli(&["proxies"])?;
        let proxies = proxies["proxies"].as_array().context("no list")?;
        ensure!(proxies.len() == testbed.envoys.len(), "{proxies:?}");
        for proxy in proxies {
            ensure!(proxy["state"] == "SYNCED", "{proxy}");
        }
        proxies[0]["wanted"].as_u64().context("no revision")
    })
    .unwrap()
}

#[test]
fn after_sigkill_traffic_goes_on_nothing_is_pushed_twice_and_the_order_goes_on() {
    let mut testbed = at_the_second_stage();
    let revision = until_all_run_the_wanted_revision(&testbed);
    let (order_before, pushes_before) =
        (order(&testbed.daemon), testbed.envoys.iter().map(pushes).collect::<Vec<_>>());
    assert!(pushes_before.iter().all(|counts| counts.len() == 2), "{pushes_before:?}");
    let loads: Vec<Load> = testbed.envoys.iter().map(load).collect();

    testbed.daemon.kill().unwrap();
    for envoy in &mut testbed.envoys {
        envoy.until_stat("cluster.xds.upstream_cx_connect_fail", |count| count > 0).unwrap();
    }
    loads.iter().try_for_each(|load| load.until_sent_more(50)).unwrap();

    testbed.daemon.run().unwrap();
    assert_eq!(order(&testbed.daemon), order_before);
    assert_eq!(until_all_run_the_wanted_revision(&testbed), revision);
    assert_eq!(
        testbed.envoys.iter().map(pushes).collect::<Vec<_>>(),
        pushes_before,
        "a proxy was sent what it has"
    );

    testbed.daemon.cli(&["order", "advance", "1", "--wait", "30"]).unwrap();
    for (envoy, before) in testbed.envoys.iter().zip(pushes_before) {
        let once_more = before.into_iter().map(|(name, count)| (name, count + 1)).collect();
        assert_eq!(pushes(envoy), once_more);
    }
    let of_the_east = Request::to(LOAN_HOST).teller("T0001006").region("R-EAST");
    for envoy in &mut testbed.envoys {
        let client = envoy.client();
        envoy.until("the third stage", || is_v2(&client.version_for(&of_the_east)?)).unwrap();
    }
    for load in loads {
        let report = load.stop();
        assert_eq!((report.failures, report.mixed), (0, 0), "{:?}", report.complaints);
        for (name, versions) in &report.versions_by_request {
            let expected = if name == "stable" { "v1" } else { "v2" };
            assert_eq!(versions.keys().collect::<Vec<_>>(), [expected], "{name}: {versions:?}");
        }
    }
}

#[test]
fn a_proxy_that_is_away_still_counts_also_after_a_restart_of_the_daemon() {
    let mut testbed = Testbed::start(&TestbedSettings { envoys: 1, ..TestbedSettings::default() }).unwrap();
    testbed.daemon.apply(include_str!("release_plan.yaml")).unwrap();
    until_all_run_the_wanted_revision(&testbed);
    testbed.daemon.cli(&["order", "start", "loan-2026-11", "--wait", "30"]).unwrap();
    testbed.envoys.clear();
    wait::until("the proxy's stream to end", || {
        let proxies = testbed.daemon.cli(&["proxies"])?;
        ensure!(proxies["proxies"][0]["state"] == "GONE", "{proxies}");
        Ok(())
    })
    .unwrap();
    let refused = |testbed: &Testbed| testbed.daemon.cli(&["order", "advance", "1"]).unwrap_err().to_string();
    assert!(refused(&testbed).contains("0 of 1 proxies"), "{}", refused(&testbed));

    testbed.daemon.kill().unwrap();
    testbed.daemon.run().unwrap();
    assert!(refused(&testbed).contains("0 of 1 proxies"), "{}", refused(&testbed));
    let order = testbed.daemon.cli(&["order", "rollback", "1"]).unwrap();
    assert_eq!(order["phase"], "RollingBack", "nobody saw that it is rolled back everywhere");
}

#[test]
fn an_action_that_was_answered_survives_sigkill() {
    let mut testbed = Testbed::start(&TestbedSettings { envoys: 0, ..TestbedSettings::default() }).unwrap();
    testbed.daemon.apply(include_str!("release_plan.yaml")).unwrap();
    testbed.daemon.cli(&["order", "start", "loan-2026-11"]).unwrap();
    for stage in 2..=4 {
        testbed.daemon.post("/api/v1/orders/1/advance", &serde_json::json!({})).unwrap();
        testbed.daemon.kill().unwrap();
        testbed.daemon.run().unwrap();
        assert_eq!(order(&testbed.daemon)["stage"]["number"], stage);
    }
}

#[test]
fn a_second_daemon_on_the_same_data_ends_at_once_and_says_why() {
    let daemon = Daemon::start().unwrap();
    let mut command = Command::new(places::daemon().unwrap());
    command.args(["serve", "--http", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--data"]).arg(daemon.data());
    let mut second = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = wait::until_within(Duration::from_secs(1), "the second daemon's end", || {
        second.try_wait()?.context("it still runs")
    });
    let _ = second.kill();
    let complaint = std::io::read_to_string(second.stderr.take().unwrap()).unwrap();
    second.wait().unwrap();
    assert_eq!(ended.unwrap().code(), Some(3), "{complaint}");
    assert!(complaint.contains("is in use by another process"), "{complaint}");
    assert!(daemon.get("/api/v1/orders").unwrap().is_array(), "the first daemon does not serve any more");
}

#[test]
fn sigterm_ends_the_daemon_well_no_request_fails_and_after_its_return_nothing_is_pushed_again() {
    let mut testbed = at_the_second_stage();
    let revision = until_all_run_the_wanted_revision(&testbed);
    let pushes_before: Vec<_> = testbed.envoys.iter().map(pushes).collect();
    let loads: Vec<Load> = testbed.envoys.iter().map(load).collect();
    // A client that keeps its connection and asks nothing.
    let idle = std::net::TcpStream::connect(testbed.daemon.http()).unwrap();
    let began = Instant::now();
    assert!(testbed.daemon.terminate().unwrap(), "{}", testbed.daemon.log());
    // The drain of a second, and well within the grace that would cut the connections.
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(4)).contains(&began.elapsed()),
        "it took {:?}\n{}",
        began.elapsed(),
        testbed.daemon.log()
    );
    drop(idle);
    loads.iter().try_for_each(|load| load.until_sent_more(50)).unwrap();
    testbed.daemon.run().unwrap();
    assert_eq!(until_all_run_the_wanted_revision(&testbed), revision);
    assert_eq!(
        testbed.envoys.iter().map(pushes).collect::<Vec<_>>(),
        pushes_before,
        "a proxy was sent what it has"
    );
    for load in loads {
        let report = load.stop();
        assert_eq!((report.failures, report.mixed), (0, 0), "{:?}", report.complaints);
    }
}

fn is_v2(version: &str) -> Result<()> {
    ensure!(version == "v2", "{version} answers");
    Ok(())
}
