"""What comes in over MQTT, message by message: refused from its bytes alone, or relayed and handed on in order."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pybase64 import b64encode

from models.jpeg import FrameLimits, refusal
from models.logs import about
from models.once_per import OncePer
from models.token_bucket import TokenBucket
from models.types import ClosedBy, DropReason, Frame, Trip
from serve_app.scheduler import Item

_log = logging.getLogger(__name__)

LONGEST_UUID_TEXT = 64
"""`urn:uuid:{...}` has 47 characters; anything longer is no UUID and is not worth parsing."""
LOG_INTERVAL_S = 10.0
OPENS_PER_S = 10.0
"""Each opening starts an actor (0.3 s of CPU) and may insert a vehicle: a device that makes up a UUID each time and
closes what it opened is not held by `max_vehicles`. A fleet of thousands, one trip an hour each, opens one a second."""
LEAST_OPENS_AT_ONCE = 100
"""Or twice `max_vehicles`, if that is more: a whole fleet that comes back after an outage passes, and once again."""


@dataclass(slots=True)
class Stream:
    """One vehicle's live feed, from open_stream to close_stream.

    Args:
        trip: The trip that is open.
        opened_s: Monotonic clock when it opened; capture times count from here.
        last_frame_s: Monotonic clock of the last accepted frame, or of the opening.
        frames: Accepted so far, and relayed unless they count as `not_relayed`.
        next_seq: Of the next frame.
        dropped: Frames given up, by reason.
    """

    trip: Trip
    opened_s: float
    last_frame_s: float
    frames: int = 0
    next_seq: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class StreamView:
    """A copy of a stream's numbers, safe to read while frames come."""

    trip: Trip
    frames: int
    dropped: dict[str, int]


