"""What a frame of these tests says of itself behind its end marker, where the contract allows bytes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from models.types import Label

END = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Mark:
    """A frame's number and its orders to the stub Detector.

    Args:
        number: Of the frame, from 0 and unique for its vehicle.
        see: The objects that the Detector reports in it; with any, the frame is flagged.
        slow_s: How long the Detector takes for it.
        poison: Whether the Detector dies of it, every time.
    """

    number: int
    see: tuple[Label, ...] = ()
    slow_s: float = 0.0
    poison: bool = False


def with_mark(jpeg: bytes, mark: Mark) -> bytes:
    """The frame with its mark behind it."""
    return jpeg + json.dumps(asdict(mark)).encode()


def mark_of(payload: bytes) -> Mark:
    """The mark behind a frame; JSON has no byte above 7F, so the last end marker is the picture's."""
    fields = json.loads(payload[payload.rindex(END) + len(END) :])
    return Mark(**{**fields, "see": tuple(fields["see"])})
