//! A release from its first teller to the whole bank and back, in every way that an Envoy can ask for its rules.

use anyhow::{Result, ensure};
use graylane_wasm_tests::{
    Delivery, LEDGER_HOST, LOAN_HOST, Request, Testbed, TestbedSettings, places, wait,
};
use serde_json::{Value, json};

/// The dimensions of a request.
type Headers = &'static [(&'static str, &'static str)];

/// Requests that tell the stages apart, each with the first stage (from 1) that lets it onto v2; 0 is never. The buckets
/// of the two tellers of R-EAST are in the case table of the rules.
const PEOPLE: [(&str, Headers, usize); 6] = [
    ("a pilot", &[("x-teller", "T0000017")], 1),
    ("a teller of the pilot branch", &[("x-branch", "B012"), ("x-teller", "T0000500")], 2),
    ("the excluded teller of that branch", &[("x-branch", "B012"), ("x-teller", "T0000099")], 0),
    ("a teller among the 20 % of the east", &[("x-region", "R-EAST"), ("x-teller", "T0001006")], 3),
    ("a teller of the east beyond the 20 %", &[("x-region", "R-EAST"), ("x-teller", "T0001000")], 4),
    ("nobody", &[], 4),
];

/// One proxy, the daemon, and the order that is walked.
struct Walk {
    testbed: Testbed,
    delivery: Delivery,
    revision: u64,
}

// === impl Walk ===

impl Walk {
    fn start(delivery: Delivery) -> Self {
        let mut testbed =
            Testbed::start(&TestbedSettings { envoys: 0, ..TestbedSettings::default() }).unwrap();
        testbed.add_envoy(|config| config.delivery(delivery).edit(report_often)).unwrap();
        testbed.daemon.apply(include_str!("release_plan.yaml")).unwrap();
        Self { testbed, delivery, revision: 0 }
    }

    /// Does something with the order by the CLI, which waits until the proxy runs the result.
    fn act(&mut self, arguments: &[&str]) -> Value {
        let order = self.testbed.daemon.cli(&[&["order"], arguments, &["--wait", "30"]].concat()).unwrap();
        let figures = &order["convergence"];
        let revision = figures["wanted"].as_u64().unwrap();
        assert!(revision > self.revision, "nothing was published: {order}");
        assert_eq!((&figures["converged"], &figures["total"]), (&json!(1), &json!(1)), "{order}");
        self.revision = revision;
        self.check_proxy();
        order
    }

    /// What `graylane proxies` says: acknowledged at once, and applied as soon as the filter has reported.
    fn check_proxy(&mut self) {
        let (daemon, revision) = (&self.testbed.daemon, self.revision);
        let proxy = wait::until("the proxy's report of what it applied", || {
            let proxy = daemon.cli(&["proxies"])?["proxies"][0].take();
            ensure!(proxy["applied"] == revision, "{proxy}");
            Ok(proxy)
        })
        .unwrap();
        let fields = ["node", "tenant", "protocol", "wanted", "acknowledged", "state", "connected"];
        let shown = fields.map(|field| proxy[field].clone());
        let (protocol, revision) = (self.delivery.as_str(), self.revision);
        let expected = json!(["proxy-0", "retail", protocol, revision, revision, "SYNCED", true]);
        assert_eq!((json!(shown), &proxy["lastNack"]), (expected, &Value::Null));
        self.testbed.envoys[0].until_applied(revision).unwrap();
    }

    /// Waits until all people get their version of a service, given the stage that it reached; 0 is none.
    fn check_people(&self, host: &str, stage: usize) {
        // An ACK says that the main thread has the rules; the workers follow within milliseconds.
        wait::until(&format!("{host} at stage {stage}"), || {
            PEOPLE.iter().try_for_each(|(name, headers, first_gray)| {
                let is_gray = *first_gray > 0 && stage >= *first_gray;
                let version = self.version_for(host, headers)?;
                ensure!((version == "v2") == is_gray, "{name} gets {version}");
                Ok(())
            })
        })
        .unwrap();
    }

