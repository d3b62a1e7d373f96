"""The Detector: pictures in, observations out; keeps nothing about a vehicle."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from models.errors import one_line
from models.logs import set_up_logs
from models.types import Detection, Face, Observation, PictureStats, Unreadable
from serve_app.metrics import Buckets, buckets
from serve_app.views import DetectorInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.fetch import ModelFiles

    Decoded = tuple[NDArray[np.uint8], PictureStats]

_log = logging.getLogger(__name__)
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")

DECODE_THREADS = 2
DECODED_BATCHES = 2
"""One that the models work on and one ahead of them: sixteen pictures of 16 megapixels are 800 MB."""
STUCK_AFTER_S = 30.0
"""For one picture's decoding, or one batch in the models."""
YIELDING = 19
"""Of Unix's niceness: the models take all cores there are; relays, pushes and journals need little and go first."""
BROKEN_AFTER = 10
"""Batches that failed one after the other; more than the Gateway tries a lone frame that is to blame itself."""


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Which models, and how.

    Args:
        data_dir: Where model files are cached and exports made.
        model_path: The object model's weights; None for the project's own.
        image_size_px: Working size of the object model.
        object_confidence: Detections below it are left out.
    """

    data_dir: Path
    model_path: Path | None
    image_size_px: int
    object_confidence: float


class FaceStage(Protocol):
    """As `models.face.FaceModel`."""

    def observe(self, images: Sequence[NDArray[np.uint8]]) -> list[Face | None]:
        """The driver's face in each BGR picture of shape (height, width, 3)."""


class ObjectStage(Protocol):
    """As `models.objects.ObjectModel`."""

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[Detection, ...]]:
        """The objects in each of the same pictures."""


class Models:
    """Both models over a batch of JPEG frames; decoding overlaps with the batch before.

    Args:
        face: The face stage.
        objects: The object model; None: it sees none.
        names: What to call both, in every observation.

    Attributes:
        decode_s: What batches took to decode.
        models_s: And then in both models.
    """

    def __init__(self, face: FaceStage, objects: ObjectStage | None, names: str = "") -> None:
        self.decode_s = buckets("dms_stage_seconds")
        self.models_s = buckets("dms_stage_seconds")
        self._names = names
        self._face = face
        self._objects = objects
        self._decoders = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        # One thread each: they are not meant to be called by several. At the same time, though each uses all cores by
        # itself: one after the other they leave more of them idle (docs/performance.md).
        self._face_runner = ThreadPoolExecutor(1, thread_name_prefix="face")
        self._object_runner = ThreadPoolExecutor(1, thread_name_prefix="objects")
        self._ahead = asyncio.Semaphore(DECODED_BATCHES)
        self._since_s: dict[int, float] = {}  # by thread: when it began what it is doing
        self._failures = 0  # one after the other

    async def observe(self, jpegs: Sequence[bytes]) -> list[Observation | Unreadable]:
        """What both models say of each frame, in order; an unreadable frame has its own answer and harms no other."""
        try:
            async with self._ahead:
                observations = await self._observe(jpegs)
        except Exception:
            self._failures += 1
            raise
        self._failures = 0
        return observations

    def check(self) -> None:
        """Find out whether the models still answer.

        Raises:
            RuntimeError: They hang, or fail time after time; only a new process helps.
        """
        if time.monotonic() - min(self._since_s.copy().values(), default=math.inf) > STUCK_AFTER_S:
            raise RuntimeError(f"a picture or a batch takes over {STUCK_AFTER_S:.0f} s")
        if self._failures >= BROKEN_AFTER:
            raise RuntimeError(f"the last {self._failures} batches failed")

    async def _observe(self, jpegs: Sequence[bytes]) -> list[Observation | Unreadable]:
        loop = asyncio.get_running_loop()
        began_s = time.monotonic()
        decoding = (loop.run_in_executor(self._decoders, self._timed, _decode, jpeg) for jpeg in jpegs)
        pictures = await asyncio.gather(*decoding)
        decoded_s = time.monotonic()
        self.decode_s.add(decoded_s - began_s)
        readable = [picture[0] for picture in pictures if not isinstance(picture, Unreadable)]
        facing = loop.run_in_executor(self._face_runner, self._timed, self._face.observe, readable)
        detecting = loop.run_in_executor(self._object_runner, self._timed, self._detect, readable)
        await asyncio.wait((facing, detecting))  # for both, also where one fails: the other still holds the pictures
        seen, found = facing.result(), detecting.result()
        self.models_s.add(time.monotonic() - decoded_s)
        faces, detections = iter(seen), iter(found)
        return [
            picture
            if isinstance(picture, Unreadable)
            else Observation(next(detections), next(faces), self._names, picture[1])
            for picture in pictures
        ]

    def _detect(self, pictures: Sequence[NDArray[np.uint8]]) -> Sequence[tuple[Detection, ...]]:
        return self._objects.detect(pictures) if self._objects else [()] * len(pictures)

    def _timed(self, work: Callable[[_Given], _Made], given: _Given) -> _Made:
        thread = threading.get_ident()
        self._since_s[thread] = time.monotonic()
        try:
            return work(given)
        finally:
            del self._since_s[thread]


