"""One vehicle: its driver's state, its open trip's footage and metrics lists, and the flushes under way."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from actors.records import AlertRecord, alert_uuid
from models.footage import FootageRing
from models.policy import FrameMetrics, Policy
from models.profiles import PROFILES, ProfileName
from models.types import ClosedBy, Frame, Observation, Trip


@dataclass(frozen=True, slots=True)
class VehicleConfig:
    """What a vehicle needs to know; holds no secret, since it travels through Ray.

    Args:
        profile: Which numbers the policy uses.
        pre_roll_s: Footage before a flagged frame.
        post_roll_s: Footage after a flagged frame.
        footage_max_bytes: JPEG bytes after which the footage goes on in a new part.
        orphaned_after_s: Without a word from the Gateway for so long the vehicle closes its trip by itself.
    """

    profile: ProfileName
    pre_roll_s: float
    post_roll_s: float
    footage_max_bytes: int
    orphaned_after_s: float


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A frame with what the models saw in it."""

    frame: Frame
    observation: Observation


@dataclass(frozen=True, slots=True)
class PushReply:
    """The answer to a push.

    Args:
        alerts: The texts that hold at its flagged frames, each once; the Gateway leaves out what it said lately.
        flagged: Flagged frames of the trip so far.
        driver_state: What the last frame showed, in words.
    """

    alerts: tuple[str, ...]
    flagged: int
    driver_state: str


@dataclass(frozen=True, slots=True)
class Part:
    """What one MP4 is made of, with its rows.

    Args:
        trip: It belongs to this trip.
        number: From 1.
        footage: Frames in order of time.
        alerts: One per flagged frame among them.
    """

    trip: Trip
    number: int
    footage: tuple[Frame, ...]
    alerts: tuple[AlertRecord, ...]


@dataclass(slots=True)
class _OpenTrip:
    trip: Trip
    policy: Policy
    ring: FootageRing
    footage: list[Frame] = field(default_factory=list)
    metrics: list[AlertRecord] = field(default_factory=list)
    footage_bytes: int = 0
    part: int = 1
    flagged: int = 0
    next_seq: int = 0


class Vehicle:
    """Takes pushes in order and hands finished parts to `flush`, which must not block.

    Args:
        config: See `VehicleConfig`.
        flush: Takes a part that is complete.
    """

    def __init__(self, config: VehicleConfig, flush: Callable[[Part], None]) -> None:
        self._config = config
        self._flush = flush
        self._open: _OpenTrip | None = None
        self._last_push: tuple[object, PushReply] | None = None
        self._last_closed: uuid.UUID | None = None
        self._orphan: _OpenTrip | None = None
        # Pushes come from one thread; the orphan's timer is another one.
        self._lock = threading.Lock()

    def push(self, trip: Trip, frames: Sequence[SeenFrame], closed_by: ClosedBy | None = None) -> PushReply:
        """Take the next frames of a trip, and its end if `closed_by` says so.

        Repeating a push is harmless: the last one is answered as before, so that no alert is lost with an answer,
        older frames are known by (`trip`, `seq`), and a trip that is closed stays closed. The first push of a trip
        opens it; one for another trip closes the open one.
        """
        key = (trip.id, frames[-1].frame.seq, closed_by) if frames else None
        with self._lock:
            if key and self._last_push and self._last_push[0] == key:
                return self._last_push[1]
            if trip.id == self._last_closed:
                return PushReply(alerts=(), flagged=0, driver_state="")
            if self._open is not None and self._open.trip.id != trip.id:
                self._close()  # its close was lost with the Gateway that knew of it
            if self._open is None:
                resumed = self._orphan if self._orphan and self._orphan.trip.id == trip.id else None
                self._open, self._orphan = resumed or self._begin(trip), None
            open_trip = self._open
            texts = dict.fromkeys(text for seen in frames for text in self._take(open_trip, seen))
            reply = PushReply(alerts=tuple(texts), flagged=open_trip.flagged, driver_state=open_trip.policy.state)
            self._last_push = (key, reply)
            if closed_by is not None:
                self._close()
            return reply

    def close(self) -> None:
        """Flush the open trip, if there is one: its end may never come. Should the Gateway return, it goes on."""
        with self._lock:
            if self._open is not None:
                self._orphan = self._open
                self._flush_rest()

    @property
    def trip(self) -> Trip | None:
        """The open trip."""
        with self._lock:  # never a look between a trip's end and the hand-over of its last part
            return self._open.trip if self._open else None

    def _begin(self, trip: Trip) -> _OpenTrip:
        return _OpenTrip(
            trip=trip,
            policy=Policy(PROFILES[self._config.profile]),
            ring=FootageRing(pre_roll_s=self._config.pre_roll_s, post_roll_s=self._config.post_roll_s),
        )

    def _take(self, open_trip: _OpenTrip, seen: SeenFrame) -> Sequence[str]:
        """One frame further; returns what it would alert to."""
        frame = seen.frame
        if frame.seq < open_trip.next_seq:
            return ()
        open_trip.next_seq = frame.seq + 1
        metrics = open_trip.policy.step(seen.observation, frame.captured_s)
        for kept in open_trip.ring.step(frame, flagged=metrics.flagged):
            open_trip.footage.append(kept)
            open_trip.footage_bytes += len(kept.jpeg)
        if metrics.flagged:
            open_trip.flagged += 1
            open_trip.metrics.append(_alert_record(open_trip.trip, frame, metrics))
        if open_trip.footage_bytes >= self._config.footage_max_bytes:
            self._flush_part(open_trip)
        return (*metrics.labels, *metrics.conditions)

    def _flush_part(self, open_trip: _OpenTrip) -> None:
        self._flush(Part(open_trip.trip, open_trip.part, tuple(open_trip.footage), tuple(open_trip.metrics)))
        open_trip.footage, open_trip.metrics, open_trip.footage_bytes = [], [], 0
        open_trip.part += 1

    def _close(self) -> None:
        if self._open is not None:
            self._last_closed = self._open.trip.id
            self._flush_rest()

    def _flush_rest(self) -> None:
        open_trip, self._open = self._open, None
        if open_trip is not None and open_trip.footage:
            self._flush_part(open_trip)


def _alert_record(trip: Trip, frame: Frame, metrics: FrameMetrics) -> AlertRecord:
    return AlertRecord(
        uuid=alert_uuid(trip.id, frame.seq),
        time_ms=trip.opened_at_ms + round(frame.captured_s * 1000),
        ear=metrics.ear,
        mar=metrics.mar,
        sleep_duration=metrics.sleep_duration_s,
        yawning_duration=metrics.yawning_duration_s,
        focus_duration=metrics.focus_duration_s,
        object_detected=", ".join(metrics.labels) or None,
    )
