//! The rules of state-of-the-world xDS, as far as they apply to one type, each as a claim. The client is a page of messages.

use envoy_types::pb::envoy::config::core::v3::{Node, TypedExtensionConfig};
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use prost::Message as _;

use super::super::fixtures::{A, B, Stage, names, node, rejection, verdicts};
use super::super::{Event, Refusal};
use super::*;
use crate::ecds;
use crate::limits::{Limits, MAX_NAME_BYTES, MAX_NODE_BYTES};

const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/// A client as far as its messages go.
struct Client {
    stream: Sotw,
    events: Vec<Event>,
}

// === impl Client ===

impl Client {
    fn new(protocol: Protocol) -> Self {
        Self { stream: Sotw::new(protocol), events: Vec::new() }
    }

    /// A client that has subscribed, and what that brought.
    fn subscribed(stage: &Stage, wanted: &[&str]) -> (Self, Option<DiscoveryResponse>) {
        let mut client = Self::new(Protocol::EcdsSotw);
        let response = client.send(stage, request(wanted));
        (client, response)
    }

    fn send(&mut self, stage: &Stage, request: DiscoveryRequest) -> Option<DiscoveryResponse> {
        let output = stage.see(|world| self.stream.on_request(request, world)).unwrap();
        self.events.extend(output.events);
        output.outgoing.map(|outgoing| outgoing.message.decoded())
    }

    fn refused(&mut self, stage: &Stage, request: DiscoveryRequest) -> Refusal {
        stage.see(|world| self.stream.on_request(request, world)).unwrap_err()
    }

    fn look(&mut self, stage: &Stage) -> Option<DiscoveryResponse> {
        let output = stage.see(|world| self.stream.on_snapshot(world));
        self.events.extend(output.events);
        output.outgoing.map(|outgoing| outgoing.message.decoded())
    }

    /// Accepts a response, and any that follow, until nothing more comes. Gives the names in order.
    fn drain(&mut self, stage: &Stage, wanted: &[&str], first: Option<DiscoveryResponse>) -> Vec<String> {
        let mut seen = Vec::new();
        let mut next = first;
        while let Some(response) = next {
            seen.push(name_in(&response));
            next = self.send(stage, ack(&response, wanted));
        }
        seen
    }
}

fn request(wanted: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        node: node(),
        resource_names: names(wanted),
        type_url: ecds::type_url(),
        ..DiscoveryRequest::default()
    }
}

fn reconnect(wanted: &[&str], version_info: &str) -> DiscoveryRequest {
    DiscoveryRequest { version_info: version_info.to_owned(), ..request(wanted) }
}

fn ack(response: &DiscoveryResponse, wanted: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        node: None,
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        ..request(wanted)
    }
}

fn nack(response: &DiscoveryResponse, wanted: &[&str], message: &str) -> DiscoveryRequest {
    DiscoveryRequest { error_detail: rejection(message), ..ack(response, wanted) }
}

fn name_in(response: &DiscoveryResponse) -> String {
    assert_eq!(response.resources.len(), 1, "envoy wants exactly one resource");
    TypedExtensionConfig::decode(response.resources[0].value.as_slice()).unwrap().name
}

#[test]
fn a_subscription_is_answered_with_the_one_resource_it_names() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (_, response) = Client::subscribed(&stage, &[A]);
    let response = response.unwrap();
    assert_eq!(name_in(&response), A);
    assert_eq!(response.version_info, stage.version(A));
    assert_eq!(response.type_url, "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
    assert_eq!(response.resources[0].type_url, response.type_url);
}

#[test]
fn nonces_are_unique_on_a_stream() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    let mut response = response.unwrap();
    let mut nonces = BTreeSet::from([response.nonce.clone()]);
    for revision in 2..50 {
        assert!(client.send(&stage, ack(&response, &[A])).is_none());
        stage.publish(&[("a", revision)]);
        response = client.look(&stage).unwrap();
        assert!(nonces.insert(response.nonce.clone()));
    }
}

#[test]
fn the_node_is_kept_from_the_first_message() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    let other = Some(Node { id: "someone-else".to_owned(), ..Node::default() });
    client.send(&stage, DiscoveryRequest { node: other, ..ack(&response.unwrap(), &[A]) });
    let identity = client.stream.identity().unwrap();
    assert_eq!((identity.node.as_str(), identity.cluster.as_str()), ("envoy-1", "loan"));
}

