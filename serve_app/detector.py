"""The Detector: pictures in, observations out; keeps nothing about a vehicle."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.types import Observation, Unreadable
from serve_app.views import DetectorInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.fetch import ModelFiles

_log = logging.getLogger(__name__)

DECODE_THREADS = 2
STUCK_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Which models, and how.

    Args:
        data_dir: Where model files are cached and exports made.
        model_path: The object model's weights; None for the project's own or what `models.fetch` finds.
        image_size_px: Working size of the object model.
        object_confidence: Detections below it are left out.
    """

    data_dir: Path
    model_path: Path | None
    image_size_px: int
    object_confidence: float


class Models:
    """Both models over a batch of JPEG frames; decoding overlaps with the batch before.

    Args:
        config: See `DetectorConfig`.

    Raises:
        FileNotFoundError: No face models are to be had.
        ValueError: The weights cannot be loaded.
    """

    def __init__(self, config: DetectorConfig) -> None:
        from models.face import FaceModel  # noqa: PLC0415 - heavy: only in a process that detects
        from models.objects import ObjectModel  # noqa: PLC0415

        files = _model_files(config)
        self._face = FaceModel(pack=files.face_pack, folder=files.face_folder)
        weights = config.model_path or files.object_weights
        self._objects: ObjectModel | None = None
        if weights is None:
            _log.warning("no object model: MODEL_PATH is empty and none was found; the face stage runs alone")
        else:
            self._objects = ObjectModel(
                weights=weights,
                cache=config.data_dir / "models" / "exports",
                image_size_px=config.image_size_px,
                confidence=config.object_confidence,
            )
        self.info = DetectorInfo(self._objects.name if self._objects else "none", files.face_pack.name)
        self._decoders = ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
        # One thread: the models are not meant to be called by several, and use all cores by themselves.
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._busy_since_s: float | None = None

    async def observe(self, jpegs: Sequence[bytes]) -> list[Observation | Unreadable]:
        """What both models say of each frame, in order; an unreadable frame has its own answer and harms no other."""
        loop = asyncio.get_running_loop()
        pictures = await asyncio.gather(*(loop.run_in_executor(self._decoders, _decode, jpeg) for jpeg in jpegs))
        return await loop.run_in_executor(self._runner, self._observe, pictures)

    def check(self) -> None:
        """Find out whether the models still answer.

        Raises:
            RuntimeError: They have been busy with one batch for too long; only a new process helps.
        """
        since_s = self._busy_since_s
        if since_s is not None and time.monotonic() - since_s > STUCK_AFTER_S:
            raise RuntimeError(f"the models have been busy with one batch for over {STUCK_AFTER_S:.0f} s")

    def _observe(self, pictures: Sequence[NDArray[np.uint8] | Unreadable]) -> list[Observation | Unreadable]:
        readable = [picture for picture in pictures if not isinstance(picture, Unreadable)]
        self._busy_since_s = time.monotonic()
        try:
            faces = iter(self._face.observe(readable))
            detections = iter(self._objects.detect(readable) if self._objects else [()] * len(readable))
        finally:
            self._busy_since_s = None
        return [
            picture if isinstance(picture, Unreadable) else Observation(next(detections), next(faces))
            for picture in pictures
        ]


def _model_files(config: DetectorConfig) -> ModelFiles:
    """What `make setup` put there; the network only where there is nothing to run: all replicas must run the same."""
    from models.fetch import fetch  # noqa: PLC0415

    weights = config.model_path is None
    try:
        return fetch(config.data_dir, network=False, weights=weights, say=_log.info)
    except FileNotFoundError:
        return fetch(config.data_dir, weights=weights, say=_log.info)


def _decode(jpeg: bytes) -> NDArray[np.uint8] | Unreadable:
    """A picture (height, width, 3), BGR."""
    import cv2  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return Unreadable("the JPEG data cannot be decoded") if picture is None else picture.astype(np.uint8, copy=False)


class Detector:
    """The Serve deployment around `Models`; its options stand in serve_config.yaml."""

    def __init__(self) -> None:
        from serve_app.loopback import keep_to_loopback  # noqa: PLC0415 - `Models` needs no Ray
        from serve_app.settings import process_settings  # noqa: PLC0415

        keep_to_loopback()
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        settings = process_settings()
        self._models = Models(
            DetectorConfig(
                data_dir=settings.data_dir,
                model_path=settings.model_path,
                image_size_px=settings.image_size,
                object_confidence=settings.object_confidence,
            )
        )

    async def detect(self, jpegs: list[bytes]) -> list[Observation | Unreadable]:
        """One answer per frame, in order."""
        return await self._models.observe(jpegs)

    async def info(self) -> DetectorInfo:
        """What it runs."""
        return self._models.info

    def check_health(self) -> None:
        """Serve replaces this process when its models hang; see `Models.check`."""
        self._models.check()
