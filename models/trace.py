"""What the models saw in every frame of a trip, as compact rows and as the JSON beside its footage. Pure.

So a trip can be scored again under another profile without its pictures and without a model (`models.rescore`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TextIO, get_args
from uuid import UUID

from models.types import Detection, Face, Observation, PackName, PictureStats

VERSION: Final = 1
Row = list[Any]
"""`[t_s, face | null, [object, ...], picture | null]`: the time in seconds since the trip opened; a face as
`[pack, confidence, left, top, right, bottom, ear, mar, yaw_deg, pitch_deg, roll_deg, eye_blink, jaw_open]`, the pack by
its number, the last two null where it has no blendshapes and missing in traces from before them; an object as
`[label, confidence, left, top, right, bottom]`; a picture as brightness, contrast, sharpness, checksum."""

_PACKS: Final[tuple[PackName, ...]] = get_args(PackName)


class TraceError(ValueError):
    """It is no trace; the message is one line."""


@dataclass(frozen=True, slots=True)
class TraceHead:
    """Whose rows they are: of one part of a trip.

    Args:
        trip: The trip's UUID.
        vehicle: Its vehicle's.
        opened_at_ms: Wall clock when it opened, milliseconds since 1970 UTC.
        part: From 1.
        policy: Name and version of the profile that it was scored with.
        models: Names of the models, with the hash of the weights.
        footage_first_s: Capture time of its video's first picture; None in traces from before this.
    """

    trip: UUID
    vehicle: UUID
    opened_at_ms: int
    part: int
    policy: str
    models: str
    footage_first_s: float | None = None


def row_of(observation: Observation, captured_s: float) -> Row:
    """A frame's row: the face to a tenth of a pixel, objects to the pixel, ratios and angles to what they mean."""
    face, picture = observation.face, observation.picture
    return [
        round(captured_s, 6),
        face
        and [
            _PACKS.index(face.pack),
            round(face.confidence, 2),
            *(round(side, 1) for side in face.xyxy),
            *(round(face.ear, 4), round(face.mar, 4)),
            *(round(face.yaw_deg, 2), round(face.pitch_deg, 2), round(face.roll_deg, 2)),
            *(None if share is None else round(share, 4) for share in (face.eye_blink, face.jaw_open)),
        ],
        [[one.label, round(one.confidence, 3), *_whole(one.xyxy)] for one in observation.detections],
        picture and [picture.brightness, picture.contrast, picture.sharpness, picture.checksum],
    ]


def observation_of(row: Row) -> tuple[Observation, float]:
    """What a row says, and its time.

    Raises:
        TraceError: It is none.
    """
    try:
        captured_s, face, objects, picture = row
        eye_blink, jaw_open = [*face[11:], None, None][:2] if face else (None, None)
        return Observation(
            detections=tuple(Detection(label, confidence, tuple(box)) for label, confidence, *box in objects),
            face=Face(
                pack=_PACKS[face[0]],
                confidence=face[1],
                xyxy=tuple(face[2:6]),
                ear=face[6],
                mar=face[7],
                yaw_deg=face[8],
                pitch_deg=face[9],
                roll_deg=face[10],
                eye_blink=eye_blink,
                jaw_open=jaw_open,
            )
            if face
            else None,
            picture=PictureStats(*picture) if picture else None,
        ), float(captured_s)
    except (TypeError, ValueError, IndexError) as error:
        raise TraceError(f"{row!r:.80}: no row of a trace ({error})") from error


def write_trace(file: TextIO, head: TraceHead, rows: Iterable[Row]) -> None:
    """The JSON, with a line for each frame, so that a person can look into it; one row in memory at a time."""
    fields = {"version": VERSION, **asdict(head), "trip": str(head.trip), "vehicle": str(head.vehicle)}
    file.write(f'{json.dumps(fields)[:-1]}, "frames": [')
    for number, row in enumerate(rows):
        file.write(",\n" if number else "\n")
        json.dump(row, file, separators=(",", ":"))
    file.write("\n]}\n")


def read_trace(text: str) -> tuple[TraceHead, list[Row]]:
    """What `write_trace` wrote.

    Raises:
        TraceError: It is something else, or of another version.
    """
    try:
        fields = json.loads(text)
        if fields["version"] != VERSION:
            raise TraceError(f"a trace of version {fields['version']}, expected {VERSION}")
        head = TraceHead(
            trip=UUID(fields["trip"]),
            vehicle=UUID(fields["vehicle"]),
            opened_at_ms=fields["opened_at_ms"],
            part=fields["part"],
            policy=fields["policy"],
            models=fields["models"],
            footage_first_s=fields.get("footage_first_s"),
        )
        return head, fields["frames"]
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise TraceError(f"no trace ({type(error).__name__}: {error})") from error


def _whole(xyxy: Sequence[float]) -> list[int]:
    return [round(side) for side in xyxy]
