//! `push`: how long an advance takes to reach the proxies, and to steer a request there.

pub(crate) mod release;
pub(crate) mod round;

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use graylane_wasm_tests::{Client, Envoy, Testbed, TestbedSettings, wait};
use graylane_xds::limits::DEBOUNCE;

use crate::api::Api;
use crate::figures::{self, Samples};
use crate::machine::Machine;
use crate::push::release::Release;
use crate::push::round::{Round, Times, Trigger};
use crate::report::{Destinations, Report};

/// Proxies that the benchmark runs, unless it is told otherwise.
const ENVOYS: u32 = 3;
/// Rounds that are started by the command line, whose own start-up is then part of the figure.
const CLI_ROUNDS: u32 = 20;
/// Rounds that are not counted: connections, caches and the proxies' modules warm up.
const WARM_UP_ROUNDS: u32 = 5;
/// How often progress is shown.
const PROGRESS_EVERY: u32 = 25;

/// The arguments of `push`.
#[derive(Args)]
pub(crate) struct Push {
    /// How many advances to measure
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// How many Envoys run; the report of another number than 3 has a file of its own
    #[arg(long, default_value_t = ENVOYS, value_parser = clap::value_parser!(u32).range(1..=64))]
    envoys: u32,
    /// Tellers in the rules beside the ones that are measured: every advance sends the proxies all of them again
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    ids: u32,
    /// How long an observer rests between two questions, in microseconds: less sees more, and takes more of the cores
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pause_us: u64,
    #[command(flatten)]
    destinations: Destinations,
}

/// All that is measured.
struct Measured {
    answered: Samples,
    last_ack: Samples,
    first_steered: Samples,
    last_steered: Samples,
    ack_gap: Samples,
    steered_gap: Samples,
    cli_process: Samples,
    cli_last_ack: Samples,
    cli_last_steered: Samples,
}

// === impl Push ===

impl Push {
    /// Runs the benchmark and publishes its report.
    ///
    /// # Errors
    /// When a part does not start, an answer is wrong, or a report cannot be written.
    pub(crate) fn run(&self) -> Result<()> {
        let mut machine = Machine::here();
        machine.add_envoy();
        let testbed = start(self.envoys as usize)?;
        machine.add_file_system(testbed.daemon.folder());
        let pause = Duration::from_micros(self.pause_us);
        let api = Api::new(testbed.daemon.http());
        until_connected(&api, self.envoys as usize)?;
        let clients: Vec<Client> = testbed.envoys.iter().map(Envoy::client).collect();
        let mut release = Release::begin(&api, self.list().as_deref())?;
        let rules_bytes = release.rules_bytes(&api)?;
        let mut measured = Measured::new();
        let mut rounds = |count: u32, trigger: Trigger<'_>, measured: &mut dyn FnMut(&Times)| -> Result<()> {
            for number in 1..=count {
                // Publishes that follow each other at once are sent as one, after a while.
                thread::sleep(2 * DEBOUNCE);
                let stage = release.next(&api)?;
                measured(&Round { api: &api, clients: &clients, stage: &stage, pause }.run(trigger)?);
                if number % PROGRESS_EVERY == 0 {
                    eprintln!("  {number} of {count} rounds");
                }
            }
            Ok(())
        };
        rounds(WARM_UP_ROUNDS, Trigger::Http, &mut |_| {})?;
        rounds(self.rounds, Trigger::Http, &mut |times| measured.add(times))?;
        rounds(CLI_ROUNDS, Trigger::CommandLine(&testbed.daemon), &mut |times| measured.add_from_cli(times))?;
        self.report(&measured, machine, rules_bytes)?.publish(&self.destinations)
    }

    /// The ids that make the rules larger, as a list to upload.
    fn list(&self) -> Option<String> {
        (self.ids > 0).then(|| (0..self.ids).map(|number| format!("F{number:08}\n")).collect())
    }

    fn report(&self, measured: &Measured, machine: Machine, rules_bytes: u64) -> Result<Report> {
        let envoys = self.envoys;
        let title = format!(
            "push: from `advance` to {envoys} proxies, {} rounds, rules of {rules_bytes} bytes",
            self.rounds
        );
        let method = vec![
            format!(
                "One daemon and {envoys} Envoys (two workers each) from `envoy-configs/sidecar-outbound.yaml`, with the \
                 upstreams and the benchmark itself on the same machine, so all of them share its cores."
            ),
            "A plan over two services whose stages each let in one more teller; each round is one `advance`, which is \
             written to disk, compiled, checked with the filter's own loader, and pushed by delta ECDS."
                .to_owned(),
            "t0 is just before `POST /api/v1/orders/{id}/advance` is sent. An ACK is seen by polling `/api/v1/proxies` \
             on a kept connection; the first steered request by one kept connection to each Envoy that sends the new \
             teller's request again and again, and counts when the answer of v2 has arrived."
                .to_owned(),
            format!(
                "Both observers pause {:.1} ms between their questions, so as not to take the cores from what is \
                 measured. The `_gap` rows give the time between the last old and the first new answer: a figure is too \
                 long by at most that.",
                self.pause_us as f64 / 1e3
            ),
            "The metrics stream is taken out of the Envoys' configuration: with it an order counts as converged only \
             after the next flush (1 s), which would measure that interval."
                .to_owned(),
            "Each round checks itself: the teller gets v1 through every Envoy before and v2 after, also in the next \
             requests; the teller of the following stage stays on v1; the revision that was acknowledged is the one that \
             the daemon answered; the next round begins when every proxy has converged."
                .to_owned(),
            "One connection to an Envoy reaches one of its two workers, so `steered` speaks of that worker; an ACK speaks of \
             the whole Envoy, as Envoy itself counts it. The observers share the cores too: `--pause-us` tells how much \
             that matters."
                .to_owned(),
            format!(
                "{WARM_UP_ROUNDS} rounds before the first are not counted. Quantiles are by nearest rank, so the p99 of the \
                 {CLI_ROUNDS} rounds by command line is their maximum. The load before the start may hold the build."
            ),
        ];
        let rows = measured.rows()?;
        let tables = vec![figures::table("Times in milliseconds", &rows)];
        let rows = rows.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        let options = (envoys != ENVOYS).then(|| format!("--envoys {envoys}"));
        Ok(Report { name: "push", options, title, tables, rows, charts: Vec::new(), method, machine })
    }
}

