//! How the gray versions do, and what follows when one is faulty.

use super::{Effect, Stepped, check_reason};
use crate::health::{Fault, Health};
use crate::limits::MAX_FIGURES_BYTES;
use crate::order::{Order, Phase};
use crate::refused::Refused;
use crate::timeline::Actor;
use graylane_plan::FaultAction;
use jiff::Timestamp;

// === impl Order ===

impl Order {
    pub(super) fn judge(
        &self,
        actor: Actor,
        service: &str,
        health: Health,
        figures: String,
        now: Timestamp,
    ) -> Stepped {
        check_reason(&actor)?;
        match figures.len() {
            bytes if bytes > MAX_FIGURES_BYTES => return Err(Refused::Figures { bytes }),
            _ => {}
        }
        self.check_services(&[service.to_owned()])?;
        if !self.is_active() || self.phase == Phase::RollingBack {
            return self.refuse("take a judgement", "it does not run gray versions any more");
        }
        let mut next = self.clone();
        let Some(state) = next.services.get_mut(service).filter(|state| state.health != health) else {
            return Ok((next, Vec::new()));
        };
        (state.health, state.health_since) = (health, now);
        if health == Health::Faulty {
            let fault = Fault { at: now, actor: actor.clone(), figures: figures.clone() };
            next.faults.insert(service.to_owned(), fault);
        }
        next.note(now, actor, format!("service {service:?} is {health}{}", told(&figures)));
        let effects = match health {
            Health::Faulty => next.act_on_fault(service, figures, now),
            Health::Healthy | Health::Unknown => Vec::new(),
        };
        Ok((next, effects))
    }

    /// Does what the plan says of a fault, with its figures as the reason.
    fn act_on_fault(&mut self, service: &str, figures: String, now: Timestamp) -> Vec<Effect> {
        let is_gray = self.gray_services().any(|(gray, _)| gray.name == service);
        let Some(action) = self.plan.spec.on_fault().filter(|_| is_gray) else { return Vec::new() };
        let reason = format!("service {service:?} is faulty{}", told(&figures));
        let actor = Actor { reason, ..Actor::daemon() };
        match action {
            FaultAction::Pause if matches!(self.phase, Phase::Running | Phase::AwaitingApproval) => {
                self.hold_back(actor, now);
                Vec::new()
            }
            // All stages are done, or it is paused: there is nothing to hold back.
            FaultAction::Pause => Vec::new(),
            FaultAction::RollbackService => {
                let names = self.with_dependents(&[service.to_owned()], false);
                self.take_back(actor, &names, now)
            }
            FaultAction::RollbackOrder => {
                let names = self.services.keys().cloned().collect();
                self.take_back(actor, &names, now)
            }
        }
    }
}

fn told(figures: &str) -> String {
    if figures.is_empty() { String::new() } else { format!(": {figures}") }
}
