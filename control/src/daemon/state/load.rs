//! From the store to the state, at the start.

use crate::daemon::ActionError;
use crate::daemon::once::Answers;
use crate::daemon::state::{AUDIT_HEAD, DeliveryRecord, Known, PublishedRecord, State, TenantState, read};
use crate::daemon::tenant_record::TenantRecord;
use graylane_order::Order;
use graylane_plan::ReleasePlan;
use graylane_store::{Listed, Store};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The plans of the orders that were loaded so far, by content hash: many orders run the same one, and most of their memory
/// is the plan.
#[derive(Default)]
struct Plans {
    by_hash: BTreeMap<String, Arc<ReleasePlan>>,
}

// === impl Known ===

impl Known {
    /// Reads everything from the store, except the rules, which are compiled again. Gives what was published, too.
    pub(crate) fn load(store: &dyn Store) -> Result<(Self, BTreeMap<String, PublishedRecord>), ActionError> {
        let Listed { values, revision } = store.list("")?;
        let mut known = Self {
            state: State::default(),
            version_by_key: BTreeMap::new(),
            revision,
            epoch: store.epoch()?,
            is_uncertain: false,
            answers: Answers::default(),
        };
        let (mut published, mut plans) = (BTreeMap::new(), Plans::default());
        // In the order of keys, so a tenant does not come before its baselines: they wait for it.
        let mut rest = Vec::new();
        for (key, stored) in values {
            known.version_by_key.insert(key.clone(), stored.revision);
            match key.split_once('/') {
                Some(("order", _)) => {
                    let order = plans.share(read(&key, &stored.bytes)?);
                    known.state.orders.insert(order.id, Arc::new(order));
                }
                Some(("tenant", name)) => {
                    let record: TenantRecord = read(&key, &stored.bytes)?;
                    let tenant = TenantState::new(record.into_tenant(name));
                    known.state.tenants.insert(name.to_owned(), Arc::new(tenant));
                }
                Some(("webhook", name)) => {
                    let delivered: DeliveryRecord = read(&key, &stored.bytes)?;
                    known.state.delivered.insert(name.to_owned(), delivered.record);
                }
                Some(("rules", name)) => drop(published.insert(name.to_owned(), read(&key, &stored.bytes)?)),
                _ if Answers::owns(&key) => known.answers.load(&key, &stored.bytes)?,
                _ if key == AUDIT_HEAD => known.state.audit = read(&key, &stored.bytes)?,
                _ => rest.push((key, stored.bytes)),
            }
        }
        known.state.find_audit_end(store.log_end()?);
        rest.iter().try_for_each(|(key, bytes)| known.state.take(key, bytes))?;
        known.state.load_ids(store)?;
        Ok((known, published))
    }
}

// === impl State ===

impl State {
    /// Takes in one stored value of a tenant.
    fn take(&mut self, key: &str, bytes: &[u8]) -> Result<(), ActionError> {
        let unreadable =
            |message: &str| ActionError::Unreadable { key: key.to_owned(), message: message.into() };
        let mut parts = key.splitn(3, '/');
        let kind = parts.next().unwrap_or_default();
        let (tenant, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default().to_owned());
        let entry = self.tenants.get_mut(tenant).ok_or_else(|| unreadable("its tenant is not there"))?;
        let entry = Arc::make_mut(entry);
        match kind {
            "plan" => drop(entry.plans.insert(name, Arc::new(read(key, bytes)?))),
            "list" => drop(entry.lists.insert(name, read(key, bytes)?)),
            "baseline" => drop(entry.baselines.insert(name, read(key, bytes)?)),
            "refusal" => {
                let content = u64::from_str_radix(&name, 16);
                let content = content.map_err(|_| unreadable("it is no hash of 16 digits"))?;
                entry.refusals.insert(content, Arc::new(read(key, bytes)?));
            }
            "fallback" => entry.fallback = Some(Arc::new(read(key, bytes)?)),
            "freeze" => entry.freeze = Some(Arc::new(read(key, bytes)?)),
            _ => return Err(unreadable("its kind is unknown")),
        }
        Ok(())
    }

    /// Goes on behind the last record, wherever that is: a log that was changed from outside must not stop a rollback,
    /// and whoever verifies it finds the place.
    fn find_audit_end(&mut self, last: u64) {
        let head = &mut self.audit;
        if head.number != last {
            let expected = head.number;
            tracing::error!(
                expected,
                last,
                "the audit log was changed from outside; see `graylane audit verify`"
            );
            head.number = expected.max(last);
        }
    }

    /// Brings the ids of every list that is named into memory.
    fn load_ids(&mut self, store: &dyn Store) -> Result<(), ActionError> {
        for hash in self.hashes() {
            let ids = graylane_plan::parse_list(&String::from_utf8_lossy(&store.blob(&hash)?));
            let ids = ids.map_err(|problems| ActionError::Invalid { what: "stored list", problems })?;
            self.ids_by_hash.insert(hash, Arc::new(ids));
        }
        Ok(())
    }
}

// === impl Plans ===

impl Plans {
    /// The order, with a plan that it shares with all others that have the same.
    fn share(&mut self, mut order: Order) -> Order {
        let known = self.by_hash.entry(order.content_hash.clone()).or_insert_with(|| Arc::clone(&order.plan));
        if **known == *order.plan {
            order.plan = Arc::clone(known);
        }
        order
    }
}
