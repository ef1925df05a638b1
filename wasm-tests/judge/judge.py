"""A client that is not ours judges the xDS server of the real daemon.

usage: judge.py MODE XDS_ADDRESS HTTP_ADDRESS

Every scenario prints one line, `ok NAME` or `FAILED NAME: expected ..., found ...`. The line `RESTART` asks whoever
started this program to restart the daemon, and to answer with any line.
"""

import collections
import itertools
import json
import queue
import sys
import threading
import urllib.request

import grpc
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from envoy.service.extension.v3 import config_discovery_pb2_grpc
from google.protobuf import struct_pb2
from google.rpc import status_pb2

# Importing these registers the types that are inside the resource.
from envoy.extensions.filters.http.wasm.v3 import wasm_pb2

TYPE = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
# What has to come comes within this time, on a slow machine too.
PATIENCE = 20
# What must not come is waited for so long. A push takes a few milliseconds.
SILENCE = 0.4

Message = collections.namedtuple("Message", "name version info nonce body names")


class Found(Exception):
    """The server did something else than expected."""


def expect(what, expected, found):
    if expected != found:
        raise Found(f"{what}: expected {expected!r}, found {found!r}")


class Tenant:
    """A tenant of the daemon with one order, whose scope is changed at will."""

    def __init__(self, http, name):
        self.http, self.name, self.resource = http, name, f"graylane.v1.{name}"
        self.order, self.revision = None, 0

    def ask(self, path, body, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.http}{path}", data, {"content-type": kind})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def publish(self):
        """Publishes content that was never published before."""
        self.revision += 1
        scope = {"include": {"teller": [f"T{number:07}" for number in range(self.revision)]}}
        if self.order is None:
            service = {"name": "loan", "hosts": [f"{self.name}.test"], "stable": "v1", "gray": "v2"}
            spec = {"owner": "judge", "batch": "parallel", "services": [service],
                    "stages": [{"name": "only", "scope": scope}]}
            meta = {"name": self.name, "tenant": self.name}
            plan = {"apiVersion": "graylane.dev/v1alpha1", "kind": "ReleasePlan", "metadata": meta, "spec": spec}
            self.ask("/api/v1/plans", plan, "application/yaml")
            self.order = self.ask("/api/v1/orders", {"plan": self.name})["id"]
        else:
            self.ask(f"/api/v1/orders/{self.order}/adjust", {"scope": json.dumps(scope)})
        return self