#[test]
fn a_stream_that_does_not_say_who_it_is_is_refused() {
    let stage = Stage::with(&[("a", 1)]);
    let refused = |node| {
        let mut client = Client::new(Protocol::EcdsSotw);
        client.refused(&stage, DiscoveryRequest { node, ..request(&[A]) })
    };
    let named = |id: &str| Some(Node { id: id.to_owned(), ..Node::default() });
    assert_eq!(refused(None), Refusal::NoNode);
    assert_eq!(refused(named("")), Refusal::OddNode("id"));
    assert_eq!(refused(named("a\u{1b}[2J")), Refusal::OddNode("id"));
    let long = Refusal::NodeTooLong { field: "id", bytes: MAX_NODE_BYTES + 1 };
    assert_eq!(refused(named(&"n".repeat(MAX_NODE_BYTES + 1))), long);
}

#[test]
fn a_nack_is_an_error_detail_and_nothing_else() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    // An answer with the wrong version is an ACK all the same,
    let odd = DiscoveryRequest { version_info: "0".to_owned(), ..ack(&response.unwrap(), &[A]) };
    client.send(&stage, odd);
    stage.publish(&[("a", 2)]);
    // and one with the new version and an error is a NACK.
    let response = client.look(&stage).unwrap();
    client.send(&stage, nack(&response, &[A], "no"));
    assert_eq!(verdicts(&client.events), [format!("+{A} 1"), format!("-{A} 2 no")]);
}

#[test]
fn a_stale_nonce_is_ignored() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A]);
    let first = first.unwrap();
    client.send(&stage, ack(&first, &[A]));
    stage.publish(&[("a", 2), ("b", 1)]);
    let second = client.look(&stage).unwrap();
    // Neither its verdict nor its names count: the answer to the second response repeats the names.
    assert!(client.send(&stage, nack(&first, &[A, B], "late")).is_none());
    let invented = DiscoveryRequest { response_nonce: "xyz".to_owned(), ..request(&[]) };
    assert!(client.send(&stage, invented).is_none());
    assert_eq!(verdicts(&client.events), [format!("+{A} 1")]);
    let response = client.send(&stage, ack(&second, &[A, B])).unwrap();
    assert_eq!(name_in(&response), B);
    assert_eq!(verdicts(&client.events), [format!("+{A} 1"), format!("+{A} 2")]);
}

#[test]
fn a_nonce_of_another_stream_starts_a_stream_like_an_empty_one() {
    let stage = Stage::with(&[("a", 1)]);
    let mut client = Client::new(Protocol::EcdsSotw);
    let old = DiscoveryRequest { response_nonce: "7".to_owned(), ..request(&[A]) };
    assert!(client.send(&stage, old).is_some());
    assert!(verdicts(&client.events).is_empty());
}

#[test]
fn a_request_replaces_the_names_before_it() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    let response = client.send(&stage, ack(&response.unwrap(), &[B])).unwrap();
    assert_eq!(name_in(&response), B);
    assert!(client.send(&stage, ack(&response, &[B])).is_none());
    stage.publish(&[("a", 2), ("b", 1)]);
    assert!(client.look(&stage).is_none(), "a is not wanted any more");
}

#[test]
fn a_request_without_names_takes_all_back_and_is_no_wildcard() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    assert!(client.send(&stage, ack(&response.unwrap(), &[])).is_none());
    assert_eq!(client.events.last(), Some(&Event::Unsubscribed { resource: A.to_owned() }));
    stage.publish(&[("a", 2), ("b", 2)]);
    assert!(client.look(&stage).is_none());
}

#[test]
fn a_name_that_is_added_again_is_sent_again() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    let response = response.unwrap();
    assert!(client.send(&stage, ack(&response, &[])).is_none());
    let again = client.send(&stage, ack(&response, &[A])).unwrap();
    assert_eq!(again.version_info, response.version_info);
}

#[test]
fn names_added_before_the_first_answer_are_sent_after_it() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A]);
    assert!(client.send(&stage, request(&[A, B])).is_none(), "one response is outstanding");
    assert_eq!(client.drain(&stage, &[A, B], first), [A, B]);
}

#[test]
fn a_name_that_is_added_beside_an_answer_is_sent_and_what_is_held_is_not() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A]);
    let second = client.send(&stage, ack(&first.unwrap(), &[A, B])).unwrap();
    assert_eq!(name_in(&second), B);
    assert!(client.send(&stage, ack(&second, &[A, B])).is_none());
    assert!(client.send(&stage, ack(&second, &[A, B])).is_none(), "nor when it is said again");
}

