//! The ways of an Envoy to ask the daemon for its rules.

use serde_json::{Value, json};

use crate::config::EnvoyConfig;

/// How an Envoy asks for its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// On a stream for extension configurations alone, with the state of the world in each message.
    Ecds,
    /// On a stream for extension configurations alone, with the changes in each message.
    EcdsDelta,
    /// On the one stream for everything, with the state of the world in each message.
    Ads,
    /// On the one stream for everything, with the changes in each message.
    AdsDelta,
}

// === impl Delivery ===

impl Delivery {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Ecds, Self::EcdsDelta, Self::Ads, Self::AdsDelta];

    /// What `graylane proxies` calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ecds => "ecds",
            Self::EcdsDelta => "ecds-delta",
            Self::Ads => "ads",
            Self::AdsDelta => "ads-delta",
        }
    }

    const fn api_type(self) -> &'static str {
        match self {
            Self::Ecds | Self::Ads => "GRPC",
            Self::EcdsDelta | Self::AdsDelta => "DELTA_GRPC",
        }
    }

    const fn is_aggregated(self) -> bool {
        matches!(self, Self::Ads | Self::AdsDelta)
    }
}

// === impl EnvoyConfig ===

impl EnvoyConfig {
    /// Asks for the rules in this way, at the same cluster and with the same patience as the file says.
    pub fn delivery(self, delivery: Delivery) -> Self {
        let mut asked = Value::Null;
        let config = self.edit_http(|http| {
            let source = &mut http["http_filters"][0]["config_discovery"]["config_source"];
            source["api_config_source"]["api_type"] = json!(delivery.api_type());
            if delivery.is_aggregated() {
                let fields = source.as_object_mut().expect("the file has a configuration source");
                asked = fields.remove("api_config_source").expect("the file asks by gRPC");
                fields.insert("ads".to_owned(), json!({}));
            }
        });
        match delivery.is_aggregated() {
            true => config.edit(|root| root["dynamic_resources"]["ads_config"] = asked),
            false => config,
        }
    }
}
