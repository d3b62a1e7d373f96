"""deploy/mosquitto as it is shipped: who gets in, who may say what, and the service's own connection over TLS."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import ssl
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from serve_app.adapters.mqtt import AVAILABLE_TOPIC, BrokerAddress, MqttConnection
from serve_app.settings import PROJECT
from tests import servers
from tests.certificates import Authority
from tests.waiting import eventually

A, B = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
PASSWORD = "pä$$:w@rd/€%"
USERS = ("dms", "viewer", A, B)
FRAME = b"\xff\xd8 frame"
Message = tuple[str, bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """A broker as shipped.

    Args:
        server: The broker.
        ca: What everybody signs and trusts.
        certificates: The port that wants certificates.
        passwords: The port that wants passwords.
        identities: Certificates and keys by name, as they are asked for.
    """

    server: servers.Server
    ca: Authority
    certificates: int
    passwords: int
    identities: dict[str, tuple[Path, Path]] = dataclasses.field(default_factory=dict)

    def identity(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of that name."""
        if name not in self.identities:
            self.identities[name] = self.ca.issue(name)
        return self.identities[name]

    def address(self, how: str) -> BrokerAddress:
        """The service's settings for one way in."""
        certificate, key = self.identity("dms") if "certificate" in how else (None, None)
        username, password = ("dms", PASSWORD) if "password" in how else (None, None)
        return BrokerAddress(
            host=servers.HOST,
            port=self.certificates if "certificate" in how else self.passwords,
            client_id="dms-service",
            tls=True,
            tls_ca=self.ca.ca,
            tls_cert=certificate,
            tls_key=key,
            username=username,
            password=password,
        )


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """The shipped files with paths and ports of this machine, and everybody's passwords."""
    folder = tmp_path_factory.mktemp("broker")
    mosquitto, mosquitto_passwd = (servers.program(name, "mosquitto") for name in ("mosquitto", "mosquitto_passwd"))
    ca = Authority.make(folder)
    certificate, key = ca.issue(servers.HOST)
    passwords = folder / "passwords"
    passwords.touch()
    for user in USERS:
        subprocess.run([mosquitto_passwd, "-b", str(passwords), user, PASSWORD], check=True, capture_output=True)
    ports = {"8883": servers.free_port(), "8884": servers.free_port()}
    text = (PROJECT / "deploy/mosquitto/mosquitto.conf").read_text()
    here = {
        "/etc/mosquitto/acl": PROJECT / "deploy/mosquitto/acl",
        "/etc/mosquitto/passwords": passwords,
        "/etc/mosquitto/certs/ca.pem": ca.ca,
        "/etc/mosquitto/certs/server.pem": certificate,
        "/etc/mosquitto/certs/server.key": key,
        "/var/lib/mosquitto/": f"{folder}/",
    }
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    lines = [re.sub(r" (/\S+)$", lambda path: f" {here[path[1]]}", line) for line in lines]
    lines = [
        re.sub(r"^listener (\d+)$", lambda port: f"listener {ports[port[1]]} {servers.HOST}", line) for line in lines
    ]
    conf = folder / "mosquitto.conf"
    # It gives up root otherwise, and with it the folder; without effect for everybody else.
    conf.write_text("\n".join([*lines, "user root"]) + "\n")
    server = servers.Server(args=[mosquitto, "-c", str(conf)], port=ports["8884"], log=folder / "log")
    return Fleet(server, ca, certificates=ports["8883"], passwords=ports["8884"])


@pytest.fixture
def fleet(shipped: Fleet) -> Iterator[Fleet]:
    """It runs, and remembers nothing."""
    conf = Path(shipped.server.args[-1])
    conf.with_name("mosquitto.db").unlink(missing_ok=True)
    shipped.server.start()
    try:
        yield shipped
    finally:
        shipped.server.stop()


@contextlib.contextmanager
def service(fleet: Fleet, how: str = "certificate") -> Iterator[tuple[MqttConnection, list[Message]]]:
    """The service's own connection, and what it hears."""
    heard: list[Message] = []

    def take(topic: str, payload: bytes) -> bool:
        heard.append((topic, payload))
        return True

    connection = MqttConnection(fleet.address(how), take)
    connection.start()
    try:
        assert eventually(lambda: connection.state == "connected", 10), connection.state
        yield connection, heard
    finally:
        connection.stop()