#[test]
fn an_unsubscribed_response_does_not_hold_up_the_others() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A]);
    let second = client.send(&stage, request(&[B])).unwrap();
    assert_eq!(name_in(&second), B);
    // The answer to the first response is stale by now.
    assert!(client.send(&stage, ack(&first.unwrap(), &[B])).is_none());
    assert!(verdicts(&client.events).is_empty());
    client.send(&stage, ack(&second, &[B]));
    assert_eq!(verdicts(&client.events), [format!("+{B} 1")]);
}

#[test]
fn what_waits_for_an_answer_is_not_sent_when_that_drops_its_name() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A]);
    stage.publish(&[("a", 2), ("b", 1)]);
    assert!(client.look(&stage).is_none(), "one response is outstanding");
    let second = client.send(&stage, ack(&first.unwrap(), &[B])).unwrap();
    assert_eq!(name_in(&second), B);
    assert!(client.send(&stage, ack(&second, &[B])).is_none());
}

#[test]
fn several_names_are_sent_one_at_a_time() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[B, A, B]);
    assert_eq!(client.drain(&stage, &[B, A, B], first), [A, B], "and a name that is doubled once");
}

#[test]
fn names_take_turns_when_one_changes_all_the_time() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A, B]);
    stage.publish(&[("a", 2), ("b", 1)]);
    let second = client.send(&stage, ack(&first.unwrap(), &[A, B])).unwrap();
    assert_eq!(name_in(&second), B);
}

#[test]
fn an_unknown_name_is_answered_with_nothing_and_pushed_when_it_appears() {
    let stage = Stage::with(&[]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    assert!(response.is_none());
    stage.publish(&[("a", 1)]);
    assert_eq!(name_in(&client.look(&stage).unwrap()), A);
}

#[test]
fn the_name_of_a_later_format_is_answered_with_nothing_and_others_are_served_on() {
    let stage = Stage::with(&[("a", 1)]);
    let later = A.replace(".v1.", ".v2.");
    let (mut client, response) = Client::subscribed(&stage, &[&later]);
    assert!(response.is_none());
    assert_eq!(name_in(&client.send(&stage, request(&[&later, A])).unwrap()), A);
}

#[test]
fn an_unknown_name_does_not_hold_up_a_known_one() {
    let stage = Stage::with(&[("b", 1)]);
    let (_, response) = Client::subscribed(&stage, &[A, B]);
    assert_eq!(name_in(&response.unwrap()), B);
}

#[test]
fn a_withdrawn_tenant_is_answered_with_nothing() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    client.send(&stage, ack(&response.unwrap(), &[A]));
    stage.publish(&[]);
    assert!(client.look(&stage).is_none());
}

#[test]
fn wildcards_subscribe_to_nothing() {
    let stage = Stage::with(&[("a", 1)]);
    for wanted in [&[][..], &["*"]] {
        let (client, response) = Client::subscribed(&stage, wanted);
        assert!(response.is_none());
        assert!(client.events.is_empty());
    }
    let (_, response) = Client::subscribed(&stage, &["*", A]);
    assert_eq!(name_in(&response.unwrap()), A);
}

#[test]
fn only_a_change_is_pushed() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    assert!(client.send(&stage, ack(&response.unwrap(), &[A])).is_none());
    stage.publish(&[("a", 1), ("b", 1)]);
    assert!(client.look(&stage).is_none());
    stage.publish(&[("a", 2), ("b", 1)]);
    assert_eq!(client.look(&stage).unwrap().version_info, stage.version(A));
}

#[test]
fn of_two_names_only_the_one_that_changed_is_sent() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A, B]);
    assert_eq!(client.drain(&stage, &[A, B], first), [A, B]);
    stage.publish(&[("a", 1), ("b", 2)]);
    let changed = client.look(&stage);
    assert_eq!(client.drain(&stage, &[A, B], changed), [B]);
}

#[test]
fn one_response_is_outstanding_and_the_newest_snapshot_follows_it() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    for revision in 2..10 {
        stage.publish(&[("a", revision)]);
        assert!(client.look(&stage).is_none());
    }
    let newest = client.send(&stage, ack(&response.unwrap(), &[A])).unwrap();
    assert_eq!(newest.version_info, stage.version(A));
    assert!(client.send(&stage, ack(&newest, &[A])).is_none());
    assert_eq!(verdicts(&client.events), [format!("+{A} 1"), format!("+{A} 9")]);
}

