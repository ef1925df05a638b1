//! Judged services, from what proxies count to what people are told: the real program, and proxies as far as it sees them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod daemon;
mod reporting;
mod watching;

use daemon::{read_until, run_to, terminal};
use envoy_types::pb::io::prometheus::client::{Metric, MetricFamily};
use reporting::{Bank, PLAN, Proxy, counter, gauge, of_cluster};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tonic::Code;
use watching::Watch;

/// What a proxy counts in a tenth of a second: requests and errors of gray, then of stable.
const WELL: [u64; 4] = [5, 0, 20, 0];
const FAILING: [u64; 4] = [5, 5, 20, 0];
const ALIKE: [u64; 4] = [5, 2, 20, 8];

#[test]
fn the_audit_log_has_the_figures_the_window_and_the_source_of_each_verdict() {
    let bank = Bank::start();
    let mut proxies = [bank.connect("a", "retail"), bank.connect("b", "retail")];
    bank.until(&mut proxies, WELL, |order| order["services"][0]["health"] == "Healthy");
    let order = bank.until(&mut proxies, FAILING, |order| order["phase"] != "Running");
    assert_eq!(order["phase"], "RollingBack", "{order}");
    let records = bank.daemon.json(&["audit", "list"], "");
    let told: Vec<_> =
        records.as_array().unwrap().iter().filter(|record| record["action"] == "order.health").collect();
    let verdicts: Vec<_> = told.iter().map(|record| &record["after"]["judged"]["verdict"]).collect();
    assert_eq!(verdicts, ["healthy", "unhealthy"]);
    let judged = &told[1]["after"]["judged"];
    assert_eq!((&told[1]["actor"], &judged["source"]), (&json!("graylane"), &json!("envoy")));
    let [window, gray, stable] = [&judged["windowSeconds"], &judged["gray"], &judged["stable"]];
    assert!(window.as_f64().is_some_and(|seconds| (1.0..=5.0).contains(&seconds)), "{judged}");
    assert!(
        gray["errors"].as_u64() > Some(0) && gray["requests"].as_u64() >= gray["errors"].as_u64(),
        "{judged}"
    );
    assert!(stable["requests"].as_u64() > gray["requests"].as_u64() && stable["errors"] == 0, "{judged}");
    for times in ["p50Ms", "p99Ms"] {
        assert!(gray[times].as_f64().is_some_and(|ms| (1.0..=25.0).contains(&ms)), "{judged}");
    }
    assert!(judged["reason"].as_str().is_some_and(|why| why.contains("gray requests failed")), "{judged}");
    assert_eq!(bank.daemon.json(&["audit", "verify"], "")["records"], records.as_array().unwrap().len());
}

#[test]
fn a_terminal_shows_how_many_failed_over_time_and_a_pipe_gets_none_of_it() {
    let bank = Bank::start();
    let mut proxies = [bank.connect("a", "retail")];
    bank.until(&mut proxies, WELL, |order| order["services"][0]["health"] == "Healthy");
    let order = bank.until(&mut proxies, ALIKE, |order| {
        let judged = &order["services"][0]["judged"];
        judged["reason"].as_str().is_some_and(|why| why.contains("rolling back would not help"))
    });
    let series = &order["services"][0]["judged"]["series"];
    let points = series["gray"].as_array().unwrap();
    assert!(points.len() <= 30 && points[0]["errors"] == 0, "{series}");
    assert!(points.iter().any(|point| point["errors"].as_u64() > Some(0)), "{series}");
    assert_eq!(points.len(), series["stable"].as_array().unwrap().len());

    let (mut shown, screen) = terminal();
    run_to(screen.into(), &["--server", &bank.daemon.server, "order", "get", "1"], "");
    let tree = read_until(&mut shown, &mut Vec::new(), "revision ");
    let charts: Vec<&str> = tree.lines().filter(|line| line.contains('█')).collect();
    assert!(
        charts.len() == 2 && charts[0].contains('▁') && charts[0].contains("failed, up to 40.0 %"),
        "{tree}"
    );
    let piped = String::from_utf8(bank.daemon.cli(&["order", "get", "1"], "").stdout).unwrap();
    assert!(piped.contains("gray v2: ") && !piped.contains('█'), "{piped}");
}