class Client:
    """Anybody else: by certificate, by password, or by nothing.

    Args:
        fleet: The broker.
        name: Of the certificate or, with a password, of the user.
        username: The user's name where it is another.
        password: In place of a certificate.
        will: Topic and payload of a last will.
    """

    def __init__(
        self,
        fleet: Fleet,
        name: str | None,
        *,
        username: str | None = None,
        password: str | None = None,
        will: Message | None = None,
    ) -> None:
        self.heard: list[Message] = []
        self.reading = threading.Event()
        self.reading.set()
        self.reason: Any = None
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        certificate, key = (None, None) if password or name is None else map(str, fleet.identity(name))
        self._client.tls_set(str(fleet.ca.ca), certificate, key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if password or username:
            self._client.username_pw_set(username or name, password)
        if will:
            self._client.will_set(*will, qos=1)
        self._client.on_connect = self._on_connect
        self._subscribed = threading.Event()
        self.lost = threading.Event()
        self._client.on_disconnect = lambda *_: self.lost.set()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._port = fleet.passwords if password or name is None else fleet.certificates

    def __enter__(self) -> Self:
        self._client.connect(servers.HOST, self._port)
        self._client.loop_start()
        assert eventually(lambda: self.reason is not None, 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, topic: str, payload: bytes) -> None:
        """Publish."""
        self._client.publish(topic, payload)

    def say(self, topic: str, payload: bytes | str, qos: int = 1, *, retain: bool = False) -> None:
        """Publish, and wait until the broker has it."""
        self._client.publish(topic, payload, qos, retain).wait_for_publish(10)

    def listen(self, *topics: str) -> None:
        """Subscribe, and wait until the broker knows."""
        self._subscribed.clear()
        self._client.subscribe([(topic, 1) for topic in topics])
        assert self._subscribed.wait(10)

    def vanish(self) -> None:
        """As a device without power: not a word."""
        self._client.loop_stop()
        self._client.socket().close()  # type: ignore[union-attr]

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.reading.wait(10)  # acknowledged when this returns
        self.heard.append((message.topic, bytes(message.payload)))

    def _on_connect(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.reason = reason


WAYS = ["certificate", "password", "certificate and password"]
by_both = pytest.mark.parametrize("password", [None, PASSWORD], ids=["certificate", "password"])


@pytest.mark.parametrize("how", WAYS)
def test_the_service_works_end_to_end_over_tls(fleet: Fleet, how: str) -> None:
    with Client(fleet, "viewer", password=PASSWORD) as viewer, service(fleet, how) as (connection, heard):
        viewer.listen("base64/#", "alert/#", "event/#", AVAILABLE_TOPIC)
        with Client(fleet, A) as vehicle:
            vehicle.say("open_stream", A)
            vehicle.say(f"stream/{A}", FRAME, 0)
            vehicle.say(f"stream/{A}/cabin/1", FRAME, 0)
            vehicle.say("close_stream", A)
        control = A.encode()
        want = [
            ("open_stream", control),
            (f"stream/{A}", FRAME),
            (f"stream/{A}/cabin/1", FRAME),
            ("close_stream", control),
        ]
        assert eventually(lambda: heard == want, 10), heard
        for topic in (f"base64/{A}", f"alert/{A}", f"event/{A}"):
            connection.publish(topic, "said")
            assert eventually(lambda topic=topic: (topic, b"said") in viewer.heard, 10), topic  # type: ignore[misc]
        assert (AVAILABLE_TOPIC, b"online") in viewer.heard
    with Client(fleet, "viewer") as viewer:
        viewer.listen(AVAILABLE_TOPIC)
        assert eventually(lambda: viewer.heard == [(AVAILABLE_TOPIC, b"offline")], 10), "it is retained"


@by_both
def test_a_vehicle_sends_its_own_frames_and_no_others(fleet: Fleet, password: str | None) -> None:
    with service(fleet) as (_, heard), Client(fleet, A, password=password) as vehicle:
        for topic in (
            *(f"stream/{B}", f"stream/{B}/x", f"stream/{A}x", f"stream/x/{A}", "stream", "stream/", "x/stream"),
            *(f"stream/{A.upper()}x", "open_stream/x", "close_stream/x", "OPEN_STREAM"),
        ):
            vehicle.say(topic, FRAME)
        vehicle.say(f"stream/{A}", FRAME)
        assert eventually(lambda: heard, 10)
        assert heard == [(f"stream/{A}", FRAME)]


@by_both
def test_a_vehicle_says_nothing_in_the_name_of_the_service(fleet: Fleet, password: str | None) -> None:
    topics = (f"base64/{A}", f"alert/{A}", f"event/{A}", AVAILABLE_TOPIC)
    with (
        service(fleet) as (connection, _),
        Client(fleet, "viewer") as viewer,
        Client(fleet, A, password=password) as vehicle,
    ):
        viewer.listen("#")
        for topic in topics:
            vehicle.say(topic, "false", retain=True)
        connection.publish(f"alert/{A}", "true")
        assert eventually(lambda: (f"alert/{A}", b"true") in viewer.heard, 10)
        assert {payload for _, payload in viewer.heard} == {b"online", b"true"}


@by_both
def test_a_vehicle_reads_nothing_not_even_its_own(fleet: Fleet, password: str | None) -> None:
    with service(fleet) as (connection, heard), Client(fleet, A, password=password) as vehicle:
        vehicle.listen("#", "base64/#", f"base64/{A}", "alert/#", "event/#", "stream/#", "open_stream", "$SYS/#")
        vehicle.listen(AVAILABLE_TOPIC, f"stream/{A}")
        with Client(fleet, "viewer") as viewer:
            viewer.listen("base64/#")
            for topic in (f"base64/{A}", f"alert/{A}", f"event/{A}"):
                connection.publish(topic, "said")
            vehicle.say("open_stream", A)
            vehicle.say(f"stream/{A}", FRAME)
            assert eventually(lambda: len(heard) == 2 and viewer.heard, 10)
        vehicle.say("close_stream", A)  # its answer comes behind whatever came before
        assert vehicle.heard == []


def test_who_watches_says_nothing(fleet: Fleet) -> None:
    with service(fleet) as (_, heard), Client(fleet, "viewer") as viewer, Client(fleet, A) as vehicle:
        viewer.listen("#")
        for topic in ("open_stream", "close_stream", f"stream/{A}", "stream/viewer", "stream/viewer/x"):
            viewer.say(topic, A)
        viewer.say(AVAILABLE_TOPIC, "offline", retain=True)
        vehicle.say("open_stream", A)
        assert eventually(lambda: heard, 10)
        assert heard == [("open_stream", A.encode())]
        assert viewer.heard == [(AVAILABLE_TOPIC, b"online")], "the fleet's requests and frames are not for it"


def test_the_last_will_of_a_vehicle_that_vanishes_closes_its_stream(fleet: Fleet) -> None:
    with service(fleet) as (_, heard):
        with Client(fleet, A, will=("close_stream", A.encode())) as vehicle:
            vehicle.say("open_stream", A)
            vehicle.vanish()
            assert eventually(lambda: len(heard) == 2, 10)
        assert heard == [("open_stream", A.encode()), ("close_stream", A.encode())]


def test_a_last_will_is_held_to_the_rules_too(fleet: Fleet) -> None:
    with service(fleet) as (_, heard):
        for topic in (f"stream/{B}", AVAILABLE_TOPIC):
            with Client(fleet, A, will=(topic, b"false")) as vehicle:
                vehicle.vanish()
        with Client(fleet, B) as other, Client(fleet, "viewer") as viewer:
            viewer.listen(AVAILABLE_TOPIC)
            other.say("open_stream", B)
            assert eventually(lambda: heard and viewer.heard, 10)
            assert heard == [("open_stream", B.encode())]
            assert viewer.heard == [(AVAILABLE_TOPIC, b"online")]


@pytest.mark.parametrize(
    "who",
    [
        {"name": None},
        {"name": A, "password": "wrong"},
        {"name": "nobody", "password": PASSWORD},
        {"name": None, "username": A},
    ],
    ids=["anonymous", "wrong password", "no such user", "no password"],
)
def test_without_the_right_password_nobody_gets_in(fleet: Fleet, who: dict[str, str]) -> None:
    with Client(fleet, **who) as client:  # type: ignore[arg-type]
        assert client.reason.is_failure and str(client.reason) == "Not authorized"


def test_without_a_certificate_of_the_fleet_nobody_gets_in(fleet: Fleet, tmp_path: Path) -> None:
    assert gets_in(fleet.certificates, fleet.ca.ca, *fleet.identity(A))
    assert not gets_in(fleet.certificates, fleet.ca.ca)
    assert not gets_in(fleet.certificates, fleet.ca.ca, *Authority.make(tmp_path).issue(A))


def test_a_certificate_is_its_owner_whatever_the_owner_says(fleet: Fleet) -> None:
    with service(fleet) as (_, heard), Client(fleet, A, username="dms") as vehicle:
        vehicle.listen("#")
        vehicle.say(f"stream/{B}", FRAME)
        vehicle.say(f"base64/{A}", "false")
        vehicle.say(f"stream/{A}", FRAME)
        assert eventually(lambda: heard, 10)
        assert heard == [(f"stream/{A}", FRAME)]
        assert vehicle.heard == []


def test_without_tls_nobody_gets_in(fleet: Fleet) -> None:
    assert gets_in(fleet.passwords, fleet.ca.ca)
    assert not gets_in(fleet.passwords)
    assert not gets_in(fleet.certificates)


def gets_in(port: int, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> bool:
    """Whether the broker answers a vehicle with the right password; without TLS where `ca` is None."""
    answers: list[bool] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(not reason.is_failure)
    client.username_pw_set(A, PASSWORD)
    if ca:
        own = (str(certificate), str(key)) if certificate else (None, None)
        client.tls_set(str(ca), own[0], own[1], tls_version=ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(OSError):  # with TLS 1.3 a refusal may come behind the handshake
        client.connect(servers.HOST, port)
        while not answers and client.loop() == mqtt.MQTT_ERR_SUCCESS:
            pass
    client.disconnect()
    return answers == [True]


@pytest.mark.parametrize("how", WAYS)
def test_the_service_speaks_to_no_broker_that_its_ca_does_not_know(fleet: Fleet, how: str) -> None:
    stranger = dataclasses.replace(fleet.address(how), tls_ca=fleet.ca.other_ca)
    connection = MqttConnection(stranger, lambda *_: True)
    connection.start()
    try:
        assert eventually(lambda: "certificate verify failed" in connection.state, 10), connection.state
    finally:
        connection.stop()


def test_a_service_with_the_wrong_password_says_so(fleet: Fleet) -> None:
    wrong = dataclasses.replace(fleet.address("password"), password="wrong")
    connection = MqttConnection(wrong, lambda *_: True)
    connection.start()
    try:
        assert eventually(lambda: connection.state == "refused: Not authorized", 10), connection.state
    finally:
        connection.stop()


def test_control_messages_wait_for_the_service_over_a_restart_of_the_broker_and_no_frame_overtakes(
    fleet: Fleet,
) -> None:
    with service(fleet):
        pass
    fleet.server.stop()
    fleet.server.start()
    want = [("open_stream", str(uuid.UUID(int=n)).encode()) for n in range(1500)]  # beyond mosquitto's 20 and 1000
    with Client(fleet, A) as vehicle:
        for topic, payload in want:
            vehicle.say(topic, payload, 1)
    with service(fleet) as (_, heard), Client(fleet, A) as vehicle:
        vehicle.say(f"stream/{A}", FRAME, 0)
        assert eventually(lambda: len(heard) == len(want) + 1, 20)
    assert heard == [*want, (f"stream/{A}", FRAME)]


def test_no_frame_overtakes_an_open_stream_on_its_way_to_a_slow_reader_of_mqtt_3(fleet: Fleet) -> None:
    """The service's own connection says by MQTT 5 how many messages may be under way to it."""
    with Client(fleet, "dms") as reader, Client(fleet, A) as vehicle:
        reader.listen("open_stream", "stream/#")
        reader.reading.clear()
        for _ in range(100):
            vehicle.say("open_stream", A)
        vehicle.say(f"stream/{A}", FRAME, 0)
        vehicle.say("open_stream", A)  # acknowledged when the broker has had the frame, too
        reader.reading.set()
        assert eventually(lambda: len(reader.heard) == 102, 10)
    assert reader.heard[100] == (f"stream/{A}", FRAME)


def test_a_message_that_no_frame_can_be_costs_its_sender_the_connection_and_nobody_else(fleet: Fleet) -> None:
    with service(fleet) as (connection, heard), Client(fleet, B) as other:
        with Client(fleet, A) as vehicle:
            vehicle.say(f"stream/{A}", bytes(4_000_000), 1)
            assert eventually(lambda: len(heard) == 1, 10)
            vehicle.send(f"stream/{A}", bytes(5_000_000))
            assert vehicle.lost.wait(10)
        other.say("open_stream", B)
        assert eventually(lambda: len(heard) == 2, 10)
        assert heard[1] == ("open_stream", B.encode())
        assert connection.state == "connected"
