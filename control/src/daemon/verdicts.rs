//! What is found of gray versions, and told to their orders.

use crate::daemon::state::Known;
use crate::daemon::views::JudgedView;
use crate::daemon::{ActionError, Daemon, OrderAction, OrderView, Terms};
use crate::health::{Finding, Vitals, Word};
use graylane_health::TICK;
use graylane_order::{Actor, Health, Order};
use std::collections::BTreeMap;
use std::sync::{Arc, TryLockError};
use std::time::Duration;
use tokio::task::block_in_place;
use tokio::time::{MissedTickBehavior, interval};

/// How long nobody is told again that an order does not take the same verdict: it is tried with every tick.
const COMPLAINT_LASTS: Duration = Duration::from_secs(60);

/// Which verdict it was last said of each service of an order that it is not taken, and when.
#[derive(Debug, Default)]
struct Complaints(BTreeMap<(u64, String), (Health, Duration)>);

// === impl Daemon ===

impl Daemon {
    /// Who takes what proxies count.
    #[must_use]
    pub fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.vitals)
    }

    /// Judges the gray versions tick after tick, and never ends.
    pub async fn judge(&self) {
        let (mut commits, mut orders, mut complaints) = (self.commits(), Vec::new(), Complaints::default());
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
            let untold = match words.is_empty() {
                true => 0,
                false => block_in_place(|| self.tell(&words, &mut complaints)),
            };
            self.vitals.left_untold(untold);
        }
    }

    /// Tells orders, and gives how many words they did not take: those are told again at the next tick.
    fn tell(&self, words: &[Word], complaints: &mut Complaints) -> usize {
        let mut untold = 0;
        for word in words {
            let error = match self.tell_one(word) {
                // It is another order by now, and judged as such in the next tick.
                Ok(()) | Err(ActionError::Stale { .. }) => continue,
                Err(error) => error,
            };
            untold += 1;
            if complaints.is_new(word, self.clock.elapsed()) {
                let Word { order, service, health, .. } = word;
                tracing::warn!(order, service, %health, %error, "verdict is not taken, and told again");
            }
        }
        untold
    }

    fn tell_one(&self, word: &Word) -> Result<(), ActionError> {
        let Word { order, version, service, health, finding } = word.clone();
        let figures = finding.verdict.to_string();
        // The audit log keeps sums for years, and no chart.
        let judged = JudgedView { series: None, ..finding.into() };
        let action = OrderAction::Health { service, health, figures, judged: Some(Box::new(judged)) };
        // What was found of a stage is no word on the next one, which may have been entered meanwhile.
        let terms = Terms { if_match: (health == Health::Healthy).then_some(version), ..Terms::default() };
        self.act(order, action, Actor::daemon(), terms)?;
        self.vitals.told(word);
        Ok(())
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

// === impl Complaints ===

impl Complaints {
    /// Whether it is worth saying that this verdict is not taken: it is another one than was said last, or that was a while ago.
    fn is_new(&mut self, word: &Word, now: Duration) -> bool {
        self.0.retain(|_, (_, at)| now.saturating_sub(*at) < COMPLAINT_LASTS);
        let said = self.0.get(&(word.order, word.service.clone())).map(|(health, _)| *health);
        let is_new = said != Some(word.health);
        if is_new {
            self.0.insert((word.order, word.service.clone()), (word.health, now));
        }
        is_new
    }
}

fn judged(known: &Known) -> Vec<Arc<Order>> {
    known.state.orders.active().filter(|order| order.plan.spec.is_judged()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use graylane_health::{Basis, Figures, Series, Verdict};
    use graylane_plan::HealthSource;

    #[test]
    fn the_same_verdict_is_complained_of_once_a_minute_and_another_one_at_once() {
        let finding = Finding {
            verdict: Verdict::Healthy(Basis::Limits),
            gray: Figures::default(),
            stable: Figures::default(),
            endpoints: None,
            unheard: Vec::new(),
            window: Duration::ZERO,
            series: Series::default(),
            source: HealthSource::Envoy,
        };
        let word = |service: &str, health| Word {
            order: 1,
            version: 1,
            service: service.into(),
            health,
            finding: finding.clone(),
        };
        let mut complaints = Complaints::default();
        let mut said_of = |service: &str, health, seconds: std::ops::Range<u64>| {
            let ticks = seconds.start * 4..seconds.end * 4;
            ticks.filter(|tick| complaints.is_new(&word(service, health), TICK * *tick as u32)).count()
        };
        assert_eq!(said_of("loan", Health::Healthy, 0..60), 1);
        assert_eq!(said_of("loan", Health::Faulty, 60..179), 2);
        assert_eq!(
            (said_of("ledger", Health::Faulty, 179..180), said_of("loan", Health::Faulty, 180..181)),
            (1, 1)
        );
    }
}
