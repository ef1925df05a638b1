//! What it costs the daemon to listen to what a thousand proxies count.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use graylane_wasm_tests::{LEDGER_HOST, LOAN_HOST, wait};
use serde_json::{Value, json};

use crate::api::{Api, field};
use crate::control::daemon::Daemon;
use crate::goals::Goal;
use crate::health::Found;
use crate::health::report::{GRAY, STABLE};
use crate::health::reporters::{FAILING_EVERY, INTERVAL, REPORTS, Reporters};
use crate::table::Table;
use crate::xds::fleet::{Fleet, Shape};

const TENANT: &str = "retail";
const NODES: &str = "sidecar";
const PER_CONNECTION: usize = 250;
const PLAN: &str = "health";
const JSON: &str = "application/json";
/// What the daemon answers when it is ready.
const READY: &str = "/orders";
/// How long all may take to connect, and how long the daemon is left alone before it is measured.
const LIMIT: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_secs(2);
/// How long the daemon is measured without reports.
const QUIET: Duration = Duration::from_secs(10);
const CORES_MAX: f64 = 0.5;
const MEMORY_MAX_MB: f64 = 100.0;

/// What the daemon takes.
struct Cost {
    proxies: usize,
    report_bytes: u64,
    /// Parts of a core, without reports and with them.
    quiet_cores: f64,
    cores: f64,
    /// Memory before the first report, and the most with them.
    quiet_kib: u64,
    peak_kib: u64,
}

/// Measures with so many proxies.
///
/// # Errors
/// When something does not start, or the daemon counts other requests than were told.
pub(crate) fn measure(folder: &Path, proxies: usize) -> Result<Found> {
    let mut daemon = Daemon::prepare(folder)?;
    daemon.start(READY)?;
    let api = daemon.api();
    let (order, revision) = start_order(&api)?;
    let shape = Shape { proxies, per_connection: PER_CONNECTION, name: NODES, held: None, is_stuck: false };
    let fleet = Fleet::connect(daemon.xds(), TENANT, &shape)?;
    fleet.until_all(revision, LIMIT)?;
    thread::sleep(REST);
    let quiet_kib = daemon.memory()?.rss_kib;
    let quiet_cores = cores(&daemon, || {
        thread::sleep(QUIET);
        Ok(())
    })?;
    daemon.forget_peak()?;
    let reporters = Reporters::start(daemon.xds(), NODES, proxies, revision)?;
    // What is measured begins when every stream is there and has told what is compared with.
    reporters.until_sent(1)?;
    let cores = cores(&daemon, || reporters.until_sent(REPORTS))?;
    until_counted(&api, order, proxies)?;
    fleet.check()?;
    let (report_bytes, peak_kib) = (reporters.report_bytes(), daemon.memory()?.peak_kib);
    Ok(Cost { proxies, report_bytes, quiet_cores, cores, quiet_kib, peak_kib }.found())
}

/// Starts an order of which both services are judged. Gives its number and the revision of its rules.
fn start_order(api: &Api) -> Result<(u64, u64)> {
    api.post("/plans", JSON, &plan().to_string())?;
    let view = api.post("/orders", JSON, &json!({ "plan": PLAN, "tenant": TENANT }).to_string())?;
    let order = field(&view, "id").as_u64().with_context(|| format!("no order: {view}"))?;
    let view = api.get(&format!("/orders/{order}"))?;
    let revision = field(field(&view, "convergence"), "wanted").as_u64();
    Ok((order, revision.with_context(|| format!("no revision: {view}"))?))
}

/// The part of a core that the daemon takes meanwhile.
fn cores(daemon: &Daemon, meanwhile: impl FnOnce() -> Result<()>) -> Result<f64> {
    let (begun, before) = (Instant::now(), daemon.cpu()?);
    meanwhile()?;
    Ok((daemon.cpu()? - before).as_secs_f64() / begun.elapsed().as_secs_f64())
}

/// Waits until the order has exactly what all proxies told, and finds both services healthy.
fn until_counted(api: &Api, order: u64, proxies: usize) -> Result<()> {
    let told = REPORTS - 1;
    let errors = told * proxies.div_ceil(FAILING_EVERY) as u64;
    let requests = |each: u64| told * each * proxies as u64;
    wait::until("what was told", || {
        let view = api.get(&format!("/orders/{order}"))?;
        let services = field(&view, "services").as_array().map(Vec::as_slice).unwrap_or_default();
        ensure!(services.len() == 2, "{view}");
        for judged in services.iter().map(|service| field(service, "judged")) {
            let of = |version| {
                let figures = field(judged, version);
                (field(figures, "requests").as_u64(), field(figures, "errors").as_u64())
            };
            ensure!(of("gray") == (Some(requests(GRAY)), Some(errors)), "{judged}");
            ensure!(of("stable") == (Some(requests(STABLE)), Some(errors)), "{judged}");
            ensure!(field(judged, "verdict") == "healthy" && field(judged, "endpoints") == 1, "{judged}");
        }
        Ok(())
    })
}