#[test]
fn who_watches_an_order_is_told_of_another_verdict_soon_and_not_of_more_requests() {
    let bank = Bank::start();
    let mut proxies = [bank.connect("a", "retail")];
    let mut watch = Watch::open(&bank.daemon, "/1/events", "");
    let mut told = Vec::new();
    let mut until_told = |cause: &str| {
        loop {
            let order = watch.order();
            told.push(without_figures(order.clone()));
            if order["services"][0]["judged"]["cause"] == cause {
                return order;
            }
        }
    };
    let is = |cause: &'static str| move |order: &Value| order["services"][0]["judged"]["cause"] == cause;
    bank.until(&mut proxies, WELL, is("within-limits"));
    (0..60).for_each(|_| bank.count(&mut proxies, WELL));
    until_told("within-limits");
    bank.until(&mut proxies, ALIKE, is("stable-fails-too"));
    let found = Instant::now();
    let order = until_told("stable-fails-too");
    assert!(found.elapsed() < Duration::from_secs(2), "{:?}", found.elapsed());
    let judged = &order["services"][0]["judged"];
    assert!(judged["gray"]["errors"].as_u64() > Some(0) && judged["series"]["gray"].is_array(), "{judged}");
    assert!(told.windows(2).all(|two| two[0] != two[1]), "only more requests: {told:?}");
    assert!(told.len() < 12, "{told:?}");
}

/// An order without what moves with each request.
fn without_figures(mut order: Value) -> Value {
    if let Some(judged) = order["services"][0]["judged"].as_object_mut() {
        judged.retain(|field, _| ["verdict", "cause", "endpoints", "source"].contains(&field.as_str()));
    }
    order
}

/// How a proxy says what cannot be, report after report.
fn nonsense(round: u64) -> Vec<Vec<MetricFamily>> {
    let number = round as f64;
    let of_both = |gray: (f64, f64), stable: (f64, f64)| {
        [of_cluster("loan-v2", gray.0, gray.1, 0), of_cluster("loan-v1", stable.0, stable.1, 0)].concat()
    };
    let counter_of = |value| vec![counter("cluster.loan-v2.upstream_rq_5xx", value)];
    let timed = |seconds: i64| {
        let mut families = of_cluster("loan-v2", number * 5.0, 0.0, 5);
        families.iter_mut().for_each(|family| family.metric[0].timestamp_ms = Some(seconds * 1_000));
        families
    };
    vec![
        // Counters that leap, that run backwards, that go up and down, and errors that nobody requested.
        of_both((number * 1e12, number * 1e12), (0.0, 0.0)),
        of_both((1e5 - number * 1e3, 1e5 - number * 1e3), (0.0, 0.0)),
        of_both(((round % 2) as f64 * 1e5, (round % 2) as f64 * 1e5), (0.0, 0.0)),
        of_both((0.0, number * 1e15), (0.0, 0.0)),
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.5, 1e300]
            .into_iter()
            .flat_map(counter_of)
            .collect(),
        // What is not its own, the same twice, and a clock of 1970 and of 2100, which nobody reads.
        [of_cluster("cards-v2", number * 50.0, number * 50.0, 9), of_cluster("loan-v3", number, number, 9)]
            .concat(),
        [counter_of(1.0), counter_of(number * 1e9), counter_of(2.0)].concat(),
        [timed(0), timed(4_102_444_800)].concat(),
    ]
}

#[test]
fn a_proxy_that_says_what_cannot_be_spoils_nobody_elses_verdict() {
    let bank = Bank::start();
    let mut honest = [bank.connect("a", "retail"), bank.connect("b", "retail")];
    // Two that call themselves as the honest ones do, and see no endpoint; and one of another tenant.
    let liars: Vec<Proxy> = (0..8).map(|liar| bank.connect(&format!("liar-{liar}"), "retail")).collect();
    let twins = [bank.connect("a", "retail"), bank.connect("b", "retail")];
    let stranger = bank.connect("stranger", "cards");
    bank.until(&mut honest, WELL, |order| order["services"][0]["health"] == "Healthy");
    for round in 1..=60 {
        for (liar, families) in liars.iter().zip(nonsense(round)) {
            bank.report(liar, families).unwrap();
        }
        for twin in &twins {
            let no_endpoint = vec![gauge("cluster.loan-v2.membership_healthy", 0.0)];
            bank.report(twin, [of_cluster("loan-v2", 7e6, 7e6, 0), no_endpoint].concat()).unwrap();
        }
        bank.report(&stranger, of_cluster("loan-v2", round as f64 * 50.0, round as f64 * 50.0, 50)).unwrap();
        bank.count(&mut honest, WELL);
    }
    let order = bank.order();
    let judged = &order["services"][0]["judged"];
    assert_eq!((&order["phase"], &judged["cause"]), (&json!("Running"), &json!("within-limits")), "{order}");
    assert_eq!((&judged["gray"]["errors"], &judged["stable"]["errors"]), (&json!(0), &json!(0)), "{judged}");
    // Three proxies count five of gray at a time, one of them by an odd clock, and two count twenty of stable.
    let requests = |version: &str| judged[version]["requests"].as_f64().unwrap();
    let ratio = requests("gray") / requests("stable");
    assert!((0.34..0.41).contains(&ratio), "{judged}");
    assert_eq!(judged["endpoints"], 1, "{judged}");
    let (log, metrics) = (bank.daemon.log(), bank.daemon.request("GET", "/metrics", &[], b"").text);
    assert!((1..5).contains(&log.matches("not believed for a while").count()), "{log}");
    let doubted = metrics.lines().find_map(|line| line.strip_prefix("graylane_reports_doubted_total "));
    assert!(doubted.is_some_and(|reports| reports.parse::<u64>().unwrap() >= 60), "{doubted:?}");

    let order = bank.until(&mut honest, FAILING, |order| order["phase"] != "Running");
    assert_eq!(order["services"][0]["health"], "Faulty", "a real fault is found among them: {order}");
}

