//! What the table claims of a proxy, and for how long.

use bytes::Bytes;

use super::*;
use crate::canary::CanaryShare;
use crate::ecds::FilterSettings;
use crate::limits::FORGET_AFTER;
use crate::resource::Publication;
use crate::snapshot::Snapshots;
use crate::version::Version;

const A: &str = "graylane.v1.a";

/// How many entries the table may have.
const LIMIT: usize = 100;

/// A table with its clock and one tenant at revision 2.
struct Bench {
    proxies: Proxies,
    snapshots: Snapshots,
    start: Instant,
}

// === impl Bench ===

impl Bench {
    fn new() -> Self {
        let snapshots = Snapshots::new(FilterSettings::default(), CanaryShare::ALL);
        let rules = Bytes::from_static(b"rules");
        let publications = ["a", "b"].map(|tenant| Publication {
            content_hash: 0,
            is_firm: false,
            tenant: tenant.to_owned(),
            revision: 2,
            rules: rules.clone(),
        });
        snapshots.publish(&publications).unwrap();
        Self { proxies: Proxies::new(LIMIT, Arc::default()), snapshots, start: Instant::now() }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn peer(&self, node: &str) -> Peer {
        let identity = Identity { node: node.to_owned(), cluster: "loan".to_owned() };
        let (stream, call) = (self.proxies.new_stream(), Arc::default());
        Peer { stream, protocol: Protocol::EcdsDelta, identity, call, spiffe: None }
    }

    /// A stream of the node that subscribed to tenant a.
    fn connect(&self, node: &str, held: Option<Version>) -> Peer {
        let peer = self.peer(node);
        self.record(&peer, Event::Subscribed { resource: A.to_owned(), resumed: held.is_some(), held });
        peer
    }

    fn record(&self, peer: &Peer, event: Event) {
        self.proxies.record(peer, vec![event], self.start).unwrap();
    }

    fn acknowledge(&self, peer: &Peer, version: Version) {
        self.record(peer, Event::Acknowledged { resource: A.to_owned(), version });
    }

    fn reject(&self, peer: &Peer, version: Version) {
        let message = "no".to_owned();
        self.record(
            peer,
            Event::Rejected { resource: A.to_owned(), version, content: version.digest, message },
        );
    }

    fn wanted(&self) -> Version {
        self.snapshots.current().wanted(A).unwrap().version
    }

    fn list(&self, seconds: u64) -> Vec<ProxyStatus> {
        self.proxies.list(&self.snapshots.current(), self.at(seconds))
    }

    #[track_caller]
    fn only(&self) -> ProxyStatus {
        let mut list = self.list(0);
        assert_eq!(list.len(), 1, "{list:?}");
        list.remove(0)
    }
}

fn older() -> Version {
    Version { revision: 1, digest: 1 }
}

#[test]
fn a_proxy_goes_from_wanted_to_sent_to_acknowledged_to_applied() {
    let bench = Bench::new();
    let peer = bench.connect("n", None);
    let figures = |status: ProxyStatus| (status.wanted, status.sent, status.acknowledged, status.applied);
    assert_eq!(figures(bench.only()), (Some(2), None, None, None));
    bench.proxies.sent(&peer, A, 2);
    assert_eq!(figures(bench.only()), (Some(2), Some(2), None, None));
    bench.acknowledge(&peer, bench.wanted());
    assert_eq!(figures(bench.only()), (Some(2), Some(2), Some(2), None));
    let report = FilterReport { revision: Some(2), rejected_config: Some(false) };
    bench.proxies.report("n", None, report, bench.start);
    assert_eq!(figures(bench.only()), (Some(2), Some(2), Some(2), Some(2)));
    let status = bench.only();
    assert_eq!((&*status.tenant, &*status.cluster), ("a", "loan"));
}

#[test]
fn a_rejection_is_shown_until_that_or_something_later_is_acknowledged() {
    let bench = Bench::new();
    let peer = bench.connect("n", None);
    bench.reject(&peer, bench.wanted());
    let error = Some(Nack { revision: 2, message: "no".to_owned() });
    assert_eq!(bench.only().last_error, error);
    assert_eq!(bench.proxies.rejected("n", A), Some(bench.wanted().digest));
    bench.acknowledge(&peer, older());
    assert_eq!(bench.only().last_error, error, "it was sent what it had before");
    assert_eq!(bench.proxies.rejected("n", A), None);
    bench.acknowledge(&peer, bench.wanted());
    assert_eq!(bench.only().last_error, None);
}

#[test]
fn the_same_number_with_other_bytes_is_not_acknowledged() {
    let bench = Bench::new();
    bench.connect("n", Some(Version { revision: 2, digest: 1 }));
    assert_eq!(bench.only().acknowledged, None);
    bench.connect("n", Some(bench.wanted()));
    assert_eq!(bench.only().acknowledged, Some(2));
}

#[test]
fn a_reconnect_that_holds_something_keeps_the_history_and_a_new_process_does_not() {
    let bench = Bench::new();
    let peer = bench.connect("n", None);
    bench.acknowledge(&peer, older());
    bench.reject(&peer, bench.wanted());
    bench.proxies.report("n", None, FilterReport { revision: Some(1), rejected_config: None }, bench.start);
    let peer = bench.peer("n");
    bench.record(&peer, Event::Subscribed { resource: A.to_owned(), resumed: true, held: None });
    let status = bench.only();
    assert_eq!((status.acknowledged, status.applied), (Some(1), Some(1)));
    assert!(status.last_error.is_some());
    bench.connect("n", None);
    let status = bench.only();
    assert_eq!((status.acknowledged, status.applied, status.last_error), (None, None, None));
    assert_eq!(bench.proxies.rejected("n", A), None);
}

#[test]
fn the_newer_of_two_streams_of_a_node_counts() {
    let bench = Bench::new();
    let older = bench.connect("n", None);
    let newer = bench.connect("n", None);
    bench.acknowledge(&older, bench.wanted());
    assert_eq!(bench.only().acknowledged, None);
    bench.proxies.disconnect(&older, bench.start);
    assert!(bench.only().connected);
    bench.proxies.disconnect(&newer, bench.start);
    assert!(!bench.only().connected);
}

#[test]
fn a_report_counts_for_a_proxy_with_one_tenant_only() {
    let bench = Bench::new();
    let peer = bench.connect("n", None);
    let report = FilterReport { revision: Some(2), rejected_config: Some(true) };
    bench.proxies.report("stranger", None, report, bench.start);
    bench.proxies.report("n", None, report, bench.start);
    assert_eq!((bench.only().applied, bench.only().rejected_config), (Some(2), true));
    let resource = "graylane.v1.b".to_owned();
    bench.record(&peer, Event::Subscribed { resource: resource.clone(), resumed: false, held: None });
    bench.proxies.report("n", None, report, bench.start);
    assert!(bench.list(0).iter().all(|status| status.applied.is_none() && status.rejected_config));
    bench.record(&peer, Event::Unsubscribed { resource });
    assert_eq!(bench.only().applied, Some(2));
}

#[test]
fn ages_count_from_the_last_message() {
    let bench = Bench::new();
    let peer = bench.connect("n", None);
    bench.proxies.record(&peer, Vec::new(), bench.at(5)).unwrap();
    let status = &bench.list(7)[0];
    assert_eq!(status.age, Duration::from_secs(2));
    assert_eq!(status.connected_for, Some(Duration::from_secs(7)));
    bench.proxies.disconnect(&peer, bench.at(8));
    let status = &bench.list(9)[0];
    assert_eq!((status.age, status.connected_for), (Duration::from_secs(4), None));
}

#[test]
fn a_disconnected_proxy_is_forgotten_after_a_while() {
    let bench = Bench::new();
    let peer = bench.connect("gone", None);
    bench.connect("here", None);
    bench.proxies.disconnect(&peer, bench.start);
    assert_eq!(bench.list(FORGET_AFTER.as_secs() - 1).len(), 2);
    let left = bench.list(FORGET_AFTER.as_secs());
    assert_eq!(left.len(), 1);
    assert_eq!(&*left[0].node, "here");
}

#[test]
fn a_full_table_lets_the_longest_gone_go_and_refuses_when_all_are_there() {
    let bench = Bench::new();
    let subscribed = || Event::Subscribed { resource: A.to_owned(), resumed: false, held: None };
    let peers: Vec<Peer> = (0..LIMIT).map(|n| bench.connect(&format!("n{n:05}"), None)).collect();
    let late = bench.peer("late");
    let refused = bench.proxies.record(&late, vec![subscribed()], bench.start);
    assert_eq!(refused, Err(Unlisted::Full(LIMIT)));
    bench.proxies.disconnect(&peers[7], bench.at(2));
    bench.proxies.disconnect(&peers[8], bench.at(1));
    bench.proxies.record(&late, vec![subscribed()], bench.at(3)).unwrap();
    let list = bench.list(3);
    assert_eq!(list.len(), LIMIT);
    assert!(list.iter().any(|status| &*status.node == "late"));
    assert!(!list.iter().any(|status| &*status.node == "n00008"));
}

#[test]
fn the_list_is_sorted_by_node_then_resource() {
    let bench = Bench::new();
    bench.connect("n2", None);
    let peer = bench.connect("n1", None);
    let resource = "foreign".to_owned();
    bench.record(&peer, Event::Subscribed { resource, resumed: false, held: None });
    let keys: Vec<_> = bench
        .list(0)
        .into_iter()
        .map(|status| (status.node.to_string(), status.resource.to_string()))
        .collect();
    let key = |node: &str, resource: &str| (node.to_owned(), resource.to_owned());
    assert_eq!(keys, [key("n1", "foreign"), key("n1", A), key("n2", A)]);
    let foreign = &bench.list(0)[0];
    assert_eq!((&*foreign.tenant, foreign.wanted), ("", None));
}

#[test]
fn watchers_wake_for_every_change_and_for_nothing_else() {
    let bench = Bench::new();
    let mut changes = bench.proxies.changes();
    let mut woken = || {
        let woken = changes.has_changed().unwrap();
        changes.mark_unchanged();
        woken
    };
    let peer = bench.connect("n", None);
    assert!(woken());
    bench.proxies.sent(&peer, A, 2);
    bench.proxies.record(&peer, Vec::new(), bench.start).unwrap();
    assert!(!woken());
    bench.acknowledge(&peer, bench.wanted());
    assert!(woken());
    bench.reject(&peer, older());
    assert!(woken());
    let report = FilterReport { revision: Some(2), rejected_config: None };
    bench.proxies.report("n", None, report, bench.start);
    assert!(woken());
    bench.proxies.report("n", None, report, bench.start);
    assert!(!woken());
    bench.proxies.disconnect(&peer, bench.start);
    assert!(woken());
}
