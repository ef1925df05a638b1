//! All that was found, as a report.

use anyhow::Result;
use serde_json::{Value, json};

use crate::figures::{self, Row};
use crate::filter::chart;
use crate::filter::contender::Contender;
use crate::filter::costs::Costs;
use crate::filter::reload::Stall;
use crate::filter::scale::Scale;
use crate::filter::served::AfterReloads;
use crate::filter::targets::{self, Compared, Target};
use crate::machine::Machine;
use crate::report::Report;
use crate::table::Table;

/// All figures of a run.
pub(crate) struct Found {
    /// How much was measured.
    pub(crate) scale: Scale,
    /// With one worker.
    pub(crate) costs: Costs,
    /// With two workers.
    pub(crate) costs_of_two: Option<Costs>,
    /// Worst requests during reloads.
    pub(crate) stalls: Vec<Stall>,
    /// Times from a push to the first steered request.
    pub(crate) served: Vec<Row>,
    /// Memory over many reloads.
    pub(crate) memory: Vec<AfterReloads>,
}

// === impl Found ===

impl Found {
    /// The report. It is complete whether or not the targets are held.
    pub(crate) fn report(&self, machine: Machine) -> Result<Report> {
        let targets = self.targets();
        let sizes = self.scale.sizes;
        let mut tables = vec![
            targets::table(&targets),
            self.costs.table("CPU per request in µs over no filter, one worker"),
            self.left_out(),
            self.costs.memory_table(),
            self.stall_table(),
            self.memory_table(),
            figures::table("From push to served, in milliseconds", &self.served),
        ];
        tables.extend(
            self.costs_of_two
                .iter()
                .map(|costs| costs.table("CPU per request in µs over no filter, two workers")),
        );
        tables.retain(|table| !table.is_empty());
        Ok(Report {
            name: "filter",
            options: None,
            title: format!(
                "filter: what a request costs with each way to steer, up to {} ids",
                sizes.last().unwrap_or(&0)
            ),
            tables,
            rows: self.rows(&targets)?,
            charts: vec![chart::cpu(&self.costs, sizes)?, chart::memory(&self.costs, sizes)?],
            method: METHOD.map(str::to_owned).to_vec(),
            machine,
        })
    }

    fn targets(&self) -> Vec<Target> {
        let compared = Compared { costs: &self.costs, sizes: self.scale.sizes };
        let mut targets = compared.requests();
        targets.extend(compared.memory());
        let ours = self.stalls.iter().filter(|stall| stall.contender == Contender::Graylane.as_str());
        targets.extend(ours.map(targets::of_stall));
        let from_push = self.served.iter().filter(|row| row.what == "served.daemon");
        targets.extend(from_push.map(targets::of_served));
        targets
    }

    fn rows(&self, targets: &[Target]) -> Result<Vec<Value>> {
        let mut rows = Vec::new();
        for cost in self.costs.by_cell.values() {
            rows.push(serde_json::to_value(cost)?);
        }
        for stall in &self.stalls {
            rows.push(serde_json::to_value(stall)?);
        }
        for (contender, ids, reason) in self.all_left_out() {
            rows.push(json!({ "contender": contender.as_str(), "ids": ids, "left_out": reason }));
        }
        for cost in self.costs_of_two.iter().flat_map(|costs| costs.by_cell.values()) {
            let mut row = serde_json::to_value(cost)?;
            row.as_object_mut().and_then(|fields| fields.insert("workers".to_owned(), json!(2)));
            rows.push(row);
        }
        for look in &self.memory {
            rows.push(serde_json::to_value(look)?);
        }
        for row in &self.served {
            rows.push(serde_json::to_value(row)?);
        }
        for target in targets {
            rows.push(serde_json::to_value(target)?);
        }
        Ok(rows)
    }

    fn all_left_out(&self) -> Vec<(Contender, usize, &'static str)> {
        let of = |contender: Contender| {
            let sizes = self.scale.sizes.iter();
            sizes.filter_map(move |&ids| Some((contender, ids, contender.left_out(ids, self.scale.limits)?)))
        };
        Contender::GROWING.into_iter().flat_map(of).collect()
    }

    fn left_out(&self) -> Table {
        let mut table = Table::new("Not measured", "", &["contender", "ids", "because"]);
        for (contender, ids, reason) in self.all_left_out() {
            table.push([contender.as_str().to_owned(), ids.to_string(), reason.to_owned()]);
        }
        table
    }