class Intake:
    """Knows the open streams. Called from the MQTT thread and, for ends without a message, from the event loop.

    Args:
        limits: What a frame may be at most.
        max_vehicles: Streams that may be open at once.
        relay: Publishes a frame's base64 under a topic; False when it was given up.
        emit: Takes every item in order, or returns False for a frame that it has no room for; called under the
            intake's lock, so it must return at once.
        note: Takes a trip that opens, before its message is acknowledged; likewise.
        monotonic: Seconds.
        wall: Seconds since 1970 UTC.

    Attributes:
        received: Messages on `stream/` since the start.
        relayed: Frames that the broker took back.
    """

    def __init__(
        self,
        *,
        limits: FrameLimits,
        max_vehicles: int,
        relay: Callable[[str, bytes], bool],
        emit: Callable[[Item], object],
        note: Callable[[Trip], object] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits
        self._max_vehicles = max_vehicles
        self._relay = relay
        self._emit = emit
        self._note = note
        self._monotonic = monotonic
        self._wall = wall
        self._lock = threading.Lock()
        self._streams: dict[uuid.UUID, Stream] = {}
        self._refused: Counter[str] = Counter()
        self._opens = TokenBucket(burst=max(LEAST_OPENS_AT_ONCE, 2 * max_vehicles), per_s=OPENS_PER_S)
        self._logged = OncePer(LOG_INTERVAL_S)
        self._accepting = True
        self.received = self.relayed = 0

    def message(self, topic: str, payload: bytes) -> bool:
        """Take one MQTT message; never raises for what a device can send.

        Returns:
            False for a trip that opens while the service goes down: the next one should hear of it.
        """
        if topic == "open_stream":
            return self._open(payload)
        if topic == "close_stream":
            vehicle = parse_uuid(payload)
            if vehicle is None:
                self._refuse("bad_uuid", None)
            else:
                self.close(vehicle, "device")
        elif topic.startswith("stream/"):
            self._frame(topic.split("/", 2)[1], payload)
        return True

    def adopt(self, trip: Trip, *, age_s: float, frames: int, next_seq: int) -> None:
        """Go on with a trip that another Gateway opened; no effect when one of its vehicle is open here.

        Args:
            trip: The trip.
            age_s: Seconds since it opened.
            frames: Taken so far.
            next_seq: Of its next frame; above that of every frame that the other Gateway may have under way.
        """
        now_s = self._monotonic()
        with self._lock:
            if trip.vehicle in self._streams:
                return
            stream = Stream(trip, opened_s=now_s - age_s, last_frame_s=now_s, frames=frames, next_seq=next_seq)
            self._streams[trip.vehicle] = stream
            self._emit(Item(trip))
        with about(trip.vehicle, trip.id):
            _log.info("trip %s of vehicle %s: adopted after %d frames", trip.id, trip.vehicle, frames)

    def close(self, vehicle: uuid.UUID, closed_by: ClosedBy) -> bool:
        """End the vehicle's trip; False when none is open."""
        with self._lock:
            stream = self._streams.pop(vehicle, None)
            if stream is None:
                return False
            self._emit(Item(stream.trip, closed_by=closed_by))
        _say_closed(stream, closed_by)
        return True

    def begin_again(self, ended: Trip) -> None:
        """Open another trip where this one is open here, since its vehicle's actor has ended it: its device goes on."""
        with self._lock:
            stream = self._streams.get(ended.vehicle)
            is_open = stream is not None and stream.trip.id == ended.id
        if is_open and self.close(ended.vehicle, "recovered"):
            self._open(str(ended.vehicle).encode())

    def close_idle(self, timeout_s: float) -> list[uuid.UUID]:
        """End the trips that have had no frame for so long; returns their vehicles."""
        now_s = self._monotonic()
        with self._lock:  # one hold: a frame that comes in between must not be accepted and its trip ended
            idle = {v: stream for v, stream in self._streams.items() if now_s - stream.last_frame_s >= timeout_s}
            for vehicle, stream in idle.items():
                del self._streams[vehicle]
                self._emit(Item(stream.trip, closed_by="idle"))
        for stream in idle.values():
            _say_closed(stream, "idle")
        return list(idle)

    def stop(self) -> None:
        """Take nothing any more and end every trip: the service is going down."""
        with self._lock:
            self._accepting = False
            vehicles = list(self._streams)
        for vehicle in vehicles:
            self.close(vehicle, "shutdown")

    def drop(self, vehicle: uuid.UUID, trip: uuid.UUID, reason: DropReason) -> None:
        """Count a frame that was accepted and given up later."""
        with self._lock:
            stream = self._streams.get(vehicle)
        self._refuse(reason, vehicle, stream if stream and stream.trip.id == trip else None)

    def views(self) -> dict[uuid.UUID, StreamView]:
        """The open streams, oldest first."""
        with self._lock:
            return {v: StreamView(s.trip, s.frames, dict(s.dropped)) for v, s in self._streams.items()}

    @property
    def open_streams(self) -> int:
        """How many are open."""
        return len(self._streams)

    @property
    def refused(self) -> dict[str, int]:
        """Everything refused or dropped since the start, by reason."""
        with self._lock:
            return dict(self._refused)

    def _open(self, payload: bytes) -> bool:
        vehicle = parse_uuid(payload)
        if vehicle is None:
            self._refuse("bad_uuid", None)
            return True
        with self._lock:
            if vehicle in self._streams:
                return True
            reason: DropReason | None = None
            now_s = self._monotonic()
            if not self._accepting:
                reason = "shutting_down"
            elif len(self._streams) >= self._max_vehicles:
                reason = "too_many_vehicles"
            elif not self._opens.take(now_s):  # last, so that only an opening costs a token
                reason = "too_many_opens"
            else:
                trip = Trip(uuid.uuid4(), vehicle, round(self._wall() * 1000))
                self._streams[vehicle] = Stream(trip, opened_s=now_s, last_frame_s=now_s)
                self._note(trip)
                self._emit(Item(trip))
        if reason:
            self._refuse(reason, vehicle)
        else:
            with about(vehicle, trip.id):
                _log.info("trip %s of vehicle %s: opened", trip.id, vehicle)
        return reason != "shutting_down"

    def _frame(self, text: str, payload: bytes) -> None:
        now_s = self._monotonic()
        self.received += 1
        # int() inside uuid.UUID() takes a plus sign, which no topic of a reply may have
        vehicle = None if "+" in text else parse_uuid(text)
        if vehicle is None:
            self._refuse("bad_uuid", None)
            return
        reason: DropReason | None = refusal(payload, self._limits)
        with self._lock:
            stream = self._streams.get(vehicle)
            if stream is not None and reason is None:
                if self._relay(f"base64/{text}", b64encode(payload)):
                    self.relayed += 1
                else:
                    reason = "not_relayed"
                frame = Frame(stream.next_seq, now_s - stream.opened_s, payload)
                if self._emit(Item(stream.trip, frame, text=text, received_s=now_s)) is False:
                    reason = "mailbox_full"
                stream.frames += 1
                stream.next_seq += 1
                stream.last_frame_s = now_s
        if stream is None:
            reason = reason or "not_open"
        if reason:
            self._refuse(reason, vehicle, stream)

    def _refuse(self, reason: DropReason, vehicle: uuid.UUID | None, stream: Stream | None = None) -> None:
        with self._lock:
            self._refused[reason] += 1
            if stream is not None:
                stream.dropped[reason] += 1
            # Vehicles without a stream share a line: with a made-up UUID each time they would have one each.
            due = self._logged.due((reason, vehicle if vehicle in self._streams else None), self._monotonic())
        if due:
            with about(vehicle, stream.trip.id if stream else None):
                _log.warning(
                    "dropped (%s) from vehicle %s; said once in %.0f s", reason, vehicle or "?", LOG_INTERVAL_S
                )


def _say_closed(stream: Stream, closed_by: ClosedBy) -> None:
    trip = stream.trip
    with about(trip.vehicle, trip.id):
        _log.info(
            "trip %s of vehicle %s: closed (%s) after %d frames; dropped: %s",
            *(trip.id, trip.vehicle, closed_by, stream.frames),
            ", ".join(f"{reason} {count}" for reason, count in stream.dropped.items()) or "none",
        )


def parse_uuid(text: bytes | str) -> uuid.UUID | None:
    """The UUID in any form that `uuid.UUID()` reads, or None."""
    if len(text) > LONGEST_UUID_TEXT:
        return None
    try:
        return uuid.UUID(text if isinstance(text, str) else text.decode())
    except ValueError:  # UnicodeDecodeError is one
        return None
