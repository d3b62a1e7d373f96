"""What the service says over MQTT of simulated vehicles, as anybody hears it who may."""

from __future__ import annotations

import binascii
import json
import threading
import time
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt

from serve_app.simulator.device import ANSWER_TIMEOUT_S, BrokerError, Security, connect, new_client

_KEPT_FRAMES = 2000  # of a vehicle that were sent and not heard: later than after so many none counts as relayed
_KEPT_TIMES = 100_000
_TOPICS_PER_SUBSCRIBE = 300  # a packet of 15 KB


class Relays:
    """Which of the frames that vehicles send come back as base64, and after how long. Safe to use from threads.

    Frames are told apart by what is in them and come back in order; of equal ones the oldest is meant.

    Args:
        clock: Monotonic seconds.

    Attributes:
        relayed: Frames that came back.
        strange: Messages that are no frame which was sent, or a frame that is out of order or there for a second time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.relayed = 0
        self.strange = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[uuid.UUID, deque[tuple[int, float]]] = {}
        self._after_s: deque[float] = deque(maxlen=_KEPT_TIMES)

    def sends(self, vehicle: uuid.UUID, jpeg: bytes) -> None:
        """Note a frame that goes out now."""
        note = zlib.crc32(jpeg), self._clock()
        with self._lock:
            self._waiting.setdefault(vehicle, deque(maxlen=_KEPT_FRAMES)).append(note)

    def heard(self, vehicle: uuid.UUID, payload: bytes) -> None:
        """Note a message on the vehicle's `base64/`."""
        now_s = self._clock()
        try:
            checksum = zlib.crc32(binascii.a2b_base64(payload, strict_mode=True))
        except binascii.Error:
            checksum = -1
        with self._lock:
            waiting = self._waiting.get(vehicle, deque())
            place = next((i for i, (sent, _) in enumerate(waiting) if sent == checksum), None)
            if place is None:
                self.strange += 1
                return
            for _ in range(place):  # those before it do not come any more
                waiting.popleft()
            self.relayed += 1
            self._after_s.append(now_s - waiting.popleft()[1])

    def after_s(self, share: float) -> float | None:
        """Seconds within which this share (0..1) of the last 100,000 came back; None when none did."""
        with self._lock:
            times_s = sorted(self._after_s)
        return times_s[min(len(times_s) - 1, int(share * len(times_s)))] if times_s else None


@dataclass(slots=True)
class Said:
    """Alerts and events of the vehicles.

    Args:
        alerts: Messages on `alert/`.
        event_messages: Messages on `event/`.
        events: The events' ids.
    """

    alerts: int = 0
    event_messages: int = 0
    events: set[str] = field(default_factory=set)


class Listener:
    """A connection that hears what is said of vehicles, while it is a `with` block.

    Args:
        vehicles: Their UUIDs.
        host: Of the broker.
        port: Of the broker.
        security: User and TLS.

    Attributes:
        relays: Frames that came back.
        said: Alerts and events.
        deaf: Why it has not heard all; empty: it has, for all that it knows.
    """

    def __init__(self, vehicles: Sequence[uuid.UUID], host: str, port: int, security: Security) -> None:
        self.relays = Relays()
        self.said = Said()
        self.deaf = ""
        self._topics = {
            f"{kind}/{vehicle}": (kind, vehicle) for vehicle in vehicles for kind in ("base64", "alert", "event")
        }
        self._address = host, port
        self._broker = f"{host}:{port}"
        self._unanswered = 0
        self._refused = ""
        self._subscribed = threading.Event()
        self._client = new_client(f"scoreboard-{uuid.uuid4()}", security, self._broker)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        connect(self._client, *self._address)
        self._client.loop_start()
        if not self._subscribed.wait(ANSWER_TIMEOUT_S) or self._refused:
            self.__exit__(None, None, None)
            refused = f"refuses the connection: {self._refused}"
            fault = refused if self._refused else "does not answer; is it an MQTT broker?"
            raise BrokerError(f"broker {self._broker}: {fault}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refused = str(reason)
            self._subscribed.set()
            return
        topics = [(topic, 0 if kind == "base64" else 1) for topic, (kind, _) in self._topics.items()]
        some = [topics[at : at + _TOPICS_PER_SUBSCRIBE] for at in range(0, len(topics), _TOPICS_PER_SUBSCRIBE)]
        self._unanswered = len(some)
        for part in some:
            client.subscribe(part)

    def _on_subscribe(self, _client: mqtt.Client, _data: Any, _id: int, reasons: list[Any], _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self.deaf = "the broker does not let this user read"
        self._unanswered -= 1
        if self._unanswered == 0:
            self._subscribed.set()

    def _on_disconnect(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self.deaf = "the scoreboard's own connection broke meanwhile"

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        kind, vehicle = self._topics[message.topic]
        if kind == "base64":
            self.relays.heard(vehicle, bytes(message.payload))
        elif kind == "alert":
            self.said.alerts += 1
        else:
            self.said.event_messages += 1
            self.said.events.add(_id_of(bytes(message.payload)))


def _id_of(event: bytes) -> str:
    try:
        return str(json.loads(event)["id"])
    except (ValueError, LookupError, TypeError):
        return "?"
