//! The rules of delta xDS, as far as they apply to one type, each as a claim. The client is a page of messages.

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;

use super::super::fixtures::{A, B, Stage, names, node, rejection, verdicts};
use super::super::{Event, Refusal};
use super::*;
use crate::ecds;
use crate::limits::Limits;

/// A client as far as its messages go.
struct Client {
    stream: Delta,
    events: Vec<Event>,
}

// === impl Client ===

impl Client {
    fn new(protocol: Protocol) -> Self {
        Self { stream: Delta::new(protocol), events: Vec::new() }
    }

    /// A client that has subscribed, and what that brought.
    fn subscribed(stage: &Stage, wanted: &[&str]) -> (Self, Option<DeltaDiscoveryResponse>) {
        let mut client = Self::new(Protocol::EcdsDelta);
        let response = client.send(stage, subscribe(wanted));
        (client, response)
    }

    fn send(&mut self, stage: &Stage, request: DeltaDiscoveryRequest) -> Option<DeltaDiscoveryResponse> {
        let output = stage.see(|world| self.stream.on_request(request, world)).unwrap();
        self.take(output)
    }

    fn look(&mut self, stage: &Stage) -> Option<DeltaDiscoveryResponse> {
        let output = stage.see(|world| self.stream.on_snapshot(world));
        self.take(output)
    }

    fn take(&mut self, output: Output) -> Option<DeltaDiscoveryResponse> {
        self.events.extend(output.events);
        let message: Option<DeltaDiscoveryResponse> =
            output.outgoing.map(|outgoing| outgoing.message.decoded());
        let removed = message.iter().any(|response| !response.removed_resources.is_empty());
        assert!(!removed, "a removal makes envoy answer 500");
        message
    }
}

fn empty() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { node: node(), type_url: ecds::type_url(), ..DeltaDiscoveryRequest::default() }
}

fn subscribe(wanted: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { resource_names_subscribe: names(wanted), ..empty() }
}

fn unsubscribe(unwanted: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { resource_names_unsubscribe: names(unwanted), ..empty() }
}

fn reconnect(held: &[(&str, &str)]) -> DeltaDiscoveryRequest {
    let wanted: Vec<&str> = held.iter().map(|(name, _)| *name).collect();
    let held = held.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned()));
    DeltaDiscoveryRequest { initial_resource_versions: held.collect(), ..subscribe(&wanted) }
}

fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { node: None, response_nonce: response.nonce.clone(), ..empty() }
}

fn nack(response: &DeltaDiscoveryResponse, message: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { error_detail: rejection(message), ..ack(response) }
}

fn name_in(response: &DeltaDiscoveryResponse) -> &str {
    assert_eq!(response.resources.len(), 1);
    &response.resources[0].name
}

#[test]
fn a_subscription_is_answered_with_name_version_and_body() {
    let stage = Stage::with(&[("a", 1)]);
    let (_, response) = Client::subscribed(&stage, &[A]);
    let response = response.unwrap();
    assert_eq!(name_in(&response), A);
    assert_eq!(response.resources[0].version, stage.version(A));
    let body = response.resources[0].resource.as_ref().map(prost::Message::encode_to_vec);
    assert_eq!(body, Some(stage.resource(A).body.in_order().concat()));
    assert_eq!(response.resources[0].ttl, None, "an expired resource is a removed one");
    assert_eq!(response.type_url, ecds::type_url());
}

#[test]
fn nonces_are_unique_on_a_stream() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A, B]);
    let first = first.unwrap();
    let second = client.send(&stage, ack(&first)).unwrap();
    assert_ne!(first.nonce, second.nonce);
}

#[test]
fn a_stream_that_does_not_say_who_it_is_is_refused() {
    let stage = Stage::with(&[("a", 1)]);
    let anonymous = DeltaDiscoveryRequest { node: None, ..subscribe(&[A]) };
    let mut stream = Delta::new(Protocol::EcdsDelta);
    assert_eq!(stage.see(|world| stream.on_request(anonymous, world)).unwrap_err(), Refusal::NoNode);
}

