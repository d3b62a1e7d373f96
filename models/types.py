"""The words of the project as types; plain data that travels between processes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

Label = Literal["bottle", "cigarette", "phone", "smoke", "vape"]
"""The objects of the outside contract, alphabetical."""

Condition = Literal["sleeping", "yawning", "not focus"]
"""The per-frame conditions, by the text that `alert/{uuid}` says."""

EventKind = Literal[
    "microsleep",
    "sleep",
    "unresponsive",
    "drowsy",
    "yawn",
    "yawning_repeated",
    "distraction_long",
    "distraction_vats",
    "phone_use",
    "smoking",
    "drinking",
    "no_face",
    "camera_blind",
]
"""The kinds of events, see `models.events`."""

Severity = Literal["info", "medium", "high", "critical"]
"""In rising order; the contract has no `low`, so smoking is `info`."""

PackName = Literal["landmarker-478", "mesh-468-iris"]
"""The two sets of face models, see `models.packs`."""

ClosedBy = Literal["device", "idle", "operator", "shutdown", "orphaned", "recovered"]
"""Who ended a trip: its device, the idle timeout, a person over HTTP, the end of the service; the vehicle's next trip,
since this one's end had been lost; or whoever found its journal without an end and without anybody working on it."""


DropReason = Literal[
    "bad_uuid",
    "not_open",
    "not_jpeg",
    "truncated",
    "too_large",
    "too_many_pixels",
    "too_many_scans",
    "too_many_vehicles",
    "too_many_opens",
    "shutting_down",
    "not_relayed",
    "mailbox_full",
    "unreadable",
    "crashed",
    "disk_full",
]
"""Why something was given up; the README says when each happens."""


@dataclass(frozen=True, slots=True)
class Detection:
    """An object seen in a frame.

    Args:
        label: One of the contract's labels.
        confidence: 0..1.
        xyxy: Left, top, right, bottom in pixels of the frame as sent.
    """

    label: Label
    confidence: float
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Face:
    """The driver's face in a frame.

    Args:
        confidence: 0..1, of the face detector.
        xyxy: Left, top, right, bottom in pixels of the frame as sent.
        ear: Eye aspect ratio, mean of both eyes, no unit (domain.md of the project, Soukupova & Cech 2016).
        mar: Mouth aspect ratio, no unit.
        yaw_deg: Head turned; 0 is straight at the camera, positive to the right of the picture.
        pitch_deg: Head raised; 0 is straight at the camera, positive up.
        roll_deg: Head tilted; positive clockwise in the picture.
        pack: Which face models measured it: EAR means another thing in each.
        eye_blink: How far the lids are shut, 0..1, mostly of the eye that is nearer to the camera (blendshape
            `eyeBlink`); None: the pack has no blendshapes.
        jaw_open: How far the jaw is down, 0..1 (blendshape `jawOpen`); None: likewise.
        points: To be drawn: x, y in pixels of the frame of each of `models.geometry.DRAWN_POINTS`; no rule reads them.
    """

    confidence: float
    xyxy: tuple[float, float, float, float]
    ear: float
    mar: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    pack: PackName
    eye_blink: float | None = None
    jaw_open: float | None = None
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class PictureStats:
    """What a frame is like as a picture, whatever is in it; of its grey values at 160 pixels on its longer side.

    Args:
        brightness: Mean, 0..255.
        contrast: Standard deviation, 0..127.
        sharpness: Standard deviation of the Laplacian as a share of the contrast; 0 without any.
        checksum: CRC-32 of the grey values: equal pictures have equal ones.
    """

    brightness: float
    contrast: float
    sharpness: float
    checksum: int


@dataclass(frozen=True, slots=True)
class Observation:
    """What both models say of one frame.

    Args:
        detections: The objects in it.
        face: The driver's; None when there is none, which is a result and no error.
        models: Which models said so, with the hash of the weights.
        picture: What it is like as a picture; None: nobody looked.
    """

    detections: tuple[Detection, ...] = ()
    face: Face | None = None
    models: str = ""
    picture: PictureStats | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A frame that passed the checks of its bytes and could not be decoded.

    Args:
        reason: The decoder's word, for a log line.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One image in time.

    Args:
        seq: Counts the frames of a trip as they were received, from 0.
        captured_s: Monotonic seconds since the trip opened.
        jpeg: The very bytes received.
    """

    seq: int
    captured_s: float
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class Trip:
    """One open_stream .. close_stream span.

    Args:
        id: Names the trip; everything that it leaves behind derives its name from it.
        vehicle: The vehicle's UUID.
        opened_at_ms: Wall clock when it opened, milliseconds since 1970 UTC.
    """

    id: uuid.UUID
    vehicle: uuid.UUID
    opened_at_ms: int
