"""The Gateway's connection against a real mosquitto: sessions, restarts, refusals, availability."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from serve_app.adapters.mqtt import AVAILABLE_TOPIC, BrokerAddress, MqttConnection
from tests import servers
from tests.waiting import eventually

Message = tuple[str, bytes]
NOT_TAKEN = b"not taken"


@contextlib.contextmanager
def gateway(port: int, heard: list[Message], **address: object) -> Iterator[MqttConnection]:
    """A connection that is there."""
    broker = BrokerAddress(host="127.0.0.1", port=port, client_id="gateway", **address)  # type: ignore[arg-type]

    def take(topic: str, payload: bytes) -> bool:
        heard.append((topic, payload))
        return payload != NOT_TAKEN

    connection = MqttConnection(broker, take)
    connection.start()
    try:
        yield connection
    finally:
        connection.stop()


@contextlib.contextmanager
def device(port: int) -> Iterator[tuple[mqtt.Client, list[Message]]]:
    """Any other client, and what it hears."""
    heard: list[Message] = []
    ready = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: heard.append((message.topic, bytes(message.payload)))
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe(AVAILABLE_TOPIC, 1)
    assert ready.wait(10)
    try:
        yield client, heard
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def broker() -> Iterator[servers.Server]:
    with servers.mosquitto() as server:
        yield server


def test_it_says_online_and_hears_control_and_frames_and_nothing_else(broker: servers.Server) -> None:
    heard: list[Message] = []
    with device(broker.port) as (client, said):
        with gateway(broker.port, heard) as connection:
            assert eventually(lambda: connection.state == "connected")
            for topic in ("open_stream", "stream/a", "base64/a", "stream/a/b", "alert/a", "close_stream"):
                client.publish(topic, topic, qos=1).wait_for_publish(5)
            want = ["open_stream", "stream/a", "stream/a/b", "close_stream"]
            assert eventually(lambda: [topic for topic, _ in heard] == want)
        assert eventually(lambda: said == [(AVAILABLE_TOPIC, b"online"), (AVAILABLE_TOPIC, b"offline")])


def test_a_retained_open_stream_opens_no_trip(broker: servers.Server) -> None:
    heard: list[Message] = []
    with device(broker.port) as (client, _):
        client.publish("open_stream", "old", qos=1, retain=True).wait_for_publish(5)
        with gateway(broker.port, heard) as connection:
            assert eventually(lambda: connection.state == "connected")
            client.publish("open_stream", "new", qos=1).wait_for_publish(5)
            assert eventually(lambda: heard == [("open_stream", b"new")])


def test_control_messages_of_the_time_away_are_there_at_the_return(broker: servers.Server) -> None:
    heard: list[Message] = []
    with gateway(broker.port, heard) as connection:
        assert eventually(lambda: connection.state == "connected")
    with device(broker.port) as (client, _):
        for text in ("a", "b"):
            client.publish("open_stream", text, qos=1).wait_for_publish(5)
        client.publish("close_stream", "a", qos=1).wait_for_publish(5)
    with gateway(broker.port, heard):
        assert eventually(lambda: len(heard) == 3)
    assert heard == [("open_stream", b"a"), ("open_stream", b"b"), ("close_stream", b"a")]


def test_what_was_not_taken_comes_again_at_the_next_connection(broker: servers.Server) -> None:
    heard: list[Message] = []
    with gateway(broker.port, heard) as connection, device(broker.port) as (client, _):
        assert eventually(lambda: connection.state == "connected")
        for text in (b"a", NOT_TAKEN, b"b"):
            client.publish("open_stream", text, qos=1).wait_for_publish(5)
        assert eventually(lambda: len(heard) == 3)
    with gateway(broker.port, heard):
        assert eventually(lambda: len(heard) == 4)
    assert heard[3] == ("open_stream", NOT_TAKEN)


def test_a_broker_that_is_not_there_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with gateway(servers.free_port(), []) as connection:
        assert eventually(lambda: "unreachable" in connection.state and "refused" in connection.state)
    assert len([record for record in caplog.records if "unreachable" in record.message]) == 1


def test_a_relay_that_the_broker_does_not_take_is_given_up_and_goes_on_afterwards(broker: servers.Server) -> None:
    relayed: list[bool] = []
    with device(broker.port) as (client, _):

        def take(_topic: str, payload: bytes) -> bool:
            # far more in one go than a socket takes: nothing leaves while this thread is here
            relayed.extend(connection.relay("base64/a", bytes(2**20)) for _ in range(int(payload)))
            return True

        connection = MqttConnection(BrokerAddress("127.0.0.1", broker.port, "gateway"), take)
        connection.start()
        try:
            assert eventually(lambda: connection.state == "connected")
            client.publish("stream/a", b"50")
            assert eventually(lambda: len(relayed) == 50)
            assert relayed[:32] == [True] * 32 and relayed[-1] is False
            assert eventually(lambda: bool(client.publish("stream/a", b"1")) and relayed[-1], 15)
        finally:
            connection.stop()


def test_it_comes_back_and_subscribes_again_after_a_restart_of_the_broker(broker: servers.Server) -> None:
    heard: list[Message] = []
    with gateway(broker.port, heard) as connection:
        assert eventually(lambda: connection.state == "connected")
        broker.kill()
        assert eventually(lambda: connection.state.startswith("disconnected"))
        connection.check()  # being away is no reason to replace the process
        broker.start()
        assert eventually(lambda: connection.state == "connected", 30)
        with device(broker.port) as (client, said):
            client.publish("stream/a", b"frame")
            assert eventually(lambda: heard == [("stream/a", b"frame")])
            assert eventually(lambda: said == [(AVAILABLE_TOPIC, b"online")])


def test_who_goes_down_says_so_after_a_reconnect_too(broker: servers.Server) -> None:
    with gateway(broker.port, []) as connection:
        assert eventually(lambda: connection.state == "connected")
        connection.say_offline().wait_for_publish(5)
        broker.kill()
        assert eventually(lambda: connection.state.startswith("disconnected"))
        broker.start()
        assert eventually(lambda: connection.state == "connected", 30)
        with device(broker.port) as (_, said):
            assert eventually(lambda: said == [(AVAILABLE_TOPIC, b"offline")])


def test_an_alert_of_the_time_away_arrives_afterwards(broker: servers.Server) -> None:
    with gateway(broker.port, []) as connection:
        assert eventually(lambda: connection.state == "connected")
        broker.stop()
        assert eventually(lambda: connection.state.startswith("disconnected"))
        connection.publish("alert/a", "sleeping")
        broker.start()
        with device(broker.port) as (client, said):
            client.subscribe("alert/#", 1)
            assert eventually(lambda: ("alert/a", b"sleeping") in said, 30)


def test_a_wrong_password_is_said_and_no_reason_to_give_up(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    passwords.chmod(0o644)
    tmp_path.chmod(0o755)
    mosquitto_passwd = servers.program("mosquitto_passwd", "mosquitto")
    subprocess.run([mosquitto_passwd, "-b", str(passwords), "dms", "right"], check=True, capture_output=True)
    with servers.mosquitto("allow_anonymous false", f"password_file {passwords}") as broker:
        with gateway(broker.port, [], username="dms", password="wrong") as connection:
            assert eventually(lambda: connection.state == "refused: Not authorized")
            connection.check()
        with gateway(broker.port, [], username="dms", password="right") as connection:
            assert eventually(lambda: connection.state == "connected")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_ours_ends_the_process_by_its_health_check(broker: servers.Server) -> None:
    def broken(_topic: str, _payload: bytes) -> bool:
        raise ZeroDivisionError

    connection = MqttConnection(BrokerAddress("127.0.0.1", broker.port, "gateway"), broken)
    connection.start()
    try:
        assert eventually(lambda: connection.state == "connected")
        connection.check()
        with device(broker.port) as (client, _):
            client.publish("open_stream", "a", qos=1).wait_for_publish(5)
            assert eventually(lambda: _is_dead(connection), 5)
    finally:
        connection.stop()


def _is_dead(connection: MqttConnection) -> bool:
    try:
        connection.check()
    except RuntimeError:
        return True
    return False
