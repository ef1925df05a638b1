//! What the tests of both flavours share: a world to publish in, and a node.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::rpc::Status;

use super::{Event, History, World};
use crate::caller::Caller;
use crate::canary::CanaryShare;
use crate::ecds::FilterSettings;
use crate::limits::Limits;
use crate::resource::{Publication, Resource};
use crate::snapshot::{Rejection, Snapshot, Snapshots};

/// The resource names of the tenants that the tests publish.
pub(super) const A: &str = "graylane.v1.a";
pub(super) const B: &str = "graylane.v1.b";

/// Everything around a stream.
pub(super) struct Stage {
    pub(super) snapshots: Snapshots,
    /// What the node rejected on an earlier stream.
    pub(super) rejected: Option<u64>,
    /// Whose streams these are.
    pub(super) caller: Caller,
}

// === impl Stage ===

impl Stage {
    /// A stage with these tenants and revisions; the rules of a revision are always the same.
    pub(super) fn with(tenants: &[(&str, u64)]) -> Self {
        let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::ALL);
        let stage = Self { snapshots, rejected: None, caller: Caller::default() };
        stage.publish(tenants);
        stage
    }

    /// A stage with tenant a at revision 1, which this node tries, and so all that comes.
    pub(super) fn with_canary(node: &str) -> Self {
        let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::default());
        let stage = Self { snapshots, rejected: None, caller: Caller::default() };
        stage.publish(&[("a", 1)]);
        stage.snapshots.volunteer(A, node, Instant::now());
        stage
    }

    /// Publishes for tenant a what this node tries, and gives its version.
    pub(super) fn publish_on_trial(&self, revision: u64, node: &str) -> String {
        self.publish(&[("a", revision)]);
        self.snapshots.volunteer(A, node, Instant::now());
        self.snapshots.current().wanted(A).unwrap().version.to_string()
    }

    pub(super) fn publish(&self, tenants: &[(&str, u64)]) {
        let publication = |(tenant, revision): &(&str, u64)| Publication {
            tenant: (*tenant).to_owned(),
            revision: *revision,
            content_hash: *revision,
            is_firm: false,
            rules: Bytes::from(format!("rules {revision}")),
        };
        let publications: Vec<_> = tenants.iter().map(publication).collect();
        self.snapshots.publish(&publications).unwrap();
    }

    pub(super) fn resource(&self, name: &str) -> Arc<Resource> {
        self.snapshots.current().served(name, "envoy-1").unwrap().clone()
    }

    /// Somebody refuses what is wanted.
    pub(super) fn refuse(&self, name: &str) {
        let current = self.snapshots.current();
        let Resource { version, content, .. } = **current.wanted(name).unwrap();
        self.snapshots.refuse(Rejection { name, version, content, node: "envoy-2", message: "no" });
    }

    pub(super) fn version(&self, name: &str) -> String {
        self.resource(name).version.to_string()
    }

    /// Runs one input in the world of now.
    pub(super) fn see<T>(&self, input: impl FnOnce(&World<'_>) -> T) -> T {
        let snapshot: Arc<Snapshot> = self.snapshots.current();
        let names_max = Limits::DEFAULT.names;
        input(&World { snapshot: &snapshot, history: self, caller: &self.caller, names_max })
    }
}

impl History for Stage {
    fn rejected(&self, node: &str, _resource: &str) -> Option<u64> {
        self.rejected.filter(|_| node == "envoy-1")
    }
}

pub(super) fn node() -> Option<Node> {
    Some(Node { id: "envoy-1".to_owned(), cluster: "loan".to_owned(), ..Node::default() })
}

pub(super) fn rejection(message: &str) -> Option<Status> {
    Some(Status { code: 13, message: message.to_owned(), details: Vec::new() })
}

pub(super) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Acknowledged and rejected, as `+name revision` and `-name revision reason`.
pub(super) fn verdicts(events: &[Event]) -> Vec<String> {
    let verdict = |event: &Event| match event {
        Event::Acknowledged { resource, version } => Some(format!("+{resource} {}", version.revision)),
        Event::Rejected { resource, version, message, .. } => {
            Some(format!("-{resource} {} {message}", version.revision))
        }
        Event::Subscribed { .. } | Event::Denied { .. } | Event::Unsubscribed { .. } => None,
    };
    events.iter().filter_map(verdict).collect()
}
