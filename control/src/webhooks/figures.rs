//! What is counted of webhooks, as Prometheus reads it.

use crate::clock::Clock;
use crate::webhooks::standing::Standing;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;

/// What came of deliveries, of all webhooks. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    deliveries: Family<[(&'static str, String); 2], Counter>,
}

/// What comes of a try to deliver.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// The receiver took it.
    Delivered,
    /// The receiver did not take it; it is tried again.
    Failed,
    /// It is not tried again.
    GivenUp,
}

/// How far webhooks are behind, by name.
pub(super) struct Lags {
    standings: Vec<(String, Arc<Standing>)>,
    clock: Arc<dyn Clock>,
}

// === impl Figures ===

impl Figures {
    /// Shows a webhook of which there is nothing to count yet.
    pub(super) fn expect(&self, name: &str) {
        for outcome in [Outcome::Delivered, Outcome::Failed, Outcome::GivenUp] {
            drop(self.deliveries.get_or_create(&labels(name, outcome)));
        }
    }

    pub(super) fn count(&self, name: &str, outcome: Outcome) {
        self.deliveries.get_or_create(&labels(name, outcome)).inc();
    }

    /// Adds the figures to what is scraped.
    pub(super) fn register(&self, registry: &mut Registry, lags: Lags) {
        let help =
            "Events that receivers of webhooks were told, tries that failed, and events that were given up";
        registry.register("webhook_deliveries", help, self.deliveries.clone());
        registry.register_collector(Box::new(lags));
    }
}

fn labels(name: &str, outcome: Outcome) -> [(&'static str, String); 2] {
    let result = match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Failed => "failed",
        Outcome::GivenUp => "given-up",
    };
    [("webhook", name.to_owned()), ("result", result.to_owned())]
}

// === impl Lags ===

impl Lags {
    pub(super) fn new(standings: Vec<(String, Arc<Standing>)>, clock: Arc<dyn Clock>) -> Self {
        Self { standings, clock }
    }
}

impl fmt::Debug for Lags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lags").field(&self.standings).finish()
    }
}

impl Collector for Lags {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How old the oldest event is that the receiver of a webhook was not told yet";
        let mut family =
            encoder.encode_descriptor("webhook_lag", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        let now = self.clock.now();
        for (name, standing) in &self.standings {
            let lag = ConstGauge::new(standing.lag(now).as_secs_f64());
            lag.encode(family.encode_family(&[("webhook", name.as_str())])?)?;
        }
        Ok(())
    }
}
