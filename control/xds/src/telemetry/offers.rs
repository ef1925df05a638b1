//! How much is not sent to everybody, counted when somebody asks.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::snapshot::Snapshots;

/// The tenants whose rules are tried by few, or held back.
#[derive(Debug)]
pub(crate) struct Offers(pub(crate) Arc<Snapshots>);

// === impl Offers ===

impl Collector for Offers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Tenants whose rules are held back, because a proxy refused them";
        write(&mut encoder, "xds_held_back", help, self.0.held_back().len())?;
        let help = "Tenants whose rules canaries try, before all others get them";
        write(&mut encoder, "xds_on_trial", help, self.0.current().trials().count())
    }
}

fn write(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, tenants: usize) -> fmt::Result {
    // There are no more than `MAX_TENANTS`.
    let gauge = ConstGauge::new(i64::try_from(tenants).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}
