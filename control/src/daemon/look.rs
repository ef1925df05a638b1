//! One look at all orders and proxies, for everybody who watches at that moment.

use crate::daemon::views::TenantSeen;
use crate::daemon::{ActionError, Daemon, JudgedView, OrderSummary, OrderView, of_tenant};
use graylane_order::Order;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// What there was to be seen at one moment.
pub struct Look {
    /// The revision of the store's last commit: what is newer was not seen.
    pub revision: u64,
    /// The active orders.
    pub active: BTreeMap<u64, Arc<OrderSeen>>,
    seen_by_tenant: BTreeMap<String, TenantSeen>,
    /// What is found of judged services, by tenant and service, from the first time on that somebody asks: most watch lists, which do
    /// not tell of it.
    judged: OnceLock<BTreeMap<(String, String), JudgedView>>,
}

/// An order as it was seen.
pub struct OrderSeen {
    /// Its tenant.
    pub tenant: String,
    /// Whether nothing will become of it any more.
    pub has_ended: bool,
    /// Its summary in JSON, which is another whenever anything of it is.
    pub summary: String,
}

// === impl Daemon ===

impl Daemon {
    /// A receiver that wakes whenever an action, or the daemon itself, changed something.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// A receiver that wakes within a second when something else is found of a judged service.
    pub fn verdicts(&self) -> watch::Receiver<u64> {
        self.vitals.changes()
    }

    /// Looks at all active orders, and at the proxies once for all of them.
    #[must_use]
    pub fn look(&self) -> Look {
        let proxies = self.fleet.proxies();
        let known = self.known();
        let tenants = known.state.tenants.keys();
        let seen = |tenant: &str| self.tenant_seen(&known.state, tenant, of_tenant(&proxies, tenant));
        let seen_by_tenant = tenants.map(|tenant| (tenant.clone(), seen(tenant)));
        let mut look = Look {
            revision: known.revision(),
            active: BTreeMap::new(),
            seen_by_tenant: seen_by_tenant.collect(),
            judged: OnceLock::new(),
        };
        look.active =
            known.state.orders.active().map(|order| (order.id, Arc::new(look.summary(order)))).collect();
        look
    }

    /// One order as it is, with the proxies as they were seen.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn order_seen(&self, id: u64, look: &Look) -> Result<OrderView, ActionError> {
        let order = self.known().state.order(id)?;
        let mut view = OrderView::new(&order, &look.seen(&order));
        if order.is_active() {
            let judge = || self.findings().into_iter().map(|(of, found)| (of, found.into())).collect();
            let judged = look.judged.get_or_init(judge);
            for service in &mut view.services {
                service.judged = judged.get(&(view.tenant.clone(), service.name.clone())).cloned();
            }
        }
        Ok(view)
    }

    /// One order in short, with the proxies as they were seen.
    #[must_use]
    pub fn summary_seen(&self, id: u64, look: &Look) -> Option<Arc<OrderSeen>> {
        let order = self.known().state.order(id).ok()?;
        Some(Arc::new(look.summary(&order)))
    }

    /// The orders that changed last behind a commit, and are at their end now.
    #[must_use]
    pub fn ended_since(&self, revision: u64, look: &Look) -> BTreeMap<u64, Arc<OrderSeen>> {
        let known = self.known();
        let ended = known.state.orders.values().filter(|order| !order.is_active());
        let newer = ended.filter(|order| known.order_revision(order.id) > revision);
        newer.map(|order| (order.id, Arc::new(look.summary(order)))).collect()
    }
}

// === impl Look ===

impl Look {
    fn summary(&self, order: &Order) -> OrderSeen {
        let summary = OrderSummary::new(order, &self.seen(order));
        OrderSeen {
            tenant: order.tenant().to_owned(),
            has_ended: !order.is_active(),
            summary: serde_json::to_string(&summary).unwrap_or_default(),
        }
    }

    fn seen(&self, order: &Order) -> TenantSeen {
        self.seen_by_tenant.get(order.tenant()).cloned().unwrap_or_default()
    }
}
