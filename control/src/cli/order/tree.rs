//! An order as a tree, for people.

use super::sparkline::sparkline;
use crate::cli::output::plain;
use crate::daemon::{
    ApprovedView, FaultView, FiguresView, JudgedView, NextStageView, OrderView, PointView, SeriesView,
    ServiceView, UnheardView, WindowView,
};
use graylane_order::{Health, Phase};
use graylane_plan::HealthSource;

/// Characters of a hash that tell it from others.
const SHORT_HASH: usize = 12;

/// A line and what stands below it.
struct Branch {
    line: String,
    below: Vec<Branch>,
}

/// The order as a tree, with or without charts.
pub(super) fn tree(order: &OrderView, has_charts: bool) -> String {
    let OrderView { id, tenant, plan, phase, phase_since, version, .. } = order;
    let root = format!(
        "order {id} of plan {plan}, tenant {tenant}: {phase} since {phase_since} (version {version})"
    );
    let mut below = Vec::new();
    if let Some(waits) = &order.waits_for {
        below.push(Branch::leaf(format!("waits for {}, since {}", waits.what, waits.since)));
    }
    if let Some(freeze) = &order.freeze {
        let reason = because(&freeze.reason);
        below.push(Branch::leaf(format!("line stopped by {} since {}{reason}", freeze.by, freeze.since)));
    }
    below.push(Branch::leaf(format!("stages: {}", stages(order))));
    below.push(stage(order, has_charts));
    below.extend(order.next_stage.as_ref().filter(|next| next.has_gate()).map(|next| gate(order, next)));
    let seen = &order.convergence;
    below.push(Branch::leaf(format!(
        "revision {}: acknowledged {}/{total}, applied {}/{total}",
        seen.wanted,
        seen.acknowledged,
        seen.applied,
        total = seen.total
    )));
    if let Some(kept) = order.retention.as_ref().filter(|_| *phase == Phase::Retained) {
        below.push(Branch::leaf(format!(
            "the old version is kept until {}, then: {}",
            kept.until, kept.at_end
        )));
    }
    if let Some(last) = order.timeline.last() {
        let reason = because(&last.actor.reason);
        below.push(Branch::leaf(format!("last: {} by {}: {}{reason}", last.at, last.actor.name, last.what)));
    }
    Branch { line: root, below }.render()
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

/// All stages: which are done, which is the current one, and which are to come.
fn stages(order: &OrderView) -> String {
    let is_over = matches!(order.phase, Phase::Retained | Phase::Finished);
    let has_begun = order.services.iter().any(|service| service.stage.is_some());
    let mark = |number: usize| match number {
        number if number < order.stage.number || is_over => "✓",
        number if number == order.stage.number && has_begun => "●",
        _ => "○",
    };
    let stages = order.stages.iter().enumerate().map(|(at, name)| format!("{} {name}", mark(at + 1)));
    stages.collect::<Vec<_>>().join("  ")
}

fn stage(order: &OrderView, has_charts: bool) -> Branch {
    let stage = &order.stage;
    let hold = match stage.hold_left_seconds {
        0 => String::new(),
        seconds => format!(", to be held for {seconds} s more"),
    };
    let line = format!("stage {} ({} of {}) since {}{hold}", stage.name, stage.number, stage.of, stage.since);
    Branch { line, below: order.services.iter().map(|found| service(order, found, has_charts)).collect() }
}

fn service(order: &OrderView, service: &ServiceView, has_charts: bool) -> Branch {
    let ServiceView { name, stable, gray, stage, rolled_back, health, judged, last_fault, converged, total } =
        service;
    let state = match (rolled_back, order.phase, stage) {
        (true, ..) => "rolled back".to_owned(),
        (false, Phase::Finished, _) => format!("{gray} is the baseline"),
        (false, _, Some(stage)) => format!("in stage {stage}"),
        (false, _, None) => "not entered".to_owned(),
    };
    let health = match health {
        Health::Unknown => String::new(),
        known => format!(", {known}"),
    };
    let line = format!("{name}: {stable} → {gray}, {state}, {converged}/{total} converged{health}");
    let found = judged.iter().flat_map(|judged| {
        let JudgedView { reason, gray: gray_did, stable: stable_did, endpoints, series, source, .. } = judged;
        let endpoints = endpoints.map(|count| format!(", endpoints: {count}")).unwrap_or_default();
        let [gray_chart, stable_chart] =
            series.as_ref().filter(|_| has_charts).map(charts).unwrap_or_default();
        let chart = |chart: Option<String>| chart.into_iter().map(Branch::leaf).collect();
        let found = Branch::leaf(format!("found by {source}: {reason}"));
        let nobodys = judged.unheard.iter().map(|version| Branch::leaf(unheard(version, source)));
        [
            Branch { below: nobodys.collect(), ..found },
            Branch {
                below: chart(gray_chart),
                ..Branch::leaf(format!("gray {gray}: {}{endpoints}", did(gray_did)))
            },
            Branch {
                below: chart(stable_chart),
                ..Branch::leaf(format!("stable {stable}: {}", did(stable_did)))
            },
        ]
    });
    let below = found.chain(last_fault.iter().map(fault)).collect();
    Branch { below, ..Branch::leaf(line) }
}

/// Why there are no figures of a version.
fn unheard(UnheardView { version, cluster }: &UnheardView, source: &str) -> String {
    let missing = match cluster {
        _ if source == HealthSource::Prometheus.word() => "Prometheus gave no sample of it".to_owned(),
        Some(name) => format!("no proxy reported a cluster named {name}"),
        None => {
            "no proxy reported a cluster that `clusters` of the configuration gives to it alone".to_owned()
        }
    };
    format!("nobody counts {version}: {missing}")
}

fn fault(FaultView { at, by, reason, figures }: &FaultView) -> Branch {
    let figures = if figures.is_empty() { String::new() } else { format!(": {figures}") };
    Branch::leaf(format!("last fault: {at} by {by}{figures}{}", because(reason)))
}

/// Which share of the requests failed over the window, of gray and of stable, both on one scale.
fn charts(SeriesView { point_seconds, gray, stable }: &SeriesView) -> [Option<String>; 2] {
    let largest = gray.iter().chain(stable).filter_map(|point| point.share()).fold(0.0, f64::max);
    [gray, stable].map(|points| {
        let line = sparkline(points.iter().copied().map(PointView::share), largest);
        let what = format!("failed, up to {:.1} % in {point_seconds} s", largest * 100.0);
        (!line.trim().is_empty()).then(|| format!("{line} {what}"))
    })
}

/// What a version did in the window.
fn did(figures: &FiguresView) -> String {
    let FiguresView { requests, errors, p50_ms, p99_ms, .. } = figures;
    let times = p50_ms.zip(*p99_ms).map(|(p50, p99)| format!(", p50 {p50:.1} ms, p99 {p99:.1} ms"));
    format!("{requests} requests, {errors} failed{}", times.unwrap_or_default())
}

fn gate(order: &OrderView, next: &NextStageView) -> Branch {
    let approvals = next.approvals.iter().map(|ApprovedView { role, count, by }| {
        let names = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
        Branch::leaf(format!("approval by {role}: {} of {count}{names}", by.len()))
    });
    let window = next.window.as_ref().map(|WindowView { open, opens }| {
        let state = if *open { "open" } else { "shut" };
        let opens = opens.map(|at| format!(", opens next at {at}")).unwrap_or_default();
        Branch::leaf(format!("window: {state}{opens}"))
    });
    let content = order.standing_hash.get(..SHORT_HASH).unwrap_or(&order.standing_hash);
    let line = format!("next: {} ({} of {}), content {content}", next.name, next.number, order.stage.of);
    Branch { line, below: approvals.chain(window).collect() }
}

// === impl NextStageView ===

impl NextStageView {
    fn has_gate(&self) -> bool {
        !self.approvals.is_empty() || self.window.is_some()
    }
}

// === impl Branch ===

impl Branch {
    /// A line with nothing below it. A reason or a figure in it draws no lines of its own.
    fn leaf(line: String) -> Self {
        Self { line: plain(&line), below: Vec::new() }
    }

    fn render(&self) -> String {
        let mut lines = vec![self.line.clone()];
        self.grow(&mut lines, "");
        lines.join("\n")
    }

    fn grow(&self, lines: &mut Vec<String>, trunk: &str) {
        let last = self.below.len().saturating_sub(1);
        for (at, branch) in self.below.iter().enumerate() {
            let (joint, more) = if at == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            lines.push(format!("{trunk}{joint}{}", branch.line));
            branch.grow(lines, &format!("{trunk}{more}"));
        }
    }
}
