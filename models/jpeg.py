"""What the bytes of a JPEG say before anyone decodes them (ITU-T T.81, annex B)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Refusal = Literal["too_large", "not_jpeg", "truncated", "too_many_pixels", "too_many_scans"]
"""Why a frame is refused from its bytes alone."""

_START = b"\xff\xd8"
_END = b"\xff\xd9"
_SCAN = 0xDA
_SCAN_START = b"\xff\xda"  # inside a scan every FF has a 00 behind it
# Every start-of-frame marker but the ones that announce tables (DHT C4, DAC CC) or nothing (JPG C8).
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PREFIX = 0xFF
_STUFFED = 0x00
# Markers without a length: TEM, RST0-7, SOI, EOI, and the fill byte before a marker.
_BARE = frozenset({0x01, *range(0xD0, 0xDA), _PREFIX})
_SHORTEST = 2
_MAX_STEPS = 512  # encoders write some ten segments; bounds what a hostile payload costs
_MAX_SCANS = 100
"""Every scan costs its decoder a pass over the picture: 2,000 in 100 KB take seconds. Encoders write 1 or some 10."""


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """What a frame may be at most.

    Args:
        max_bytes: Size of the payload.
        max_pixels: Width times height as the header says.
    """

    max_bytes: int
    max_pixels: int


def refusal(payload: bytes, limits: FrameLimits) -> Refusal | None:
    """Why this payload is no acceptable frame, or None when it is one.

    It needs a start marker, a frame header with a size, a scan, and an end marker somewhere behind the
    start of the scan; bytes after the end are allowed, since ESP32 buffers have them. A decoder must be able to
    read it in reasonable time.
    """
    if len(payload) > limits.max_bytes:
        return "too_large"
    pixels = 0
    for marker, content, end in _segments(payload):
        if marker in _FRAME_HEADERS:
            header = payload[content : content + 5]  # precision, height, width
            pixels = int.from_bytes(header[1:3], "big") * int.from_bytes(header[3:5], "big")
            if pixels > limits.max_pixels:
                return "too_many_pixels"
        if marker == _SCAN and pixels:
            if payload.rfind(_END, end) < 0:  # from behind, where it is
                return "truncated"
            return "too_many_scans" if payload.count(_SCAN_START, end) >= _MAX_SCANS else None
    # The segments end before the picture begins: cut inside its header, or it never was a JPEG.
    return "truncated" if pixels else "not_jpeg"


def _segments(payload: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker segments up to the first scan: (marker, where its content begins, where it ends)."""
    if not payload.startswith(_START):
        return
    at = 2
    for _ in range(_MAX_STEPS):
        if at + 4 > len(payload) or payload[at] != _PREFIX:
            return
        marker = payload[at + 1]
        if marker == _STUFFED:  # no segment, and decoders read on right behind it
            return
        if marker in _BARE:
            at += 1 if marker == _PREFIX else 2
            continue
        length = int.from_bytes(payload[at + 2 : at + 4], "big")  # counts itself
        yield marker, at + 4, at + 2 + length
        if marker == _SCAN or length < _SHORTEST:
            return
        at += 2 + length