#[test]
fn a_rejected_version_is_not_sent_again_and_a_newer_one_is() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    let response = response.unwrap();
    assert!(client.send(&stage, nack(&response, &[A], "no")).is_none());
    assert!(client.send(&stage, nack(&response, &[A], "no")).is_none(), "a repeated answer says nothing new");
    assert!(client.look(&stage).is_none());
    stage.publish(&[("a", 2)]);
    let newer = client.look(&stage).unwrap();
    assert!(client.send(&stage, ack(&newer, &[A])).is_none());
    stage.publish(&[("a", 1)]);
    assert!(client.look(&stage).is_none(), "the bytes that it rejected");
    assert_eq!(verdicts(&client.events), [format!("-{A} 1 no"), format!("+{A} 2")]);
}

#[test]
fn who_rejects_what_nobody_had_is_sent_what_all_accepted_under_another_version() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A]);
    let first = first.unwrap();
    client.send(&stage, ack(&first, &[A]));
    stage.snapshots.accept("a", 1);
    stage.publish(&[("a", 2)]);
    let second = client.look(&stage).unwrap();
    let again = client.send(&stage, nack(&second, &[A], "no")).unwrap();
    stage.refuse(A);
    assert_eq!(again.resources, first.resources);
    assert_ne!(again.version_info, first.version_info);
    assert!(client.send(&stage, ack(&again, &[A])).is_none());
    let mut next = Client::new(Protocol::EcdsSotw);
    assert!(next.send(&stage, reconnect(&[A], &again.version_info)).is_none(), "it holds what is sent");
    assert_eq!(
        Client::subscribed(&stage, &[A]).1.unwrap().resources,
        first.resources,
        "and so does a new one"
    );
}

#[test]
fn a_rejection_of_one_name_leaves_the_other_alone() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A, B]);
    let second = client.send(&stage, nack(&first.unwrap(), &[A, B], "no")).unwrap();
    assert_eq!(name_in(&second), B);
    assert_eq!(second.version_info, format!("{}+2", stage.version(B)), "a is not held");
}

#[test]
fn a_reconnect_with_what_is_published_is_answered_with_nothing() {
    let stage = Stage::with(&[("a", 1)]);
    let mut client = Client::new(Protocol::EcdsSotw);
    assert!(client.send(&stage, reconnect(&[A], &stage.version(A))).is_none());
    let held = Some(stage.resource(A).version);
    assert_eq!(client.events, [Event::Subscribed { resource: A.to_owned(), resumed: true, held }]);
    stage.publish(&[("a", 2)]);
    assert!(client.look(&stage).is_some());
}

#[test]
fn a_reconnect_with_another_version_is_sent_the_published_one() {
    let stage = Stage::with(&[("a", 2)]);
    for version in ["1-00000000000000ff", "2-00000000000000ff", "7", "set-0"] {
        let mut client = Client::new(Protocol::EcdsSotw);
        assert!(client.send(&stage, reconnect(&[A], version)).is_some(), "{version}");
    }
}

#[test]
fn a_reconnect_with_several_names_that_are_all_held_is_answered_with_nothing() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let mut client = Client::new(Protocol::AdsSotw);
    let first = client.send(&stage, request(&[A, B])).unwrap();
    let second = client.send(&stage, ack(&first, &[A, B])).unwrap();
    let mut again = Client::new(Protocol::AdsSotw);
    assert!(again.send(&stage, reconnect(&[A, B], &second.version_info)).is_none());
    // Cut off between the two, it lacks the second only.
    let mut between = Client::new(Protocol::AdsSotw);
    let response = between.send(&stage, reconnect(&[A, B], &first.version_info)).unwrap();
    assert_eq!(name_in(&response), B);
    assert!(between.send(&stage, ack(&response, &[A, B])).is_none());
}

#[test]
fn a_reconnect_with_several_names_and_another_version_is_sent_all_of_them() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    for version in ["1-00000000000000ff", "set-00000000000000ff", "7"] {
        let mut client = Client::new(Protocol::EcdsSotw);
        let first = client.send(&stage, reconnect(&[A, B], version));
        assert_eq!(client.drain(&stage, &[A, B], first), [A, B], "{version}");
    }
}