    /// On a connection of its own, so that every worker is asked by and by.
    fn version_for(&self, host: &str, headers: Headers) -> Result<String> {
        let request =
            headers.iter().fold(Request::to(host), |request, (name, value)| request.header(name, value));
        let answer = self.testbed.envoys[0].client().send_raw(&request)?;
        assert_eq!(answer.status, 200, "{request:?}\n{}", self.testbed.envoys[0].log());
        Ok(answer.version)
    }

    /// Start, every stage, one service back, all back.
    fn walk_to_the_whole_bank_and_back(mut self) {
        self.check_people(LOAN_HOST, 0);
        for stage in 1..=4 {
            let order = match stage {
                1 => self.act(&["start", "loan-2026-11"]),
                _ => self.act(&["advance", "1"]),
            };
            // Once the last stage is everywhere, the old version is only kept.
            let phases = if stage == 4 { ["Running", "Retained"] } else { ["Running"; 2] };
            assert_eq!(order["stage"]["number"], stage, "{order}");
            assert!(phases.map(Value::from).contains(&order["phase"]), "{order}");
            self.check_people(LOAN_HOST, stage);
            self.check_people(LEDGER_HOST, stage);
        }
        let order = self.act(&["rollback", "1", "--service", "ledger", "--reason", "wrong interest"]);
        assert_eq!(rolled_back(&order), [("loan", false), ("ledger", true)]);
        self.check_people(LOAN_HOST, 4);
        self.check_people(LEDGER_HOST, 0);

        self.act(&["rollback", "1"]);
        self.check_people(LOAN_HOST, 0);
        self.check_people(LEDGER_HOST, 0);
        wait::until("the order's end", || {
            let order = self.testbed.daemon.cli(&["order", "get", "1"])?;
            ensure!(order["phase"] == "RolledBack", "{order}");
            assert_eq!(rolled_back(&order), [("loan", true), ("ledger", true)]);
            Ok(())
        })
        .unwrap();
        let rejected = self.testbed.envoys[0].stats_with("update_rejected").unwrap();
        assert!(rejected.iter().all(|(_, count)| *count == 0), "{rejected:?}");
    }
}

/// Each report is awaited here, so they come more often than in the file that users copy.
fn report_often(root: &mut Value) {
    root["stats_flush_interval"] = json!("0.1s");
}

fn rolled_back(order: &Value) -> Vec<(&str, bool)> {
    let services = order["services"].as_array().unwrap().iter();
    services
        .map(|service| (service["name"].as_str().unwrap(), service["rolledBack"].as_bool().unwrap()))
        .collect()
}

#[test]
fn an_order_goes_to_the_whole_bank_and_back_over_ecds() {
    Walk::start(Delivery::Ecds).walk_to_the_whole_bank_and_back();
}

#[test]
fn an_order_goes_to_the_whole_bank_and_back_over_delta_ecds() {
    Walk::start(Delivery::EcdsDelta).walk_to_the_whole_bank_and_back();
}

#[test]
fn an_order_goes_to_the_whole_bank_and_back_over_ads() {
    Walk::start(Delivery::Ads).walk_to_the_whole_bank_and_back();
}

#[test]
fn an_order_goes_to_the_whole_bank_and_back_over_delta_ads() {
    Walk::start(Delivery::AdsDelta).walk_to_the_whole_bank_and_back();
}

