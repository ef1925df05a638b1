//! Proxies that do not come to run what they should: after a while orders pause because of them, where the configuration says so.

use crate::config::{LaggardPolicy, Laggards};
use crate::daemon::refusals::goes_forward;
use crate::daemon::state::State;
use crate::daemon::{Convergence, Daemon, of_tenant};
use graylane_order::{Event, Order};
use graylane_xds::{ProxyStatus, Standing};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

// === impl Daemon ===

impl Daemon {
    /// Stops the orders whose proxies had all the time that they may take.
    pub(crate) fn follow_laggards(&self, proxies: &[ProxyStatus]) {
        let LaggardPolicy::Pause(after) = self.config.proxies().laggards.policy else { return };
        let now = self.clock.now();
        let late: Vec<_> = {
            let known = self.known();
            let patient = known.state.orders.active().filter(|order| had_time(order, after, now));
            let told = patient.filter_map(|order| {
                Some((order.id, self.lagging(&known.state, order.tenant(), proxies, after)?))
            });
            told.collect()
        };
        for (id, event) in late {
            let stopped = self.change(|draft| {
                let order = draft.state.order(id)?;
                let (next, effects) = order.step(event, draft.now)?;
                draft.apply(Some(&order), next, &effects, "order.follow")
            });
            if let Err(error) = stopped {
                tracing::error!(order = id, %error, "an order whose proxies lag cannot be paused");
            }
        }
    }

    /// What is told of a tenant's proxies, if some of them lag for too long.
    fn lagging(
        &self,
        state: &State,
        tenant: &str,
        proxies: &[ProxyStatus],
        after: Duration,
    ) -> Option<Event> {
        let revision = self.convergence(state, tenant, of_tenant(proxies, tenant)).wanted;
        let wanted_for = self.watch().wanted_for(tenant, revision, &*self.clock);
        let runs = |proxy: Standing| {
            Convergence::of(revision, [proxy], Laggards::default(), wanted_for).converged == 1
        };
        let is_late = |proxy: Standing| Laggards::is_late(&proxy, wanted_for, after) && !runs(proxy);
        let of_tenant = proxies.iter().filter(|proxy| *proxy.tenant == *tenant);
        let mut late = of_tenant.filter(|proxy| is_late(proxy.standing()));
        let node = late.next()?.node.to_string();
        let after = SignedDuration::try_from(after).ok()?;
        Some(Event::Lagging { revision, proxies: 1 + late.count(), node, after })
    }
}

/// Whether an order goes forward, and was let do so that long ago.
fn had_time(order: &Order, after: Duration, now: Timestamp) -> bool {
    let since = now.duration_since(order.phase_since);
    goes_forward(order) && Duration::try_from(since).is_ok_and(|since| since >= after)
}
