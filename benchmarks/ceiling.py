"""The limit: what one plain loop does with decoding and both models, on all cores and with nothing around it.

    python -m benchmarks.ceiling [--seconds 10]

The same frames, models and weights as the Detector's, at the batch size that is best here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.frames import jpegs
from models.face import FaceModel
from models.fetch import default_data_dir, fetch
from models.objects import OWN_WEIGHTS, ObjectModel, checkpoint
from models.scores import CONFIDENCE

IMAGE_SIZE_PX = 320
BATCHES = (1, 4, 8, 16, 32)

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast something went.

    Args:
        frames: That it did.
        seconds: In so long.
        cpu_s: Of all threads of the processes that did it.
        cpu_s_by_role: The same by what a process is for, the broker's beside it.
    """

    frames: int
    seconds: float
    cpu_s: float
    cpu_s_by_role: Mapping[str, float] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.frames / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a frame."""
        return 1000 * self.cpu_s / self.frames


class Ceiling:
    """Both models, loaded and warm.

    Args:
        frames: JPEGs, which it takes in turn.
    """

    def __init__(self, frames: Sequence[bytes]) -> None:
        data_dir = default_data_dir()
        files = fetch(data_dir, say=lambda _: None)
        self._face = FaceModel(pack=files.face_pack, folder=files.face_folder)
        self._objects = ObjectModel(
            weights=OWN_WEIGHTS,
            cache=data_dir / "models" / "exports",
            image_size_px=IMAGE_SIZE_PX,
            confidence=CONFIDENCE,
        )
        self._torch: Any = None
        self._frames = cycle(frames)
        self.batch = max(BATCHES, key=lambda batch: (self.run(1.0, batch), self.run(2.0, batch))[1].fps)

    def run(self, seconds: float, batch: int | None = None) -> Rate:
        """As fast as it goes.

        Args:
            seconds: For so long at least.
            batch: Frames that go through a model together; the best one if not given.
        """
        return self._loop(seconds, batch or self.batch, self._objects.detect)

    def run_in_torch(self, seconds: float) -> Rate:
        """The same, frame by frame, with the object model in torch as Ultralytics runs it."""
        if self._torch is None:
            self._torch = checkpoint(OWN_WEIGHTS)
        yolo = self._torch
        return self._loop(
            seconds, 1, lambda pictures: yolo.predict(pictures, imgsz=IMAGE_SIZE_PX, device="cpu", verbose=False)
        )

    def _loop(self, seconds: float, batch: int, detect: Callable[[list[Image]], object]) -> Rate:
        done = 0
        began_s, cpu_s = time.perf_counter(), time.process_time()
        while time.perf_counter() - began_s < seconds:
            pictures = [
                np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)
                for jpeg in islice(self._frames, batch)
            ]
            self._face.observe(pictures)
            detect(pictures)
            done += batch
        return Rate(done, time.perf_counter() - began_s, time.process_time() - cpu_s)


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    ceiling = Ceiling(jpegs())
    rate = ceiling.run(parser.parse_args().seconds)
    print(f"{rate.fps:.0f} frames/s at batch {ceiling.batch}, {rate.cpu_ms:.2f} ms of CPU a frame")


if __name__ == "__main__":
    main()