#[test]
fn each_cluster_of_a_version_is_counted_and_their_proxy_is_believed() {
    let bank =
        Bank::start_with(PLAN, "tenants: { retail: { clusters: 'outbound|{port}|{version}|{host}' } }");
    let (idle, proxy) = (&mut [], bank.connect("a", "retail"));
    let mut round = 0.0;
    let mut report = |errors: f64| {
        round += 1.0;
        // Two ports, of which one has had much more than the other.
        let of = |cluster, requests| of_cluster(cluster, requests, errors * round, 5);
        let families = [
            of("outbound|8080|v2|loan.local", 70_000.0 + 5.0 * round),
            of("outbound|9090|v2|loan.local", 5.0 * round),
            of_cluster("outbound|8080|v1|loan.local", 20.0 * round, 0.0, 20),
            of_cluster("outbound|9090|v1|loan.local", 90_000.0 + 20.0 * round, 0.0, 20),
        ];
        bank.report(&proxy, families.concat()).unwrap();
    };
    let order = bank.until(idle, WELL, |order| {
        report(0.0);
        order["services"][0]["judged"]["windowSeconds"] == 5.0
    });
    let judged = &order["services"][0]["judged"];
    assert_eq!((&judged["cause"], &judged["endpoints"]), (&json!("within-limits"), &json!(1)), "{judged}");
    let requests = |version: &str| judged[version]["requests"].as_f64().unwrap();
    assert!(requests("gray") > 50.0 && requests("stable") == 4.0 * requests("gray"), "{judged}");
    assert!(!bank.daemon.log().contains("not believed"), "{}", bank.daemon.log());
    let order = bank.until(idle, WELL, |order| {
        report(5.0);
        order["phase"] != "Running"
    });
    assert_eq!(order["services"][0]["health"], "Faulty", "{order}");
}

/// Which of v2 and v1 nobody counts is said with the cluster that is looked for, until somebody does.
#[test]
fn a_version_that_nobody_counts_is_named_with_its_cluster() {
    let istio = "outbound|{port}|{version}|{host}";
    let regex = "regex:(?<service>.+)-(?<version>v[0-9])";
    for (template, of_gray, named, line) in [
        ("{service}-{version}", "loan-v2", json!("loan-v2"), "named loan-v2"),
        (
            istio,
            "outbound|80|v2|loan.local",
            json!("outbound|{port}|v2|loan.local"),
            "named outbound|{port}|v2|loan.local",
        ),
        (regex, "loan-v2", Value::Null, "that `clusters` of the configuration gives to it alone"),
    ] {
        let bank = Bank::start_with(PLAN, &format!("tenants: {{ retail: {{ clusters: '{template}' }} }}"));
        let (idle, proxy) = (&mut [], bank.connect("a", "retail"));
        let of_stable = of_gray.replace("v2", "v1");
        let unheard = |order: &Value| order["services"][0]["judged"]["unheard"].clone();
        let text = || String::from_utf8(bank.daemon.cli(&["order", "get", "1"], "").stdout).unwrap();
        let report = |cluster: &str| bank.report(&proxy, of_cluster(cluster, 0.0, 0.0, 0)).unwrap();

        bank.until(idle, WELL, |order| unheard(order).as_array().is_some_and(|unheard| unheard.len() == 2));
        let order = bank.until(idle, WELL, |order| {
            report("cards-v2");
            report(&of_stable);
            unheard(order).as_array().is_some_and(|unheard| unheard.len() == 1)
        });
        assert_eq!(unheard(&order), json!([{ "version": "v2", "cluster": named }]), "{template}");
        let expected = format!("│  └─ nobody counts v2: no proxy reported a cluster {line}\n");
        assert!(text().contains(&expected), "{expected}: {}", text());
        bank.until(idle, WELL, |order| {
            report(of_gray);
            unheard(order).is_null()
        });
        assert!(!text().contains("nobody counts"), "{}", text());
    }
}