#[test]
fn the_node_is_kept_from_the_first_message() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    let other = Some(Node { id: "someone-else".to_owned(), ..Node::default() });
    client.send(&stage, DeltaDiscoveryRequest { node: other, ..ack(&response.unwrap()) });
    assert_eq!(client.stream.identity().unwrap().node, "envoy-1");
}

#[test]
fn subscriptions_are_increments() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    assert!(client.send(&stage, ack(&response.unwrap())).is_none());
    let response = client.send(&stage, subscribe(&[B])).unwrap();
    assert_eq!(name_in(&response), B);
    assert!(client.send(&stage, ack(&response)).is_none());
    stage.publish(&[("a", 2), ("b", 1)]);
    assert_eq!(name_in(&client.look(&stage).unwrap()), A, "a is still wanted");
}

#[test]
fn an_unsubscribed_name_is_not_pushed() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    client.send(&stage, ack(&response.unwrap()));
    assert!(client.send(&stage, unsubscribe(&[A])).is_none());
    stage.publish(&[("a", 2)]);
    assert!(client.look(&stage).is_none());
    assert_eq!(client.events.last(), Some(&Event::Unsubscribed { resource: A.to_owned() }));
}

#[test]
fn a_name_that_is_not_subscribed_may_be_taken_back() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    assert!(client.send(&stage, unsubscribe(&[B])).is_none());
    assert_eq!(client.events.len(), 1, "{:?}", client.events);
    client.send(&stage, ack(&response.unwrap()));
    assert_eq!(verdicts(&client.events), [format!("+{A} 1")]);
}

#[test]
fn a_name_that_was_taken_back_and_is_subscribed_again_is_sent_again() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, _) = Client::subscribed(&stage, &[A]);
    assert!(client.send(&stage, unsubscribe(&[A])).is_none());
    let again = client.send(&stage, subscribe(&[A])).unwrap();
    assert!(client.send(&stage, ack(&again)).is_none());
    assert!(client.send(&stage, unsubscribe(&[A])).is_none());
    let version = client.send(&stage, subscribe(&[A])).unwrap().resources.remove(0).version;
    assert_eq!(version, stage.version(A));
}

#[test]
fn a_name_in_both_lists_is_wanted() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    client.send(&stage, ack(&response.unwrap()));
    let both = DeltaDiscoveryRequest { resource_names_unsubscribe: names(&[A]), ..subscribe(&[A]) };
    let response = client.send(&stage, both).unwrap();
    client.send(&stage, ack(&response));
    stage.publish(&[("a", 2)]);
    assert!(client.look(&stage).is_some());
}

#[test]
fn a_name_that_is_doubled_is_sent_once() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A, A]);
    assert!(client.send(&stage, ack(&response.unwrap())).is_none());
    assert_eq!(client.events.len(), 2, "one subscription and one answer: {:?}", client.events);
}

#[test]
fn names_may_change_in_the_message_that_answers() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    let both = DeltaDiscoveryRequest {
        resource_names_subscribe: names(&[B]),
        resource_names_unsubscribe: names(&[A]),
        ..ack(&response.unwrap())
    };
    assert_eq!(name_in(&client.send(&stage, both).unwrap()), B);
    assert_eq!(verdicts(&client.events), [format!("+{A} 1")]);
}

#[test]
fn names_may_change_in_the_message_that_rejects() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    let both =
        DeltaDiscoveryRequest { resource_names_subscribe: names(&[B]), ..nack(&response.unwrap(), "no") };
    assert_eq!(name_in(&client.send(&stage, both).unwrap()), B);
    assert_eq!(verdicts(&client.events), [format!("-{A} 1 no")]);
}

#[test]
fn a_stale_nonce_answers_nothing_but_its_names_count() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A]);
    let first = first.unwrap();
    client.send(&stage, ack(&first));
    stage.publish(&[("a", 2), ("b", 1)]);
    let second = client.look(&stage).unwrap();
    let late = DeltaDiscoveryRequest { resource_names_subscribe: names(&[B]), ..nack(&first, "late") };
    assert!(client.send(&stage, late).is_none(), "one response is outstanding");
    assert_eq!(name_in(&client.send(&stage, ack(&second)).unwrap()), B);
    assert_eq!(verdicts(&client.events), [format!("+{A} 1"), format!("+{A} 2")]);
}

