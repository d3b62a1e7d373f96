"""Watching topics of a real mosquitto: only while wanted, and again after a restart."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from serve_app.adapters.mqtt import BrokerAddress
from serve_app.adapters.mqtt_reader import MqttReader, open_reader
from tests import servers
from tests.waiting import eventually

A, B = "base64/a", "base64/b"


class World:
    """A reader, what it heard, and someone who publishes."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: list[tuple[str, bytes]] = []
        self.states: list[str] = []
        address = BrokerAddress("127.0.0.1", port, "service")
        self.reader: MqttReader = open_reader(
            address, lambda topic, payload: self.heard.append((topic, payload)), self.states.append
        )

    def hears(self, topic: str) -> bool:
        """Whether a message on it arrives; said more than once, since a subscription takes its time."""
        mark = uuid.uuid4().bytes  # of this question: answers to others may still be on their way
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", self.port)
        client.loop_start()

        def said() -> bool:
            client.publish(topic, mark, qos=1).wait_for_publish(5)
            return (topic, mark) in self.heard

        found = eventually(said, 2.0)
        client.disconnect()
        client.loop_stop()
        return found


@pytest.fixture
def broker() -> Iterator[servers.Server]:
    with servers.mosquitto() as broker:
        yield broker


@pytest.fixture
def world(broker: servers.Server) -> Iterator[World]:
    world = World(broker.port)
    try:
        yield world
    finally:
        world.reader.stop()


def test_a_topic_is_read_until_the_last_who_wants_it_leaves(world: World) -> None:
    assert eventually(lambda: world.states == ["connected"])
    world.reader.want([A, B])
    world.reader.want([A])
    assert world.hears(A)
    assert world.hears(B)
    world.reader.leave([A, B])
    assert world.hears(A)
    assert not world.hears(B)
    world.reader.leave([A])
    assert not world.hears(A)


def test_what_is_wanted_before_there_is_a_broker_is_read_when_there_is(broker: servers.Server) -> None:
    broker.stop()
    world = World(broker.port)
    with contextlib.ExitStack() as stack:
        stack.callback(world.reader.stop)
        world.reader.want([A])
        assert eventually(lambda: "disconnected" in world.states)
        broker.start()
        assert eventually(lambda: world.states[-1] == "connected", 60)
        assert world.hears(A)


def test_a_broker_that_comes_back_is_read_again(broker: servers.Server, world: World) -> None:
    world.reader.want([A])
    assert world.hears(A)
    broker.stop()
    assert eventually(lambda: world.states[-1] == "disconnected")
    broker.start()
    assert eventually(lambda: world.states[-1] == "connected", 60)
    assert world.hears(A)


def test_whoever_is_not_let_in_is_told() -> None:
    with servers.mosquitto("allow_anonymous false") as broker:
        world = World(broker.port)
        with contextlib.ExitStack() as stack:
            stack.callback(world.reader.stop)
            assert eventually(lambda: "refused: Not authorized" in world.states)
