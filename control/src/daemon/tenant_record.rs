//! A tenant as the store keeps it.

use graylane_plan::Tenant;
use graylane_rules::Dimension;
use serde::{Deserialize, Serialize};

/// What the store keeps of a tenant. Its rules mean nothing with other headers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TenantRecord {
    /// The name and header of each dimension, most specific first.
    dimensions: Vec<(String, String)>,
    output_header: String,
}

// === impl TenantRecord ===

impl TenantRecord {
    pub(crate) fn of(tenant: &Tenant) -> Self {
        let dimension = |dimension: &Dimension| (dimension.name.clone(), dimension.header.clone());
        let dimensions = tenant.dimensions.iter().map(dimension).collect();
        Self { dimensions, output_header: tenant.output_header.clone() }
    }

    pub(crate) fn into_tenant(self, name: &str) -> Tenant {
        let dimensions =
            self.dimensions.into_iter().map(|(name, header)| Dimension { name, header }).collect();
        Tenant { name: name.to_owned(), dimensions, output_header: self.output_header }
    }
}
