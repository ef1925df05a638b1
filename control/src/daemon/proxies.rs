//! Which proxies there are.

use crate::daemon::{ActionError, Daemon, ProxyPage, ProxyState, ProxyView};
use graylane_xds::ProxyStatus;
use std::collections::BTreeMap;

/// Nodes among which the nearest to an unknown one is looked for: comparing names takes time.
const MAX_COMPARED: usize = 2_000;

/// Which proxies to list: those of which all holds that is given.
#[derive(Clone, Debug, Default)]
pub struct ProxyFilter {
    /// Those with a resource of this tenant.
    pub tenant: Option<String>,
    /// Those in one of these states; none means any.
    pub states: Vec<ProxyState>,
    /// Those whose node id starts so.
    pub node: Option<String>,
    /// Those of this node cluster.
    pub cluster: Option<String>,
    /// Those whose node id comes later.
    pub after: Option<String>,
    /// At most so many. The resources of one node stay together, so that a page may have more by those of its last node.
    pub limit: usize,
}

// === impl ProxyFilter ===

impl ProxyFilter {
    /// Whether the proxy is one of those that are counted: its state and the page are not looked at.
    fn counts(&self, proxy: &ProxyStatus) -> bool {
        fn is(wanted: Option<&String>, found: &str) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        is(self.tenant.as_ref(), &proxy.tenant)
            && is(self.cluster.as_ref(), &proxy.cluster)
            && self.node.as_ref().is_none_or(|prefix| proxy.node.starts_with(prefix))
    }

    /// The page of these proxies, which are sorted by node.
    fn page(&self, all: Vec<ProxyStatus>) -> ProxyPage {
        let mut counts = ProxyState::ALL.map(|state| (state, 0)).into_iter().collect::<BTreeMap<_, _>>();
        let (mut proxies, mut next) = (Vec::<ProxyView>::new(), None);
        for proxy in all.into_iter().filter(|proxy| self.counts(proxy)) {
            let state = ProxyState::of(&proxy);
            *counts.entry(state).or_default() += 1;
            let is_wanted = (self.states.is_empty() || self.states.contains(&state))
                && self.after.as_ref().is_none_or(|after| *proxy.node > **after);
            if !is_wanted || next.is_some() {
                continue;
            }
            match proxies.last() {
                Some(last) if proxies.len() >= self.limit && *last.node != *proxy.node => {
                    next = Some(last.node.clone());
                }
                _ => proxies.push(proxy.into()),
            }
        }
        ProxyPage { counts, proxies, next }
    }
}

// === impl Daemon ===

impl Daemon {
    /// Some proxies, and how all stand.
    #[must_use]
    pub fn proxies(&self, filter: &ProxyFilter) -> ProxyPage {
        filter.page(self.fleet.proxies())
    }

    /// What the proxy of a node holds: each of its resources.
    ///
    /// # Errors
    /// When there is no proxy of this node.
    pub fn proxy(&self, node: &str) -> Result<Vec<ProxyView>, ActionError> {
        let (found, others): (Vec<_>, Vec<_>) =
            self.fleet.proxies().into_iter().partition(|proxy| *proxy.node == *node);
        if found.is_empty() {
            let mut nodes: Vec<&str> = others.iter().map(|proxy| &*proxy.node).collect();
            nodes.dedup();
            // No name that is much longer or shorter is near.
            nodes.retain(|known| known.len().abs_diff(node.len()) <= 1 + known.len() / 3);
            return Err(ActionError::not_found("proxy", node, nodes.into_iter().take(MAX_COMPARED)));
        }
        Ok(found.into_iter().map(ProxyView::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graylane_xds::Protocol;
    use std::time::Duration;

    const ANY: ProxyFilter =
        ProxyFilter { tenant: None, states: Vec::new(), node: None, cluster: None, after: None, limit: 100 };

    fn proxy(node: &str, tenant: &str, acknowledged: u64, connected: bool) -> ProxyStatus {
        ProxyStatus {
            node: node.into(),
            cluster: node[..1].into(),
            identity: None,
            resource: format!("graylane.v1.{tenant}").into(),
            tenant: tenant.into(),
            protocol: Protocol::AdsDelta,
            connected,
            offered: true,
            wanted: Some(3),
            sent: None,
            acknowledged: Some(acknowledged),
            applied: Some(acknowledged),
            rejected_config: false,
            last_error: None,
            age: Duration::ZERO,
            connected_for: None,
            gone_for: None,
        }
    }

    /// Node `b1` has two resources.
    fn five() -> Vec<ProxyStatus> {
        vec![
            proxy("a1", "retail", 3, true),
            proxy("a2", "retail", 2, true),
            proxy("b1", "cards", 3, true),
            proxy("b1", "retail", 3, true),
            proxy("b2", "retail", 3, false),
        ]
    }

    fn nodes(page: &ProxyPage) -> Vec<&str> {
        page.proxies.iter().map(|proxy| proxy.node.as_str()).collect()
    }

    #[test]
    fn a_page_has_the_proxies_of_which_all_holds_and_counts_them_in_every_state() {
        let owned = |text: &str| Some(text.to_owned());
        for (filter, found, counts) in [
            (ANY, &["a1", "a2", "b1", "b1", "b2"][..], [3, 0, 1, 0, 0, 1]),
            (ProxyFilter { tenant: owned("cards"), ..ANY }, &["b1"], [1, 0, 0, 0, 0, 0]),
            (ProxyFilter { node: owned("b"), ..ANY }, &["b1", "b1", "b2"], [2, 0, 0, 0, 0, 1]),
            (ProxyFilter { cluster: owned("a"), ..ANY }, &["a1", "a2"], [1, 0, 1, 0, 0, 0]),
            (ProxyFilter { cluster: owned(""), ..ANY }, &[], [0; 6]),
            // Those in other states, or on other pages, are counted still.
            (
                ProxyFilter { states: vec![ProxyState::Stale, ProxyState::Gone], ..ANY },
                &["a2", "b2"],
                [3, 0, 1, 0, 0, 1],
            ),
            (ProxyFilter { after: owned("b1"), ..ANY }, &["b2"], [3, 0, 1, 0, 0, 1]),
        ] {
            let page = filter.page(five());
            assert_eq!((nodes(&page).as_slice(), page.next.as_ref()), (found, None), "{filter:?}");
            assert_eq!(page.counts.into_values().collect::<Vec<_>>(), counts, "{filter:?}");
        }
    }

    #[test]
    fn pages_of_any_size_have_every_proxy_once_and_split_no_node() {
        for limit in 1..7 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = ProxyFilter { after, limit, ..ANY }.page(five());
                seen.push(nodes(&page).join(" "));
                let Some(next) = page.next else { break };
                after = Some(next);
            }
            let pages = match limit {
                1 => &["a1", "a2", "b1 b1", "b2"][..],
                2 => &["a1 a2", "b1 b1", "b2"],
                3 => &["a1 a2 b1 b1", "b2"],
                4 => &["a1 a2 b1 b1", "b2"],
                _ => &["a1 a2 b1 b1 b2"],
            };
            assert_eq!(seen, pages, "{limit}");
        }
    }
}
