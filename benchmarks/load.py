"""The load: vehicles that send frames over MQTT, each on a connection of its own, as fast as they are looked at."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.waiting import eventually

LOOK_S = 1.0
"""Each look costs some 30 ms of CPU, all vehicles are asked."""
STEP_S = 0.05
WAITING_S = 2.5
"""So much of what is looked at in a second waits in the mailboxes: no look at them finds one empty, nor one full."""
LEAST_WAITING = 8
MOST_WAITING_BYTES = 12 * 2**20
"""In a mailbox, which takes 16 MiB."""
ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Looked:
    """The streams at one moment.

    Args:
        at_s: Monotonic clock.
        observed: Frames that have left the mailboxes for a Detector.
        dropped: Frames given up.
        backlog: Frames that wait, by vehicle.
        nodes: Of the vehicles' actors.
    """

    at_s: float
    observed: int
    dropped: int
    backlog: dict[uuid.UUID, int]
    nodes: tuple[str, ...]


class Load:
    """Vehicles with an open trip each.

    Args:
        port: Of the broker, on loopback.
        streams: Answers with `/v1/streams` of the service; None when it did not answer in time.
        vehicles: How many.
        frames: JPEGs, which each vehicle sends in turn.
    """

    def __init__(self, port: int, streams: Callable[[], Any], vehicles: int, frames: Sequence[bytes]) -> None:
        self._streams = streams
        self._frames = frames
        self._most_waiting = MOST_WAITING_BYTES / (sum(map(len, frames)) / len(frames))
        self._senders = {uuid.uuid4(): mqtt.Client(CallbackAPIVersion.VERSION2) for _ in range(vehicles)}
        self._due = dict.fromkeys(self._senders, 0.0)  # frames to send, and the fraction that is left
        self._sent = dict.fromkeys(self._senders, 0)
        self._per_s = dict.fromkeys(self._senders, 0.0)
        self._ended = threading.Event()
        self._sending = threading.Thread(target=self._send, name="load")
        for client in self._senders.values():
            client.connect("127.0.0.1", port)
            client.loop_start()

    def __enter__(self) -> Self:
        for vehicle, client in self._senders.items():
            client.publish("open_stream", str(vehicle), qos=1).wait_for_publish(10)
        self._sending.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sending.join()
        for vehicle, client in self._senders.items():
            client.publish("close_stream", str(vehicle), qos=1).wait_for_publish(10)
            client.disconnect()
            client.loop_stop()

    def saturate(self, seconds: float) -> tuple[Looked, Looked]:
        """Keep every mailbox filled; what was seen at the beginning and at the end."""
        first = before = self.look()
        while True:
            time.sleep(LOOK_S)
            now = self.look()
            rate = max(0.0, (now.observed - before.observed) / (now.at_s - before.at_s) / len(self._senders))
            for vehicle in self._senders:
                waiting = min(max(LEAST_WAITING, WAITING_S * rate), self._most_waiting)
                want = waiting - now.backlog.get(vehicle, 0)
                self._per_s[vehicle] = max(0.0, rate + want / WAITING_S)  # no faster: a look may be late
            before = now
            if now.at_s - first.at_s >= seconds:
                return first, now

    def steady(self, fps: float) -> None:
        """From now on every vehicle sends at this rate."""
        for vehicle in self._senders:
            self._per_s[vehicle] = fps

    def watch(self, seconds: float) -> tuple[Looked, Looked]:
        """Leave it as it is; what was seen at the beginning and at the end."""
        first = self.look()
        time.sleep(seconds)
        return first, self.look()

    def look(self) -> Looked:
        """At the streams now.

        Raises:
            RuntimeError: The service did not answer for a minute.
        """
        answer = eventually(self._streams, ANSWER_S)  # not in time, while all the actors start
        if answer is None:
            raise RuntimeError("the service does not say which streams are open")
        streams = [one for one in answer if uuid.UUID(one["vehicle"]) in self._senders]
        dropped = sum(sum(one["dropped"].values()) for one in streams)
        backlog = {uuid.UUID(one["vehicle"]): int(one["backlog"]) for one in streams}
        observed = sum(one["frames"] for one in streams) - sum(backlog.values()) - dropped
        return Looked(time.monotonic(), observed, dropped, backlog, tuple(one["node"] for one in streams))

    def _send(self) -> None:
        before_s = time.monotonic()
        while not self._ended.wait(STEP_S):
            now_s = time.monotonic()
            for vehicle, client in self._senders.items():
                self._due[vehicle] += self._per_s[vehicle] * (now_s - before_s)
                while self._due[vehicle] >= 1:
                    self._due[vehicle] -= 1
                    client.publish(f"stream/{vehicle}", self._frames[self._sent[vehicle] % len(self._frames)])
                    self._sent[vehicle] += 1
            before_s = now_s