#[test]
fn an_order_that_starts_before_the_first_proxy_reaches_those_that_come_later() {
    let mut testbed = Testbed::start(&TestbedSettings { envoys: 0, ..TestbedSettings::default() }).unwrap();
    testbed.daemon.apply(include_str!("release_plan.yaml")).unwrap();
    testbed.daemon.cli(&["order", "start", "loan-2026-11"]).unwrap();
    for delivery in Delivery::ALL {
        let envoy = testbed.add_envoy(|config| config.delivery(delivery)).unwrap();
        let client = envoy.client();
        let pilot = Request::to(LOAN_HOST).teller("T0000017");
        envoy.until("the pilot on v2", || v2_answers(client.version_for(&pilot)?)).unwrap();
    }
    testbed.daemon.cli(&["order", "advance", "1", "--wait", "30"]).unwrap();
    let proxies = testbed.daemon.cli(&["proxies"]).unwrap();
    let protocols =
        proxies["proxies"].as_array().unwrap().iter().map(|proxy| proxy["protocol"].as_str().unwrap());
    assert_eq!(protocols.collect::<Vec<_>>(), Delivery::ALL.map(Delivery::as_str));
}

#[test]
fn proxies_that_came_before_the_daemon_are_stable_and_then_take_its_rules() {
    let settings = TestbedSettings { envoys: 0, daemon_runs: false, ..TestbedSettings::default() };
    let mut testbed = Testbed::start(&settings).unwrap();
    for delivery in Delivery::ALL {
        testbed.add_envoy(|config| config.delivery(delivery)).unwrap();
    }
    let pilot = Request::to(LOAN_HOST).teller("T0000017");
    for (envoy, delivery) in testbed.envoys.iter().zip(Delivery::ALL) {
        assert_eq!(envoy.client().version_for(&pilot).unwrap(), "v1", "{delivery:?}\n{}", envoy.log());
    }
    testbed.daemon.run().unwrap();
    testbed.daemon.apply(include_str!("release_plan.yaml")).unwrap();
    testbed.daemon.cli(&["order", "start", "loan-2026-11"]).unwrap();
    for envoy in &mut testbed.envoys {
        let client = envoy.client();
        envoy.until("the pilot on v2", || v2_answers(client.version_for(&pilot)?)).unwrap();
    }
}

#[test]
fn a_proxy_that_refuses_its_configuration_is_named_with_its_reason_and_stays_stable() {
    let mut testbed = Testbed::start(&TestbedSettings { envoys: 0, ..TestbedSettings::default() }).unwrap();
    // The daemon tells a path that this proxy does not have.
    testbed.daemon.set_filter("/nowhere/graylane_filter.wasm".into());
    testbed.daemon.run().unwrap();
    testbed.add_envoy(|config| config).unwrap();
    testbed.daemon.apply(include_str!("release_plan.yaml")).unwrap();
    testbed.daemon.cli(&["order", "start", "loan-2026-11"]).unwrap();
    wait::until("the proxy's words for what it refuses", || {
        let proxies = testbed.daemon.cli(&["proxies"])?;
        let fields = ["state", "wanted", "acknowledged", "lastNack"];
        let shown = fields.map(|field| proxies["proxies"][0][field].clone());
        let refusal = json!({ "revision": 2, "message": "Invalid path: /nowhere/graylane_filter.wasm" });
        ensure!(json!(shown) == json!(["NACKED", 2, null, refusal]), "{proxies}");
        Ok(())
    })
    .unwrap();
    let refusal = testbed.daemon.try_cli(&["order", "advance", "1"]).unwrap();
    assert_eq!(refusal.code, Some(1), "{refusal:?}");
    assert!(refusal.stderr.contains("0 of 1 proxies"), "{refusal:?}");
    let pilot = Request::to(LOAN_HOST).teller("T0000017");
    assert_eq!(testbed.envoys[0].client().version_for(&pilot).unwrap(), "v1");

    testbed.daemon.set_filter(places::filter().unwrap());
    testbed.daemon.run().unwrap();
    let client = testbed.envoys[0].client();
    testbed.envoys[0].until("the pilot on v2", || v2_answers(client.version_for(&pilot)?)).unwrap();
    testbed.daemon.cli(&["order", "advance", "1", "--wait", "30"]).unwrap();
}

fn v2_answers(version: String) -> Result<()> {
    ensure!(version == "v2", "{version} answers");
    Ok(())
}