#[test]
fn a_name_that_is_subscribed_again_is_sent_again() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    client.send(&stage, ack(&response.unwrap()));
    let again = client.send(&stage, subscribe(&[A])).unwrap();
    assert_eq!(again.resources[0].version, stage.version(A));
    assert!(client.send(&stage, ack(&again)).is_none());
    assert_eq!(client.events.len(), 3, "one subscription and two answers: {:?}", client.events);
}

#[test]
fn an_unsubscribed_response_does_not_hold_up_the_others() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, _) = Client::subscribed(&stage, &[A, B]);
    let second = client.send(&stage, unsubscribe(&[A])).unwrap();
    assert_eq!(name_in(&second), B);
}

#[test]
fn what_waits_for_an_answer_is_not_sent_when_that_takes_its_name_back() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    stage.publish(&[("a", 2)]);
    assert!(client.look(&stage).is_none(), "one response is outstanding");
    let last = DeltaDiscoveryRequest { resource_names_unsubscribe: names(&[A]), ..ack(&response.unwrap()) };
    assert!(client.send(&stage, last).is_none());
    assert!(client.look(&stage).is_none());
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
fn an_unknown_name_does_not_hold_up_a_known_one() {
    let stage = Stage::with(&[("b", 1)]);
    let (_, response) = Client::subscribed(&stage, &[A, B]);
    assert_eq!(name_in(&response.unwrap()), B);
}

#[test]
fn a_withdrawn_tenant_is_answered_with_nothing_and_pushed_when_it_is_back() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    client.send(&stage, ack(&response.unwrap()));
    stage.publish(&[]);
    assert!(client.look(&stage).is_none());
    stage.publish(&[("a", 2)]);
    assert!(client.look(&stage).is_some());
}

#[test]
fn a_tenant_that_is_back_unchanged_is_not_sent_again() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    client.send(&stage, ack(&response.unwrap()));
    stage.publish(&[]);
    assert!(client.look(&stage).is_none());
    stage.publish(&[("a", 1)]);
    assert!(client.look(&stage).is_none(), "nobody took it away from the client");
}

#[test]
fn of_two_names_only_the_one_that_changed_is_sent() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A, B]);
    let second = client.send(&stage, ack(&first.unwrap())).unwrap();
    assert!(client.send(&stage, ack(&second)).is_none());
    stage.publish(&[("a", 1), ("b", 2)]);
    let changed = client.look(&stage).unwrap();
    assert_eq!(name_in(&changed), B);
    assert!(client.send(&stage, ack(&changed)).is_none());
}

#[test]
fn wildcards_subscribe_to_nothing() {
    let stage = Stage::with(&[("a", 1)]);
    for wanted in [&[][..], &["*"]] {
        let (client, response) = Client::subscribed(&stage, wanted);
        assert!(response.is_none());
        assert!(client.events.is_empty());
    }
    let (mut client, response) = Client::subscribed(&stage, &["*", A]);
    client.send(&stage, ack(&response.unwrap()));
    assert!(client.send(&stage, unsubscribe(&["*"])).is_none());
    stage.publish(&[("a", 2)]);
    assert!(client.look(&stage).is_some(), "the name stays when the wildcard goes");
}

#[test]
fn one_response_is_outstanding_and_the_newest_snapshot_follows_it() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    for revision in 2..10 {
        stage.publish(&[("a", revision)]);
        assert!(client.look(&stage).is_none());
    }
    let newest = client.send(&stage, ack(&response.unwrap())).unwrap();
    assert_eq!(newest.resources[0].version, stage.version(A));
}

#[test]
fn a_rejected_version_is_not_sent_again_and_a_newer_one_is() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[A]);
    assert!(client.send(&stage, nack(&response.unwrap(), "no")).is_none());
    assert!(client.look(&stage).is_none());
    assert!(client.send(&stage, subscribe(&[A])).is_none(), "not even when it is asked for again");
    stage.publish(&[("a", 2)]);
    let newer = client.look(&stage).unwrap();
    client.send(&stage, ack(&newer));
    assert_eq!(verdicts(&client.events), [format!("-{A} 1 no"), format!("+{A} 2")]);
}

