"""Stores in memory that mirror the ports; the contract suites hold them to what the real ones do."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from actors.records import AlertRecord, EventRecord, TripRecord, VideoRecord
from serve_app.adapters.footage import CHUNK_BYTES, checked_name


class FakeFootageStore:
    """`FootageStore` and `FootageReader` in a dict.

    Attributes:
        objects: What is stored, by name.
        failures: Errors that the next calls of `put` and `ping` raise, in order.
    """

    def __init__(self, public_url: str = "http://127.0.0.1:8000") -> None:
        self.objects: dict[str, bytes] = {}
        self.failures: list[Exception] = []
        self._public_url = public_url

    def put(self, name: str, file: Path) -> None:
        """See `FootageStore.put`."""
        _fail(self.failures)
        self.objects.setdefault(checked_name(name), file.read_bytes())

    def url(self, name: str) -> str:
        """See `FootageStore.url`."""
        return f"{self._public_url}/footage/{checked_name(name)}"

    def size(self, name: str) -> int | None:
        """See `FootageReader.size`."""
        return len(self.objects[name]) if name in self.objects else None

    def read(self, name: str, start: int, end: int) -> Iterator[bytes]:
        """See `FootageReader.read`."""
        return self._pieces(checked_name(name), start, end)

    def signed_url(self, name: str) -> str | None:
        """See `FootageReader.signed_url`."""
        checked_name(name)
        return None

    def ping(self) -> None:
        """See `FootageReader.ping`."""
        _fail(self.failures)

    def _pieces(self, name: str, start: int, end: int) -> Iterator[bytes]:
        if name not in self.objects:
            raise FileNotFoundError(name)
        data = self.objects[name][start:end]
        for at in range(0, len(data), CHUNK_BYTES):
            yield data[at : at + CHUNK_BYTES]


class FakeMetricsStore:
    """`MetricsStore` in dicts.

    Attributes:
        vehicles: The vehicles known.
        videos: By their UUID.
        trips: By their UUID, as last saved.
        alerts: By their UUID, each with its video's.
        events: By their UUID, as last saved.
        failures: Errors that the next calls of `register`, `save` and `ping` raise, in order.
    """

    def __init__(self) -> None:
        self.vehicles: set[uuid.UUID] = set()
        self.videos: dict[uuid.UUID, VideoRecord] = {}
        self.trips: dict[uuid.UUID, TripRecord] = {}
        self.alerts: dict[uuid.UUID, tuple[uuid.UUID, AlertRecord]] = {}
        self.events: dict[uuid.UUID, EventRecord] = {}
        self.failures: list[Exception] = []
        self._lock = threading.Lock()

    def register(self, vehicle: uuid.UUID) -> None:
        """See `MetricsStore.register`."""
        _fail(self.failures)
        self.vehicles.add(vehicle)

    def save(
        self,
        video: VideoRecord | None,
        alerts: Sequence[AlertRecord],
        trip: TripRecord | None = None,
        events: Sequence[EventRecord] = (),
    ) -> None:
        """See `MetricsStore.save`."""
        _fail(self.failures)
        with self._lock:
            if video is not None:
                self.vehicles.add(video.vehicle)
                self.videos.setdefault(video.uuid, video)
                for alert in alerts:
                    self.alerts.setdefault(alert.uuid, (video.uuid, alert))
            for event in events:
                self.vehicles.add(event.vehicle)
                known = self.events.get(event.uuid)
                if known is None:
                    self.events[event.uuid] = event
                elif event.ended_ms is not None:
                    self.events[event.uuid] = replace(event, video=known.video, offset_s=known.offset_s)
            if trip is not None:
                for event in self.events.values():
                    if event.trip == trip.uuid and event.ended_ms is None:
                        self.events[event.uuid] = replace(event, ended_ms=trip.ended_at_ms)
                self.vehicles.add(trip.vehicle)
                before = self.trips.get(trip.uuid)
                if before is None or before.frames <= trip.frames:
                    self.trips[trip.uuid] = trip

    def video_exists(self, video_uuid: uuid.UUID) -> bool:
        """See `SqlMetricsStore.video_exists`."""
        return video_uuid in self.videos

    def ping(self) -> None:
        """See `SqlMetricsStore.ping`."""
        _fail(self.failures)


def _fail(failures: list[Exception]) -> None:
    if failures:
        raise failures.pop(0)
