"""Vehicles that send numbered frames at a steady pace, and someone who hears what the service relays of them."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import uuid
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.chaos.marks import Mark, mark_of, with_mark
from tests.chaos.pictures import SMALL, picture
from tests.servers import HOST

STRETCH = 20
"""Frames in a row that show a bottle, then as many that do not."""


@dataclass(frozen=True, slots=True)
class Relayed:
    """A frame that was heard on `base64/`.

    Args:
        number: Of the frame.
        at_s: Monotonic clock when it was heard.
    """

    number: int
    at_s: float


def in_stretches(number: int) -> Mark:
    """Half of the frames show a bottle, a stretch at a time, beginning with the first."""
    return Mark(number, see=() if number // STRETCH % 2 else ("bottle",))


def slowly(number: int) -> Mark:
    """The same, and the Detector takes its time: some frames always wait for it or are in it."""
    return replace(in_stretches(number), slow_s=0.05)


class Fleet:
    """See the module.

    Devices that lose the broker reconnect; frames sent meanwhile are gone, control messages wait.

    Args:
        port: Of the broker.
        vehicles: How many.
        fps: Frames a second of each.
        mark: From a frame's number to its mark.
        size: Of the pictures.

    Attributes:
        vehicles: Their UUIDs.
        flagged: Numbers of the frames sent that a Detector flags, by vehicle.
    """

    def __init__(
        self,
        port: int,
        *,
        vehicles: int = 3,
        fps: float = 10,
        mark: Callable[[int], Mark] = in_stretches,
        size: tuple[int, int] = SMALL,
    ) -> None:
        self.vehicles = [uuid.uuid4() for _ in range(vehicles)]
        self.flagged: dict[uuid.UUID, set[int]] = {vehicle: set() for vehicle in self.vehicles}
        self._fps, self._mark, self._size = fps, mark, size
        self._numbers = itertools.count()
        self._heard: dict[str, list[Relayed]] = defaultdict(list)
        self._lock = threading.Lock()
        self._sender, self._listener = (mqtt.Client(CallbackAPIVersion.VERSION2) for _ in range(2))
        self._sender.max_inflight_messages_set(0)
        subscribed = threading.Event()
        self._listener.on_message = self._hear
        self._listener.on_subscribe = lambda *_: subscribed.set()
        # at every connect: the broker may have been restarted
        self._listener.on_connect = lambda client, *_: client.subscribe([(f"base64/{v}", 0) for v in self.vehicles])
        for client in (self._sender, self._listener):
            client.reconnect_delay_set(1, 1)
            client.connect(HOST, port)
            client.loop_start()
        assert subscribed.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in (self._sender, self._listener):
            client.disconnect()
            client.loop_stop()

    def open(self, *vehicles: uuid.UUID) -> None:
        """Begin a trip of these, or of all."""
        for vehicle in vehicles or self.vehicles:
            self._sender.publish("open_stream", str(vehicle), qos=1)

    def ask_to_close(self, *vehicles: uuid.UUID) -> None:
        """End the trips of these, or of all."""
        for vehicle in vehicles or self.vehicles:
            self._sender.publish("close_stream", str(vehicle), qos=1)

    def drive(self, seconds: float) -> None:
        """Send frames for so long."""
        self._drive(time.monotonic() + seconds, threading.Event())

    @contextlib.contextmanager
    def driving(self) -> Iterator[None]:
        """Send frames while the block lasts."""
        stop = threading.Event()
        thread = threading.Thread(target=self._drive, args=(float("inf"), stop), name="fleet")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def send(self, vehicle: uuid.UUID, mark: Mark) -> None:
        """One frame of one vehicle."""
        if mark.see:
            self.flagged[vehicle].add(mark.number)
        self._sender.publish(f"stream/{vehicle}", with_mark(picture(mark.number, self._size), mark))

    def next_number(self) -> int:
        """A number for a frame that is sent out of turn."""
        return next(self._numbers)

    def relayed(self, vehicle: uuid.UUID) -> list[Relayed]:
        """What was heard of a vehicle, in order."""
        with self._lock:
            return list(self._heard[f"base64/{vehicle}"])

    def wait_for_quiet(self) -> None:
        """Return when nothing has been heard for a second."""
        heard = -1
        while heard != (heard := sum(len(self.relayed(vehicle)) for vehicle in self.vehicles)):
            time.sleep(1)

    def _drive(self, end_s: float, stop: threading.Event) -> None:
        began_s = time.monotonic()
        for i in itertools.count():
            due_s = began_s + i / self._fps
            if due_s >= end_s or stop.wait(max(0.0, due_s - time.monotonic())):
                return
            number = next(self._numbers)
            for vehicle in self.vehicles:
                self.send(vehicle, self._mark(number))

    def _hear(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        relayed = Relayed(mark_of(b64decode(message.payload)).number, time.monotonic())
        with self._lock:
            self._heard[message.topic].append(relayed)
