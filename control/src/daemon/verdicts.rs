//! What is found of gray versions, and told to their orders.

use crate::daemon::state::Known;
use crate::daemon::views::JudgedView;
use crate::daemon::{Daemon, OrderAction, OrderView, Terms};
use crate::health::{Finding, Vitals, Word};
use graylane_health::TICK;
use graylane_order::{Actor, Order};
use std::collections::BTreeMap;
use std::sync::{Arc, TryLockError};
use tokio::task::block_in_place;
use tokio::time::{MissedTickBehavior, interval};

// === impl Daemon ===

impl Daemon {
    /// Who takes what proxies count.
    #[must_use]
    pub fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.vitals)
    }

    /// Judges the gray versions tick after tick, and never ends.
    pub async fn judge(&self) {
        let (mut commits, mut orders) = (self.commits(), Vec::new());
        commits.mark_changed();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // The sender is this daemon's own. Orders are read anew when one may have changed, and nobody is waited for: while an action
            // holds them, the next tick will do.
            if commits.has_changed().unwrap_or(true)
                && let Some(now) = self.judged_orders_now()
            {
                commits.mark_unchanged();
                orders = now;
            }
            let words = self.vitals.tick(&orders, self.clock.elapsed());
            if !words.is_empty() {
                block_in_place(|| words.iter().for_each(|word| self.tell(word)));
            }
        }
    }

    /// Tells an order. What it does not take now it is told again at the next tick.
    fn tell(&self, word: &Word) {
        let Word { order, service, health, finding } = word.clone();
        let figures = finding.verdict.to_string();
        // The audit log keeps sums for years, and no chart.
        let judged = JudgedView { series: None, ..finding.into() };
        let action = OrderAction::Health { service, health, figures, judged: Some(Box::new(judged)) };
        match self.act(order, action, Actor::daemon(), Terms::default()) {
            Ok(_) => self.vitals.told(word),
            Err(error) => {
                tracing::warn!(order, service = word.service, %health, %error, "verdict is not taken");
            }
        }
    }

    /// The active orders whose gray versions are judged.
    fn judged_orders(&self) -> Vec<Arc<Order>> {
        judged(&self.known())
    }

    /// The same, unless somebody else has them now.
    fn judged_orders_now(&self) -> Option<Vec<Arc<Order>>> {
        match self.known.try_lock() {
            Ok(known) => Some(judged(&known)),
            Err(TryLockError::Poisoned(known)) => Some(judged(&known.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// What is found of each judged service, by tenant and service. No service is in two active orders.
    pub(crate) fn findings(&self) -> BTreeMap<(String, String), Finding> {
        let mut findings = BTreeMap::new();
        for order in self.judged_orders() {
            for (service, _) in order.gray_services() {
                if let Some(finding) = self.vitals.finding(order.id, &service.name) {
                    findings.insert((order.tenant().to_owned(), service.name.clone()), finding);
                }
            }
        }
        findings
    }

    /// An order with what is found of its services.
    pub(super) fn judged(&self, mut view: OrderView) -> OrderView {
        for service in &mut view.services {
            service.judged = self.vitals.finding(view.id, &service.name).map(JudgedView::from);
        }
        view
    }
}

fn judged(known: &Known) -> Vec<Arc<Order>> {
    known.state.orders.active().filter(|order| order.plan.spec.is_judged()).cloned().collect()
}
