"""The records of a journal, and how they are written: so that a torn or spoilt one is never taken for whole."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import UUID

import google_crc32c
import msgpack

from actors.records import AlertRecord, EventRecord
from models.trace import Row
from models.types import ClosedBy, Frame, Trip

MAGIC = b"DMSJRNL1"
_HEAD = struct.Struct("<II")


class JournalError(ValueError):
    """The file is no journal of ours, or holds not even the beginning of one."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a trip stands after a push, or at the beginning of a part.

    Args:
        next_seq: Frames below this one have been taken.
        frames: Taken in the trip so far.
        flagged: Flagged in the trip so far.
        last_s: Capture time of the last frame, seconds since the trip opened.
        until_s: See `FootageRing.until_s`.
        policy: See `Policy.snapshot`.
        texts: What the last push was answered to alert to: if the answer was lost, its repeat wants the same.
        events: What the last push changed of events; likewise.
        profile: Name and version of the policy's, which scored the last push.
        models: That saw it, with the hash of the weights.
    """

    next_seq: int = 0
    frames: int = 0
    flagged: int = 0
    last_s: float = 0.0
    until_s: float | None = None
    policy: dict[str, Any] | None = None
    texts: tuple[str, ...] = ()
    events: tuple[EventRecord, ...] = ()
    profile: str = ""
    models: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a push left.

    Args:
        progress: After it.
        footage: Frames that became footage, in order.
        alerts: A row for each that is flagged.
        trace: What was seen in each frame since the record before, flagged or not; see `models.trace`.
    """

    progress: Progress
    footage: tuple[Frame, ...] = ()
    alerts: tuple[AlertRecord, ...] = ()
    trace: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a part; `closed_by` is None when the trip goes on in the next one."""

    closed_by: ClosedBy | None


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The part's MP4 is in the store."""


@dataclass(frozen=True, slots=True)
class Begun:
    """How a part begins; the first record of its journal."""

    trip: Trip
    part: int
    progress: Progress


Record = Begun | Taken | Ended | Uploaded


def read_records(file: BinaryIO) -> Iterator[tuple[Record, int]]:
    """Each whole record with the offset of its end, up to the first that is not."""
    file.seek(0, os.SEEK_END)
    left = file.tell() - len(MAGIC)
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise JournalError("is no journal of this version")
    at = len(MAGIC)
    while left >= _HEAD.size:
        head = file.read(_HEAD.size)
        length, crc = _HEAD.unpack(head)
        left -= _HEAD.size + length
        if left < 0:
            return
        payload = file.read(length)
        if len(payload) != length or _crc(head[:4] + payload) != crc:
            return
        at += _HEAD.size + length
        yield _unpacked(payload), at


def packed(record: Record) -> bytes:
    """A record as it is written."""
    payload: bytes = msgpack.packb(_fields(record))
    length = struct.pack("<I", len(payload))
    return length + struct.pack("<I", _crc(length + payload)) + payload


def _crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


def _fields(record: Record) -> list[Any]:
    if isinstance(record, Begun):
        trip = record.trip
        return ["begun", trip.id.bytes, trip.vehicle.bytes, trip.opened_at_ms, record.part, _progress(record.progress)]
    if isinstance(record, Taken):
        footage = [[frame.seq, frame.captured_s, frame.jpeg] for frame in record.footage]
        alerts = [[one.uuid.bytes, *_alert_values(one)] for one in record.alerts]
        return ["taken", _progress(record.progress), footage, alerts, list(record.trace)]
    if isinstance(record, Ended):
        return ["ended", record.closed_by]
    return ["uploaded"]


def _progress(progress: Progress) -> list[Any]:
    return [
        *(progress.next_seq, progress.frames, progress.flagged),
        *(progress.last_s, progress.until_s, progress.policy, list(progress.texts)),
        *([_event(event) for event in progress.events], progress.profile, progress.models),
    ]


def _progress_of(fields: list[Any]) -> Progress:
    next_seq, frames, flagged, last_s, until_s, policy, texts, *more = fields
    events, *scored = more or ((),)  # journals before there were events
    known = tuple(_event_of(event) for event in events)
    return Progress(next_seq, frames, flagged, last_s, until_s, policy, tuple(texts), known, *scored)


def _event(event: EventRecord) -> list[Any]:
    return [
        *(event.uuid.bytes, event.vehicle.bytes, event.trip.bytes, event.kind, event.severity),
        *(event.started_ms, event.ended_ms, dict(event.peak), event.coverage, event.policy, event.models),
    ]


def _event_of(fields: list[Any]) -> EventRecord:
    one, vehicle, trip, *rest = fields
    return EventRecord(UUID(bytes=one), UUID(bytes=vehicle), UUID(bytes=trip), *rest)


def _alert_values(one: AlertRecord) -> tuple[Any, ...]:
    durations = (one.sleep_duration, one.yawning_duration, one.focus_duration)
    return (one.time_ms, one.ear, one.mar, *durations, one.object_detected)


def _unpacked(payload: bytes) -> Record:
    """A record whose CRC is right.

    Raises:
        JournalError: It is of another version.
    """
    try:
        kind, *fields = msgpack.unpackb(payload)
        if kind == "begun":
            trip, vehicle, opened_at_ms, part, progress = fields
            return Begun(Trip(UUID(bytes=trip), UUID(bytes=vehicle), opened_at_ms), part, _progress_of(progress))
        if kind == "taken":
            progress, footage, alerts, *trace = fields  # none in journals before there were traces
            return Taken(
                _progress_of(progress),
                tuple(Frame(*frame) for frame in footage),
                tuple(AlertRecord(UUID(bytes=one[0]), *one[1:]) for one in alerts),
                tuple(trace[0] if trace else ()),
            )
        if kind == "ended":
            [closed_by] = fields
            return Ended(closed_by)
        if kind == "uploaded":
            return Uploaded()
    except (ValueError, TypeError) as error:
        raise JournalError(f"holds a record that is not understood: {error}") from error
    raise JournalError(f"holds a record of the unknown kind {kind!r}")
