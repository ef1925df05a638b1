//! What the API shows of proxies, and the word for how each stands.

use graylane_xds::{Nack, ProxyStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How a proxy stands with what it should run, in one word that claims no more than was observed.
///
/// `SYNCED`: it acknowledged the wanted revision, and its filter reports to run it. `NOT-REPORTING`: it acknowledged the wanted
/// revision, and what its filter runs is not known, because no report says so, or because the proxy has several resources and a
/// report does not say which it is of. `STALE`: what it acknowledged or reports to run is something else than the wanted
/// revision, or nothing yet. `NACKED`: it refused what it answered last, or its filter reports a configuration that it could not
/// read. `NO-RULES`: there is nothing that it should run, and it runs nothing. `GONE`: its stream ended; whatever else is said
/// of it is from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum ProxyState {
    /// It acknowledged the wanted revision, and its filter reports to run it.
    Synced,
    /// It acknowledged the wanted revision; what its filter runs is not known.
    NotReporting,
    /// It acknowledged or runs something else than the wanted revision, or nothing yet.
    Stale,
    /// It refused what it answered last, or its filter could not read it.
    Nacked,
    /// There is nothing that it should run, and it runs nothing.
    NoRules,
    /// Its stream ended.
    Gone,
}

/// A proxy with one of its resources: what it was sent, what it answered, and what it reports to run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyView {
    /// Its node id.
    pub node: String,
    /// Its node cluster.
    pub cluster: String,
    /// The SPIFFE id of its certificate; none without TLS.
    pub identity: Option<String>,
    /// The resource that it asks for.
    pub resource: String,
    /// The tenant whose rules that is; empty when there is no such resource.
    pub tenant: String,
    /// How it asks.
    pub protocol: String,
    /// How it stands.
    pub state: ProxyState,
    /// Whether its stream is open.
    pub connected: bool,
    /// Seconds since its stream asked for the resource; none while it is gone.
    pub connected_seconds: Option<f64>,
    /// Seconds since its stream ended; none while it is connected. After 10 minutes it is forgotten.
    pub gone_seconds: Option<f64>,
    /// The revision that it should run.
    pub wanted: Option<u64>,
    /// The revision that was sent to it last; none when it came with what it should have.
    pub sent: Option<u64>,
    /// The revision that it acknowledged last.
    pub acknowledged: Option<u64>,
    /// The revision that its filter reports to run; 0 is none.
    pub applied: Option<u64>,
    /// Whether its filter reports a configuration that it could not read.
    pub rejected_config: bool,
    /// What it refused last, until it acknowledges something.
    pub last_nack: Option<NackView>,
    /// Seconds since its last message.
    pub age_seconds: f64,
}

/// What a proxy refused.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NackView {
    /// The revision.
    pub revision: u64,
    /// Why, in the proxy's words, cut off at 1 KiB.
    pub message: String,
}

/// Some proxies, and how all stand.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyPage {
    /// How many there are in each state, of all that the filter has but for its states: on every page, whatever its limit.
    #[schema(value_type = BTreeMap<String, usize>)]
    pub counts: BTreeMap<ProxyState, usize>,
    /// The proxies, by node, then resource.
    pub proxies: Vec<ProxyView>,
    /// The last node here when there are more: the next page is behind it.
    pub next: Option<String>,
}

// === impl ProxyState ===

impl ProxyState {
    /// Every state, the best first.
    pub const ALL: [Self; 6] =
        [Self::Synced, Self::NotReporting, Self::Stale, Self::Nacked, Self::NoRules, Self::Gone];

    /// The word, as it is shown and written.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Synced => "SYNCED",
            Self::NotReporting => "NOT-REPORTING",
            Self::Stale => "STALE",
            Self::Nacked => "NACKED",
            Self::NoRules => "NO-RULES",
            Self::Gone => "GONE",
        }
    }

    /// The word for what was observed. What is refused comes before what is old: it is why it is old.
    pub(crate) fn of(proxy: &ProxyStatus) -> Self {
        let ProxyStatus { wanted, acknowledged, applied, .. } = *proxy;
        // A filter with no rules reports revision 0.
        let holds = [acknowledged, applied].into_iter().flatten().any(|revision| revision > 0);
        match wanted {
            _ if !proxy.connected => Self::Gone,
            _ if proxy.rejected_config || proxy.last_error.is_some() => Self::Nacked,
            None if holds => Self::Stale,
            None => Self::NoRules,
            Some(_) if acknowledged != wanted => Self::Stale,
            Some(_) if applied.is_none() => Self::NotReporting,
            Some(_) if applied != wanted => Self::Stale,
            Some(_) => Self::Synced,
        }
    }
}