def load_models(config: DetectorConfig) -> tuple[Models, DetectorInfo]:
    """The models that the settings name, and what to call them.

    Raises:
        FileNotFoundError: No face models are to be had.
        ValueError: The weights cannot be loaded.
    """
    from models.face import FaceModel  # noqa: PLC0415 - heavy: only in a process that detects
    from models.objects import OWN_WEIGHTS, ObjectModel  # noqa: PLC0415

    files = _model_files(config)
    objects: ObjectModel | None = None
    if config.model_path is None and not OWN_WEIGHTS.is_file():
        _log.warning("no object model: MODEL_PATH is empty and there is no %s; the face stage runs alone", OWN_WEIGHTS)
    else:
        objects = ObjectModel(
            weights=config.model_path or OWN_WEIGHTS,
            cache=config.data_dir / "models" / "exports",
            image_size_px=config.image_size_px,
            confidence=config.object_confidence,
        )
    info = DetectorInfo(objects.name if objects else "none", files.face_pack.name)
    face = FaceModel(pack=files.face_pack, folder=files.face_folder)
    return Models(face, objects, f"{info.object_model} {info.face_model}"), info


def _model_files(config: DetectorConfig) -> ModelFiles:
    """What `make setup` put there; the network only where there is nothing to run: all replicas must run the same."""
    from models.fetch import fetch  # noqa: PLC0415

    try:
        return fetch(config.data_dir, network=False, say=_log.info)
    except FileNotFoundError:
        return fetch(config.data_dir, say=_log.info)


def _decode(jpeg: bytes) -> Decoded | Unreadable:
    """A picture (height, width, 3), BGR, and what it is like."""
    import cv2  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    from models.picture import picture_stats  # noqa: PLC0415

    try:
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError) as error:  # more pixels than it will ever take, or than there is room for
        return Unreadable(one_line(error))
    if picture is None:
        return Unreadable("the JPEG data cannot be decoded")
    return picture.astype(np.uint8, copy=False), picture_stats(picture)


class Detector:
    """The Serve deployment around `Models`; its options stand in serve_config.yaml."""

    def __init__(self) -> None:
        from serve_app.export import Exporter  # noqa: PLC0415 - `Models` needs no Ray
        from serve_app.loopback import keep_to_loopback  # noqa: PLC0415
        from serve_app.settings import process_settings  # noqa: PLC0415

        keep_to_loopback()
        os.nice(YIELDING)
        settings = process_settings()
        set_up_logs("Detector")
        self._models, self._info = load_models(
            DetectorConfig(
                data_dir=settings.data_dir,
                model_path=settings.model_path,
                image_size_px=settings.image_size,
                object_confidence=settings.object_confidence,
            )
        )
        export = Exporter().export_forever
        threading.Thread(target=export, args=(self._readings,), name="metrics", daemon=True).start()

    async def detect(self, jpegs: list[bytes]) -> list[Observation | Unreadable]:
        """One answer per frame, in order."""
        return await self._models.observe(jpegs)

    async def info(self) -> DetectorInfo:
        """What it runs."""
        return self._info

    def check_health(self) -> None:
        """Serve replaces this process when its models hang; see `Models.check`."""
        self._models.check()

    def _readings(self) -> dict[str, dict[tuple[str, ...], Buckets]]:
        return {"dms_stage_seconds": {("decode",): self._models.decode_s, ("models",): self._models.models_s}}
