//! What an order waits for next, and since when.

use crate::gate::Closed;
use crate::order::{Order, Phase, Retention, duration};
use crate::sight::{Seen, Sight};
use graylane_plan::Advance;
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// The next thing that an order waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What.
    pub waits_for: WaitsFor,
    /// Since when.
    pub since: Timestamp,
}

/// What an order can wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// Proxies have to run the wanted rules.
    Proxies(Seen),
    /// A service is faulty.
    Health {
        /// The service.
        service: String,
    },
    /// Nobody can say yet whether a service does well.
    Verdict {
        /// The service.
        service: String,
    },
    /// The services that entered have to do well for a while before the next one follows.
    Settling {
        /// The next service.
        service: String,
        /// For how long.
        settle: SignedDuration,
    },
    /// The stage has to be held.
    Hold {
        /// Until when.
        until: Timestamp,
    },
    /// Somebody has to approve.
    Approval {
        /// The stage.
        stage: String,
        /// The role.
        role: String,
        /// How many did.
        given: usize,
        /// How many have to.
        count: usize,
    },
    /// A window has to open.
    Window {
        /// The stage.
        stage: String,
        /// When it does; none when that is more than a year away.
        opens: Option<Timestamp>,
        /// The opening that is let pass, because nobody watched.
        missed: Option<Timestamp>,
    },
    /// Somebody has to start the line again.
    Thaw,
    /// Somebody has to resume the order.
    Resume,
    /// Somebody has to say that it advances.
    Advance {
        /// The stage that comes next.
        stage: String,
    },
    /// Somebody has to finish it or roll it back.
    Finish,
    /// The old version is kept for a while.
    Retention {
        /// Until when.
        until: Timestamp,
        /// Whether the order finishes by itself then.
        finishes: bool,
    },
}

// === impl Order ===

impl Order {
    /// The next thing that the order waits for; none when it came to its end, or goes on at the next look.
    #[must_use]
    pub fn waits_for(&self, sight: Sight, now: Timestamp) -> Option<Waiting> {
        let (waits_for, since) = match self.phase {
            Phase::RolledBack | Phase::Finished => return None,
            Phase::RollingBack => (self.proxies(sight)?, self.phase_since),
            Phase::Paused => (WaitsFor::Resume, self.phase_since),
            Phase::Retained => self.waits_retained(sight),
            Phase::Running | Phase::AwaitingApproval if sight.frozen_since.is_some() => {
                (WaitsFor::Thaw, sight.frozen_since.max(Some(self.phase_since))?)
            }
            Phase::Running => (self.waits_running(sight, now)?, self.stage_since),
            Phase::AwaitingApproval => (self.waits_at_gate_for(sight, now)?, self.phase_since),
        };
        // The epoch, while nobody ever said anything of it.
        let judged_at = |service: &str| self.services.get(service).map(|state| state.health_since);
        let since = match &waits_for {
            WaitsFor::Health { service } | WaitsFor::Verdict { service } => {
                judged_at(service).map_or(since, |judged| judged.max(since))
            }
            _ => since,
        };
        Some(Waiting { waits_for, since })
    }

    fn waits_running(&self, sight: Sight, now: Timestamp) -> Option<WaitsFor> {
        if let Some(before) = self.faulty().or_else(|| self.proxies(sight)).or_else(|| self.unjudged()) {
            return Some(before);
        }
        let settle = self.settle_left(sight, now);
        if let Some(service) = self.next_service() {
            let whole = duration(self.plan.spec.settle.as_ref());
            return (!settle.is_zero()).then_some(WaitsFor::Settling { service, settle: whole });
        }
        let left = self.hold_left(now);
        if !left.is_zero() {
            return Some(WaitsFor::Hold { until: now + left });
        }
        let by_hand = self.plan.spec.advance == Advance::Manual && !self.is_at_last_stage();
        by_hand.then(|| WaitsFor::Advance { stage: self.stage_name(self.stage + 1) })
    }

    fn waits_at_gate_for(&self, sight: Sight, now: Timestamp) -> Option<WaitsFor> {
        let stage = self.next_stage()?;
        match self.closed(stage, sight.watching_since, now) {
            Some(closed) => Some(self.waits_at(stage, &closed, now)),
            None => self.faulty().or_else(|| self.proxies(sight)).or_else(|| self.unjudged()),
        }
    }

    /// What a closed gate waits for.
    pub(crate) fn waits_at(&self, stage: usize, closed: &Closed, now: Timestamp) -> WaitsFor {
        let name = self.stage_name(stage);
        let missed = match closed {
            Closed::Approvals(missing) => {
                let (given, count) = (missing.by.len(), missing.count);
                return WaitsFor::Approval { stage: name, role: missing.role.clone(), given, count };
            }
            Closed::Window => None,
            Closed::Missed(at) => Some(*at),
        };
        let opens = self.window(stage).and_then(|window| window.opens_after(now));
        WaitsFor::Window { stage: name, opens, missed }
    }

    fn waits_retained(&self, sight: Sight) -> (WaitsFor, Timestamp) {
        let kept = self.retention.filter(|Retention { over, .. }| !over);
        let waits_for = match (self.faulty(), kept) {
            (Some(faulty), _) => faulty,
            (None, Some(Retention { until, .. })) => {
                let finishes = self.plan.spec.at_retention_end == Some(graylane_plan::RetentionEnd::Finish);
                WaitsFor::Retention { until, finishes: finishes && sight.frozen_since.is_none() }
            }
            (None, None) => WaitsFor::Finish,
        };
        (waits_for, self.phase_since)
    }

    fn proxies(&self, sight: Sight) -> Option<WaitsFor> {
        (!sight.seen.is_converged()).then_some(WaitsFor::Proxies(sight.seen))
    }

    fn unjudged(&self) -> Option<WaitsFor> {
        self.unjudged_service().map(|service| WaitsFor::Verdict { service: service.to_owned() })
    }

    fn faulty(&self) -> Option<WaitsFor> {
        self.faulty_service().map(|service| WaitsFor::Health { service: service.to_owned() })
    }
}

// === impl WaitsFor ===

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxies(Seen { converged, total }) => {
                write!(f, "proxies: {converged} of {total} run the wanted rules")
            }
            Self::Health { service } => write!(f, "service {service:?}, which is faulty"),
            Self::Verdict { service } => write!(f, "a verdict on service {service:?}"),
            Self::Settling { service, settle } => {
                write!(f, "all services to do well for {settle:#} before {service:?} enters")
            }
            Self::Hold { until } => write!(f, "the hold time, which ends at {until}"),
            Self::Approval { stage, role, given, count } => {
                write!(f, "the approval of stage {stage:?} by {role}, {given} of {count} given")
            }
            Self::Window { stage, opens, missed } => {
                let opens =
                    opens.map_or("does not open within a year".to_owned(), |at| format!("opens at {at}"));
                write!(f, "the window of stage {stage:?}, which {opens}")?;
                missed.map_or(Ok(()), |at| write!(f, "; nobody watched as it opened at {at}"))
            }
            Self::Thaw => f.write_str("`freeze off`: the tenant's line is stopped"),
            Self::Resume => f.write_str("`order resume`"),
            Self::Advance { stage } => write!(f, "`order advance` to stage {stage:?}"),
            Self::Finish => f.write_str("`order finish` or `order rollback`"),
            Self::Retention { until, finishes: true } => {
                write!(f, "the end of the retention at {until}, and finishes then")
            }
            Self::Retention { until, finishes: false } => {
                write!(f, "`order finish` or `order rollback`; the retention ends at {until}")
            }
        }
    }
}