#[test]
fn who_rejects_what_nobody_had_is_sent_what_all_accepted_under_another_version() {
    let stage = Stage::with(&[("a", 1)]);
    let (mut client, first) = Client::subscribed(&stage, &[A]);
    let first = first.unwrap();
    client.send(&stage, ack(&first));
    stage.snapshots.accept("a", 1);
    stage.publish(&[("a", 2)]);
    let second = client.look(&stage).unwrap();
    let again = client.send(&stage, nack(&second, "no")).unwrap();
    stage.refuse(A);
    let (before, now) = (&first.resources[0], &again.resources[0]);
    assert_eq!(now.resource, before.resource);
    assert_ne!(now.version, before.version);
    assert!(client.send(&stage, ack(&again)).is_none());
    let mut next = Client::new(Protocol::EcdsDelta);
    assert!(next.send(&stage, reconnect(&[(A, &now.version)])).is_none(), "it holds what is sent");
}

#[test]
fn nobody_is_sent_something_older_than_what_it_holds_because_others_try_what_is_new() {
    let stage = Stage::with_canary("envoy-2");
    let (mut newcomer, first) = Client::subscribed(&stage, &[A]);
    assert!(first.is_none(), "nothing did well yet");
    stage.snapshots.accept("a", 1);
    let one = newcomer.look(&stage).unwrap();
    newcomer.send(&stage, ack(&one));
    let refused = stage.publish_on_trial(2, "envoy-2");
    assert!(newcomer.look(&stage).is_none(), "it is not among those that try");
    // By another process, or from before another one refused it.
    let mut ahead = Client::new(Protocol::EcdsDelta);
    assert!(ahead.send(&stage, reconnect(&[(A, &refused)])).is_none(), "it holds what is wanted");
    stage.publish_on_trial(3, "envoy-2");
    assert!(ahead.look(&stage).is_none(), "revision 1 would be a step back");
    stage.refuse(A);
    assert!(ahead.look(&stage).is_none());
    let mut behind = Client::new(Protocol::EcdsDelta);
    let response = behind.send(&stage, reconnect(&[(A, "0-00000000000000ab")])).unwrap();
    assert_eq!(response.resources[0].version, stage.version(A), "who holds something older is sent it");
}

#[test]
fn a_canary_that_refuses_is_sent_what_did_well_though_its_word_is_not_taken() {
    let stage = Stage::with_canary("envoy-1");
    stage.snapshots.accept("a", 1);
    let first = stage.version(A);
    stage.publish_on_trial(2, "envoy-1");
    let (mut client, second) = Client::subscribed(&stage, &[A]);
    let again = client.send(&stage, nack(&second.unwrap(), "no")).unwrap();
    assert!(again.resources[0].version.starts_with(&first), "{again:?}");
    assert!(stage.snapshots.held_back().is_empty());
}

#[test]
fn a_reconnect_with_what_is_published_is_answered_with_nothing() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let mut client = Client::new(Protocol::EcdsDelta);
    let held = [(A, stage.version(A)), (B, stage.version(B))];
    let held: Vec<(&str, &str)> = held.iter().map(|(name, version)| (*name, version.as_str())).collect();
    assert!(client.send(&stage, reconnect(&held)).is_none());
    let subscribed = |name: &str| Event::Subscribed {
        resource: name.to_owned(),
        resumed: true,
        held: Some(stage.resource(name).version),
    };
    assert_eq!(client.events, [subscribed(A), subscribed(B)]);
    stage.publish(&[("a", 2), ("b", 1)]);
    assert_eq!(name_in(&client.look(&stage).unwrap()), A);
}

#[test]
fn a_reconnect_is_sent_only_what_changed() {
    let stage = Stage::with(&[("a", 2), ("b", 1)]);
    let mut client = Client::new(Protocol::EcdsDelta);
    let held = [(A, "1-00000000000000ff".to_owned()), (B, stage.version(B))];
    let held: Vec<(&str, &str)> = held.iter().map(|(name, version)| (*name, version.as_str())).collect();
    let response = client.send(&stage, reconnect(&held)).unwrap();
    assert_eq!(name_in(&response), A);
    assert!(client.send(&stage, ack(&response)).is_none());
}