/// A known limit, see `CONFORMANCE.md`: the one version that a client says was that of all names when it accepted the last response.
#[test]
fn a_name_that_was_dropped_and_is_asked_for_by_the_next_stream_counts_as_held() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A, B]);
    let second = client.send(&stage, ack(&first.unwrap(), &[A, B])).unwrap();
    assert!(client.send(&stage, ack(&second, &[A])).is_none());
    let mut next = Client::new(Protocol::EcdsSotw);
    assert!(next.send(&stage, reconnect(&[A, B], &second.version_info)).is_none());
    let again = client.send(&stage, ack(&second, &[A, B]));
    assert_eq!(name_in(&again.unwrap()), B, "the same stream knows better");
    stage.publish(&[("a", 1), ("b", 2)]);
    assert_eq!(name_in(&next.look(&stage).unwrap()), B, "the next publish makes it good");
}

#[test]
fn what_a_proxy_rejected_is_not_sent_to_its_next_stream_while_it_holds_something_older() {
    let mut stage = Stage::with(&[("a", 2)]);
    stage.rejected = Some(stage.resource(A).version.digest);
    let mut client = Client::new(Protocol::EcdsSotw);
    assert!(client.send(&stage, reconnect(&[A], "1-00000000000000ff")).is_none());
    stage.publish(&[("a", 3)]);
    assert!(client.look(&stage).is_some());
}

#[test]
fn what_a_proxy_rejected_is_sent_to_a_new_process() {
    let mut stage = Stage::with(&[("a", 2)]);
    stage.rejected = Some(stage.resource(A).version.digest);
    let (_, response) = Client::subscribed(&stage, &[A]);
    assert!(response.is_some());
}

#[test]
fn other_types_on_an_aggregated_stream_are_ignored() {
    let stage = Stage::with(&[("a", 1)]);
    let mut client = Client::new(Protocol::AdsSotw);
    let other = DiscoveryRequest { type_url: CLUSTER.to_owned(), ..request(&[]) };
    assert!(client.send(&stage, other.clone()).is_none());
    let response = client.send(&stage, DiscoveryRequest { node: None, ..request(&[A]) }).unwrap();
    // Its nonce belongs to another type, so it answers nothing here.
    let nonce = response.nonce.clone();
    assert!(client.send(&stage, DiscoveryRequest { response_nonce: nonce, ..other }).is_none());
    assert!(verdicts(&client.events).is_empty());
    client.send(&stage, ack(&response, &[A]));
    assert_eq!(verdicts(&client.events), [format!("+{A} 1")]);
}

#[test]
fn a_request_without_type_is_refused_on_an_aggregated_stream_only() {
    let stage = Stage::with(&[("a", 1)]);
    let untyped = DiscoveryRequest { type_url: String::new(), ..request(&[A]) };
    assert_eq!(Client::new(Protocol::AdsSotw).refused(&stage, untyped.clone()), Refusal::NoType);
    assert!(Client::new(Protocol::EcdsSotw).send(&stage, untyped).is_some());
}

#[test]
fn another_type_is_refused_on_a_dedicated_stream() {
    let stage = Stage::with(&[("a", 1)]);
    let other = DiscoveryRequest { type_url: CLUSTER.to_owned(), ..request(&[A]) };
    let refusal = Client::new(Protocol::EcdsSotw).refused(&stage, other);
    assert_eq!(refusal, Refusal::WrongType(CLUSTER.to_owned()));
}

#[test]
fn names_are_limited() {
    let stage = Stage::with(&[]);
    let many: Vec<String> = (0..=Limits::DEFAULT.names).map(|n| format!("n{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(Client::subscribed(&stage, &many[1..]).1.is_none());
    assert_eq!(Client::new(Protocol::EcdsSotw).refused(&stage, request(&many)), Refusal::TooManyNames(64));
    let long = "n".repeat(MAX_NAME_BYTES + 1);
    let refusal = Client::new(Protocol::EcdsSotw).refused(&stage, request(&[&long]));
    assert_eq!(refusal, Refusal::NameTooLong(MAX_NAME_BYTES + 1));
}

#[test]
fn a_long_reason_is_cut_at_a_character() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    client.send(&stage, nack(&response.unwrap(), &[A], &format!("x{}", "网".repeat(1000))));
    let Some(Event::Rejected { message, .. }) = client.events.last() else { panic!("{:?}", client.events) };
    assert_eq!(message.len(), 1024);
}
