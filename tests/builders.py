"""Builders shared by tests: the smallest true thing, with what the story is about set by name."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import cv2
import numpy as np

from actors.records import EventRecord, event_uuid
from actors.vehicle import SeenFrame, VehicleConfig
from models.types import Detection, Face, Frame, Label, Observation, Trip

OPENED_AT_MS = 1_767_225_599_250
"""2025-12-31T23:59:59.250Z: the trip's day is not that of its later frames."""

TINY_JPEG = bytes.fromhex("ffd8 ffc0000b0800020003 01011100 ffda0008010100003f00 11 ffd9")
"""3x2 pixels by its header; passes the checks of the bytes, cannot be decoded."""

AWAY: dict[str, Any] = {"yaw_deg": 40.0}
CLOSED: dict[str, Any] = {"ear": 0.05}
OPEN_MOUTH: dict[str, Any] = {"mar": 1.5}


def vehicle_id(number: int = 1) -> uuid.UUID:
    """The UUID of vehicle `number`."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"vehicle/{number}")


def trip(vehicle: uuid.UUID | int = 1, *, number: int = 1, opened_at_ms: int = OPENED_AT_MS) -> Trip:
    """Trip `number` of a vehicle."""
    owner = vehicle_id(vehicle) if isinstance(vehicle, int) else vehicle
    return Trip(uuid.uuid5(owner, f"trip/{number}"), owner, opened_at_ms)


def jpeg(width_px: int = 64, height_px: int = 48, *, grey: int = 90, progressive: bool = False) -> bytes:
    """A JPEG that can be decoded: one grey."""
    picture = np.full((height_px, width_px, 3), grey, np.uint8)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])
    assert done
    return bytes(data)


def frame(seq: int = 0, captured_s: float | None = None, data: bytes = TINY_JPEG) -> Frame:
    """Frame `seq`, at 10 frames a second unless told."""
    return Frame(seq, seq / 10 if captured_s is None else captured_s, data)


def face(**changes: Any) -> Face:
    """A face that looks ahead with open eyes and a shut mouth."""
    return dataclasses.replace(
        Face(
            confidence=0.9,
            xyxy=(10.0, 10.0, 50.0, 50.0),
            ear=0.34,
            mar=0.4,
            yaw_deg=0.0,
            pitch_deg=0.0,
            roll_deg=0.0,
            pack="landmarker-478",
        ),
        **changes,
    )


def observation(*labels: Label, **changes: Any) -> Observation:
    """These objects and a face with these changes; `face=None` for none."""
    detections = tuple(Detection(label, 0.8, (0.0, 0.0, 9.0, 9.0)) for label in labels)
    if "face" in changes:
        return Observation(detections, changes["face"])
    return Observation(detections, face(**changes))


def seen(
    seq: int = 0, *labels: Label, captured_s: float | None = None, data: bytes = TINY_JPEG, **changes: Any
) -> SeenFrame:
    """Frame `seq` with what was seen in it."""
    return SeenFrame(frame(seq, captured_s, data), observation(*labels, **changes))


def make_event(trip: Trip, number: int = 1, **changes: Any) -> EventRecord:
    """A microsleep that runs."""
    event = EventRecord(
        uuid=event_uuid(trip.id, number),
        vehicle=trip.vehicle,
        trip=trip.id,
        kind="microsleep",
        severity="high",
        started_ms=trip.opened_at_ms + 500,
        ended_ms=None,
        peak={"eyes_closed_s": 1.6},
        coverage=0.9,
        policy="default@2",
        models="weights-0a1b2c3d landmarker-478",
    )
    return dataclasses.replace(event, **changes)


def vehicle_config(**changes: Any) -> VehicleConfig:
    """No pre-roll, no post-roll, one part."""
    return dataclasses.replace(
        VehicleConfig(
            profile="legacy",
            pre_roll_s=0.0,
            post_roll_s=0.0,
            footage_max_bytes=2**20,
            sync_interval_s=1.0,
            orphaned_after_s=60.0,
        ),
        **changes,
    )