class Stream:
    """One stream of a mode: ecds, ecds-delta, ads or ads-delta."""

    def __init__(self, judge, node="judge", hold=False):
        self.delta, self.type_url = judge.delta, TYPE
        self.node = base_pb2.Node(id=node, cluster="judges") if isinstance(node, str) else node
        self.wanted, self.last, self.info, self.first = [], "", "", True
        self.channel = grpc.insecure_channel(judge.xds, options=[("grpc.use_local_subchannel_pool", 1)])
        self.out, self.inbox = queue.Queue(), queue.Queue()
        self.call = judge.method(self.channel)(iter(self.out.get, None), timeout=120)
        # A reader that is held takes nothing off the wire until it is let go.
        if not hold:
            self.read()

    def read(self):
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for response in self.call:
                self.inbox.put(response)
            self.inbox.put(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            self.inbox.put(error.code())

    def send(self, add=(), drop=(), nonce=None, error=None, held=None, info=None, type_url=None):
        request = (discovery_pb2.DeltaDiscoveryRequest if self.delta else discovery_pb2.DiscoveryRequest)()
        request.type_url = self.type_url if type_url is None else type_url
        if self.first and self.node is not None:
            request.node.CopyFrom(self.node)
        self.first = False
        if error:
            request.error_detail.CopyFrom(status_pb2.Status(code=3, message=error))
        if self.delta:
            request.resource_names_subscribe.extend(add)
            request.resource_names_unsubscribe.extend(drop)
            request.response_nonce = nonce or ""
            request.initial_resource_versions.update(held or {})
        else:
            if request.type_url in (TYPE, ""):
                self.wanted = [name for name in self.wanted if name not in drop] + list(add)
            request.resource_names.extend(self.wanted)
            request.response_nonce = self.last if nonce is None else nonce
            versions = list((held or {}).values())
            request.version_info = info or (versions[0] if versions else self.info)
        self.out.put(request)
        return self

    def get(self, wait=PATIENCE):
        try:
            return self.inbox.get(timeout=wait)
        except queue.Empty:
            return None

    def next(self):
        response = self.get()
        if response is None or isinstance(response, grpc.StatusCode):
            raise Found(f"expected a response, found {response or 'silence'}")
        expect("type_url of the response", TYPE, response.type_url)
        self.last = response.nonce
        found = []
        for resource in response.resources:
            body = resource.resource if self.delta else resource
            expect("type_url of the resource", TYPE, body.type_url)
            config = extension_pb2.TypedExtensionConfig.FromString(body.value)
            wasm = wasm_pb2.Wasm()
            if not config.typed_config.Unpack(wasm):
                raise Found(f"expected a Wasm filter, found {config.typed_config.type_url}")
            expect("name inside the resource", config.name, wasm.config.name)
            if self.delta:
                expect("name around the resource", config.name, resource.name)
            version = resource.version if self.delta else response.version_info
            found.append((config.name, version, body.value))
        names = [name for name, _, _ in found]
        expect("names in one response", sorted(set(names)), sorted(names))
        if len(found) != 1:
            raise Found(f"expected one resource, found {names}")
        name, version, body = found[0]
        info = response.system_version_info if self.delta else response.version_info
        return Message(name, version, info, response.nonce, body, names)

    def ack(self, message, **more):
        self.info = message.info
        return self.send(nonce=message.nonce, **more)

    def nack(self, message, **more):
        return self.send(nonce=message.nonce, error="refused on purpose", **more)

    def take(self, name):
        """The next response, which must be of this name, acknowledged."""
        message = self.next()
        expect("name", name, message.name)
        self.ack(message)
        return message

    def quiet(self, why):
        found = self.get(SILENCE)
        if found is not None:
            said = found if isinstance(found, grpc.StatusCode) else f"a response with nonce {found.nonce!r}"
            raise Found(f"{why}: expected nothing, found {said}")

    def ends(self, code):
        found = self.get()
        while found is not None and not isinstance(found, grpc.StatusCode):
            found = self.get()
        expect("end of the stream", code, found)

    def close(self):
        self.out.put(None)
        self.call.cancel()
        self.channel.close()


class Judge:
    def __init__(self, mode, xds, http):
        self.mode, self.xds, self.http = mode, xds, http
        self.delta, self.ads = mode.endswith("delta"), mode.startswith("ads")
        self.numbers, self.open = itertools.count(1), []

    def method(self, channel):
        if self.ads:
            stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
            return stub.DeltaAggregatedResources if self.delta else stub.StreamAggregatedResources
        stub = config_discovery_pb2_grpc.ExtensionConfigDiscoveryServiceStub(channel)
        return stub.DeltaExtensionConfigs if self.delta else stub.StreamExtensionConfigs

    def tenant(self):
        return Tenant(self.http, f"t{next(self.numbers)}")

    def stream(self, node=None, **more):
        """A stream of a node of its own, unless it is told whose."""
        stream = Stream(self, f"judge-{next(self.numbers)}" if node is None else node, **more)
        self.open.append(stream)
        return stream

    def restart(self):
        print("RESTART", flush=True)
        sys.stdin.readline()

    def run(self):
        failed = 0
        for name, scenario in SCENARIOS:
            try:
                verdict = "skipped" if scenario(self) == "skipped" else "ok"
                if verdict == "ok":
                    print(f"ok {name}", flush=True)
            except Found as found:
                failed += 1
                print(f"FAILED {name}: {found}", flush=True)
            except Exception as error:  # Anything else is a failure of the scenario too, and the others go on.
                failed += 1
                print(f"FAILED {name}: expected to be served, found {error!r}", flush=True)
            for stream in self.open:
                stream.close()
            self.open.clear()
        return failed


SCENARIOS = []


def scenario(function):
    SCENARIOS.append((function.__name__, function))
    return function


def only(mode):
    """A scenario of one flavour."""
    def wrap(function):
        def run(judge):
            flavour = {"delta": judge.delta, "sotw": not judge.delta, "ads": judge.ads, "ecds": not judge.ads}
            return function(judge) if flavour[mode] else "skipped"
        SCENARIOS.append((function.__name__, run))
        return function
    return wrap


@scenario
def nonces_are_unique_on_a_stream(judge):
    tenant, stream = judge.tenant().publish(), judge.stream()
    stream.send([tenant.resource])
    seen = []
    for _ in range(5):
        seen.append(stream.take(tenant.resource).nonce)
        tenant.publish()
    expect("nonces of five responses", 5, len(set(seen) - {""}))


@scenario
def the_node_is_needed_in_the_first_message_only(judge):
    # Every other message of this program goes without a node.
    one, two, stream = judge.tenant().publish(), judge.tenant().publish(), judge.stream()
    stream.send([one.resource]).take(one.resource)
    stream.send([two.resource]).take(two.resource)


@scenario
def a_nack_is_an_error_detail_and_nothing_else(judge):
    tenant, stream = judge.tenant().publish(), judge.stream()
    stream.send([tenant.resource]).take(tenant.resource)
    tenant.publish()
    second = stream.next()
    # The old version beside no error is an acknowledgement all the same: nothing is sent again.
    stream.send(nonce=second.nonce)
    stream.quiet("after an answer without error_detail")
    tenant.publish()
    expect("a newer version is sent", True, stream.take(tenant.resource).version != second.version)


@scenario
def rejected_content_is_not_sent_again(judge):
    tenant, stream = judge.tenant().publish(), judge.stream()
    good = stream.send([tenant.resource]).take(tenant.resource)
    tenant.publish()
    bad = stream.next()
    stream.nack(bad)
    # Either nothing follows, or what was accepted last under another version.
    answer = stream.get(SILENCE)
    if answer is not None:
        stream.inbox.put(answer)
        again = stream.take(tenant.resource)
        expect("content after a NACK is the accepted one", True, again.body == good.body)
        expect("its version is the refused one", False, again.version == bad.version)
    other = judge.tenant().publish()
    stream.send([other.resource]).take(other.resource)
    tenant.publish()
    newer = stream.take(tenant.resource)
    expect("a later response holds the refused bytes", False, newer.body == bad.body)


@only("sotw")
def a_stale_nonce_is_ignored(judge):
    one, two, stream = judge.tenant().publish(), judge.tenant().publish(), judge.stream()
    first = stream.send([one.resource]).take(one.resource)
    one.publish()
    stream.take(one.resource)
    stream.send([two.resource], nonce=first.nonce)
    stream.quiet("after a request with a stale nonce")


@only("delta")
def names_beside_a_stale_nonce_count(judge):
    one, two, stream = judge.tenant().publish(), judge.tenant().publish(), judge.stream()
    first = stream.send([one.resource]).take(one.resource)
    one.publish()
    stream.take(one.resource)
    stream.send([two.resource], nonce=first.nonce).take(two.resource)


@scenario
def names_are_replaced_or_taken_away_and_added_names_are_sent(judge):
    one, two, stream = judge.tenant().publish(), judge.tenant().publish(), judge.stream()
    stream.send([one.resource]).take(one.resource)
    stream.send([two.resource], drop=[one.resource]).take(two.resource)
    one.publish()
    stream.quiet("after a change of a name that is no longer wanted")
    stream.send([one.resource]).take(one.resource)


@only("delta")
def a_name_that_is_subscribed_again_is_sent_again(judge):
    tenant, stream = judge.tenant().publish(), judge.stream()
    first = stream.send([tenant.resource]).take(tenant.resource)
    again = stream.send([tenant.resource]).take(tenant.resource)
    expect("version of the same content", first.version, again.version)


@scenario
def an_unknown_name_is_answered_with_nothing_and_pushed_when_it_appears(judge):
    tenant, stream = judge.tenant(), judge.stream()
    stream.send([tenant.resource]).quiet("for a name that is not published")
    tenant.publish()
    stream.take(tenant.resource)


@scenario
def a_reconnect_with_what_is_published_is_answered_with_nothing(judge):
    tenant, stream = judge.tenant().publish(), judge.stream("returns")
    held = stream.send([tenant.resource]).take(tenant.resource)
    stream.close()
    again = judge.stream("returns").send([tenant.resource], held={tenant.resource: held.version})
    again.quiet("after a reconnect with the published version")
    tenant.publish()
    again.take(tenant.resource)


@scenario
def a_reconnect_with_another_version_is_sent_the_published_one(judge):
    tenant, stream = judge.tenant().publish(), judge.stream("lags")
    held = stream.send([tenant.resource]).take(tenant.resource)
    stream.close()
    tenant.publish()
    again = judge.stream("lags").send([tenant.resource], held={tenant.resource: held.version})
    expect("another version", True, again.take(tenant.resource).version != held.version)


@scenario
def a_wildcard_subscribes_to_nothing(judge):
    tenant, stream = judge.tenant().publish(), judge.stream()
    stream.send(["*"]).quiet("for a wildcard")
    stream.send([tenant.resource]).take(tenant.resource)


@scenario
def no_name_comes_twice(judge):
    tenant, stream = judge.tenant().publish(), judge.stream()
    stream.send([tenant.resource, tenant.resource]).take(tenant.resource)
    stream.quiet("after a name that was asked for twice")


@scenario
def only_a_change_is_pushed(judge):
    one, two, stream = judge.tenant().publish(), judge.tenant().publish(), judge.stream()
    stream.send([one.resource]).take(one.resource)
    two.publish()
    stream.quiet("after a change of another tenant")


@scenario
def one_response_is_outstanding_and_the_newest_follows(judge):
    tenant, stream, other = judge.tenant().publish(), judge.stream(), judge.stream()
    first = stream.send([tenant.resource]).next()
    for _ in range(5):
        tenant.publish()
    stream.quiet("before the first response is answered")
    newest = other.send([tenant.resource]).take(tenant.resource)
    stream.ack(first)
    expect("version after the first answer", newest.version, stream.take(tenant.resource).version)
    stream.quiet("after the newest")


@only("ads")
def other_types_are_ignored_and_ours_go_on(judge):
    tenant, stream = judge.tenant().publish(), judge.stream()
    stream.send(type_url=CLUSTER).quiet("for a type that is not served")
    stream.send([tenant.resource]).take(tenant.resource)


@only("ads")
def a_request_without_type_is_refused(judge):
    judge.stream().send(["graylane.v1.x"], type_url="").ends(grpc.StatusCode.INVALID_ARGUMENT)


@only("ecds")
def another_type_is_refused_on_a_dedicated_stream(judge):
    tenant, good = judge.tenant().publish(), judge.stream()
    good.send([tenant.resource]).take(tenant.resource)
    judge.stream().send(type_url=CLUSTER).ends(grpc.StatusCode.INVALID_ARGUMENT)
    tenant.publish()
    good.take(tenant.resource)


@scenario
def a_reader_that_never_answers_delays_nobody(judge):
    tenant, slow, quick = judge.tenant().publish(), judge.stream(hold=True), judge.stream()
    slow.send([tenant.resource])
    quick.send([tenant.resource])
    for _ in range(5):
        quick.take(tenant.resource)
        tenant.publish()


@scenario
def the_same_content_has_the_same_version_for_everybody(judge):
    tenant = judge.tenant().publish()
    one, two = (judge.stream().send([tenant.resource]).take(tenant.resource) for _ in range(2))
    expect("version and bytes", (one.version, one.body), (two.version, two.body))


@scenario
def a_restart_pushes_nothing_to_who_holds_the_content(judge):
    tenant, stream = judge.tenant().publish(), judge.stream("stays")
    held = stream.send([tenant.resource]).take(tenant.resource)
    judge.restart()
    again = judge.stream("stays").send([tenant.resource], held={tenant.resource: held.version})
    again.quiet("after a restart of the daemon")
    fresh = judge.stream().send([tenant.resource]).take(tenant.resource)
    expect("version and bytes after a restart", (held.version, held.body), (fresh.version, fresh.body))
    tenant.publish()
    again.take(tenant.resource)


def others_go_on(judge, hostile):
    tenant, good = judge.tenant().publish(), judge.stream()
    good.send([tenant.resource]).take(tenant.resource)
    hostile(tenant)
    tenant.publish()
    good.take(tenant.resource)


@scenario
def hostile_no_node(judge):
    bare = base_pb2.Node()
    others_go_on(judge, lambda tenant: judge.stream(bare).send([tenant.resource]).ends(
        grpc.StatusCode.INVALID_ARGUMENT))


@scenario
def hostile_ten_megabytes_of_node_metadata(judge):
    node = base_pb2.Node(id="large", metadata=struct_pb2.Struct(
        fields={"x": struct_pb2.Value(string_value="x" * (10 << 20))}))

    def hostile(tenant):
        stream = judge.stream(node).send([tenant.resource])
        found = stream.get()
        if not isinstance(found, grpc.StatusCode) or found == grpc.StatusCode.OK:
            raise Found(f"end of the stream: expected an error, found {found or 'silence'}")
    others_go_on(judge, hostile)


@scenario
def hostile_flood_of_requests(judge):
    def hostile(tenant):
        stream = judge.stream().send([tenant.resource])
        stream.take(tenant.resource)
        for _ in range(5000):
            stream.send([], nonce="no such nonce")
        stream.ends(grpc.StatusCode.RESOURCE_EXHAUSTED)
    others_go_on(judge, hostile)


if __name__ == "__main__":
    sys.exit(1 if Judge(*sys.argv[1:4]).run() else 0)
