"""Reads topics of the broker for as long as somebody wants them; nothing of it is kept while the broker is away."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.reasoncodes import ReasonCode

from serve_app.adapters.mqtt import KEEPALIVE_S, BrokerAddress, new_client

_log = logging.getLogger(__name__)


class MqttReader:
    """One connection for all who read; safe to use from threads.

    Args:
        address: See `BrokerAddress`.
        on_message: Takes (topic, payload) on paho's thread.
        on_state: Takes `connected` or what is wrong, on paho's thread.
    """

    def __init__(
        self, address: BrokerAddress, on_message: Callable[[str, bytes], None], on_state: Callable[[str], None]
    ) -> None:
        self._address = address
        self._on_state = on_state
        self._wanted: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._client = new_client(address, f"{address.client_id}-live-{uuid.uuid4()}")
        self._client.on_connect = self._connected
        self._client.on_connect_fail = lambda *_: on_state("disconnected")
        self._client.on_disconnect = lambda *_: on_state("disconnected")
        self._client.on_subscribe = self._subscribed
        self._client.on_message = lambda _client, _data, message: on_message(message.topic, bytes(message.payload))

    def start(self) -> None:
        """Connect in the background and stay connected."""
        self._client.connect_async(self._address.host, self._address.port, KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Go."""
        self._client.disconnect()
        self._client.loop_stop()

    def want(self, topics: Sequence[str]) -> None:
        """Read them from now on, until `leave` was called as often."""
        with self._lock:
            new = [topic for topic in topics if not self._wanted[topic]]
            self._wanted.update(topics)
            if new:
                self._client.subscribe([(topic, 0) for topic in new])  # without effect while there is no connection

    def leave(self, topics: Sequence[str]) -> None:
        """One reader less."""
        with self._lock:
            self._wanted.subtract(topics)
            gone = [topic for topic in topics if not self._wanted[topic]]
            self._wanted = +self._wanted
            if gone:
                self._client.unsubscribe(gone)

    def _connected(self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:
        if reason.is_failure:
            self._on_state(f"refused: {reason}")
            return
        with self._lock:
            if self._wanted:
                client.subscribe([(topic, 0) for topic in self._wanted])
        self._on_state("connected")

    def _subscribed(self, _client: mqtt.Client, _data: Any, _id: int, reasons: list[ReasonCode], _props: Any) -> None:
        if refused := [reason for reason in reasons if reason.is_failure]:
            _log.error("the broker at %r lets nobody watch: %s (deploy/mosquitto/acl)", self._address, refused[0])
            self._on_state(f"refused: {refused[0]}")


def open_reader(
    address: BrokerAddress, on_message: Callable[[str, bytes], None], on_state: Callable[[str], None]
) -> MqttReader:
    """A reader that connects."""
    reader = MqttReader(address, on_message, on_state)
    reader.start()
    return reader
