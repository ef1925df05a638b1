//! What the filters say of themselves: the two gauges of ours in Envoy's metrics stream. After a rejection nothing else that Envoy
//! offers tells what really runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::service::metrics::v3::metrics_service_server::MetricsService;
use envoy_types::pb::envoy::service::metrics::v3::{StreamMetricsMessage, StreamMetricsResponse};
use envoy_types::pb::io::prometheus::client::MetricFamily;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::clusters::{self, ClusterReport};
use crate::gate::Gate;
use crate::listener::Listener;
use crate::proxies::{FilterReport, Proxies, Unreadable};
use crate::snapshot::Snapshots;
use crate::spiffe::SpiffeId;
use crate::stream::{Identity, Refusal};
use crate::telemetry::{METRICS, OpenStream, Reason};

/// The gauge of the revision that the filter runs.
const REVISION_GAUGE: &str = "graylane_revision";

/// The gauge that is not zero while the filter holds on to older rules because it could not read the newest.
const REJECTED_GAUGE: &str = "graylane_config_rejected";

/// Takes what proxies count of the clusters to which they send requests.
pub trait Reports: fmt::Debug + Send + Sync {
    /// The proxy of a node, which asks for the rules of these tenants, told this of these clusters. It is called for each message, on the
    /// task of its stream.
    fn take(&self, node: &str, tenants: &[Arc<str>], by_cluster: &BTreeMap<&str, ClusterReport>);
}

/// Reads metrics streams into the table of proxies, and for whom it may concern.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) reports: Option<Arc<dyn Reports>>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) gate: Gate,
}

// === impl Metrics ===

#[tonic::async_trait]
impl MetricsService for Metrics {
    async fn stream_metrics(
        &self,
        request: Request<Streaming<StreamMetricsMessage>>,
    ) -> Result<Response<StreamMetricsResponse>, Status> {
        let caller = Caller::of(request.extensions());
        caller.check().map_err(|status| self.gate.refuse(Reason::Expired, status))?;
        let _slot = self.gate.enter()?;
        let telemetry = OpenStream::new(self.gate.telemetry.clone(), METRICS);
        let mut inbound = request.into_inner();
        tokio::select! {
            ended = self.hear(&mut inbound, &caller, &telemetry) => ended.map(|()| Response::new(StreamMetricsResponse {})),
            status = self.gate.closing() => Err(status),
            status = caller.expired() => Err(self.gate.refuse(Reason::Expired, status)),
        }
    }
}

impl Metrics {
    /// Takes in one report after another, until the client ends the stream.
    async fn hear(
        &self,
        inbound: &mut Streaming<StreamMetricsMessage>,
        caller: &Caller,
        telemetry: &OpenStream,
    ) -> Result<(), Status> {
        let mut listener = Listener::new(&self.gate);
        let mut message = Box::pin(listener.first(inbound, &self.gate)).await?;
        let Some(first) = &message else { return Ok(()) };
        let Identity { node, .. } = self.identity(first)?;
        while let Some(report) = message {
            telemetry.heard();
            self.hand_on(&node, caller.id(), &report.envoy_metrics);
            let of_filter = read(&report.envoy_metrics);
            if of_filter != FilterReport::default() {
                self.take(&node, caller.id(), of_filter);
            }
            // Read, it is fifty times as large as it came, and the next one is a while away.
            drop(report);
            message = listener.next(inbound, &self.gate).await?;
        }
        Ok(())
    }

    /// Tells whom it may concern what a proxy counted, if it is one whose rules are served here.
    fn hand_on(&self, node: &str, spiffe: Option<&SpiffeId>, families: &[MetricFamily]) {
        let Some(reports) = &self.reports else { return };
        let tenants = self.proxies.tenants(node, spiffe);
        if !tenants.is_empty() {
            reports.take(node, &tenants, &clusters::read(families));
        }
    }

