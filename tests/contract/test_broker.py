"""The embedded broker does for real paho clients what the service and its devices count on (docs/adr/0010)."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from serve_app.adapters.broker import BrokerError, EmbeddedBroker
from serve_app.settings import PROJECT
from tests import servers

V4, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
BOTH = pytest.mark.parametrize("version", [V4, V5], ids=["3.1.1", "5"])
LIMIT_S = 10.0
FRAME = bytes(20_000)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(port=servers.free_port()) as started:
        yield started


class Client:
    """A paho client that keeps what it hears in a queue.

    Args:
        broker: Where to connect.
        version: Of the protocol.
        session: The client id of a session that the broker shall keep; None for none.
        will: What the broker says on `close_stream` when the connection is cut.
    """

    def __init__(
        self,
        broker: EmbeddedBroker,
        version: MQTTProtocolVersion = V4,
        *,
        session: str | None = None,
        will: str | None = None,
        keepalive_s: int = 60,
    ) -> None:
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.connected, self.disconnected, self.subscribed = threading.Event(), threading.Event(), threading.Event()
        self.resumed = False
        kept: dict[str, Any] = {"clean_session": session is None} if version == V4 else {}
        self.paho = mqtt.Client(CallbackAPIVersion.VERSION2, session or "", protocol=version, **kept)
        self.paho.max_inflight_messages_set(0)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = lambda *_: self.disconnected.set()
        self.paho.on_subscribe = lambda *_: self.subscribed.set()
        self.paho.on_message = lambda _client, _data, m: self.heard.put((m.topic, bytes(m.payload)))
        if will is not None:
            self.paho.will_set("close_stream", will, qos=1)
        start: dict[str, Any] = {}
        if version == V5 and session is not None:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 3600
            properties.ReceiveMaximum = 65535
            start = {"clean_start": False, "properties": properties}
        self.paho.connect("127.0.0.1", broker.port, keepalive_s, **start)
        self.paho.loop_start()
        assert self.connected.wait(LIMIT_S)

    def _on_connect(self, _client: mqtt.Client, _data: object, flags: Any, reason: object, _props: object) -> None:
        assert str(reason) == "Success"
        self.resumed = flags.session_present
        self.connected.set()

    def subscribe(self, topic: str, qos: int = 1) -> None:
        """Returns once the broker has confirmed it."""
        self.subscribed.clear()
        self.paho.subscribe(topic, qos)
        assert self.subscribed.wait(LIMIT_S)

    def say(self, topic: str, payload: bytes | str, *, qos: int = 0, retain: bool = False) -> None:
        """Returns once it is sent; from QoS 1 on, confirmed."""
        self.paho.publish(topic, payload, qos, retain).wait_for_publish(LIMIT_S)

    def hear(self, n: int) -> list[tuple[str, bytes]]:
        """The next messages, as topic and payload."""
        return [self.heard.get(timeout=LIMIT_S) for _ in range(n)]

    def vanish(self) -> None:
        """Go without a word."""
        self.paho.loop_stop()
        stream = self.paho.socket()
        assert stream is not None
        stream.close()

    def leave(self) -> None:
        """Say goodbye."""
        self.paho.disconnect()
        self.paho.loop_stop()


@contextlib.contextmanager
def client(broker: EmbeddedBroker, version: MQTTProtocolVersion = V4, **kw: Any) -> Iterator[Client]:
    one = Client(broker, version, **kw)
    try:
        yield one
    finally:
        one.leave()


@BOTH
@pytest.mark.parametrize("size", [0, 20_000, 2**20, 4_000_000])
def test_devices_of_both_versions_reach_each_other_on_one_port(
    broker: EmbeddedBroker, version: MQTTProtocolVersion, size: int
) -> None:
    with client(broker, version) as device, client(broker, V4) as one, client(broker, V5) as other:
        for listener in (one, other):
            listener.subscribe("stream/#")
        payload = os.urandom(size)
        device.say("stream/a/extra", payload)
        assert one.hear(1) == other.hear(1) == [("stream/a/extra", payload)]


def test_the_order_among_control_messages_and_frames_holds_for_a_subscriber_to_everything(
    broker: EmbeddedBroker,
) -> None:
    with client(broker, V5, session="gateway-order") as gateway, contextlib.ExitStack() as stack:
        gateway.subscribe("#")
        vehicles = {f"v{i}": stack.enter_context(client(broker)) for i in range(20)}
        for _ in range(3):
            for name, device in vehicles.items():
                device.paho.publish("open_stream", name, 1)
                for _ in range(5):
                    device.paho.publish(f"stream/{name}", FRAME)
                device.paho.publish("close_stream", name, 1)
        said: dict[str, list[str]] = {name: [] for name in vehicles}
        for topic, payload in gateway.hear(20 * 3 * 7):
            name = topic.removeprefix("stream/") if topic.startswith("stream/") else payload.decode()
            said[name].append(topic.split("/")[0])
        assert all(topics == ["open_stream", *["stream"] * 5, "close_stream"] * 3 for topics in said.values())


@BOTH
def test_a_will_is_said_when_its_device_vanishes_and_after_its_frames(
    broker: EmbeddedBroker, version: MQTTProtocolVersion
) -> None:
    with client(broker, V5) as gateway:
        gateway.subscribe("#")
        device = Client(broker, version, will="me")
        for _ in range(5):
            device.say("stream/me", FRAME)
        device.vanish()
        assert [topic for topic, _ in gateway.hear(6)] == ["stream/me"] * 5 + ["close_stream"]


@BOTH
def test_a_will_is_not_said_when_its_device_says_goodbye(broker: EmbeddedBroker, version: MQTTProtocolVersion) -> None:
    with client(broker, V5) as gateway:
        gateway.subscribe("#")
        Client(broker, version, will="me").leave()
        Client(broker, version, will="another").vanish()
        assert gateway.hear(1) == [("close_stream", b"another")]


def test_a_retained_message_is_there_for_whoever_comes_later(broker: EmbeddedBroker) -> None:
    with client(broker, V5) as service, client(broker, V4) as dashboard:
        service.say("dms/available", "offline", qos=1, retain=True)
        service.say("dms/available", "online", qos=1, retain=True)
        dashboard.subscribe("dms/#")
        assert dashboard.hear(1) == [("dms/available", b"online")]
        service.say("dms/available", b"", qos=1, retain=True)


@BOTH
def test_a_session_keeps_what_came_while_its_owner_was_away(
    broker: EmbeddedBroker, version: MQTTProtocolVersion
) -> None:
    name = f"gateway-{version}"
    gateway = Client(broker, version, session=name)
    assert not gateway.resumed
    gateway.subscribe("#")
    gateway.vanish()
    with client(broker) as device:
        for i in range(50):
            device.say("open_stream", str(i), qos=1)
            device.say("stream/x", str(i))
    with client(broker, version, session=name) as back:
        assert back.resumed
        want = [(topic, str(i).encode()) for i in range(50) for topic in ("open_stream", "stream/x")]
        assert back.hear(100) == want


def test_a_connection_that_is_cut_again_and_again_loses_nothing(broker: EmbeddedBroker) -> None:
    gateway = Client(broker, V5, session="gateway-cut")
    gateway.subscribe("#")
    seen: list[int] = []
    with client(broker) as device:
        for cut in range(4):
            for i in range(100):
                device.paho.publish("stream/x", str(100 * cut + i).encode().ljust(20_000))
            seen += [int(payload) for _, payload in gateway.hear(30)]
            gateway.vanish()
            seen += [int(payload) for _, payload in list(gateway.heard.queue)]
            gateway = Client(broker, V5, session="gateway-cut")
        while set(seen) != set(range(400)):
            seen.append(int(gateway.hear(1)[0][1]))
    gateway.leave()
    first = list(dict.fromkeys(seen))  # some come twice: at least once is what QoS 1 says
    assert first == list(range(400))


def test_a_message_over_the_limit_costs_its_sender_the_connection_and_nobody_else(broker: EmbeddedBroker) -> None:
    with client(broker, V5) as gateway, client(broker) as other:
        gateway.subscribe("#")
        bad = Client(broker, will="bad")
        bad.paho.publish("stream/bad", bytes(5_000_000))
        assert bad.disconnected.wait(LIMIT_S)
        bad.leave()
        assert gateway.hear(1) == [("close_stream", b"bad")]
        other.say("stream/other", b"still here")
        assert gateway.hear(1) == [("stream/other", b"still here")]


def test_two_hundred_devices_at_once(broker: EmbeddedBroker) -> None:
    with client(broker, V5) as gateway, contextlib.ExitStack() as stack:
        gateway.subscribe("#")
        devices = [stack.enter_context(client(broker, V4 if i % 2 else V5)) for i in range(200)]
        for i, device in enumerate(devices):
            device.paho.publish("open_stream", str(i), 1)
        assert {int(payload) for _, payload in gateway.hear(200)} == set(range(200))


def test_a_device_that_leaves_takes_no_other_with_it(broker: EmbeddedBroker) -> None:
    # rumqttd gives the number of a connection that has ended to the next one that comes
    lost: list[int] = []

    def come_and_go(version: MQTTProtocolVersion) -> None:
        for i in range(150):
            with client(broker, version) as device:
                time.sleep(0.01)  # the time in which it may be mistaken for the one before
                if device.disconnected.is_set():
                    lost.append(i)

    with ThreadPoolExecutor(6) as devices:
        for done in [devices.submit(come_and_go, version) for version in (V4, V5) * 3]:
            done.result()
    assert not lost


@BOTH
def test_a_device_may_have_no_keepalive(broker: EmbeddedBroker, version: MQTTProtocolVersion) -> None:
    with client(broker, V5) as gateway, client(broker, version, keepalive_s=0) as device:
        gateway.subscribe("#")
        device.say("stream/x", b"1")
        assert gateway.hear(1) == [("stream/x", b"1")]


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x10\x80\x80\x80\x80\x80\x80",
        b"\x10\x0c\x00\x04MQTT\x09\x02\x00\x3c\x00\x00",
    ],
    ids=["http", "endless length", "version 9"],
)
def test_what_is_no_mqtt_is_shut_out(broker: EmbeddedBroker, junk: bytes) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), LIMIT_S) as stranger:
        stranger.sendall(junk)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(100) == b""
    with client(broker):
        assert broker.alive


def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError) as caught:
            EmbeddedBroker(port=port).start()
    assert str(caught.value) == (
        f"MQTT_BROKER_PORT: port {port} is taken: set MQTT_BROKER_PORT to a free one "
        "or MQTT_BROKER_URL to the broker that runs there"
    )


def test_it_listens_on_loopback_only(broker: EmbeddedBroker) -> None:
    with socket.socket() as elsewhere:
        elsewhere.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elsewhere.bind(("127.0.0.2", broker.port))  # would fail, were it on every address


def test_it_starts_again_on_its_port_after_a_stop_and_after_a_kill() -> None:
    broker = EmbeddedBroker(port=servers.free_port())
    for _ in range(2):
        with broker, client(broker):
            assert broker.alive
        assert not servers.listens(broker.port)
    broker.start()
    assert broker._child is not None  # noqa: SLF001 - to end it as the kernel would
    os.kill(broker._child.pid, signal.SIGKILL)  # noqa: SLF001
    broker._child.wait()  # noqa: SLF001
    with broker, client(broker):
        pass


def test_it_ends_when_its_parent_is_killed() -> None:
    port = servers.free_port()
    code = (
        "import sys, serve_app.adapters.broker as b; e = b.EmbeddedBroker(port=int(sys.argv[1])); e.start(); "
        "print('up', flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(port)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        assert servers.listens(port)
        parent.kill()
    end_s = time.monotonic() + LIMIT_S
    while servers.listens(port):
        assert time.monotonic() < end_s, "it outlives its parent"
