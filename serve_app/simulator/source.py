"""What simulated devices send: the pictures of a video, a folder or a camera as JPEGs, each with its time."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_FPS = 10.0
"""Of a folder, which says nothing of time."""

_CAMERA = re.compile("[0-9]{1,3}")
_JPEG_SUFFIXES = {".jpg", ".jpeg"}
_PICTURE_SUFFIXES = {*_JPEG_SUFFIXES, ".png", ".bmp", ".webp"}


@dataclass(frozen=True, slots=True)
class TimedJpeg:
    """A picture and when it is due.

    Args:
        at_s: Seconds since the first one.
        jpeg: Its bytes.
    """

    at_s: float
    jpeg: bytes


class SourceError(Exception):
    """The source cannot be read; the message is one line that names it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Pictures in order of time; only one is in memory at once, and every iteration begins anew.

    Args:
        name: As the user gave it.
        frames: How many it holds; None: not known.
        live: A camera, whose pictures come when they come.
        read: Begins an iteration, which may raise `SourceError`.
    """

    name: str
    frames: int | None
    live: bool
    read: Callable[[], Iterator[TimedJpeg]]

    def __iter__(self) -> Iterator[TimedJpeg]:
        return self.read()


@dataclass(frozen=True, slots=True)
class JpegFormat:
    """How the pictures of videos and cameras are made into JPEGs, as a small camera would.

    Args:
        max_width_px: Larger pictures are made smaller, in proportion.
        max_height_px: Likewise.
        quality: 1..100, of libjpeg.
    """

    max_width_px: int = 640
    max_height_px: int = 480
    quality: int = 80

    def encode(self, image: Any) -> bytes:
        """The JPEG of a BGR picture of shape (h, w, 3)."""
        import cv2  # noqa: PLC0415 - heavy

        height, width = image.shape[:2]
        scale = min(1.0, self.max_width_px / width, self.max_height_px / height)
        if scale < 1:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        return jpeg.tobytes()


def load_source(source: str | Path, *, fps: float | None = None, jpeg: JpegFormat | None = None) -> Source:
    """Open what devices shall send.

    Args:
        source: A video file, a folder of pictures (sent in order of their names; JPEGs byte for byte) or the index of
            a camera.
        fps: Frames a second. Of a folder the pace, 10 by default. Of a video or camera at most so many of its own
            frames, which keep their times; by default all.
        jpeg: How frames of videos and cameras, and pictures that are no JPEG, are encoded.

    Raises:
        SourceError: There is no such source, or it holds no pictures.
    """
    jpeg = jpeg or JpegFormat()
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            return _folder(path, fps or DEFAULT_FPS, jpeg)
        if path.is_file():
            return _video(path, fps, jpeg)
    except (OSError, RuntimeError) as error:  # RuntimeError: `~` of nobody
        raise SourceError(f"source {source}: {getattr(error, 'strerror', None) or error}") from error
    if _CAMERA.fullmatch(str(source)):
        return Source(str(source), None, live=True, read=lambda: _thinned(_camera(int(str(source)), jpeg), fps))
    raise SourceError(f"source {source}: no such file, folder or camera; should be a video, a folder of pictures or 0")


def extended(source: Source, *, loop: bool, duration_s: float | None) -> Iterator[TimedJpeg]:
    """The source again and again, without a gap.

    Args:
        source: Holds at least one picture.
        loop: For ever.
        duration_s: Until then, also when the source is longer; None: the source once, unless `loop`.

    Raises:
        SourceError: It cannot be read.
    """
    begin_s = 0.0
    while True:
        at_s = previous_s = None
        for frame in source:
            previous_s, at_s = at_s, begin_s + frame.at_s
            # Sums of tenths come out a little short.
            if duration_s is not None and at_s > duration_s - 1e-6:
                return
            yield TimedJpeg(at_s, frame.jpeg)
        if at_s is None:
            raise SourceError(f"source {source.name}: holds no picture that can be read")
        if source.live or (duration_s is None and not loop):
            return
        begin_s = at_s + (1 / DEFAULT_FPS if previous_s is None else at_s - previous_s)


def _folder(path: Path, fps: float, jpeg: JpegFormat) -> Source:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _PICTURE_SUFFIXES)
    if not files:
        raise SourceError(f"source {path}: no pictures in this folder ({', '.join(sorted(_PICTURE_SUFFIXES))})")

    def read() -> Iterator[TimedJpeg]:
        for i, file in enumerate(files):
            yield TimedJpeg(i / fps, _picture(file, jpeg))

    return Source(str(path), len(files), live=False, read=read)


def _picture(file: Path, jpeg: JpegFormat) -> bytes:
    import cv2  # noqa: PLC0415 - heavy
    import numpy as np  # noqa: PLC0415 - heavy

    try:
        data = file.read_bytes()
    except OSError as error:
        raise SourceError(f"source {file}: {error.strerror}") from error
    if file.suffix.lower() in _JPEG_SUFFIXES:
        return data
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise SourceError(f"source {file}: not a picture that can be read")
    return jpeg.encode(image)


def _video(path: Path, fps: float | None, jpeg: JpegFormat) -> Source:
    import av  # noqa: PLC0415 - heavy

    try:
        with av.open(path) as file:
            if not file.streams.video:
                raise SourceError(f"source {path}: holds no video")
            frames = file.streams.video[0].frames or None
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"source {path}: not a video that can be read ({error.strerror})") from error
    return Source(str(path), None if fps else frames, live=False, read=lambda: _thinned(_video_frames(path, jpeg), fps))


# A picture to be encoded only if it is sent.
_Lazy = tuple[float, Callable[[], bytes]]


def _video_frames(path: Path, jpeg: JpegFormat) -> Iterator[_Lazy]:
    import av  # noqa: PLC0415 - heavy

    first_s: float | None = None
    try:
        with av.open(path) as file:
            stream = file.streams.video[0]
            stream.thread_type = "AUTO"
            for i, frame in enumerate(file.decode(stream)):
                time_s = frame.time if frame.time is not None else i / float(stream.average_rate or DEFAULT_FPS)
                first_s = time_s if first_s is None else first_s
                yield time_s - first_s, lambda frame=frame: jpeg.encode(_upright(frame))  # type: ignore[misc]
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"source {path}: cannot be read on ({error.strerror})") from error


def _upright(frame: Any) -> Any:
    """A video's picture as a person sees it, BGR; phones store theirs lying, with a note."""
    import numpy as np  # noqa: PLC0415 - heavy

    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="bgr24"), round(frame.rotation / 90)))


def _camera(index: int, jpeg: JpegFormat) -> Iterator[_Lazy]:
    import cv2  # noqa: PLC0415 - heavy

    camera = cv2.VideoCapture(index)
    try:
        first_s: float | None = None
        for i in itertools.count():
            good, image = camera.read()
            now_s = time.monotonic()
            if not good:
                if i == 0:
                    raise SourceError(f"source {index}: no such camera, or it gives no picture")
                return
            first_s = now_s if first_s is None else first_s
            yield now_s - first_s, lambda image=image: jpeg.encode(image)  # type: ignore[misc]
    finally:
        camera.release()


def _thinned(frames: Iterable[_Lazy], fps: float | None) -> Iterator[TimedJpeg]:
    """At most `fps` frames a second, evenly."""
    last_slot = -1
    for at_s, encode in frames:
        if fps is not None:
            # A little forgiveness, as 3/30 s may come as 0.0999.
            slot = int(at_s * fps + 0.01)
            if slot <= last_slot:
                continue
            last_slot = slot
        yield TimedJpeg(at_s, encode())
