//! What answers may be, by what is known of the bank.

use crate::actions::{Action, Request, What};
use crate::moment::Moment;
use crate::run::{Checked, broken, holds};
use crate::shadow::{Shadow, ShadowOrder};
use graylane::daemon::ActionError;
use graylane_order::Phase;

// === impl Request ===

impl Request {
    /// Which promise an answer breaks on a disk that works, and how.
    pub fn judge(&self, answer: Result<(), &ActionError>, shadow: &Shadow, moment: &Moment) -> Checked {
        let tenant = self.action.tenant(shadow);
        let is_stopped = tenant.is_some_and(|tenant| !moment.admits(self.by, tenant));
        if is_stopped && answer.is_ok() {
            return broken("nothing goes forward while the line is stopped", format!("{self} was done"));
        }
        let Action::Order { id, what, if_match } = &self.action else {
            let is_spoiled = matches!(self.action, Action::ApplyPlan { plan: None, .. });
            let taken = (is_spoiled && answer.is_ok()).then(|| "a plan that is none was taken".to_owned());
            return holds("bad input is refused", taken);
        };
        let Some(order) = shadow.orders.get(id) else { return Ok(()) };
        if moment.has_jumped && if_match.is_some() {
            // The order moves along with a clock that jumped, before anything else, and has a new version then.
            return Ok(());
        }
        if if_match.is_some_and(|version| version != order.told.version) {
            return match answer {
                Err(ActionError::Stale { .. }) => Ok(()),
                Err(error) => broken("who saw another version is refused, and told so", error.to_string()),
                Ok(()) => broken("who saw another version is refused", "it was done"),
            };
        }
        match answer {
            Ok(()) if !order.is_active() => {
                broken("what ended stays", format!("an order that is {} was changed", order.told.phase))
            }
            Ok(()) => holds("who may not approve is refused", self.wrong_approval(what, order)),
            Err(error) => match self.due(what, order, moment, is_stopped) {
                Some(promise) => broken(promise, error.to_string()),
                None => Ok(()),
            },
        }
    }

    /// What is wrong with an approval that was taken.
    fn wrong_approval(&self, what: &What, order: &ShadowOrder) -> Option<String> {
        let What::Approve { stage, role, hash } = what else { return None };
        let next = format!("stage-{}", order.next() - 1);
        if *stage != next {
            return Some(format!("{stage:?} was approved, and {next} comes next"));
        }
        if *hash != order.told.hash {
            return Some(format!("{} stands, and {hash} was approved", order.told.hash));
        }
        if order.authors.contains(self.by.name) {
            return Some(format!("{} is an author of it", self.by.name));
        }
        let is_his = |asked: &&str| self.by.roles.contains(asked) && role.is_none_or(|role| role == *asked);
        let is_needed = order.next_roles().iter().any(is_his);
        (!is_needed).then(|| format!("{} has no role that approves as {role:?}", self.by.name))
    }

    /// Which promise says that this is done now, if one does.
    fn due(
        &self,
        what: &What,
        order: &ShadowOrder,
        moment: &Moment,
        is_stopped: bool,
    ) -> Option<&'static str> {
        let lags = moment.lags[order.tenant()].is_some();
        match what {
            What::Rollback { .. } if order.is_active() => Some("a rollback of an active order is accepted"),
            What::Health { .. } if order.is_active() && order.told.phase != Phase::RollingBack => {
                Some("a judgement of an active order is taken")
            }
            What::Advance if order.is_ready() && !lags && !is_stopped => Some("an order that may go on does"),
            What::Approve { .. } if order.is_open_to_approvals() && !is_stopped => {
                let is_first = !order.has_approvals() && self.wrong_approval(what, order).is_none();
                is_first.then_some("who may approve does")
            }
            _ => None,
        }
    }
}
