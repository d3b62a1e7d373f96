"""What PyAV reads back from the MP4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from actors.encode import NothingToEncodeError, encode_mp4
from models.types import Frame
from tests.builders import TINY_JPEG, frame, jpeg


@dataclass
class Mp4:
    """What was read back."""

    codec: str
    pix_fmt: str | None
    size: tuple[int, int]
    times_s: list[float]
    duration_s: float
    pictures: list[NDArray[Any]]


def written(folder: Path, frames: Sequence[Frame]) -> Mp4:
    path = folder / "footage.mp4"
    encode_mp4(frames, path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = list(container.decode(stream))
        return Mp4(
            stream.codec_context.name,
            stream.codec_context.pix_fmt,
            (stream.width, stream.height),
            [picture.time for picture in decoded if picture.time is not None],
            (container.duration or 0) / av.time_base,
            [picture.to_ndarray(format="gray") for picture in decoded],
        )


def at(*times_s: float) -> list[Frame]:
    """Frames at these times, each of another grey."""
    return [frame(seq, time_s, jpeg(grey=20 + 10 * seq)) for seq, time_s in enumerate(times_s)]


def test_it_is_what_a_browser_plays(tmp_path: Path) -> None:
    mp4 = written(tmp_path, at(0.0, 0.1, 0.2))
    assert (mp4.codec, mp4.pix_fmt, mp4.size) == ("h264", "yuv420p", (64, 48))
    data = (tmp_path / "footage.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "a browser can seek before it has all of it"


def test_times_are_kept_to_a_millisecond_and_begin_at_zero(tmp_path: Path) -> None:
    times_s = [17.0, 17.0333, 17.0667, 17.21, 17.25, 17.9]
    mp4 = written(tmp_path, at(*times_s))
    assert mp4.times_s == pytest.approx([time_s - 17.0 for time_s in times_s], abs=0.001)


def test_the_pictures_are_in_order_of_time(tmp_path: Path) -> None:
    mp4 = written(tmp_path, at(*(tick / 10 for tick in range(20))))
    greys = [float(picture.mean()) for picture in mp4.pictures]
    assert greys == sorted(greys)
    assert greys == pytest.approx([20 + 10 * number for number in range(20)], abs=8)


@pytest.mark.parametrize("tail_s", [[], [0.1], [0.1, 0.2]])
def test_gaps_stay_gaps(tmp_path: Path, tail_s: list[float]) -> None:
    times_s = [0.0, 0.1, 0.2, *(3600.0 + after_s for after_s in [0.0, *tail_s])]
    mp4 = written(tmp_path, at(*times_s))
    assert mp4.times_s == pytest.approx(times_s, abs=0.001)
    assert mp4.duration_s == pytest.approx(times_s[-1], abs=0.2), "a player can seek to the last picture"


def test_colours_are_those_of_the_frames(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:] = (20, 40, 200)  # BGR
    red = cv2.imencode(".jpg", picture)[1].tobytes()
    encode_mp4([frame(0, 0.0, red)], tmp_path / "footage.mp4")
    with av.open(str(tmp_path / "footage.mp4")) as container:
        [shown] = [picture.to_ndarray(format="bgr24") for picture in container.decode(video=0)]
    assert shown.mean(axis=(0, 1)) == pytest.approx((20, 40, 200), abs=12)


def test_times_rise_by_a_millisecond_at_least(tmp_path: Path) -> None:
    mp4 = written(tmp_path, at(0.0, 0.0001, 0.0002, 0.0002, 0.5))
    assert mp4.times_s == pytest.approx([0.0, 0.001, 0.002, 0.003, 0.5], abs=1e-6)


@pytest.mark.parametrize(("sent", "made"), [((65, 49), (64, 48)), ((64, 49), (64, 48)), ((1, 1), (2, 2))])
def test_the_size_is_made_even(tmp_path: Path, sent: tuple[int, int], made: tuple[int, int]) -> None:
    assert written(tmp_path, [frame(0, 0.0, jpeg(*sent))]).size == made


def test_a_frame_of_another_form_is_letterboxed(tmp_path: Path) -> None:
    white = [frame(seq, data=jpeg(*size, grey=255)) for seq, size in enumerate([(64, 48), (160, 40), (20, 40)])]
    mp4 = written(tmp_path, white)
    assert mp4.size == (64, 48)
    full, wide, tall = mp4.pictures
    assert full.min() > 200
    assert (wide[24].min() > 200, wide[:12].max() < 60, wide[-12:].max() < 60) == (True, True, True)
    assert (tall[:, 32].min() > 200, tall[:, :16].max() < 60, tall[:, -16:].max() < 60) == (True, True, True)


def test_a_single_frame_is_a_film(tmp_path: Path) -> None:
    assert written(tmp_path, at(5.0)).times_s == [0.0]


def test_frames_that_cannot_be_decoded_are_left_out(tmp_path: Path) -> None:
    frames = at(0.0, 0.1, 0.2)
    mp4 = written(tmp_path, [frames[0], frame(1, 0.1, TINY_JPEG), frames[2]])
    assert mp4.times_s == pytest.approx([0.0, 0.2], abs=0.001)


@pytest.mark.parametrize("frames", [[], [frame(0), frame(1)]])
def test_nothing_to_encode_is_said(tmp_path: Path, frames: list[Frame]) -> None:
    with pytest.raises(NothingToEncodeError, match="no picture that can be decoded"):
        encode_mp4(frames, tmp_path / "footage.mp4")


def test_a_folder_that_is_missing_is_an_error_that_may_pass(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        encode_mp4(at(0.0), tmp_path / "missing" / "footage.mp4")


@pytest.mark.parametrize("size", [(20_000, 16), (16, 20_000)])
def test_a_frame_wider_than_h264_allows_does_not_stand_in_the_way_for_ever(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    # It has fewer pixels than MAX_FRAME_PIXELS, so a device can send it, and x264 takes 16384 at most.
    assert written(tmp_path, [frame(0, 0.0, jpeg(*size)), *at(0.1)]).pictures