    fn stall_table(&self) -> Table {
        let note = "The slowest request while a rule set with other ids takes the place of one of the same size, at 1,000 requests \
                    a second from when each was due: the median over the windows, and the worst of all windows.";
        let head = ["contender", "ids", "reload", "worst", "no reload", "worst", "requests", "failed"];
        let mut table = Table::new("Worst request during a reload, in milliseconds", note, &head);
        for stall in &self.stalls {
            let figures = [
                stall.reload_worst_ms,
                stall.reload_worst_of_all_ms,
                stall.baseline_worst_ms,
                stall.baseline_worst_of_all_ms,
            ];
            let mut line = vec![stall.contender.to_owned(), stall.ids.to_string()];
            line.extend(figures.map(|figure| format!("{figure:.2}")));
            line.extend([stall.requests.to_string(), stall.failed.to_string()]);
            table.push(line);
        }
        table
    }

    fn memory_table(&self) -> Table {
        let note = "Each reload brings a rule set of the same size with other ids.";
        let mut table =
            Table::new("Memory after reloads, in MiB", note, &["contender", "ids", "reloads", "memory"]);
        for look in &self.memory {
            let figures = [look.ids.to_string(), look.reloads.to_string(), mebibytes(look.rss_kb)];
            table.push([look.contender.to_owned()].into_iter().chain(figures));
        }
        table
    }
}

/// KiB as MiB with one decimal.
pub(crate) fn mebibytes(kb: u64) -> String {
    format!("{:.1}", kb as f64 / 1024.0)
}

const METHOD: [&str; 11] = [
    "One Envoy process for each contender and size, all from `envoy-configs/sidecar-outbound.yaml` with another filter in \
     Graylane's place and with routes that answer directly (`x-gray-version: v2` gets `gray`, all others `stable`), so that \
     the filter is what differs. `bench/peers/README.md` says what each contender is.",
    "CPU per request is the time that all threads of a process spent on a core (`schedstat`), read when it has come to rest \
     before and after, divided by the answers in between. One worker, pinned to one core; the load is pinned to another.",
    "All contenders are started several times, each time in processes of their own, because where a process happens to lie in \
     memory is a part of what its requests cost: the same module in two processes may differ by a fifth. The JSON rows \
     have the median of each process.",
    "Rounds are interleaved: in each round every contender answers for 15 ms after a warm-up of 100 requests, outcome by \
     outcome, in another order each round, and `none` answers as long just before each of them. The cost is the difference of \
     the two: its median over all rounds of all processes, and its inter-quartile range. The first round does not count.",
    "A measurement is disturbed when other work had the core of Envoy or of the load for more than 2 % of its time (the waits in \
     `schedstat`). It is then taken again, twice at most, and the least disturbed one counts. The table says how many stayed \
     disturbed: figures of a run with many are no figures.",
    "The load is HTTP/1.1 on 8 kept connections with always one request under way on each. It looks at its sockets in turn \
     and never sleeps, so that Envoy does not pay for waking it. Status and body of every answer are checked; a wrong one \
     ends the benchmark.",
    "Requests carry 15 ordinary headers beside the host and `x-region`, `x-branch`, `x-teller`, with up to 4,096 different \
     tellers in turn. `gray`: the teller is in the rules (branch and region are not). `stable`: none of the three is. \
     `no-headers`: none of the three is sent. `no-rules`: as stable, to a host that no rule names.",
    "Ids are random eight-digit tellers with one letter before them; branches and regions have ten each. A contender that \
     cannot steer (`none`, `empty wasm`) gets gray requests that carry `x-gray-version: v2` already, for the same route.",
    "Memory is `VmRSS` after all rounds and two seconds of rest, the median of the processes.",
    "Reloads: Envoy with one worker, not pinned, as a reload also keeps its main thread busy; the load on one core. Rules come \
     by a file that is moved into place (`path_config_source`), written before. A window with reloads and one of the same \
     length without take turns.",
    "From push to served: `served.file` is from the move of the file to the first answer by the new rules, asked without a \
     pause (Envoy reads it as JSON with the rules in base64, which takes its main thread longer than a push by gRPC); `served.daemon` from `POST /api/v1/orders/{id}/advance` with a list of all ids in the plan, which the daemon \
     compiles, checks and pushes again at each advance.",
];