// === impl Measured ===

impl Measured {
    fn new() -> Self {
        Self {
            answered: Samples::new("push.answered", "the daemon answered the advance: durable and published"),
            last_ack: Samples::new("push.last_ack", "the last proxy had acknowledged"),
            first_steered: Samples::new("push.first_steered", "the first proxy sent the new teller to v2"),
            last_steered: Samples::new("push.last_steered", "the last proxy sent the new teller to v2"),
            ack_gap: Samples::new("push.ack_gap", "resolution of last_ack"),
            steered_gap: Samples::new("push.steered_gap", "resolution of first_steered and last_steered"),
            cli_process: Samples::new("push.cli.process", "the whole run of `graylane order advance`"),
            cli_last_ack: Samples::new("push.cli.last_ack", "last_ack, from before that process started"),
            cli_last_steered: Samples::new(
                "push.cli.last_steered",
                "last_steered, from before that process started",
            ),
        }
    }

    fn add(&mut self, times: &Times) {
        self.answered.push(times.answered);
        self.last_ack.push(times.last_ack.after);
        self.ack_gap.push(times.last_ack.gap);
        let after = || times.steered.iter().map(|seen| seen.after);
        after().min().into_iter().for_each(|time| self.first_steered.push(time));
        after().max().into_iter().for_each(|time| self.last_steered.push(time));
        times.steered.iter().for_each(|seen| self.steered_gap.push(seen.gap));
    }

    fn add_from_cli(&mut self, times: &Times) {
        self.cli_process.push(times.answered);
        self.cli_last_ack.push(times.last_ack.after);
        times
            .steered
            .iter()
            .map(|seen| seen.after)
            .max()
            .into_iter()
            .for_each(|time| self.cli_last_steered.push(time));
    }

    fn rows(&self) -> Result<Vec<crate::figures::Row>> {
        let all = [
            &self.answered,
            &self.last_ack,
            &self.first_steered,
            &self.last_steered,
            &self.ack_gap,
            &self.steered_gap,
            &self.cli_process,
            &self.cli_last_ack,
            &self.cli_last_steered,
        ];
        all.into_iter().map(Samples::row).collect()
    }
}

/// The daemon and so many Envoys, whose metrics it does not get.
pub(crate) fn start(envoys: usize) -> Result<Testbed> {
    let mut testbed = Testbed::start(&TestbedSettings { envoys: 0, ..TestbedSettings::default() })?;
    for index in 0..envoys {
        let config = testbed.config("sidecar-outbound.yaml")?.node(&format!("proxy-{index}"));
        let without_metrics = config.edit(|root| {
            root.as_object_mut().and_then(|fields| fields.remove("stats_sinks"));
        });
        testbed.envoys.push(Envoy::start(without_metrics)?);
    }
    Ok(testbed)
}

/// Waits until so many proxies are connected to the daemon.
pub(crate) fn until_connected(api: &Api, envoys: usize) -> Result<()> {
    wait::until("every proxy is connected", || {
        let proxies = api.proxies()?;
        ensure!(proxies.len() == envoys, "{} of {envoys} are", proxies.len());
        Ok(())
    })
}
