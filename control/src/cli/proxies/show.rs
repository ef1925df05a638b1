//! Proxies, for people.

use crate::cli::output::{age, or_dash, plain, table};
use crate::daemon::{NackView, ProxyPage, ProxyView};

/// Letters of a refusal in a list; `proxies get` shows it whole.
const SHORT_NACK: usize = 60;

/// A page: the proxies, and how many are in each state.
pub(super) fn page(page: &ProxyPage) -> String {
    let ProxyPage { proxies, next, .. } = page;
    let mut text = format!("{}\n{}", rows(proxies), counts(page));
    if let Some(next) = next {
        // A node calls itself as it likes: within quotes it is no command, when somebody copies it into a shell.
        let next = plain(next).replace('\'', r"'\''");
        text += &format!("\nThese are {}; see more with --after '{next}'", proxies.len());
    }
    text
}

/// How many there are in each state.
pub(super) fn counts(page: &ProxyPage) -> String {
    let total: usize = page.counts.values().sum();
    let counts = page.counts.iter().filter(|(_, count)| **count > 0);
    let counts: Vec<String> = counts.map(|(state, count)| format!("{count} {}", state.label())).collect();
    let noun = if total == 1 { "proxy" } else { "proxies" };
    match counts.as_slice() {
        [] => format!("0 {noun}"),
        counts => format!("{total} {noun}: {}", counts.join(", ")),
    }
}

/// Proxies as a table.
pub(super) fn rows<'a>(proxies: impl IntoIterator<Item = &'a ProxyView>) -> String {
    let header = [
        "NODE",
        "CLUSTER",
        "TENANT",
        "PROTOCOL",
        "STATE",
        "WANTED",
        "ACKNOWLEDGED",
        "APPLIED",
        "LINK",
        "AGE",
        "LAST NACK",
    ];
    table(header, proxies.into_iter().map(row)).to_string()
}

fn row(proxy: &ProxyView) -> [String; 11] {
    let named = |name: &str| or_dash(Some(plain(name)).filter(|name| !name.is_empty()));
    [
        plain(&proxy.node),
        named(&proxy.cluster),
        named(&proxy.tenant),
        proxy.protocol.clone(),
        proxy.state.label().to_owned(),
        or_dash(proxy.wanted),
        or_dash(proxy.acknowledged),
        or_dash(proxy.applied),
        link(proxy),
        age(proxy.age_seconds),
        or_dash(refusal(proxy).map(|refusal| shortened(&refusal))),
    ]
}

/// Since when its stream is open, or is no more.
fn link(proxy: &ProxyView) -> String {
    match (proxy.connected_seconds, proxy.gone_seconds) {
        (Some(seconds), _) => format!("up {}", age(seconds)),
        (None, Some(seconds)) => format!("gone {}", age(seconds)),
        (None, None) => "-".to_owned(),
    }
}

/// What it refused, in one line.
fn refusal(proxy: &ProxyView) -> Option<String> {
    match &proxy.last_nack {
        Some(NackView { revision, message }) => Some(format!("revision {revision}: {}", plain(message))),
        None => proxy.rejected_config.then(|| "its filter could not read the newest".to_owned()),
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= SHORT_NACK {
        return text.to_owned();
    }
    let start: String = text.chars().take(SHORT_NACK - 1).collect();
    format!("{}…", start.trim_end())
}

/// All that is known of the proxy of one node.
pub(super) fn whole(proxies: &[ProxyView]) -> String {
    proxies.iter().map(resource).collect::<Vec<_>>().join("\n\n")
}

fn resource(proxy: &ProxyView) -> String {
    let since = |seconds: Option<f64>| or_dash(seconds.map(|seconds| format!("{} ago", age(seconds))));
    let mut lines =
        vec![format!("{} of {}: {}", plain(&proxy.resource), plain(&proxy.node), proxy.state.label())];
    let mut add = |name: &str, value: String| lines.push(format!("  {name:<13} {value}"));
    add("cluster", or_dash(Some(plain(&proxy.cluster)).filter(|name| !name.is_empty())));
    add("identity", or_dash(proxy.identity.as_deref().map(plain)));
    add("tenant", or_dash(Some(plain(&proxy.tenant)).filter(|name| !name.is_empty())));
    add("protocol", proxy.protocol.clone());
    match proxy.connected {
        true => add("connected", since(proxy.connected_seconds)),
        false => add("gone", since(proxy.gone_seconds)),
    }
    add("last message", since(Some(proxy.age_seconds)));
    add("wanted", or_dash(proxy.wanted));
    add("sent", or_dash(proxy.sent));
    add("acknowledged", or_dash(proxy.acknowledged));
    add("applied", or_dash(proxy.applied));
    if proxy.rejected_config {
        add("filter", "reports a configuration that it could not read".to_owned());
    }
    if let Some(NackView { revision, message }) = &proxy.last_nack {
        add("last NACK", format!("revision {revision}"));
        // The proxy's own lines stay lines, each set in so that none looks like one of these.
        lines.extend(message.lines().map(|line| format!("    {}", plain(line))));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::ProxyState;
    use serde_json::json;

    fn proxy(message: &str) -> ProxyView {
        serde_json::from_value(json!({ "node": "proxy\u{1b}[2J", "cluster": "", "resource": "graylane.v1.retail",
            "tenant": "retail", "protocol": "ECDS", "state": "NACKED", "connected": true, "connectedSeconds": 7300.0,
            "wanted": 3, "sent": 3, "acknowledged": 2, "rejectedConfig": false, "ageSeconds": 1.5,
            "lastNack": { "revision": 3, "message": message } }))
        .unwrap()
    }

    #[test]
    fn a_list_has_a_refusal_in_short_and_the_whole_has_all_of_it() {
        let message = format!("no such file: {}\nlook into the log", "x".repeat(100));
        let proxy = proxy(&message);
        let list = rows([&proxy]);
        assert_eq!(list.lines().count(), 2, "{list}");
        assert!(
            list.contains("up 2h") && list.contains("revision 3: no such file: xxx") && list.contains('…')
        );
        let whole = whole(&[proxy]);
        assert!(whole.contains(&"x".repeat(100)) && whole.contains("\n    look into the log"), "{whole}");
        assert!(!list.contains('\u{1b}') && !whole.contains('\u{1b}'), "a node's name steers no terminal");
    }

    #[test]
    fn the_counts_name_the_states_that_there_are() {
        let page = |counts: &[(ProxyState, usize)]| ProxyPage {
            counts: counts.iter().copied().collect(),
            proxies: Vec::new(),
            next: None,
        };
        let (synced, gone) = (ProxyState::Synced, ProxyState::Gone);
        assert_eq!(
            counts(&page(&[(synced, 2), (ProxyState::Stale, 0), (gone, 1)])),
            "3 proxies: 2 SYNCED, 1 GONE"
        );
        assert_eq!(counts(&page(&[(synced, 1)])), "1 proxy: 1 SYNCED");
        assert_eq!(counts(&page(&[(synced, 0)])), "0 proxies");
    }
}
