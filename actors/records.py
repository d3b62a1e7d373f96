"""What a trip leaves behind, as rows and names; every name is derived from the trip, so doing it twice is harmless."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from models.types import ClosedBy, EventKind, Severity, Trip


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """One row of `alerts`: the per-frame metrics of one flagged frame.

    Args:
        uuid: Derived from trip and frame.
        time_ms: Capture time, milliseconds since 1970 UTC.
        ear: 0 when no face was found.
        mar: 0 when no face was found.
        sleep_duration: Seconds that the eyes have been closed; 0 when that has not lasted its time.
        yawning_duration: Seconds that the mouth has been open; likewise.
        focus_duration: Seconds that the head has been away; likewise.
        object_detected: Labels, alphabetical, joined with ", "; None when none.
    """

    uuid: UUID
    time_ms: int
    ear: float
    mar: float
    sleep_duration: float
    yawning_duration: float
    focus_duration: float
    object_detected: str | None


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One row of `videos`: one MP4 of a trip.

    Args:
        uuid: Derived from trip and part.
        vehicle: The vehicle's UUID.
        url: Where a person's browser finds it; ends in the object's name.
    """

    uuid: UUID
    vehicle: UUID
    url: str


@dataclass(frozen=True, slots=True)
class TripRecord:
    """One row of `dms_trips`: one trip, whether or not it left footage.

    Args:
        uuid: The trip's.
        vehicle: The vehicle's UUID.
        opened_at_ms: Wall clock when it opened, milliseconds since 1970 UTC.
        ended_at_ms: Capture time of its last frame, likewise.
        closed_by: Who ended it.
        recovered: Whether its last part was stored by another process than the one that took its end, or had no end.
        frames: Looked at; to within `CALM_RECORD_S` of frames when `closed_by` is `recovered`.
        flagged: Of those.
    """

    uuid: UUID
    vehicle: UUID
    opened_at_ms: int
    ended_at_ms: int
    closed_by: ClosedBy
    recovered: bool
    frames: int
    flagged: int


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One row of `dms_events`, as it is last known.

    Args:
        uuid: Derived from trip and number of the event; what it becomes keeps it.
        vehicle: The vehicle's UUID.
        trip: The trip's.
        kind: See docs/events.md.
        severity: The highest so far.
        started_ms: Capture time, milliseconds since 1970 UTC.
        ended_ms: Likewise; None while it runs.
        peak: Its worst, by what was measured.
        coverage: Share of its time in which something was known, 0..1.
        policy: Name and version of the profile.
        models: Names of the models, with the hash of the weights.
        video: UUID of the video in which it begins; None when there is none (yet).
        offset_s: Seconds into that.
    """

    uuid: UUID
    vehicle: UUID
    trip: UUID
    kind: EventKind
    severity: Severity
    started_ms: int
    ended_ms: int | None
    peak: Mapping[str, float]
    coverage: float
    policy: str
    models: str
    video: UUID | None = None
    offset_s: float | None = None


def event_message(event: EventRecord) -> dict[str, Any]:
    """The event as the contract's JSON (section 6), and its models."""
    return {
        "id": str(event.uuid),
        "trip": str(event.trip),
        "vehicle": str(event.vehicle),
        "kind": event.kind,
        "severity": event.severity,
        "started_at": _iso(event.started_ms),
        "ended_at": None if event.ended_ms is None else _iso(event.ended_ms),
        "peak": dict(event.peak),
        "coverage": event.coverage,
        "policy": event.policy,
        "models": event.models,
        "video": str(event.video) if event.video else None,
        "offset_s": event.offset_s,
    }


def _iso(time_ms: int) -> str:
    when = dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC) + dt.timedelta(milliseconds=time_ms % 1000)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def object_name(trip: Trip, part: int) -> str:
    """The name of part `part` (from 1) of a trip's footage: `{UTC day it opened}/{vehicle}-{trip}[-{part}].mp4`."""
    return f"{_day(trip)}/{trip.vehicle}-{trip.id}{f'-{part}' if part > 1 else ''}.mp4"


def trace_name(trip: Trip, part: int) -> str:
    """The name of part `part`'s trace: `traces/{UTC day it opened}/{trip}[-{part}].json`.

    Under a prefix of its own, and without the vehicle: what is named after a vehicle is its footage.
    """
    return f"traces/{_day(trip)}/{trip.id}{f'-{part}' if part > 1 else ''}.json"


def video_uuid(trip_id: UUID, part: int) -> UUID:
    """The `videos.uuid` of part `part` (from 1) of a trip."""
    return uuid5(trip_id, f"video/{part}")


def alert_uuid(trip_id: UUID, seq: int) -> UUID:
    """The `alerts.uuid` of frame `seq` of a trip."""
    return uuid5(trip_id, f"alert/{seq}")


def event_uuid(trip_id: UUID, number: int) -> UUID:
    """The `dms_events.uuid` of event `number` (from 1) of a trip."""
    return uuid5(trip_id, f"event/{number}")


def _day(trip: Trip) -> dt.date:
    return dt.datetime.fromtimestamp(trip.opened_at_ms / 1000, dt.UTC).date()
