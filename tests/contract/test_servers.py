"""The servers of the tests keep their own promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from queue import SimpleQueue

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests import servers


def test_a_broker_comes_back_on_its_port() -> None:
    with servers.mosquitto() as broker:
        first = broker.port
        assert heard(broker) == b"1"
        broker.stop()
        assert not servers.listens(first)
        broker.start()
        assert broker.port == first
        assert heard(broker) == b"1"
        broker.kill()
        assert not servers.listens(first)
    assert not servers.listens(first)


def heard(broker: servers.Server) -> bytes:
    """What a listener hears of one message through the broker."""
    messages: SimpleQueue[bytes] = SimpleQueue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: messages.put(bytes(message.payload))
    client.connect(servers.HOST, broker.port)
    client.subscribe("open_stream", 1)
    client.publish("open_stream", b"1", qos=1)  # a broker answers one client in order
    client.loop_start()
    try:
        return messages.get(timeout=10)
    finally:
        client.disconnect()
        client.loop_stop()


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="Unknown configuration variable"), servers.mosquitto("nonsense true"):
        pass


def test_what_a_test_breaks_is_stopped_too() -> None:
    def story() -> Iterator[int]:
        with servers.mosquitto() as broker:
            yield broker.port
            raise ZeroDivisionError

    run = story()
    port = next(run)
    with pytest.raises(ZeroDivisionError):
        next(run)
    assert not servers.listens(port)


@pytest.mark.parametrize("start", [servers.mosquitto, servers.mariadb])
def test_a_missing_program_skips_and_fails_where_nobody_would_see_it(
    start: Callable[[], AbstractContextManager[servers.Server]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_PATH", "/nowhere")
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match=r"is not installed: apt-get install m"), start():
        pass
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"is not installed: apt-get install m"), start():
        pass