#[test]
fn a_version_that_never_answers_what_is_steered_to_it_is_taken_back() {
    let bank = Bank::start();
    let mut proxies = [bank.connect("a", "retail")];
    // It does not matter which proxy's filter steers them.
    let (filter, mut steered) = (bank.connect("filter", "retail"), 0.0);
    let mut steer = |requests: f64| {
        steered += requests;
        let counter = counter("wasmcustom.graylane_requests.service.loan.version.v2.level.teller", steered);
        bank.report(&filter, vec![counter]).unwrap();
    };
    bank.until(&mut proxies, WELL, |order| {
        steer(5.0);
        order["services"][0]["health"] == "Healthy"
    });
    let order = bank.until(&mut proxies, [0, 0, 20, 0], |order| {
        steer(5.0);
        order["phase"] != "Running"
    });
    let service = &order["services"][0];
    assert_eq!((&order["phase"], &service["health"]), (&json!("RollingBack"), &json!("Faulty")), "{order}");
    let records = bank.daemon.json(&["audit", "list"], "");
    let judged = &records
        .as_array()
        .unwrap()
        .iter()
        .rfind(|record| record["action"] == "order.health")
        .unwrap()["after"]["judged"];
    assert_eq!(
        (&judged["verdict"], &judged["cause"]),
        (&json!("unhealthy"), &json!("unanswered")),
        "{judged}"
    );
    assert!(judged["gray"]["steered"].as_u64() >= Some(10) && judged["gray"]["requests"] == 0, "{judged}");
    assert!(judged["reason"].as_str().unwrap().contains("gray answered none of "), "{judged}");
}

#[test]
fn a_million_names_and_what_is_large_unpacked_cost_one_proxy_its_stream_or_nobody_anything() {
    let bank = Bank::start();
    let mut honest = [bank.connect("a", "retail")];
    bank.until(&mut honest, WELL, |order| order["services"][0]["health"] == "Healthy");
    let before = bank.daemon.memory_peak();
    let named = |number: usize| MetricFamily {
        name: Some(format!("cluster.c{number}.x")),
        ..MetricFamily::default()
    };
    // Below the limit of 16 MiB: many names, many clusters, and one name with millions of metrics that say nothing.
    let names = (0..600_000).map(named).collect();
    let clusters = (0..150_000).flat_map(|number| {
        vec![
            counter(&format!("cluster.c{number}.upstream_rq_completed"), 1.0),
            counter(&format!("cluster.c{number}.upstream_rq_5xx"), 1.0),
        ]
    });
    let empty = MetricFamily {
        name: Some("cluster.loan-v2.upstream_rq_completed".to_owned()),
        metric: vec![Metric::default(); 2_000_000],
        ..MetricFamily::default()
    };
    for (node, families) in [("names", names), ("clusters", clusters.collect()), ("empty", vec![empty])] {
        let proxy = bank.connect(node, "retail");
        bank.report(&proxy, families).unwrap();
        bank.report(&proxy, Vec::new()).unwrap();
        assert!(bank.ended(proxy).is_ok(), "{node}");
    }
    // Over it: a million names of Envoy's length.
    let too_many = bank.connect("too-many", "retail");
    let named = |number| counter(&format!("cluster.c{number}.upstream_rq_completed"), 1.0);
    bank.report(&too_many, (0..1_000_000).map(named).collect()).unwrap();
    assert_eq!(bank.ended(too_many).unwrap_err().code(), Code::OutOfRange);
    let grown = bank.daemon.memory_peak() - before;
    assert!(grown < 100 << 20, "{} MiB", grown >> 20);
    bank.until(&mut honest, FAILING, |order| order["phase"] != "Running");
}

/// Proxies are believed what they say of their own tenant: often one alone meets the fault.
#[test]
fn a_fault_that_one_proxy_alone_sees_is_found() {
    let bank = Bank::start();
    let [mut seeing, mut others] = [["a"].as_slice(), &["b", "c", "d"]]
        .map(|nodes| nodes.iter().map(|node| bank.connect(node, "retail")).collect::<Vec<_>>());
    bank.until(&mut seeing, WELL, |order| order["services"][0]["health"] == "Healthy");
    let order = bank.until(&mut seeing, FAILING, |order| {
        bank.count(&mut others, WELL);
        order["phase"] != "Running"
    });
    let errors = &order["services"][0]["judged"]["gray"]["errors"];
    assert!(errors.as_u64() > Some(0), "{order}");
}
