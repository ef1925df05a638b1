//! Gates: who has to approve, and when a stage may be entered; and what else says when an order goes on.

use crate::check::head::check_name;
use crate::gate::{Gate, MAX_APPROVALS, MAX_APPROVERS};
use crate::model::{Batch, ReleasePlan, Spec};
use crate::problem::{Problems, element, field, shown};
use crate::window::{Window, check_calendar};
use std::collections::BTreeMap;

pub(super) fn check(plan: &ReleasePlan, problems: &mut Problems) {
    let spec = &plan.spec;
    for (at, stage) in spec.stages.iter().enumerate() {
        check_gate(&field(&element("spec.stages", at), "gate"), &stage.gate, spec, problems);
    }
    if let Some(calendar) = &spec.calendar {
        check_calendar("spec.calendar", calendar, problems);
    }
    check_spans(spec, problems);
}

fn check_gate(path: &str, gate: &Gate, spec: &Spec, problems: &mut Problems) {
    let approvals = field(path, "approvals");
    if gate.approvals.len() > MAX_APPROVALS {
        let count = gate.approvals.len();
        problems.error(
            &approvals,
            format!("{count} kinds of approvals are over the limit of {MAX_APPROVALS}; merge some"),
        );
        return;
    }
    let mut first_by_role = BTreeMap::new();
    for (at, wanted) in gate.approvals.iter().enumerate() {
        let path = element(&approvals, at);
        check_name(&field(&path, "role"), "role", &wanted.role, problems);
        if let Some(first) = first_by_role.insert(&wanted.role, at) {
            let role = shown(&wanted.role);
            problems.error(
                &path,
                format!("{role} is the role of {approvals}[{first}] too; add the counts there"),
            );
        }
        if !(1..=MAX_APPROVERS).contains(&wanted.count) {
            let count = wanted.count;
            problems.error(field(&path, "count"), format!("{count} is not 1 to {MAX_APPROVERS}"));
        }
    }
    if let Some(window) = &gate.window {
        Window::check(window, spec.calendar.as_ref(), &field(path, "window"), problems);
    }
}

fn check_spans(spec: &Spec, problems: &mut Problems) {
    for (path, span) in [("spec.retention", &spec.retention), ("spec.settle", &spec.settle)] {
        if let Some(Err(error)) = span.as_ref().map(|span| span.seconds()) {
            problems.error(path, error.to_string());
        }
    }
    if spec.settle.is_some() && spec.batch == Batch::Parallel {
        problems.warning("spec.settle", "says nothing in a parallel batch, whose services enter at once");
    }
    if spec.retention.is_some() && spec.at_retention_end.is_none() {
        let message = "nothing is said of its end; the old version is then kept until somebody finishes the order; \
                       say atRetentionEnd: stay or finish";
        problems.warning("spec.retention", message);
    }
    if spec.retention.is_none() && spec.at_retention_end.is_some() {
        problems.warning(
            "spec.atRetentionEnd",
            "says nothing without a retention; give one, like retention: 72h",
        );
    }
}