fn plan() -> Value {
    json!({
        "apiVersion": "graylane.dev/v1alpha1",
        "kind": "ReleasePlan",
        "metadata": { "name": PLAN, "tenant": TENANT },
        "spec": {
            "owner": "bench",
            "batch": "parallel",
            "services": [
                { "name": "loan", "hosts": [LOAN_HOST], "stable": "v1", "gray": "v2" },
                { "name": "ledger", "hosts": [LEDGER_HOST], "stable": "v1", "gray": "v2" },
            ],
            "stages": [{ "name": "pilot", "scope": { "include": { "teller": ["T0000017"] } } }],
            "retention": "72h",
            "health": {
                // Long enough that nothing leaves it before it is looked at.
                "window": "10m",
                "minRequests": 50,
                "errors": { "max": "2%", "overStable": "1%" },
                "latency": { "percentile": 99, "maxRatio": 1.5 },
                "endpoints": { "min": 1 },
                "onFault": "rollback-order",
            },
        },
    })
}

// === impl Cost ===

impl Cost {
    fn found(&self) -> Found {
        Found {
            goals: self.goals(),
            tables: vec![self.table()],
            rows: vec![self.row()],
            charts: Vec::new(),
            method: self.method(),
        }
    }

    fn grown_mb(&self) -> f64 {
        self.peak_kib.saturating_sub(self.quiet_kib) as f64 * 1_024.0 / 1e6
    }

    fn goals(&self) -> Vec<Goal> {
        let Self { proxies, cores, report_bytes, .. } = self;
        let every = INTERVAL.as_secs();
        vec![
            Goal {
                name: "load.cpu",
                what: format!(
                    "the daemon's share of a core while {proxies} proxies report every {every} s, {report_bytes} bytes each"
                ),
                goal: format!("less than {CORES_MAX}"),
                found: format!("{cores:.3}"),
                is_met: *cores < CORES_MAX,
            },
            Goal {
                name: "load.memory",
                what: "by how much its memory grows at most".to_owned(),
                goal: format!("less than {MEMORY_MAX_MB} MB"),
                found: format!("{:.1} MB", self.grown_mb()),
                is_met: self.grown_mb() < MEMORY_MAX_MB,
            },
        ]
    }

    fn table(&self) -> Table {
        let title = format!("the daemon with {} proxies", self.proxies);
        let mut table =
            Table::new(title, "Without reports they are connected for their rules.", &["", "cores", "MiB"]);
        let mib = |kib: u64| format!("{:.1}", kib as f64 / 1_024.0);
        table.push(["without reports".to_owned(), format!("{:.3}", self.quiet_cores), mib(self.quiet_kib)]);
        table.push(["with them, at its peak".to_owned(), format!("{:.3}", self.cores), mib(self.peak_kib)]);
        table
    }

    fn row(&self) -> Value {
        let Self { proxies, report_bytes, quiet_cores, cores, quiet_kib, peak_kib } = self;
        json!({
            "what": "load", "proxies": proxies, "report_bytes": report_bytes, "quiet_cores": quiet_cores,
            "cores": cores, "quiet_kib": quiet_kib, "peak_kib": peak_kib,
        })
    }

    fn method(&self) -> Vec<String> {
        vec![
            format!(
                "The load: the real daemon with {} xDS streams that got the tenant's rules, and a metrics stream of each of these \
                 nodes, over few connections on loopback. Each report has 150 families under Envoy's names, four histograms of 19 \
                 buckets among them; the reports are spread evenly over the {} s between two of one proxy. The order judges two \
                 services by errors, latency and endpoints.",
                self.proxies,
                INTERVAL.as_secs()
            ),
            format!(
                "Measured are {} s, beginning when each proxy has told its first counts, and before them {} s without reports. The \
                 kernel says what the daemon took; the growth is from its memory at rest to its peak.",
                INTERVAL.as_secs() * (REPORTS - 1),
                QUIET.as_secs()
            ),
            "At the end the order has exactly the requests and errors that were told, of both versions of both services, and calls \
             both healthy."
                .to_owned(),
        ]
    }
}
