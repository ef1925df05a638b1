//! Proxies as they go on.

use super::show;
use crate::cli::output::print;
use crate::cli::screen::Screen;
use crate::cli::{CliError, Session};
use crate::daemon::{ProxyPage, ProxyView};
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often the daemon is asked: for each answer it looks at every proxy.
const POLL: Duration = Duration::from_millis(500);

/// What names a line of the list.
type Key = (String, String);

/// What was printed last of each proxy, and of their counts.
#[derive(Default, PartialEq)]
struct Printed {
    by_key: BTreeMap<Key, String>,
    counts: String,
}

/// Shows the proxies again each time something changes, until the time is over: on a terminal in the place of those before, and
/// else those that changed, one after the other.
pub(super) fn watch(session: &Session, path: &str, time: Duration) -> Result<(), CliError> {
    let begun = Instant::now();
    let mut screen = Screen::of(session);
    let mut printed = Printed::default();
    loop {
        let page: ProxyPage = session.client.get(path)?;
        match &mut screen {
            Some(screen) => screen.show(&show::page(&page))?,
            None => printed = follow(session, &page, printed)?,
        }
        let left = time.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        sleep(POLL.min(left));
    }
}

/// Prints what is other than it was printed last, and gives what is printed now.
fn follow(session: &Session, page: &ProxyPage, last: Printed) -> Result<Printed, CliError> {
    let now = Printed::of(page);
    if now == last {
        return Ok(now);
    }
    if session.is_text() {
        let changed = page.proxies.iter().filter(|proxy| {
            let key = key(proxy);
            now.by_key.get(&key) != last.by_key.get(&key)
        });
        let changed: Vec<&ProxyView> = changed.collect();
        // Nobody is left of those that were listed, or one that is not listed came or went.
        let rows = if changed.is_empty() { String::new() } else { show::rows(changed) + "\n" };
        print(&format_args!("{rows}{}\n", now.counts))?;
    } else {
        print(&serde_json::to_string(page).unwrap_or_default())?;
    }
    Ok(now)
}

fn key(proxy: &ProxyView) -> Key {
    (proxy.node.clone(), proxy.resource.clone())
}

/// The proxy with nothing in it that time alone changes, which is nothing new to somebody who reads on.
fn timeless(proxy: &ProxyView) -> String {
    let still = |seconds: Option<f64>| seconds.map(|_| 0.0);
    let proxy = ProxyView {
        connected_seconds: still(proxy.connected_seconds),
        gone_seconds: still(proxy.gone_seconds),
        age_seconds: 0.0,
        ..proxy.clone()
    };
    serde_json::to_string(&proxy).unwrap_or_default()
}

// === impl Printed ===

impl Printed {
    fn of(page: &ProxyPage) -> Self {
        let by_key = page.proxies.iter().map(|proxy| (key(proxy), timeless(proxy))).collect();
        Self { by_key, counts: show::counts(page) }
    }
}