// === impl ProxyView ===

impl From<ProxyStatus> for ProxyView {
    fn from(proxy: ProxyStatus) -> Self {
        Self {
            state: ProxyState::of(&proxy),
            node: proxy.node.to_string(),
            cluster: proxy.cluster.to_string(),
            identity: proxy.identity.map(|id| id.to_string()),
            resource: proxy.resource.to_string(),
            tenant: proxy.tenant.to_string(),
            protocol: proxy.protocol.to_string(),
            connected: proxy.connected,
            connected_seconds: proxy.connected_for.map(|time| time.as_secs_f64()),
            gone_seconds: proxy.gone_for.map(|time| time.as_secs_f64()),
            wanted: proxy.wanted,
            sent: proxy.sent,
            acknowledged: proxy.acknowledged,
            applied: proxy.applied,
            rejected_config: proxy.rejected_config,
            last_nack: proxy.last_error.map(|Nack { revision, message, .. }| NackView { revision, message }),
            age_seconds: proxy.age.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graylane_xds::Protocol;
    use std::time::Duration;

    fn proxy() -> ProxyStatus {
        ProxyStatus {
            node: "proxy-0".into(),
            cluster: "".into(),
            identity: None,
            resource: "graylane.v1.retail".into(),
            tenant: "retail".into(),
            protocol: Protocol::EcdsDelta,
            connected: true,
            offered: true,
            wanted: Some(3),
            sent: Some(3),
            acknowledged: Some(3),
            applied: Some(3),
            rejected_config: false,
            last_error: None,
            age: Duration::ZERO,
            connected_for: Some(Duration::ZERO),
            gone_for: None,
        }
    }

    /// Every state whose own sentence holds, with the others not looked at.
    fn that_hold(proxy: &ProxyStatus) -> Vec<ProxyState> {
        let refused = proxy.last_error.is_some() || proxy.rejected_config;
        let speaks = proxy.connected && !refused;
        let wanted = proxy.wanted.is_some();
        let has_acknowledged = wanted && proxy.acknowledged == proxy.wanted;
        let runs_other = proxy.applied.is_some() && proxy.applied != proxy.wanted;
        let runs_nothing = matches!(proxy.applied, None | Some(0)) && proxy.acknowledged.is_none();
        let holds = |state: &ProxyState| match state {
            ProxyState::Synced => speaks && has_acknowledged && proxy.applied == proxy.wanted,
            ProxyState::NotReporting => speaks && has_acknowledged && proxy.applied.is_none(),
            ProxyState::Stale => {
                let is_other = if wanted { !has_acknowledged || runs_other } else { !runs_nothing };
                speaks && is_other
            }
            ProxyState::Nacked => proxy.connected && refused,
            ProxyState::NoRules => speaks && !wanted && runs_nothing,
            ProxyState::Gone => !proxy.connected,
        };
        ProxyState::ALL.into_iter().filter(holds).collect()
    }

    #[test]
    fn of_whatever_is_observed_exactly_one_word_holds_and_is_said() {
        let revisions = |least: u64| [None].into_iter().chain((least..5).map(Some));
        let nack = Nack { revision: 3, message: "no such file".to_owned() };
        for flags in 0..8 {
            for wanted in revisions(1) {
                for acknowledged in revisions(1) {
                    for applied in revisions(0) {
                        let [connected, rejected_config, nacked] =
                            [0, 1, 2].map(|flag| flags >> flag & 1 == 1);
                        let last_error = nacked.then(|| nack.clone());
                        let proxy = ProxyStatus {
                            connected,
                            wanted,
                            acknowledged,
                            applied,
                            rejected_config,
                            last_error,
                            ..proxy()
                        };
                        assert_eq!(that_hold(&proxy), [ProxyState::of(&proxy)], "{proxy:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_word_claims_no_more_than_was_observed() {
        for (acknowledged, applied, word) in [
            (Some(3), Some(3), "SYNCED"),
            (Some(3), None, "NOT-REPORTING"),
            (Some(3), Some(2), "STALE"),
            (Some(3), Some(0), "STALE"),
            (Some(2), Some(2), "STALE"),
            // It holds other bytes under the wanted number.
            (None, Some(3), "STALE"),
            (None, None, "STALE"),
        ] {
            let proxy = ProxyStatus { acknowledged, applied, ..proxy() };
            assert_eq!(ProxyState::of(&proxy).label(), word, "{acknowledged:?} {applied:?}");
        }
    }

    #[test]
    fn a_state_is_written_with_its_word() {
        for state in ProxyState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.label());
        }
    }
}
