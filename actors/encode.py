"""From JPEG frames with capture times to one H.264 MP4 that a browser plays and seeks."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from models.types import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TIME_BASE = Fraction(1, 1000)
NOMINAL_FPS = 15
"""Tells x264 which level to claim; the real times are in the time stamps."""


MAX_SIDE_PX = 4096
"""x264 takes 16384 at most, decoders in hardware 4096; a larger picture is scaled down."""


class NothingToEncodeError(ValueError):
    """Not one of the frames could be decoded."""


def encode_mp4(frames: Iterable[Frame], path: Path) -> None:
    """Write the frames as H.264 (yuv420p) with their capture times, relative to the first.

    The first frame fixes the size, made even; frames of other sizes are letterboxed into it. Times are whole
    milliseconds and rise by at least one, so frames that came in one burst are spread a little. A frame that cannot
    be decoded is left out.

    Args:
        frames: In order of time.
        path: Is replaced; its folder must exist.

    Raises:
        NothingToEncodeError: None of the frames could be decoded.
        OSError: The file could not be written.
    """
    import av  # noqa: PLC0415 - not before the flush: a vehicle's process must start light
    import cv2  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    # moov in front, so that a browser can seek before it has the whole file
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            # Without B-frames, whose decoding times lag behind and make the file's duration end before a last gap.
            "libx264",
            rate=NOMINAL_FPS,
            options={"preset": "veryfast", "crf": "23", "g": "60", "bf": "0"},
        )
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.thread_count = 1  # the other cores belong to the frames that come in
        size: tuple[int, int] | None = None
        first_s = 0.0
        last_ms = -1
        for frame in frames:
            picture = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)
            if picture is None:
                continue
            if size is None:
                scale = min(1.0, MAX_SIDE_PX / max(picture.shape[:2]))
                size = (_even(picture.shape[1] * scale), _even(picture.shape[0] * scale))
                stream.width, stream.height = size
                first_s = frame.captured_s
            video_frame = av.VideoFrame.from_ndarray(
                _letterbox(picture.astype(np.uint8, copy=False), size), format="bgr24"
            )
            last_ms = max(last_ms + 1, round((frame.captured_s - first_s) * 1000))
            video_frame.pts, video_frame.time_base = last_ms, TIME_BASE
            container.mux(stream.encode(video_frame))
        if size is None:
            raise NothingToEncodeError("there is no picture that can be decoded")
        container.mux(stream.encode(None))


def load_codec() -> None:
    """Import what encoding needs, which otherwise its first call does."""
    import av  # noqa: F401, PLC0415 - as above
    import cv2  # noqa: F401, PLC0415


def encode_black(path: Path) -> None:
    """Write an MP4 of one black picture, for rows whose pictures are lost.

    Args:
        path: As in `encode_mp4`.
    """
    import cv2  # noqa: PLC0415 - as above
    import numpy as np  # noqa: PLC0415

    _, jpeg = cv2.imencode(".jpg", np.zeros((240, 320, 3), np.uint8))
    encode_mp4([Frame(0, 0.0, jpeg.tobytes())], path)


def _even(side_px: float) -> int:
    return max(2, int(side_px) // 2 * 2)


def _letterbox(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture scaled into (width, height) with black bars; one line or column is cut to make a size even."""
    import cv2  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    width, height = size
    if picture.shape[1] // 2 * 2 == width and picture.shape[0] // 2 * 2 == height:
        return np.ascontiguousarray(picture[:height, :width])
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    out = np.zeros((height, width, 3), np.uint8)
    out[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return out