#[test]
fn a_reconnect_is_sent_the_names_that_it_does_not_hold() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let mut client = Client::new(Protocol::EcdsDelta);
    let version = stage.version(B);
    let partly =
        DeltaDiscoveryRequest { resource_names_subscribe: names(&[A, B]), ..reconnect(&[(B, &version)]) };
    let response = client.send(&stage, partly).unwrap();
    assert_eq!(name_in(&response), A);
    assert!(client.send(&stage, ack(&response)).is_none());
}

#[test]
fn a_reconnect_with_a_name_that_is_gone_is_answered_with_nothing() {
    let stage = Stage::with(&[]);
    let mut client = Client::new(Protocol::EcdsDelta);
    assert!(client.send(&stage, reconnect(&[(A, "1-00000000000000ff")])).is_none());
}

#[test]
fn versions_that_are_held_subscribe_to_nothing() {
    let stage = Stage::with(&[("a", 1)]);
    let mut client = Client::new(Protocol::EcdsDelta);
    let unasked = DeltaDiscoveryRequest {
        resource_names_subscribe: Vec::new(),
        ..reconnect(&[(A, "0-00000000000000ff")])
    };
    assert!(client.send(&stage, unasked).is_none());
    assert!(client.events.is_empty());
}

#[test]
fn versions_are_believed_in_the_first_request_only() {
    let stage = Stage::with(&[("a", 1), ("b", 1)]);
    let (mut client, response) = Client::subscribed(&stage, &[B]);
    client.send(&stage, ack(&response.unwrap()));
    let version = stage.version(A);
    assert!(client.send(&stage, reconnect(&[(A, &version)])).is_some());
}

#[test]
fn what_a_proxy_rejected_is_not_sent_to_its_next_stream_while_it_holds_something_older() {
    let mut stage = Stage::with(&[("a", 2)]);
    stage.rejected = Some(stage.resource(A).version.digest);
    let mut client = Client::new(Protocol::EcdsDelta);
    assert!(client.send(&stage, reconnect(&[(A, "1-00000000000000ff")])).is_none());
    let (_, response) = Client::subscribed(&stage, &[A]);
    assert!(response.is_some(), "a new process is sent everything");
}

#[test]
fn other_types_on_an_aggregated_stream_are_ignored() {
    let stage = Stage::with(&[("a", 1)]);
    let mut client = Client::new(Protocol::AdsDelta);
    let cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned();
    assert!(
        client.send(&stage, DeltaDiscoveryRequest { type_url: cluster, ..subscribe(&["*", A]) }).is_none()
    );
    assert!(client.events.is_empty());
    let ours = DeltaDiscoveryRequest { node: None, ..subscribe(&[A]) };
    assert_eq!(name_in(&client.send(&stage, ours).unwrap()), A);
}

#[test]
fn a_request_without_type_is_refused_on_an_aggregated_stream() {
    let stage = Stage::with(&[("a", 1)]);
    let mut stream = Delta::new(Protocol::AdsDelta);
    let untyped = DeltaDiscoveryRequest { type_url: String::new(), ..subscribe(&[A]) };
    assert_eq!(stage.see(|world| stream.on_request(untyped, world)).unwrap_err(), Refusal::NoType);
}

#[test]
fn another_type_is_refused_on_a_dedicated_stream() {
    let stage = Stage::with(&[("a", 1)]);
    let mut stream = Delta::new(Protocol::EcdsDelta);
    let other = DeltaDiscoveryRequest { type_url: "odd".to_owned(), ..subscribe(&[A]) };
    let refusal = stage.see(|world| stream.on_request(other, world)).unwrap_err();
    assert_eq!(refusal, Refusal::WrongType("odd".to_owned()));
}

#[test]
fn names_are_limited_over_all_increments() {
    let stage = Stage::with(&[]);
    let mut stream = Delta::new(Protocol::EcdsDelta);
    let mut add = |n: usize| {
        let name = format!("n{n}");
        stage.see(|world| stream.on_request(subscribe(&[&name]), world)).map(|_| ())
    };
    assert!((0..Limits::DEFAULT.names).all(|n| add(n).is_ok()));
    assert_eq!(add(Limits::DEFAULT.names), Err(Refusal::TooManyNames(64)));
}