    /// A filter that cannot read what it was sent has refused it: Envoy acknowledges it all the same.
    fn take(&self, node: &str, spiffe: Option<&SpiffeId>, report: FilterReport) {
        let unreadable = self.proxies.report(node, spiffe, report, Instant::now());
        let Some(Unreadable { resource, version, runs }) = unreadable else { return };
        tracing::warn!(%node, %resource, %version, runs, "filter cannot read its configuration");
        let message = format!("its filter cannot read it, and runs revision {runs}");
        self.snapshots.refuse_wanted(&resource, version, node, &message);
    }

    /// Who sends. Envoy says it in the first message of a stream only.
    fn identity(&self, message: &StreamMetricsMessage) -> Result<Identity, Status> {
        let node = message.identifier.as_ref().and_then(|identifier| identifier.node.as_ref());
        Identity::of(node).map_err(|refusal: Refusal| {
            self.gate.telemetry.refused(Reason::Malformed);
            Status::invalid_argument(refusal.to_string())
        })
    }
}

/// The gauges of ours. Of several values for one the worse counts: the lowest revision, and any rejection.
pub(crate) fn read(families: &[MetricFamily]) -> FilterReport {
    let revision = values(families, REVISION_GAUGE).filter_map(clusters::whole_count).min();
    let rejected_config = values(families, REJECTED_GAUGE).map(|value| value != 0.0).reduce(|a, b| a || b);
    FilterReport { revision, rejected_config }
}

fn values<'a>(families: &'a [MetricFamily], gauge: &'static str) -> impl Iterator<Item = f64> + 'a {
    let ours = families.iter().filter(move |family| is_named(family.name(), gauge));
    ours.flat_map(|family| &family.metric).filter_map(|metric| metric.gauge.as_ref()?.value)
}

/// True for the gauge under any of the prefixes that Envoy and its sinks put before it: `wasmcustom.`, or `wasmcustom_`.
fn is_named(name: &str, gauge: &str) -> bool {
    name.strip_suffix(gauge).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with(['.', '_']))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::io::prometheus::client::{Counter, Gauge, Metric};

    use super::*;

    fn gauge(name: &str, values: &[f64]) -> MetricFamily {
        let metric = |value: &f64| Metric { gauge: Some(Gauge { value: Some(*value) }), ..Metric::default() };
        let metric = values.iter().map(metric).collect();
        MetricFamily { name: Some(name.to_owned()), metric, ..MetricFamily::default() }
    }

    fn check(families: &[MetricFamily], revision: Option<u64>, rejected_config: Option<bool>) {
        assert_eq!(read(families), FilterReport { revision, rejected_config });
    }

    #[test]
    fn our_gauges_are_found_under_the_names_that_envoy_gives_them() {
        for prefix in ["wasmcustom.", "wasmcustom_", "envoy_wasmcustom_", ""] {
            let revision = gauge(&format!("{prefix}graylane_revision"), &[7.0]);
            let rejected = gauge(&format!("{prefix}graylane_config_rejected"), &[1.0]);
            check(&[revision, rejected], Some(7), Some(true));
        }
    }

    #[test]
    fn other_metrics_are_ignored() {
        let mut counter = gauge("wasmcustom.graylane_revision", &[]);
        let value = Some(Counter { value: Some(9.0), ..Counter::default() });
        counter.metric.push(Metric { counter: value, ..Metric::default() });
        let families = [
            gauge("wasmcustom.graylane_revisions", &[9.0]),
            gauge("notgraylane_revision", &[9.0]),
            gauge("server.live", &[1.0]),
            MetricFamily::default(),
            counter,
        ];
        check(&families, None, None);
    }

    #[test]
    fn of_several_values_the_worse_counts() {
        let revision = gauge("wasmcustom.graylane_revision", &[8.0, 7.0]);
        let rejected = gauge("wasmcustom.graylane_config_rejected", &[1.0, 0.0]);
        check(&[revision, rejected], Some(7), Some(true));
    }

    #[test]
    fn a_value_that_is_no_revision_is_no_report() {
        for odd in [-1.0, 0.5, f64::NAN, f64::INFINITY, 1e17] {
            check(&[gauge("wasmcustom.graylane_revision", &[odd])], None, None);
        }
        check(&[gauge("wasmcustom.graylane_revision", &[0.0])], Some(0), None);
    }
}
