"""Which payloads are frames, from their bytes alone."""

from __future__ import annotations

from typing import Any

import pytest

from models.jpeg import FrameLimits, refusal
from tests.builders import TINY_JPEG, jpeg

LIMITS = FrameLimits(max_bytes=2**20, max_pixels=2**24)


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def size_header(marker: int, width_px: int, height_px: int) -> bytes:
    return segment(marker, b"\x08" + height_px.to_bytes(2, "big") + width_px.to_bytes(2, "big") + b"\x01\x01\x11\x00")


SCAN = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (320, 240), (640, 480)])
def test_what_an_encoder_writes_is_a_frame(size: tuple[int, int], *, progressive: bool) -> None:
    assert refusal(jpeg(*size, progressive=progressive), LIMITS) is None


@pytest.mark.parametrize("progressive", [False, True])
def test_a_frame_cut_anywhere_before_its_end_is_refused(*, progressive: bool) -> None:
    whole = jpeg(progressive=progressive)
    assert whole.endswith(b"\xff\xd9")
    assert all(refusal(whole[:length], LIMITS) in {"not_jpeg", "truncated"} for length in range(len(whole)))


def test_a_frame_cut_in_its_scan_is_truncated() -> None:
    assert refusal(jpeg()[:-2], LIMITS) == "truncated"


@pytest.mark.parametrize("tail", [b"\x00" * 500, b"\xff\xd8 the buffer's last frame", b"\r\n"])
def test_bytes_after_the_end_are_allowed(tail: bytes) -> None:
    assert refusal(jpeg() + tail, LIMITS) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"hello",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b" " + TINY_JPEG,
        b"\xff\xd8" + bytes(1000),
        b"\xff\xd8\xff\xe0\x00\x00" + bytes(100),  # a length that does not cover itself
        b"\xff\xd8" + SCAN + b"\x11\xff\xd9",  # a scan of no size
        b"\xff\xd8" + size_header(0xC0, 0, 480) + SCAN + b"\x11\xff\xd9",
        b"\xff\xd8" + size_header(0xC4, 640, 480) + SCAN + b"\x11\xff\xd9",  # tables, no frame header
    ],
)
def test_what_has_no_start_and_header_is_no_jpeg(payload: bytes) -> None:
    assert refusal(payload, LIMITS) == "not_jpeg"


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2])
def test_the_size_is_read_from_every_kind_of_frame_header(marker: int) -> None:
    payload = b"\xff\xd8" + size_header(marker, 4097, 4096) + SCAN + b"\x11\xff\xd9"
    assert refusal(payload, LIMITS) == "too_many_pixels"


def test_pixels_up_to_the_limit_are_taken() -> None:
    assert refusal(jpeg(40, 30), FrameLimits(max_bytes=2**20, max_pixels=1200)) is None
    assert refusal(jpeg(40, 30), FrameLimits(max_bytes=2**20, max_pixels=1199)) == "too_many_pixels"


def test_bytes_up_to_the_limit_are_taken() -> None:
    assert refusal(TINY_JPEG, FrameLimits(max_bytes=len(TINY_JPEG), max_pixels=2**24)) is None
    assert refusal(TINY_JPEG, FrameLimits(max_bytes=len(TINY_JPEG) - 1, max_pixels=2**24)) == "too_large"


def test_a_thumbnail_in_the_header_is_not_taken_for_the_picture() -> None:
    whole = jpeg(640, 480)
    with_thumbnail = whole[:2] + segment(0xE1, b"Exif\x00\x00" + jpeg(8, 8)) + whole[2:]
    assert refusal(with_thumbnail, FrameLimits(max_bytes=2**20, max_pixels=640 * 480)) is None
    assert refusal(with_thumbnail, FrameLimits(max_bytes=2**20, max_pixels=640 * 480 - 1)) == "too_many_pixels"
    assert refusal(with_thumbnail[:-2], LIMITS) == "truncated"


def test_fill_bytes_and_comments_between_segments_are_fine() -> None:
    whole = jpeg()
    assert refusal(whole[:2] + b"\xff\xff" + whole[2:], LIMITS) is None
    assert refusal(whole[:2] + segment(0xFE, b"ESP32-CAM") + whole[2:], LIMITS) is None


@pytest.mark.parametrize("junk", [b"\xff" * 4, b"\xff\x01\xff\x01", b"\xff\xe0\x00\x02"])
def test_a_hostile_payload_costs_no_more_than_a_frame(junk: bytes) -> None:
    payload = Counted(b"\xff\xd8" + junk * (2**18 - 1))
    assert refusal(payload, LIMITS) == "not_jpeg"
    assert payload.looks < 2_000, "it holds up every vehicle"


class Counted(bytes):
    """Counts how often a byte or a slice of it is asked for."""

    looks = 0

    def __getitem__(self, at: Any) -> Any:
        self.looks += 1
        return super().__getitem__(at)


def test_a_picture_of_more_scans_than_any_encoder_writes_is_refused() -> None:
    # OpenCV takes a minute for the 30,000 scans that fit into a megabyte
    head = b"\xff\xd8" + size_header(0xC2, 64, 48)
    assert refusal(head + (SCAN + b"\x11") * 100 + b"\xff\xd9", LIMITS) is None
    assert refusal(head + (SCAN + b"\x11") * 101 + b"\xff\xd9", LIMITS) == "too_many_scans"


def test_a_stuffed_zero_hides_no_size() -> None:
    # A decoder reads on behind FF 00; who takes it for a segment sees the small size and not the one that counts.
    whole = jpeg(640, 480)
    hidden = segment(0x00, b"\x11" * 4) + size_header(0xC0, 8, 8)
    for payload in (whole[:2] + hidden + whole[2:], whole[:2] + b"\xff\x00" + whole[2:]):
        assert refusal(payload, LIMITS) == "not_jpeg"
