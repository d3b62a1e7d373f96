"""The ports of `serve_app.flow`, in memory."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from actors.journal import Journal
from actors.journal_records import Progress
from actors.records import EventRecord
from actors.vehicle import PushReply, Vehicle, VehicleConfig
from actors.vehicle_actor import VehicleStatus
from models.types import Observation, Trip, Unreadable
from serve_app.scheduler import Push
from tests.builders import vehicle_config


class FakeDetectors:
    """`Detect`: says of each frame what `see` says.

    Attributes:
        running: Replicas.
        see: What the models say of a frame's bytes.
        failures: Errors of the next calls, in order.
        calls: What was asked.
        free: While cleared, every call waits.
    """

    def __init__(self) -> None:
        self.running = 1
        self.see: Callable[[bytes], Observation | Unreadable] = lambda _jpeg: Observation()
        self.failures: list[Exception] = []
        self.calls: list[list[bytes]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def detect(self, jpegs: list[bytes]) -> list[Observation | Unreadable]:
        """See `Detect.detect`."""
        self.calls.append(jpegs)
        await self.free.wait()
        if self.failures:
            raise self.failures.pop(0)
        return [self.see(jpeg) for jpeg in jpegs]

    async def replicas(self) -> int:
        """See `Detect.replicas`."""
        return self.running


class FakeVehicles:
    """`Vehicles`: real `Vehicle`s without an actor around them.

    Attributes:
        pushes: What was pushed and answered, in order.
        failures: Errors of the next pushes, in order.
        parts: What the vehicles would flush.
        folder: Of their journals; make it and remove it around the test.
        events: What the next answer says of events.
        flushing: How many pretend to be flushing.
        free: While cleared, every push waits.
    """

    def __init__(self, folder: Path, config: VehicleConfig | None = None) -> None:
        self.folder = folder
        self.pushes: list[tuple[uuid.UUID, Push]] = []
        self.failures: list[Exception] = []
        self.parts: list[Journal] = []
        self.events: list[EventRecord] = []
        self.flushing = 0
        self.free = asyncio.Event()
        self.free.set()
        self._config = config or vehicle_config()
        self._vehicles: dict[uuid.UUID, Vehicle] = {}

    async def push(self, vehicle: uuid.UUID, push: Push, after_part: int) -> PushReply:
        """See `Vehicles.push`."""
        await self.free.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.pushes.append((vehicle, push))
        one = self._vehicles.get(vehicle)
        if one is None:
            one = self._vehicles[vehicle] = Vehicle(vehicle, self._config, self.folder, self.parts.append)
        reply = one.push(push.trip, push.frames, push.closed_by, after_part)
        events, self.events = self.events, []
        return replace(reply, events=(*reply.events, *events))

    async def status(self, vehicle: uuid.UUID) -> VehicleStatus | None:
        """See `Vehicles.status`."""
        await asyncio.sleep(0)
        one = self._vehicles.get(vehicle)
        if one is None:
            return None
        events, limits = one.running_events, one.limits
        return VehicleStatus(one.trip, Progress(), 1, 0.0, (), "a node", 4711, events=events, limits=limits)

    async def alive(self) -> int:
        """See `Vehicles.alive`."""
        return self.flushing + sum(one.trip is not None for one in self._vehicles.values())


class FakeBroker:
    """`Broker`.

    Attributes:
        published: Topic, payload and QoS of every message, in order.
    """

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes | str, int]] = []
        self._lock = threading.Lock()

    def publish(self, topic: str, payload: bytes | str) -> None:
        """See `Broker.publish`."""
        self._publish(topic, payload, 1)

    def relay(self, topic: str, payload: bytes) -> bool:
        """See `Broker.relay`."""
        self._publish(topic, payload, 0)
        return True

    def topics(self, first_level: str) -> list[str]:
        """The topics published under this first level, in order."""
        return [topic for topic, _, _ in self.published if topic.startswith(f"{first_level}/")]

    def _publish(self, topic: str, payload: bytes | str, qos: int) -> None:
        if "+" in topic or "#" in topic:
            raise ValueError("Publish topic cannot contain wildcards.")  # as paho does
        with self._lock:
            self.published.append((topic, payload, qos))


class FakeNotes:
    """`Notes`.

    Attributes:
        open: The trips that are noted.
    """

    def __init__(self) -> None:
        self.open: list[Trip] = []

    def opened(self, trip: Trip) -> None:
        """See `Notes.opened`."""
        self.open.append(trip)

    def closed(self, trip: Trip) -> None:
        """See `Notes.closed`."""
        if trip in self.open:
            self.open.remove(trip)
