//! What Prometheus reads of the daemon. `METRICS.md` says what each figure means.

mod services;

use crate::daemon::{Daemon, ProxyFilter};
use crate::measured_store::StoreFigures;
use crate::webhooks::Webhooks;
use graylane_xds::Xds;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// What all names start with.
const PREFIX: &str = "graylane";

/// Everything that is measured, in one place.
#[derive(Debug)]
pub struct Metrics(Registry);

/// How the figures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics, which Prometheus asks for.
    OpenMetrics,
    /// Prometheus's older text, for whoever asks for nothing.
    Text,
}

/// What is counted when somebody asks: how proxies, orders and judged services stand.
struct Standing(Arc<Daemon>);

// === impl Metrics ===

impl Metrics {
    /// The figures of a daemon, its proxies, its store and its webhooks.
    #[must_use]
    pub fn new(daemon: Arc<Daemon>, xds: &Xds, store: &StoreFigures, webhooks: &Webhooks) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs", version);
        xds.register(&mut registry);
        store.register(&mut registry);
        daemon.vitals().register(&mut registry);
        webhooks.register(&mut registry);
        registry.register_collector(Box::new(Standing(daemon)));
        Self(registry)
    }

    /// All figures as they are now. Blocks: proxies and orders are counted.
    ///
    /// # Errors
    /// None that is known: a text takes everything.
    pub fn write(&self, format: Format) -> Result<String, fmt::Error> {
        let mut written = String::new();
        match format {
            Format::OpenMetrics => text::encode(&mut written, &self.0)?,
            Format::Text => prometheus_text::encode(&mut written, &self.0)?,
        }
        Ok(written)
    }
}

// === impl Format ===

impl Format {
    /// The media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => prometheus_text::CONTENT_TYPE,
        }
    }
}

// === impl Standing ===

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Standing")
    }
}

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let nobody = ProxyFilter { limit: 0, ..ProxyFilter::default() };
        let proxies = self.0.proxies(&nobody).counts;
        let by_state = proxies.iter().map(|(state, count)| (state.label(), *count));
        write(&mut encoder, ["proxies", "Proxies by how they stand", "state"], by_state)?;
        let orders = self.0.order_counts();
        let by_phase = orders.iter().map(|(phase, count)| (phase.label(), *count));
        write(&mut encoder, ["orders", "Orders by phase", "phase"], by_phase)?;
        services::write(&mut encoder, &self.0.findings())
    }
}

/// Writes a gauge with one label.
fn write(
    encoder: &mut DescriptorEncoder<'_>,
    [name, help, label]: [&'static str; 3],
    counts: impl Iterator<Item = (&'static str, usize)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (value, count) in counts {
        // Nobody has more of them than that.
        let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
        gauge.encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}
